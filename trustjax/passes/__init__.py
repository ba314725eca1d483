"""What is asked of a network beyond a forward pass.

In come `apply_fn`, `params` and inputs; out go the arrays that scores take: answers to
an input that is moved (`odin_logits`), to changed inputs (`augmented_logits`), under
dropout masks (`dropout_logits`), of an ensemble (`ensemble_logits`), and gradients
towards a label that no training example had (`confounding_gradients`). In capitals,
each of them as an ingredient of scores.
"""

from trustjax.passes._confounding import CONFOUNDING_GRADIENTS as CONFOUNDING_GRADIENTS
from trustjax.passes._confounding import confounding_gradients as confounding_gradients
from trustjax.passes._perturbation import ODIN_LOGITS as ODIN_LOGITS
from trustjax.passes._perturbation import odin_input as odin_input
from trustjax.passes._perturbation import odin_logits as odin_logits
from trustjax.passes._samples import AUGMENTED_LOGITS as AUGMENTED_LOGITS
from trustjax.passes._samples import DROPOUT_LOGITS as DROPOUT_LOGITS
from trustjax.passes._samples import ENSEMBLE_LOGITS as ENSEMBLE_LOGITS
from trustjax.passes._samples import ENSEMBLE_PARAMS as ENSEMBLE_PARAMS
from trustjax.passes._samples import augmented_logits as augmented_logits
from trustjax.passes._samples import dropout_logits as dropout_logits
from trustjax.passes._samples import ensemble_logits as ensemble_logits
from trustjax.passes._samples import random_shift as random_shift
