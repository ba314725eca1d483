"""One number per example, higher = more trust; no score sees a true label."""

from trustjax.scores import _table as _table
from trustjax.scores._confidence import energy as energy
from trustjax.scores._confidence import log_likelihood as log_likelihood
from trustjax.scores._confidence import margin as margin
from trustjax.scores._confidence import max_logit as max_logit
from trustjax.scores._confidence import max_softmax as max_softmax
from trustjax.scores._confidence import negative_brier as negative_brier
from trustjax.scores._confidence import negative_entropy as negative_entropy
from trustjax.scores._grad_trust import grad_trust as grad_trust
from trustjax.scores._grad_trust import grad_trust_reference as grad_trust_reference
from trustjax.scores._grad_trust import grad_trust_rows as grad_trust_rows
from trustjax.scores._grad_trust import log_grad_trust as log_grad_trust
from trustjax.scores._registry import Score as Score
from trustjax.scores._registry import lookup as lookup
from trustjax.scores._registry import names as names
from trustjax.scores._registry import register as register
from trustjax.scores._registry import unregister as unregister
