"""From a network as it comes to the functions that the library works with.

Everything in trustjax takes `apply_fn(params, x) -> logits`: pure, in evaluation
mode. These functions make it, and its relatives, from modules of Flax and PyTorch, and
from networks that return something else than logits.

`params` is a nested dict of the trainable arrays, with the paths that Linen gives
(`conv1/kernel`, `conv1/bias`, ...) or PyTorch. All else that a module holds (BatchNorm
statistics, RNG state) is closed over as it is at the time of the call: later
changes of the module do not reach `apply_fn`.

A network that returns an object, a tuple or a dict around its logits is refused at its
first call, with the way to them: `head`. One output for two classes is for `binary`,
the outputs of a softmax for `log_probabilities`.
"""

from trustjax.bridge._flax import fresh_keys as fresh_keys
from trustjax.bridge._flax import from_linen as from_linen
from trustjax.bridge._flax import from_nnx as from_nnx
from trustjax.bridge._flax import has_dropout as has_dropout
from trustjax.bridge._flax import stochastic_from_nnx as stochastic_from_nnx
from trustjax.bridge._objects import Bridged as Bridged
from trustjax.bridge._objects import from_object as from_object
from trustjax.bridge._outputs import binary as binary
from trustjax.bridge._outputs import head as head
from trustjax.bridge._outputs import heads as heads
from trustjax.bridge._outputs import log_probabilities as log_probabilities
from trustjax.bridge._outputs import (
    require_independent_rows as require_independent_rows,
)
from trustjax.bridge._torch import from_torch as from_torch
