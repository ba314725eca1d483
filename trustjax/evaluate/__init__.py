"""One forward, one backward, every score: batches in, per-example results out."""

from trustjax._fingerprint import fingerprint as fingerprint
from trustjax.evaluate._extra import FITS as FITS
from trustjax.evaluate._extra import augmented_logits as augmented_logits
from trustjax.evaluate._extra import dropout_logits as dropout_logits
from trustjax.evaluate._extra import ensemble_logits as ensemble_logits
from trustjax.evaluate._extra import fit_states as fit_states
from trustjax.evaluate._ingredients import INGREDIENTS as INGREDIENTS
from trustjax.evaluate._ingredients import Batch as Batch
from trustjax.evaluate._ingredients import Ingredient as Ingredient
from trustjax.evaluate._ingredients import of_network as of_network
from trustjax.evaluate._ingredients import plan as plan
from trustjax.evaluate._ingredients import score_batch as score_batch
from trustjax.evaluate._loop import Results as Results
from trustjax.evaluate._loop import run as run
