r"""Introspection: "why this answer, rather than class Q?", as features to learn from.

found = introspection.features_of(apply_fn, params, x)    # a and h, r = a h^T
introspection.norm(found), introspection.inner_products(found, found)

In come logits and embeddings, or a network that is cut at its embedding; out go the two
factors of the gradient in the last layer, for each example, and what is made of them.
The outer product itself, classes times width, is nowhere.
"""

from trustjax.introspection._algebra import inner_products as inner_products
from trustjax.introspection._algebra import linear as linear
from trustjax.introspection._algebra import maximum as maximum
from trustjax.introspection._algebra import minimum as minimum
from trustjax.introspection._algebra import norm as norm
from trustjax.introspection._algebra import squared_distances as squared_distances
from trustjax.introspection._asking import features_of as features_of
from trustjax.introspection._features import LOSSES as LOSSES
from trustjax.introspection._features import TARGETS as TARGETS
from trustjax.introspection._features import Features as Features
from trustjax.introspection._features import features as features
