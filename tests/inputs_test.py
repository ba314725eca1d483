"""Lists and arrays of NumPy become arrays of JAX, and nothing is lost on the way."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from trustjax import _inputs


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2], [3, 4]],
        np.array([[1, 2], [3, 4]], np.uint8),
        [np.array([1, 2]), np.array([3, 4])],
        [[jnp.int32(1), 2], jnp.array([3, 4])],
        jnp.array([[1, 2], [3, 4]]),
    ],
)
def test_any_array_of_numbers_is_taken(value):
    got = _inputs.array("x", value)
    assert isinstance(got, jax.Array)
    assert got.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.longdouble])
def test_every_float_is_taken(dtype):
    assert _inputs.floats("x", np.array([0.5], dtype), "n").tolist() == [0.5]


@pytest.mark.parametrize("value", [[0.1, 0.2], np.array([0.1, 0.2]), [1, 2]])
def test_constants_are_taken_under_jit(value):
    got = jax.jit(lambda: _inputs.array("x", value))()
    np.testing.assert_array_equal(got, jnp.asarray(value))


def test_lists_are_taken_under_jit():
    row = jax.jit(lambda rows: _inputs.array("x", rows))([[1.0, 2.0], [3.0, 4.0]])
    assert row.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (np.array([0.0, 1e300]), "must fit float32, got 1e.300 at index 1"),
        ([[-1e300]], r"must fit float32, got -1e.300 at index \(0, 0\)"),
        (np.array([2**32]), "must fit int32, got 4294967296 at index 0"),
        (np.array([2**63], np.uint64), "must fit uint32"),
    ],
)
def test_what_would_become_another_number_is_refused(value, got):
    with pytest.raises(ValueError, match=f"^x {got}"):
        _inputs.array("x", value)


def test_under_x64_the_same_numbers_fit():
    with jax.enable_x64(True):
        assert _inputs.array("x", np.array([1e300])) == 1e300
        assert _inputs.array("x", [2**32]) == 2**32


def test_infinities_and_rounding_are_no_loss():
    got = _inputs.array("x", np.array([np.inf, -np.inf, np.nan, 0.1, 1e-300]))
    np.testing.assert_array_equal(
        got, np.array([np.inf, -np.inf, np.nan, 0.1, 1e-300], np.float32)
    )


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (None, "NoneType of object"),
        ([["a"]], "list of <U1"),
        ([2**70], "list of object"),
        (np.array(["2026-01-01"], "datetime64[D]"), "ndarray of datetime64"),
    ],
)
def test_what_holds_no_numbers_is_named(value, got):
    with pytest.raises(TypeError, match=f"^x must be an array of numbers, got {got}"):
        _inputs.array("x", value)


def test_rows_of_different_lengths_are_named():
    with pytest.raises(ValueError, match=r"^x must have rows of one length"):
        _inputs.array("x", [[1.0], [1.0, 2.0]])


def test_rank_and_kind_are_checked():
    with pytest.raises(ValueError, match=r"shape \[batch, features\], got \(1,\)"):
        _inputs.floats("features", [1.0], "batch features")
    with pytest.raises(TypeError, match="features must be floating point, got int32"):
        _inputs.floats("features", [[1]], "batch features")
    with pytest.raises(TypeError, match="labels must be integers, got float32"):
        _inputs.whole_numbers("labels", [1.0], "batch")
    with pytest.raises(TypeError, match="labels must be integers, got bool"):
        _inputs.whole_numbers("labels", [True], "batch")
