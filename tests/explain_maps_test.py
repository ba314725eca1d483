"""What every map has in common: its target, its places, its size and its unit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from trustjax import explain, losses, scores, targets
from trustjax.explain import _layout, _places, _target
from trustjax.typing import SplitModel

Z = np.array([[1.0, 3.0, -2.0], [0.5, 0.25, 4.0]], np.float32)


def loop_normalized(maps, by):
    out = []
    for m in maps:
        if by == "range":
            spread = m.max() - m.min()
            out.append((m - m.min()) / spread if spread else 0 * m)
        elif by == "absolute":
            out.append(abs(m) / abs(m).max() if m.any() else 0 * m)
        else:
            up, down = np.maximum(m, 0), np.maximum(-m, 0)
            out.append(up / (up.max() or 1) - down / (down.max() or 1))
    return np.stack(out)


class TestNormalized:
    @pytest.mark.parametrize("by", ["range", "absolute", "sign"])
    def test_equals_the_loop(self, by):
        maps = np.random.default_rng(0).normal(size=(5, 4, 6)).astype(np.float32)
        maps[1], maps[2] = 0, 3
        found = explain.normalized(jnp.asarray(maps), by=by)
        np.testing.assert_allclose(found, loop_normalized(maps, by), atol=1e-6)

    @pytest.mark.parametrize("by", ["range", "absolute", "sign"])
    def test_what_is_not_finite_spoils_its_own_map_only(self, by):
        maps = np.arange(36, dtype=np.float32).reshape(4, 3, 3)
        maps[1, 0, 0], maps[2, 1, 1] = np.nan, np.inf
        found = np.asarray(explain.normalized(jnp.asarray(maps), by=by))
        assert np.isnan(found[1:3]).all()
        assert np.isfinite(found[[0, 3]]).all()

    @pytest.mark.parametrize("scale", [1e-36, 1e38, 3e38])
    def test_no_scale_is_too_large_or_too_small(self, scale):
        maps = np.array([[-1.0, 0.0, 1.0]], np.float32)
        scaled = explain.normalized(jnp.asarray(maps * np.float32(scale)))
        np.testing.assert_allclose(scaled, [[0, 0.5, 1]], rtol=1e-6)

    def test_the_largest_is_one_exactly(self):
        maps = np.random.default_rng(0).normal(size=(64, 7, 9)).astype(np.float32)
        found = jax.jit(explain.normalized)(maps)
        np.testing.assert_array_equal(found.max((1, 2)), np.ones(64))

    def test_maps_of_several_questions_are_each_by_themselves(self):
        maps = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
        together = explain.normalized(jnp.asarray(maps), leading=2)
        flat = explain.normalized(jnp.asarray(maps.reshape(6, 4, 4)))
        np.testing.assert_array_equal(together.reshape(6, 4, 4), flat)

    def test_bfloat16_comes_back_in_float32(self):
        assert explain.normalized(jnp.ones((1, 2), jnp.bfloat16)).dtype == jnp.float32

    def test_another_unit_is_refused(self):
        with pytest.raises(ValueError, match=r"by must be one of.*'largest'"):
            explain.normalized(jnp.ones((1, 2)), by="largest")

    def test_the_derivative_of_a_constant_map_is_finite(self):
        total = lambda m: jnp.sum(explain.normalized(m) ** 2)
        assert np.isfinite(jax.grad(total)(jnp.ones((2, 3)))).all()


class TestResized:
    def test_centres_of_cells_stay_where_they_are(self):
        maps = np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32)
        found = np.asarray(explain.resized(jnp.asarray(maps), (12, 9)))
        np.testing.assert_allclose(found[:, 1::3, 1::3], maps, atol=1e-6)

    def test_clips_are_linear_in_time_too(self):
        maps = np.arange(2, dtype=np.float32).reshape(1, 2, 1, 1)
        found = np.asarray(explain.resized(jnp.asarray(maps), (4, 2, 2)))
        np.testing.assert_allclose(found[0, :, 0, 0], [0, 0.25, 0.75, 1], atol=1e-6)

    def test_a_smaller_image_is_not_averaged(self):
        row = np.arange(8, dtype=np.float32).reshape(1, 1, 8)
        np.testing.assert_allclose(
            explain.resized(jnp.asarray(row), (1, 2)), [[[1.5, 5.5]]]
        )

    @pytest.mark.parametrize("size", [(4,), (4, 4, 4), (0, 4)])
    def test_a_size_that_cannot_be_is_refused(self, size):
        with pytest.raises(ValueError, match="size must"):
            explain.resized(jnp.ones((1, 2, 2)), size)


class TestAsked:
    def test_every_form_of_target(self):
        z = jnp.asarray(Z)
        p = np.exp(Z) / np.exp(Z).sum(-1, keepdims=True)
        np.testing.assert_allclose(_target.asked(None, z)(z), [3, 4])
        np.testing.assert_allclose(_target.asked(2, z)(z), [-2, 4])
        np.testing.assert_allclose(_target.asked(jnp.array([0, 1]), z)(z), [1, 0.25])
        both = _target.asked(jnp.array([[0, 1], [2, 0]]), z)(z)
        np.testing.assert_allclose(both, [[1, 3], [4, 0.5]])
        of_p = _target.asked(0, z, output="probabilities")(z)
        np.testing.assert_allclose(of_p, p[:, 0], rtol=1e-6)
        log_p = _target.asked(targets.every_class(z), z, output="log_probabilities")(z)
        np.testing.assert_allclose(log_p, np.log(p), rtol=1e-5)

    def test_a_score_and_a_loss_are_targets(self):
        z = jnp.asarray(Z)
        np.testing.assert_array_equal(
            _target.asked(scores.margin, z)(z), scores.margin(z)
        )
        falls = explain.loss(losses.cross_entropy, jnp.array([1, 2]))
        expected = -losses.cross_entropy(z, jnp.array([1, 2]))
        np.testing.assert_array_equal(_target.asked(falls, z)(z), expected)
        why = explain.class_difference(jnp.array([1, 0]), 2)
        np.testing.assert_allclose(_target.asked(why, z)(z), [5, -3.5])

    def test_the_class_is_chosen_once_by_the_clean_image(self):
        z = jnp.asarray(Z)
        np.testing.assert_allclose(_target.asked(None, z)(-z), [-3, -4])

    def test_an_infinite_logit_of_another_class_does_no_harm(self):
        z = jnp.array([[-jnp.inf, 1.0]])
        np.testing.assert_array_equal(_target.asked(1, z)(z), [1.0])

    def test_what_cannot_be_asked_is_refused(self):
        z = jnp.asarray(Z)
        with pytest.raises(ValueError, match=r"target must be in \[0, 3\), got 3"):
            _target.asked(3, z)
        with pytest.raises(ValueError, match="target must be in"):
            _target.asked(-1, z)
        with pytest.raises(TypeError, match="target"):
            _target.asked(jnp.ones(2), z)  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match="same length"):
            _target.asked(jnp.zeros(3, int), z)
        with pytest.raises(ValueError, match=r"got \(\)"):
            _target.asked(jnp.sum, z)(z)
        with pytest.raises(ValueError, match="output must be one of"):
            _target.asked(1, z, output="odds")
        with pytest.raises(TypeError, match="no class to contrast"):
            _target.classes_of(scores.margin, z)

    def test_a_class_that_only_values_show_not_to_exist_is_nan(self):
        z = jnp.asarray(Z)
        found = jax.jit(lambda c: _target.asked(c, z)(z))(jnp.array([1, 3]))
        np.testing.assert_array_equal(found, [3, np.nan])


def tokens_network(tokens, width=5):
    """A network cut by hand at tokens, the head their mean."""
    fixed = np.random.default_rng(0).normal(size=(tokens, width)).astype(np.float32)
    return SplitModel(
        lambda params, x: jnp.mean(x, axis=(1, 2))[:, None, :1] * fixed[None],
        lambda params, a: jnp.mean(a, axis=1) @ params,
    )


class TestPlaces:
    X = jnp.ones((2, 28, 28, 1))
    PARAMS = np.ones((5, 3), np.float32)

    def found(self, tokens, **options):
        return _places.places(tokens_network(tokens), self.PARAMS, self.X, **options)

    def test_tokens_become_a_grid(self):
        assert self.found(49).grid == (7, 7)
        assert self.found(50, class_tokens=1).grid == (7, 7)
        assert self.found(48, grid=(6, 8)).grid == (6, 8)
        assert self.found(145, class_tokens=1).grid == (12, 12)

    def test_the_first_tokens_are_left_out_and_the_rest_in_order(self):
        tokens = jnp.arange(50.0)[None, :, None] * jnp.ones((2, 1, 5))
        grid = self.found(50, class_tokens=1).on_grid(tokens)
        np.testing.assert_array_equal(grid[1, :, :, 3].ravel(), np.arange(1, 50))

    @pytest.mark.parametrize(
        ("tokens", "options", "said"),
        [
            (48, {}, "48 tokens are no square. Say grid="),
            (50, {}, "50 tokens are no square: with class_tokens=1"),
            (49, {"class_tokens": 1}, "without 1 class tokens are no square"),
            (48, {"grid": (7, 7)}, "whose product is 48"),
            (49, {"grid": (49,)}, "2 numbers"),
            (1, {"class_tokens": 1}, "without 1 class tokens"),
        ],
    )
    def test_what_is_no_grid_is_refused(self, tokens, options, said):
        with pytest.raises(ValueError, match=said):
            self.found(tokens, **options)

    def test_a_perceptron_has_nothing_to_map(self):
        split = SplitModel(lambda p, x: x.reshape(len(x), -1), lambda p, a: a @ p)
        with pytest.raises(ValueError, match=r"explain\.saliency"):
            _places.places(split, np.ones((784, 3)), self.X)


@pytest.mark.parametrize(
    ("shape", "size", "axis"),
    [
        ((2, 28, 30, 1), (28, 30), -1),
        ((2, 28, 30, 3), (28, 30), -1),
        ((2, 3, 28, 30), (28, 30), -3),
        ((2, 3, 28, 3), (3, 28), -1),
        ((2, 8, 28, 30, 1), (8, 28, 30), -1),
        ((2, 3, 8, 28, 30), (8, 28, 30), -4),
        ((2, 7, 9, 13), (7, 9), -1),
    ],
)
def test_layouts(shape, size, axis):
    assert _layout.layout(shape) == (size, axis)
    maps = jnp.ones((4, 2, *size))
    beside = _layout.layout(shape).beside(maps)
    assert jnp.broadcast_shapes(beside.shape, shape) == (4, *shape)


def test_a_row_of_numbers_is_no_image():
    with pytest.raises(ValueError, match=r"got \(2, 10\)"):
        _layout.layout((2, 10))


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_on_a_mesh_the_numbers_are_the_same(kind):
    types = (getattr(jax.sharding.AxisType, kind),)
    mesh = jax.make_mesh((8,), ("batch",), axis_types=types)
    maps = jax.random.normal(jax.random.key(0), (8, 4, 4))
    sharded = jax.device_put(maps, NamedSharding(mesh, P("batch")))
    for function in (explain.normalized, lambda m: explain.resized(m, (9, 9))):
        found = jax.jit(function)(sharded)
        np.testing.assert_allclose(found, function(maps), atol=1e-6)
        assert found.sharding.spec[0] == "batch"


def test_a_constant_map_stays_constant():
    """Weights that add up to 1 - 6e-8 would make a pattern of rounding of it."""
    maps = explain.resized(jnp.full((1, 7, 7), 2.3), (224, 224))
    assert (np.asarray(maps) == np.float32(2.3)).all()
    assert not explain.normalized(maps).any()
