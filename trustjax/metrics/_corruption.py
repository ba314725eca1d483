"""How much corruption costs a network, beside what it costs another."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from trustjax import _inputs, _numerics, _validate


@_inputs.take_arrays
def corruption_error(
    errors: Float[Array, "*kinds severities"],
    reference: Float[Array, "*kinds severities"],
) -> Float[Array, "*kinds"]:
    r"""Error rates under one kind of corruption, as a share of a reference network's.

    .. math:: \mathrm{CE} = \frac{\sum_s E_s}{\sum_s E_s^{\text{reference}}}

    over the severities: a ratio of sums, so that a severity which is hard for the
    reference does not count less than an easy one. `.mean()` of all kinds is mCE.

    Args:
      errors: error rates of the network, the severities last.
      reference: those of another network on the same images; AlexNet in the paper.

    Returns:
      The corruption error of each kind, at least 0; lower = better; 1 for a network as
      good as the reference. The paper writes it in per cent.

    Raises:
      ValueError: if the shapes differ, there is no severity, or a known rate is not in
        [0, 1].
      TypeError: if the rates are not floating point.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    a reference without an error     inf; NaN if the network makes none either
    a rate outside [0, 1], traced    NaN
    ===============================  =====

    >>> errors, reference = [0.2, 0.3, 0.4, 0.5, 0.6], [0.4, 0.5, 0.6, 0.7, 0.8]
    >>> print(f"{corruption_error(errors, reference):.4f}")
    0.6667

    References:
      Hendrycks and Dietterich 2019 (arXiv:1903.12261), section 4.1.
    """
    _check(errors=errors, reference=reference)
    return _total(errors) / _total(reference)


@_inputs.take_arrays
def relative_corruption_error(
    errors: Float[Array, "*kinds severities"],
    reference: Float[Array, "*kinds severities"],
    clean: Float[Array, ""],
    reference_clean: Float[Array, ""],
) -> Float[Array, "*kinds"]:
    r"""What corruption adds to the error rate, as a share of a reference network's.

    .. math:: \mathrm{relative\ CE} =
              \frac{\sum_s (E_s - E_{\text{clean}})}
                   {\sum_s (E_s^{\text{reference}}
                    - E_{\text{clean}}^{\text{reference}})}

    Args:
      errors: error rates of the network under one kind of corruption, the severities
        last.
      reference: those of another network on the same images.
      clean: the network's error rate on the images as they are.
      reference_clean: the reference's.

    Returns:
      The relative corruption error of each kind; lower = better; 1 where corruption
      costs both networks the same, negative where it helps this one.

    Raises:
      ValueError: as `corruption_error`, or if a clean rate is no single number.
      TypeError: as `corruption_error`.

    ===============================  =====
    Edge case                        Value
    ===============================  =====
    a reference that corruption      NaN: it is no yardstick
    costs nothing, or helps
    a rate outside [0, 1], traced    NaN
    ===============================  =====

    >>> errors, reference = [0.2, 0.3, 0.4, 0.5, 0.6], [0.4, 0.5, 0.6, 0.7, 0.8]
    >>> print(f"{relative_corruption_error(errors, reference, 0.1, 0.3):.3f}")
    1.000

    References:
      Hendrycks and Dietterich 2019 (arXiv:1903.12261), section 4.1.
    """
    _check(errors=errors, reference=reference)
    for name, value in (("clean", clean), ("reference_clean", reference_clean)):
        if value.ndim:
            raise ValueError(f"{name} must be a single number, got {value.shape}")
        _validate.probabilities(name, value)
    size = errors.shape[-1]
    added = _total(errors) - size * _rates(clean)
    expected = _total(reference) - size * _rates(reference_clean)
    # Not 0 by rounding alone: what the sums cannot tell from nothing.
    some = expected > size * jnp.finfo(expected.dtype).eps
    return jnp.where(some, added / jnp.where(some, expected, 1), jnp.nan)


def _check(errors: jax.Array, reference: jax.Array) -> None:
    _validate.same_shape(errors=errors, reference=reference)
    if errors.ndim == 0 or errors.shape[-1] == 0:
        raise ValueError(
            f"errors must have shape [..., severities], one at least, got "
            f"{errors.shape}"
        )
    for name, value in (("errors", errors), ("reference", reference)):
        _validate.floating(name, value)
        _validate.probabilities(name, value)


def _rates(values: jax.Array) -> jax.Array:
    return _numerics.as_probability(_numerics.at_least_float32(values))


def _total(rates: jax.Array) -> jax.Array:
    return jnp.sum(_rates(rates), axis=-1)
