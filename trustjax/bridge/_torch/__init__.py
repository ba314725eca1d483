"""PyTorch modules as functions of their parameters, through torchax.

Nothing else of the library imports torch, and this only when it is called.
"""

from collections.abc import Callable, Mapping
from typing import Any

from trustjax import _extras
from trustjax.typing import ApplyFn, Params


def from_torch(
    module: Any,
    example: Any,
    *,
    operators: Mapping[Any, Callable[..., Any]] | None = None,
    tolerance: float = 1e-5,
) -> tuple[ApplyFn, Params]:
    """A PyTorch module as a pure function of JAX and its parameters.

    The module runs under torchax, which puts an operator of JAX in the place of each of
    torch's. Some of these are wrong. So what both say of `example` is compared, in
    float32, and a network that differs is refused.

    The module is left as it is, and later changes of it do not reach `apply_fn`: the
    parameters are copied, and so are buffers (BatchNorm's statistics), which are closed
    over. Hooks are not taken along: they would see tracers.

    Images stay in torch's order, `[batch, channels, height, width]`; the logger
    `trustjax.bridge` says so in a warning. Everything in trustjax takes that order.
    What the module computes under `torch.no_grad` has no gradient, as in torch.

    Args:
      module: a `torch.nn.Module` in evaluation mode that maps `[batch, ...]` to logits.
      example: a batch that it takes, of torch, NumPy or JAX: two examples or more, as
        real ones are. Several inputs are a tuple, or a dict by name, and are so for
        `apply_fn` too.
      operators: functions of arrays of JAX for operators that torchax lacks or has
        wrong, by operator: `{torch.ops.aten.adaptive_max_pool2d: ...}`.
      tolerance: the largest difference of a number in the output, over the largest.

    Returns:
      `(apply_fn, params)`; `apply_fn(params, x) -> logits`. `params` holds every
      parameter, also those that are frozen in torch, in their own types (float64 as
      JAX has it), nested by the dots of torch's names: `layer1.0.conv1.weight` is
      `params["layer1"]["0"]["conv1"]["weight"]`. Weights that are tied are there once,
      under their first name.

    Raises:
      ModuleNotFoundError: without torch and torchax (the extra `torch`).
      NotImplementedError: if torchax lacks an operator, naming it and the sub-module.
      TypeError: if `module` is no module in Python, or returns no tensor.
      ValueError: if it is in training mode, naming the sub-modules; if its output
        differs, naming the sub-module where they part; if hooks change its output; if
        it has a derivative of its own (`torch.autograd.Function`); if a weight is made
        by a hook or has no shape yet; if the module cannot be copied.

    ===================================  ============================================
    Edge case                            Value
    ===================================  ============================================
    several outputs (dict, tuple, ...)   refused at the first call: `bridge.head`
    parameters of bfloat16, float16      stay so; compared in float32
    `torch.compile` around the module    the module in it
    masks and states that it caches      made anew in each trace
    ===================================  ============================================

    >>> import torch  # doctest: +SKIP
    >>> module = torch.nn.Linear(3, 2).eval()  # doctest: +SKIP
    >>> apply_fn, params = from_torch(module, torch.ones(4, 3))  # doctest: +SKIP
    >>> sorted(params), apply_fn(params, np.ones((4, 3))).shape  # doctest: +SKIP
    (['bias', 'weight'], (4, 2))
    """
    with _extras.required("torch"):
        from trustjax.bridge._torch._convert import convert
    return convert(module, example, operators=operators or {}, tolerance=tolerance)
