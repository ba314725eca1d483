"""Corruption errors: against sums written out, and what is no yardstick."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trustjax import metrics

ERRORS = np.array([0.2, 0.3, 0.4, 0.5, 0.6])
REFERENCE = np.array([0.4, 0.5, 0.6, 0.7, 0.8])


def test_a_ratio_of_sums_and_no_mean_of_ratios():
    # 2.0 / 3.0; the mean of 0.5, 0.6, 0.667, 0.714 and 0.75 would be 0.646.
    got = metrics.corruption_error(ERRORS, REFERENCE)
    chex.assert_trees_all_close(got, jnp.float32(2 / 3), rtol=1e-6)
    # (2.0 - 0.5) / (3.0 - 1.5)
    got = metrics.relative_corruption_error(ERRORS, REFERENCE, 0.1, 0.3)
    chex.assert_trees_all_close(got, jnp.float32(1), rtol=1e-6)


@pytest.mark.parametrize("how", ["eager", "jit", "vmap"])
def test_a_row_for_each_kind_as_a_loop_has_it(how):
    rng = np.random.default_rng(0)
    errors, reference = rng.random((2, 15, 5)) * [[[0.5]], [[1.0]]]
    calls = (
        metrics.corruption_error,
        lambda e, r: metrics.relative_corruption_error(e, r, 0.05, 0.02),
    )
    wanted = ([], [])
    for e, r in zip(errors, reference, strict=True):
        wanted[0].append(sum(e) / sum(r))
        wanted[1].append(sum(e - 0.05) / sum(r - 0.02))
    for call, rows in zip(calls, wanted, strict=True):
        call = {"eager": lambda f: f, "jit": jax.jit, "vmap": jax.vmap}[how](call)
        got = call(jnp.asarray(errors), jnp.asarray(reference))
        chex.assert_trees_all_close(got, jnp.array(rows, jnp.float32), rtol=1e-5)


def test_of_no_error_and_of_a_reference_that_is_no_yardstick():
    none = jnp.zeros(5)
    assert np.isposinf(metrics.corruption_error(ERRORS, none))
    assert np.isnan(metrics.corruption_error(none, none))
    # 0.1 five times is 0.5 by rounding only; 0.3 is less than without corruption.
    for clean in (0.1, 0.3):
        got = metrics.relative_corruption_error(
            ERRORS, np.full(5, 0.1), 0.1, np.float32(clean)
        )
        assert np.isnan(got)
    helped = metrics.relative_corruption_error(ERRORS / 10, REFERENCE, 0.1, 0.1)
    assert helped < 0


def test_rates_of_16_bits_are_summed_in_32():
    errors = jnp.asarray(ERRORS, jnp.bfloat16)
    got = metrics.corruption_error(errors, REFERENCE)
    assert got.dtype == jnp.float32
    wanted = np.asarray(errors, np.float64).sum() / REFERENCE.sum()
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_impossible_rates():
    with pytest.raises(ValueError, match=r"errors must be in \[0, 1\], got 20"):
        metrics.corruption_error(100 * ERRORS, REFERENCE)
    with pytest.raises(ValueError, match=r"clean must be in \[0, 1\], got 10"):
        metrics.relative_corruption_error(ERRORS, REFERENCE, 10.0, 0.3)
    assert np.isnan(jax.jit(metrics.corruption_error)(100 * ERRORS, REFERENCE))
    with pytest.raises(ValueError, match=r"\[..., severities\], one at least"):
        metrics.corruption_error(np.zeros((3, 0)), np.zeros((3, 0)))


@pytest.mark.usefixtures("without_type_checks")
def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"errors has .*5.*, reference has .*4"):
        metrics.corruption_error(ERRORS, REFERENCE[:4])
    with pytest.raises(ValueError, match=r"clean must be a single number, got \(2,\)"):
        metrics.relative_corruption_error(ERRORS, REFERENCE, np.full(2, 0.1), 0.3)
