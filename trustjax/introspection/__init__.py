r"""Introspection: "why this answer, rather than class Q?", as features to learn from.

found = introspection.features_of(apply_fn, params, x)    # a and h, r = a h^T
introspection.norm(found), introspection.inner_products(found, found)

made = introspection.fit(introspection.config_for(), train_set, validation_set,
                         (apply_fn, params))              # H reads r
made.apply_fn, made.params                                # a network like any other

In come logits and embeddings, or a network that is cut at its embedding; out go the two
factors of the gradient in the last layer, for each example, and what is made of them:
norms, products, a second stage that answers by them, and which records of a pool to ask
a label for (`initial_pool`, `badge`). The outer product itself, classes times width, is
nowhere.
"""

from trustjax.introspection._acquisition import badge as badge
from trustjax.introspection._acquisition import initial_pool as initial_pool
from trustjax.introspection._acquisition import least_trusted as least_trusted
from trustjax.introspection._algebra import inner_products as inner_products
from trustjax.introspection._algebra import linear as linear
from trustjax.introspection._algebra import maximum as maximum
from trustjax.introspection._algebra import minimum as minimum
from trustjax.introspection._algebra import norm as norm
from trustjax.introspection._algebra import squared_distances as squared_distances
from trustjax.introspection._asking import features_of as features_of
from trustjax.introspection._config import ACTIVATIONS as ACTIVATIONS
from trustjax.introspection._config import INPUTS as INPUTS
from trustjax.introspection._config import PRESETS as PRESETS
from trustjax.introspection._config import IntrospectionConfig as IntrospectionConfig
from trustjax.introspection._config import baselines as baselines
from trustjax.introspection._config import config_for as config_for
from trustjax.introspection._features import LOSSES as LOSSES
from trustjax.introspection._features import TARGETS as TARGETS
from trustjax.introspection._features import Features as Features
from trustjax.introspection._features import features as features
from trustjax.introspection._fit import Introspective as Introspective
from trustjax.introspection._fit import fit as fit
from trustjax.introspection._fit import load as load
from trustjax.introspection._stages import SecondStage as SecondStage
from trustjax.introspection._stages import combined as combined
from trustjax.introspection._standardized import FeatureSums as FeatureSums
from trustjax.introspection._standardized import Standardization as Standardization
from trustjax.introspection._standardized import feature_sums as feature_sums
from trustjax.introspection._standardized import standardization as standardization
