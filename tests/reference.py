"""Obvious loops, one example at a time: what the fast code must agree with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from tests import problems


def predicted_cross_entropy(logits):
    """From the rivals alone: where p rounds to 1, `log_softmax` loses its gradient."""
    predicted = jnp.argmax(logits)
    rivals = jnp.exp(logits - logits[predicted])
    return jnp.log1p(jnp.sum(rivals.at[predicted].set(0.0)))


def per_example_gradients(apply_fn, params, x, loss=predicted_cross_entropy):
    """The gradient of each example alone, stacked."""

    @jax.jit
    def gradient(example):
        one = jax.tree.map(lambda a: a[None], example)
        return jax.grad(lambda params: loss(apply_fn(params, one)[0]))(params)

    length = len(jax.tree.leaves(x)[0])
    rows = [gradient(jax.tree.map(lambda a, i=i: a[i], x)) for i in range(length)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


@functools.cache
def gradients_of_problem(name):
    """The same for one of `problems.ALL`; computed once."""
    return per_example_gradients(*problems.get(name))


def statistics_of(numbers):
    """The eight statistics of one set of numbers, by NumPy and SciPy in float64."""
    numbers = np.asarray(numbers, np.float64).ravel()
    return np.array(
        [
            np.abs(numbers).sum(),
            np.sqrt((numbers**2).sum()),
            numbers.min(),
            numbers.max(),
            numbers.mean(),
            numbers.std(ddof=1),
            scipy.stats.skew(numbers),
            scipy.stats.kurtosis(numbers),
        ]
    )


def gradient_statistics(gradients, group):
    """`[batch, groups, 8]` of stacked gradients, grouped by the parameters' paths."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(gradients)
    groups = {}
    for path, leaf in leaves:
        names = [str(getattr(key, "key", getattr(key, "idx", key))) for key in path]
        name = {
            "tensor": "/".join(names),
            "layer": "/".join(names[:-1]) or "/",
            "network": "network",
        }[group]
        groups.setdefault(name, []).append(leaf.reshape(len(leaf), -1))
    pooled = [np.concatenate(members, axis=1) for members in groups.values()]
    values = [[statistics_of(row) for row in rows] for rows in pooled]
    return np.swapaxes(np.array(values), 0, 1), tuple(groups)
