r"""Gradients of each example by itself, and statistics of them.

For a network :math:`f`, a loss :math:`\ell` that sees no true label, and one example
:math:`x`, the gradient :math:`g = \partial \ell(f_\theta(x)) / \partial \theta` says
how the network would have to change to agree with its own answer. It is large where
the network has something left to learn.

Each example is differentiated as a batch of one, under `jax.vmap`: nothing of the
other examples can enter, whatever the network does. Kernels are not differentiated
at all: one backward pass gives the two factors of each kernel's gradient
(`transforms.find_products`), and what is asked of the gradient is made from them
layer by layer. On a CPU that holds the whole batch, all of this goes tile by tile: a
few examples are taken forward, backward and to their statistics in the cache before
the next, and memory does not grow with the batch. Where the batch is sharded, or on an
accelerator, a tile is the batch.
"""

from trustjax.gradients._alignment import gradient_alignments as gradient_alignments
from trustjax.gradients._alignment import gradient_sum as gradient_sum
from trustjax.gradients._classes import class_gradients as class_gradients
from trustjax.gradients._features import activation_gradients as activation_gradients
from trustjax.gradients._features import input_gradients as input_gradients
from trustjax.gradients._fisher import fisher_information as fisher_information
from trustjax.gradients._fisher import fisher_trace as fisher_trace
from trustjax.gradients._loops import in_microbatches as in_microbatches
from trustjax.gradients._offered import CLASS_GRADIENTS as CLASS_GRADIENTS
from trustjax.gradients._offered import GRADIENT_ALIGNMENTS as GRADIENT_ALIGNMENTS
from trustjax.gradients._offered import GRADIENT_STATISTICS as GRADIENT_STATISTICS
from trustjax.gradients._offered import GRADIENT_SUM as GRADIENT_SUM
from trustjax.gradients._offered import MEAN_GRADIENT as MEAN_GRADIENT
from trustjax.gradients._offered import statistics_by as statistics_by
from trustjax.gradients._parameters import gradient_statistics as gradient_statistics
from trustjax.gradients._parameters import (
    outputs_and_gradient_statistics as outputs_and_gradient_statistics,
)
from trustjax.gradients._parameters import (
    outputs_and_grouped_statistics as outputs_and_grouped_statistics,
)
from trustjax.gradients._parameters import (
    per_example_gradients as per_example_gradients,
)
from trustjax.gradients._select import GROUPINGS as GROUPINGS
from trustjax.gradients._select import groups as groups
from trustjax.statistics import GradientStatistics as GradientStatistics
