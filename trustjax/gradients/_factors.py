"""One backward pass: the gradients of a batch as factors, not yet formed."""

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr

from trustjax import statistics, transforms
from trustjax.gradients._loops import over_examples
from trustjax.typing import ApplyFn, LossFn, Params


@dataclasses.dataclass(frozen=True)
class Gradients:
    """The gradients of one parameter for a batch of examples, not yet formed.

    Attributes:
      factors: what holds them, arrays `[batch, ...]`: the input and the cotangent of
        the parameter's product, or the gradients themselves.
      product: how the factors make a gradient; None if they are the gradients.
    """

    factors: tuple[jax.Array, ...]
    product: transforms.Product | None

    def whole(self, *factors: jax.Array) -> jax.Array:
        """The gradient of one example from its factors."""
        return self.product.gradient(*factors) if self.product else factors[0]

    def moments(self, *factors: jax.Array) -> statistics.Moments:
        """The moments of the gradient of one example from its factors."""
        if self.product:
            return self.product.moments(*factors)
        return statistics.moments(factors[0])

    @property
    def rank_one(self) -> bool:
        """Whether a gradient is the outer product of its two factors."""
        return self.product is not None and self.product.rank_one

    @property
    def kind(self) -> Hashable:
        """What gradients have in common whose moments are the same function."""
        if self.product:
            return self.product.kind, tuple(f.dtype for f in self.factors)
        return self.factors[0].dtype

    @property
    def size(self) -> int:
        """How many numbers the gradient of one example has."""
        if self.product:
            return self.product.kernel.size
        return math.prod(self.factors[0].shape[1:])

    @property
    def cost(self) -> int:
        """How many numbers one example needs at once."""
        if self.product:
            return self.product.cost
        return self.size

    def over_examples(self, fun: Callable[..., Any]) -> Any:
        """A function of one example's factors, for the batch."""
        return over_examples(fun, self.factors, self.cost)


def backward(
    apply_fn: ApplyFn,
    loss_fn: LossFn,
    selected: list[jax.Array],
    join: Callable[..., Params],
    x: Any,
    loss_args: Sequence[Any],
) -> tuple[list[Gradients], Any]:
    """One backward pass: the gradients of each selected parameter, and the outputs.

    Returns:
      `(gradients, outputs)`: the gradients as factors, in the order of `selected`, and
      what the network said on the way, `[batch, ...]`.
    """
    loss = loss_of_example(apply_fn, loss_fn)
    products: dict[int, transforms.Product] = {}

    def factors(x: Any, args: Sequence[Any]) -> tuple[Any, Any, Any, Any]:
        parameters = _varying_like(selected, x)
        traced, shapes = jax.make_jaxpr(
            lambda *p: loss(join(p), x, *args), return_shape=True
        )(*parameters)
        program, structure = transforms.swap(traced), jax.tree.structure(shapes)
        places = transforms.find_products(program)
        products.update(places.values())
        tapped_outputs = [product.output for _, product in places.values()]
        zeros = [jnp.zeros(output.shape, output.dtype) for output in tapped_outputs]
        leaves = [leaf for leaf, _ in places.values()]
        taps = dict(zip(leaves, _varying_like(zeros, x), strict=True))
        others = {i: p for i, p in enumerate(parameters) if i not in taps}

        def tapped(taps: Any, others: Any) -> tuple[jax.Array, Any]:
            merged = [others.get(i, p) for i, p in enumerate(parameters)]
            results, inputs = transforms.run(program, merged, places, taps)
            value, outputs = jax.tree.unflatten(structure, results)
            return value, (inputs, outputs)

        (cotangents, direct), (inputs, outputs) = jax.grad(
            tapped, (0, 1), has_aux=True
        )(taps, others)
        return inputs, cotangents, direct, outputs

    inputs, cotangents, direct, outputs = jax.vmap(factors)(x, tuple(loss_args))
    gradients = [
        Gradients((inputs[i], cotangents[i]), products[i])
        if i in products
        else Gradients((direct[i],), None)
        for i in range(len(selected))
    ]
    return gradients, outputs


def forward_cost(apply_fn: ApplyFn, params: Params, x: Any) -> int:
    """How many numbers one example and its forward pass are."""
    costs = list[int]()

    def of_example(x: Any) -> jax.Array:
        # In place of the example, so that it is sharded and varies as the batch does.
        alone = lambda: apply_fn(params, jax.tree.map(lambda a: a[None], x))
        costs.append(_numbers(jax.make_jaxpr(alone)()))
        return jnp.zeros(())

    jax.eval_shape(jax.vmap(of_example), x)
    return costs[0]


def _numbers(program: Any) -> int:
    """How many numbers the equations of a traced program make, bodies included."""
    total = 0
    for equation in program.eqns:
        bodies = [
            param
            for param in jax.tree.leaves(tuple(equation.params.values()))
            if isinstance(param, Jaxpr | ClosedJaxpr)
        ]
        made = [math.prod(value.aval.shape) for value in equation.outvars]
        total += sum(map(_numbers, bodies)) if bodies else sum(made)
    return total


def _varying_like(arrays: list[jax.Array], x: Any) -> list[jax.Array]:
    """Arrays that vary over the axes of `jax.shard_map` that the examples vary over.

    Otherwise JAX would take them for one copy, and add up the gradients of all shards.
    """
    axes = frozenset[str]()
    for leaf in jax.tree.leaves(x):
        axes |= jax.typeof(leaf).manual_axis_type.varying
    varying = []
    for array in arrays:
        missing = axes - jax.typeof(array).manual_axis_type.varying
        varying.append(jax.lax.pcast(array, tuple(sorted(missing)), to="varying"))
    return varying


def loss_of_example(apply_fn: ApplyFn, loss_fn: LossFn) -> Callable[..., Any]:
    """`(params, example, *args) -> (loss, outputs)` of the example, a batch of one."""

    def loss(params: Params, x: Any, *args: Any) -> tuple[jax.Array, Any]:
        x, args = jax.tree.map(lambda a: a[None], (x, args))
        outputs = apply_fn(params, x)
        return jax.tree.map(lambda a: a[0], (loss_fn(outputs, *args), outputs))

    return loss
