r"""Exact nearest neighbours by class, a block of points at a time.

Distances come from :math:`|a|^2 - 2 a \cdot b + |b|^2`, one matrix product for each
block, and never more of them are held than one block has. That product loses the digits
of a small distance. So each block is centred on its own mean first, and the nearest
candidates of all are measured again by their difference. Points of few features, of
which many may lie that close together, are compared by their differences from the
first.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from trustjax import _inputs, _validate
from trustjax._meshes import in_auto_axes
from trustjax._numerics import at_least_float32, safe_sqrt

_ROWS = 16384
_FEW_FEATURES = 8
_MOST_CLASSES = 2**20  # that labels may imply: what is larger is no class
_LARGEST = 1e18  # of a training feature: the squares of distances stay in float32
_SPARE_CANDIDATES = 3  # so that rounding may swap near ties without loss


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bank:
    """Points by class, in blocks of one class each; the last of a class is padded.

    Attributes:
      points: `[blocks, rows, features]`, each block relative to its centre.
      centres: `[blocks, features]`, the mean of each block.
      occupied: `[blocks, rows]`, False where a row is padding.
      classes: `[blocks]`, the class of each block.
      num_classes: how many classes there are, with and without points; static.
      num_points: how many points there are; static.
    """

    points: Any
    centres: Any
    occupied: Any
    classes: Any
    num_classes: int = dataclasses.field(metadata={"static": True})
    num_points: int = dataclasses.field(metadata={"static": True})

    def only(self, c: int) -> "Bank":
        """The bank of one class alone; on the host, as `make_bank`."""
        mine = np.flatnonzero(np.asarray(self.classes) == c)
        return Bank(
            points=self.points[mine],
            centres=self.centres[mine],
            occupied=self.occupied[mine],
            classes=jnp.zeros(len(mine), int),
            num_classes=1,
            num_points=int(np.asarray(self.occupied)[mine].sum()),
        )


def make_bank(points: np.ndarray, labels: np.ndarray, num_classes: int) -> Bank:
    """A bank of points; on the host, for the number of points a class has is data."""
    members = [np.flatnonzero(labels == c) for c in range(num_classes)]
    largest = max(len(m) for m in members)
    rows = -(-largest // -(-largest // _ROWS))  # so that little of a block is padding
    blocks = [
        (c, m[start : start + rows])
        for c, m in enumerate(members)
        for start in range(0, len(m), rows)
    ]
    relative = np.zeros((len(blocks), rows, points.shape[1]), np.float32)
    occupied = np.zeros((len(blocks), rows), bool)
    centres = np.zeros((len(blocks), points.shape[1]), np.float32)
    for b, (_, m) in enumerate(blocks):
        centres[b] = points[m].mean(axis=0, dtype=np.float64)
        relative[b, : len(m)] = points[m] - centres[b]
        occupied[b, : len(m)] = True
    return Bank(
        points=jnp.asarray(relative),
        centres=jnp.asarray(centres),
        occupied=jnp.asarray(occupied),
        classes=jnp.asarray([c for c, _ in blocks]),
        num_classes=num_classes,
        num_points=len(labels),
    )


def nearest_distances(
    bank: Bank, queries: Float[Array, "batch features"], k: int
) -> Float[Array, "batch classes k"]:
    """Euclidean distances to the `k` nearest points of each class, ascending.

    Where a class has fewer than `k` points, the missing distances are inf.
    """
    of_batch = functools.partial(_nearest_distances, k=k)
    return in_auto_axes(of_batch, bank, queries, batch=queries)


def _nearest_distances(bank: Bank, queries: jax.Array, *, k: int) -> jax.Array:
    queries = at_least_float32(queries)
    rows, kept = bank.points.shape[1], k + _SPARE_CANDIDATES

    def visit(nearest: tuple, block: tuple) -> tuple[tuple, None]:
        number, points, centre, occupied, c = block
        squares = _squared_distances(points, queries - centre[None], occupied)
        found, row = _smallest(min(rows, kept), squares)
        known, places = nearest
        best, at = _smallest(kept, jnp.append(known[:, c], found, axis=1))
        both = jnp.append(places[:, c], number * rows + row, axis=1)
        places = places.at[:, c].set(jnp.take_along_axis(both, at, axis=1))
        return (known.at[:, c].set(best), places), None

    shape = (len(queries), bank.num_classes, kept)
    nothing = (jnp.full(shape, jnp.inf, queries.dtype), jnp.zeros(shape, int))
    numbers = jnp.arange(len(bank.points))
    blocks = (numbers, bank.points, bank.centres, bank.occupied, bank.classes)
    (known, places), _ = jax.lax.scan(visit, nothing, blocks)

    def measure(candidates: tuple) -> jax.Array:
        """The exact distances of one class."""
        known, place = candidates
        block, row = place // rows, place % rows
        relative = (queries[:, None] - bank.centres[block]) - bank.points[block, row]
        squares = jnp.where(known < jnp.inf, jnp.sum(relative**2, axis=-1), jnp.inf)
        return safe_sqrt(_smallest(k, squares)[0])

    by_class = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), (known, places))
    distances = jnp.moveaxis(jax.lax.map(measure, by_class), 0, 1)
    no_place = jnp.isnan(queries).any(axis=-1)[:, None, None]
    return jnp.where(no_place, jnp.nan, distances)


def _squared_distances(
    points: jax.Array, queries: jax.Array, occupied: jax.Array
) -> jax.Array:
    """Squared distances `[batch, rows]`, rounded; inf where there is no point."""
    if points.shape[-1] <= _FEW_FEATURES:
        columns = zip(queries.T, points.T, strict=True)
        squares = sum((query[:, None] - own[None]) ** 2 for query, own in columns)
        return jnp.where(occupied[None], squares, jnp.inf)
    # Points first: the order in which XLA is faster on a CPU, by half.
    product = jnp.matmul(points, queries.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.where(occupied, jnp.sum(points**2, axis=-1), jnp.inf)
    return jnp.sum(queries**2, axis=-1)[:, None] + (squares[:, None] - 2 * product).T


def _smallest(k: int, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The `k` smallest of each row, ascending, and where they are."""
    negated, places = jax.lax.top_k(-values, k)
    return -negated, places


def check_queries(features: jax.Array, width: int) -> jax.Array:
    """The features to be scored, checked against those of the fit, and widened."""
    queries = _inputs.floats("features", features, "batch features")
    if queries.shape[1] != width:
        raise ValueError(
            "features must be of the space of the fit: "
            f"the fit saw {width} features, got {queries.shape[1]}"
        )
    return at_least_float32(queries)


def check_fit(
    features: np.ndarray | jax.Array,
    labels: np.ndarray | jax.Array | None,
    num_classes: int | None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """The points, labels and number of classes of a fit, checked, on the host."""
    given = _inputs.floats("features", features, "examples features")
    _validate.known(features=given)
    _validate.some_examples("features", given)
    _validate.count("the number of features", given.shape[1])
    points = given.astype(jnp.float32)
    _validate.fits("features", np.asarray(given), np.asarray(points))
    _validate.finite("features", points)
    _validate.at_most("features", points, _LARGEST)
    if labels is None:
        return np.asarray(points), np.zeros(len(points), np.int64), 1
    labels = _inputs.whole_numbers("labels", labels, "examples")
    _validate.known(labels=labels)
    _validate.same_length(features=points, labels=labels)
    if num_classes is None:
        num_classes = min(int(labels.max()) + 1, _MOST_CLASSES)
    _validate.classes("labels", labels, num_classes)
    return np.asarray(points), np.asarray(labels), num_classes
