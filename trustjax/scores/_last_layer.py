r"""Gradient scores of the last dense layer, in closed form.

The gradient of any loss of the logits with respect to the kernel of the last layer is
the outer product of its input, the features :math:`h`, and the gradient :math:`g` of
the loss with respect to the logits. Its norms are products of norms,
:math:`\lVert g h^\top \rVert = \lVert g \rVert \lVert h \rVert`: no backward pass.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _validate, targets
from trustjax._numerics import at_least_float32, safe_norm
from trustjax.ingredients import FEATURES, LOGITS
from trustjax.scores._score import Score
from trustjax.scores._softmax import log_probabilities


def grad_norm(
    logits: Float[Array, "batch classes"],
    features: Float[Array, "batch features"],
    *,
    temperature: float = 1.0,
) -> Float[Array, " batch"]:
    r"""GradNorm: size of the last layer's gradient towards the uniform distribution.

    .. math::
      s(x) = \Big\lVert \frac{\partial}{\partial W} \sum_k -\log p_k \Big\rVert_1
           = \frac{C}{T} \lVert p - u \rVert_1 \lVert h \rVert_1,
      \qquad p = \mathrm{softmax}(z / T), \quad u_k = 1 / C

    Large where the prediction is far from uniform and the features are strong.

    Args:
      logits: network outputs before the softmax.
      features: :math:`h`, what the last dense layer takes.
      temperature: :math:`T`, divides the logits.

    Returns:
      The score of each example, in [0, inf); higher = more trust.

    Raises:
      ValueError: if the shapes are not `[batch, classes]` and `[batch, features]`, or
        `temperature` is not positive.

    =================================  =====
    Edge case                          Value
    =================================  =====
    one class, or equal logits         0
    zero features                      0
    two +inf logits, or a NaN          NaN
    =================================  =====

    >>> print(grad_norm(jnp.log(jnp.array([[0.75, 0.25]])), jnp.array([[3.0, -1.0]])))
    [4.]

    References:
      Huang, Geng and Li 2021 (arXiv:2110.00218), eqs. 3 and 5; their code sums the
      cross entropy over the classes, whence the factor :math:`C`. The authors'
      GradTrust demo negates the L2 norm of another gradient under this name: it gives
      probabilities to a loss that takes their logarithms.
    """
    log_p = log_probabilities(logits, temperature=temperature)
    h = _features(features, log_p)
    classes = log_p.shape[-1]
    change = jnp.abs(jnp.exp(log_p) - targets.uniform(log_p))
    size = jnp.sum(jnp.abs(h), axis=-1)
    return classes / temperature * jnp.sum(change, axis=-1) * size


def introspective_norm(
    logits: Float[Array, "batch classes"],
    features: Float[Array, "batch features"],
    *,
    loss: str = "squared_error",
    target: float = 1.0,
) -> Float[Array, " batch"]:
    r"""Size of the introspective features, the gradient towards all classes at once.

    The introspective features of an example are the gradient of the last layer when
    the answer asked for is all classes at once, :math:`M \mathbf 1`:

    .. math::
      s(x) = \lVert g h^\top \rVert_2, \qquad
      g = \frac{2}{C} (z - M \mathbf 1) \ \text{(squared error)}, \quad
      g = \frac{1}{C} (\sigma(z) - M \mathbf 1) \ \text{(binary cross entropy)}

    Under the squared error, row :math:`i` of that gradient is row :math:`i` of the
    gradient towards class :math:`i` alone: one matrix holds every "why not class i?".

    Args:
      logits: network outputs before the softmax.
      features: :math:`h`, what the last dense layer takes.
      loss: `"squared_error"` or `"binary_cross_entropy"`, its mean over the classes.
      target: :math:`M`, what is asked of every class.

    Returns:
      The score of each example, in [0, inf); higher = more trust.

    Raises:
      ValueError: if the shapes are not `[batch, classes]` and `[batch, features]`, or
        `loss` is unknown.

    =================================  =====
    Edge case                          Value
    =================================  =====
    logits at the target               0
    zero features                      0
    a logit of -inf                    as if there were no such class (squared
                                       error), else its limit
    a logit of +inf, or all -inf       NaN (squared error), else its limit
    an infinite feature                inf, and NaN for logits at the target
    a NaN                              NaN
    =================================  =====

    >>> print(introspective_norm(jnp.array([[4.0, 5.0]]), jnp.array([[2.0, 0.0]])))
    [10.]

    References:
      Prabhushankar and AlRegib 2022 (Introspective Learning, arXiv:2209.08425), the
      loss "between the prediction and a vector of all ones"; no code was released, and
      the paper feeds the features to a second network. Their norm alone is this
      library's reading, and so is its direction: on Fashion-MNIST, large norms are
      right more often.
    """
    _validate.choice("loss", loss, ("binary_cross_entropy", "squared_error"))
    z = at_least_float32(_inputs.logits(logits))
    h, classes = _features(features, z), z.shape[-1]
    asked = target * targets.all_ones(z)
    if loss == "squared_error":
        there = ~jnp.isneginf(z)
        count = jnp.sum(there, axis=-1, keepdims=True)
        change = 2 * (jnp.where(there, z, 0) - asked) / jnp.maximum(count, 1)
        change = jnp.where(there, change, 0)
        change = jnp.where(jnp.isposinf(z) | (count == 0), jnp.nan, change)
    else:
        change = (jax.nn.sigmoid(z) - asked) / classes
    return safe_norm(change) * safe_norm(h)


def _features(features: jax.Array, logits: jax.Array) -> jax.Array:
    """The features, checked and widened."""
    h = _inputs.floats("features", features, "batch features")
    _validate.same_length(logits=logits, features=h)
    return at_least_float32(h)


SCORES = (
    Score(
        grad_norm,
        needs=(
            LOGITS,
            FEATURES,
        ),
        title="GradNorm",
        paper="Huang et al. 2021, eq. 5",
        equation="C |p - 1/C|_1 |h|_1",
        provenance="The GradTrust demo's GradNorm is another gradient, negated.",
    ),
    Score(
        introspective_norm,
        needs=(
            LOGITS,
            FEATURES,
        ),
        title="Introspective norm",
        paper="Prabhushankar and AlRegib 2022",
        equation="2/C |z - 1|_2 |h|_2",
        provenance="The norm, and its direction, are this library's reading.",
    ),
)
