"""A detector that is fitted: a few arrays, a function of columns, a score."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from trustjax import _validate, scores
from trustjax.detectors import _features
from trustjax.detectors._columns import stacked
from trustjax.ingredients import Ingredient

KINDS = (
    "threshold",
    "glm",
    "lasso",
    "ridge",
    "elastic_net",
    "network",
    "purview",
)
"""What a detector can be; `fit` says what each is."""

TRANSFORMS = ("none", "signed_log")
"""What becomes of a column before it is standardized."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Detector:
    r"""A detector: dense layers on standardized columns.

    .. math:: s(v) = W_n \, \mathrm{relu}(\dots W_1 u + b_1 \dots) + b_n, \qquad
              u_j = \frac{t(v_j) - m_j}{d_j}

    A linear detector has one layer. It is a tree of arrays, and passes through
    `jax.jit`, `jax.grad` and `jax.device_put`.

    Attributes:
      layers: `(kernel, bias)` of each layer, `[in, out]` and `[out]`; the last has one
        output.
      centre: `[columns]`, :math:`m`.
      scale: `[columns]`, :math:`d`.
      unit: `[columns]`, of `transform`.
      threshold: `[]`, what separates best if both populations were equally many, on
        the data of the fit (`metrics.balanced_threshold`).
      names: of the columns, in the order of the arrays; those alone that it takes.
      kind: one of `KINDS`.
      transform: one of `TRANSFORMS`; `"signed_log"` is
        :math:`\mathrm{sign}(v) \log(1 + |v| / \mathit{unit})`.
    """

    layers: Any
    centre: Any
    scale: Any
    unit: Any
    threshold: Any
    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    kind: str = dataclasses.field(metadata={"static": True})
    transform: str = dataclasses.field(metadata={"static": True})

    def ingredients(self) -> tuple[Ingredient, ...]:
        """What `scoring` takes in the place of a detector's output that is not given.

        A network whose parameters are not those of the columns is refused with a
        ValueError that names the columns.
        """
        made = dataclasses.replace(
            scores.DETECTOR_OUTPUT,
            compute=functools.partial(score, self),
            needs=(_features.features(self.names, name=_OWN_COLUMNS),),
            cost="",
        )
        return (made,)


_OWN_COLUMNS = "columns_of_detector"


def score(
    detector: Detector, columns: Mapping[str, jax.typing.ArrayLike]
) -> Float[Array, " batch"]:
    r"""What a detector says of each example.

    Args:
      detector: what `fit` returned.
      columns: name -> `[batch]`; others than the detector's are ignored.

    Returns:
      The score, in (-inf, inf); higher = more trust. Of every kind but `"threshold"` it
      is the log odds of :math:`p(\text{to be trusted})` where the populations are as
      large as in the fit.

    Raises:
      ValueError: if a column of the detector is missing, naming it, or is not
        `[batch]`.

    ===================================  ==========================================
    Edge case                            Value
    ===================================  ==========================================
    a NaN in a column                    NaN
    an infinity in a column              infinite or, where two meet, NaN
    a column that has no weight          is not one of the detector's
    ===================================  ==========================================

    >>> import numpy as np
    >>> from trustjax import detectors
    >>> columns = {"margin": np.array([0.1, 0.2, 0.3, 0.8, 0.9, 0.7])}
    >>> trusted = np.array([False, False, False, True, True, True])
    >>> detector = detectors.fit("threshold", columns, trusted)
    >>> print(score(detector, {"margin": jnp.array([0.25, 0.75])}) > 0)
    [False  True]

    References:
      Oberdiek et al. 2018 (arXiv:1805.08440), section 4: logistic regressions, and a
      network of one hidden layer, on metrics of gradients.
    """
    v = stacked(columns, detector.names)
    u = _standardized(v, detector)
    *hidden, (kernel, bias) = detector.layers
    for inner, offset in hidden:
        u = jax.nn.relu(_dense(u, inner, offset))
    return jnp.squeeze(_dense(u, kernel, bias), axis=-1)


def is_trusted(
    detector: Detector, columns: Mapping[str, jax.typing.ArrayLike]
) -> Bool[Array, " batch"]:
    """Whether each example is to be trusted: its score reaches `detector.threshold`.

    >>> import numpy as np
    >>> from trustjax import detectors
    >>> columns = {"margin": np.array([0.1, 0.2, 0.8, 0.9])}
    >>> detector = detectors.fit("glm", columns, np.array([False, False, True, True]))
    >>> print(is_trusted(detector, columns))
    [False False  True  True]
    """
    s = score(detector, columns)
    return s >= jnp.asarray(detector.threshold, s.dtype)


def coefficients(detector: Detector) -> dict[str, float]:
    """How much each standardized column counts, in a linear detector.

    Args:
      detector: of one layer: any kind but `"network"` and `"purview"`.

    Returns:
      column -> change of the score for one standard deviation; positive = more trust.
      A column that is not there has no weight.

    Raises:
      ValueError: if the detector is not linear.
    """
    if len(detector.layers) != 1:
        raise ValueError(f"a detector of kind {detector.kind!r} has no coefficients")
    ((kernel, _),) = detector.layers
    return dict(zip(detector.names, map(float, kernel[:, 0]), strict=True))


def transformed(v: Any, transform: str, unit: Any, xp: Any = jnp) -> Any:
    """Columns before they are standardized; `xp` is `jax.numpy` or `numpy`."""
    _validate.choice("transform", transform, TRANSFORMS)
    if transform == "none":
        return v
    return xp.sign(v) * xp.log1p(xp.abs(v) / unit)


def _standardized(v: jax.Array, detector: Detector) -> jax.Array:
    unit, centre, scale = (
        jnp.asarray(a, v.dtype)[None]
        for a in (detector.unit, detector.centre, detector.scale)
    )
    return (transformed(v, detector.transform, unit) - centre) / scale


def _dense(u: jax.Array, kernel: Any, bias: Any) -> jax.Array:
    kernel, bias = jnp.asarray(kernel, u.dtype), jnp.asarray(bias, u.dtype)
    product = jnp.matmul(u, kernel, precision=jax.lax.Precision.HIGHEST)
    return product + bias[None]
