"""One forward, one backward, every score: batches in, per-example results out."""

from trustjax._fingerprint import fingerprint as fingerprint
from trustjax.scoring._extra import FITS as FITS
from trustjax.scoring._extra import augmented_logits as augmented_logits
from trustjax.scoring._extra import dropout_logits as dropout_logits
from trustjax.scoring._extra import ensemble_logits as ensemble_logits
from trustjax.scoring._extra import fit_states as fit_states
from trustjax.scoring._ingredients import INGREDIENTS as INGREDIENTS
from trustjax.scoring._ingredients import Batch as Batch
from trustjax.scoring._ingredients import Ingredient as Ingredient
from trustjax.scoring._ingredients import of_network as of_network
from trustjax.scoring._ingredients import plan as plan
from trustjax.scoring._ingredients import score_batch as score_batch
from trustjax.scoring._loop import Results as Results
from trustjax.scoring._loop import run as run
