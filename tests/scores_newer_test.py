"""The newer scores of the field: against loops over their papers' equations."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests import limits, scores_battery_test
from trustjax import metrics, scores
from trustjax.scores import _vim
from trustjax.typing import LastLayer

INF, NAN = np.inf, np.nan


def random_logits(examples=64, classes=7, scale=3.0):
    return np.random.default_rng(0).normal(size=(examples, classes)) * scale


class TestMaxLogitPNorm:
    @pytest.mark.parametrize("p", [None, 0, 1, 2, 5, 9])
    def test_is_its_equation(self, p):
        z = random_logits()
        ours = scores.max_logit_p_norm(scores.PNormState(p), jnp.asarray(z))
        by_loop = [limits.max_logit_p_norm(np.longdouble(row), p) for row in z]
        np.testing.assert_allclose(ours, np.array(by_loop, float), rtol=1e-5)

    @pytest.mark.parametrize(
        ("p", "row", "expected"),
        [
            (3, [2.0], 0.0),
            (3, [2.0, 2.0], 0.0),
            (0, [2.0, 2.0], 0.0),
            (None, [2.0, 2.0], 0.5),
            (1, [3e38, -3e38], 0.5),
            (2, [INF, 0.0], NAN),
            (2, [-INF, 0.0], NAN),
            (2, [NAN, 0.0], NAN),
            (None, [INF, 0.0], 1.0),
        ],
    )
    def test_edge_case(self, p, row, expected):
        value = scores.max_logit_p_norm(scores.PNormState(p), jnp.array([row]))
        np.testing.assert_allclose(value, [expected], rtol=1e-6)

    def test_the_norm_is_the_best_by_aurc(self):
        """Right answers with logits of all sizes: their size says nothing."""
        rng = np.random.default_rng(0)
        labels = np.arange(400) % 5
        z = rng.normal(size=(400, 5)) + 2 * np.eye(5)[labels]
        z *= rng.uniform(0.2, 5, size=(400, 1))
        correct = z.argmax(axis=1) == labels
        area = {
            p: metrics.aurc(
                scores.max_logit_p_norm(scores.PNormState(p), jnp.asarray(z)),
                jnp.asarray(correct),
                convention="mean",
            )
            for p in (None, *range(10))
        }
        found = scores.fit_p_norm(z, labels).p
        assert area[found] == min(area.values())
        assert area[found] < 0.9 * area[None]

    def test_without_a_mistake_it_is_max_softmax(self):
        assert scores.fit_p_norm(10 * np.eye(4), np.arange(4)).p is None

    @pytest.mark.usefixtures("without_type_checks")
    def test_bad_input_is_named(self):
        z, labels = random_logits(), np.arange(64) % 7
        with pytest.raises(ValueError, match="orders must be an integer >= 0"):
            scores.fit_p_norm(z, labels, orders=[-1])
        with pytest.raises(ValueError, match=r"labels must be in \[0, 7\)"):
            scores.fit_p_norm(z, labels + 1)
        with pytest.raises(ValueError, match="logits has 64, labels has 3"):
            scores.fit_p_norm(z, labels[:3])
        with pytest.raises(ValueError, match="at least one example"):
            scores.fit_p_norm(z[:0], labels[:0])


LAYER = LastLayer(jnp.array([[1.0, 0.0, -1.0], [0.0, 1.0, 0.5]]), jnp.zeros(3))
ORIGIN_MEAN = scores.fit_feature_mean(np.array([[-1.0, 0.0], [1.0, 0.0]]))


def of_one(score, *arguments, **options):
    """The score of one example, whose rows are given."""
    rows = [jnp.array([a]) if isinstance(a, list | int) else a for a in arguments]
    return float(score(*rows, **options)[0])


class TestFdbd:
    @pytest.mark.parametrize(
        ("h", "z", "expected"),
        [
            # leads 2 and 3 over weights sqrt(2) and 2.0616 apart, by 5
            ([3.0, 4.0], [1.0, 3.0, 0.0], (2 / 2**0.5 + 3 / 1.25**0.5) / 2 / 5),
            ([0.0, 0.0], [1.0, 3.0, 0.0], INF),
            ([0.0, 0.0], [3.0, 3.0, 3.0], 0.0),
            ([3.0, 4.0], [INF, 0.0, 0.0], INF),
            ([3.0, 4.0], [INF, INF, 0.0], NAN),
            ([3.0, 4.0], [NAN, 0.0, 0.0], NAN),
            ([NAN, 4.0], [1.0, 0.0, 0.0], NAN),
        ],
    )
    def test_edge_case(self, h, z, expected):
        value = of_one(scores.fdbd, ORIGIN_MEAN, h, z, LAYER)
        np.testing.assert_allclose(value, expected, rtol=1e-5)

    def test_equal_weights_are_left_out(self):
        twice = LastLayer(LAYER.kernel[:, (0, 1, 0)], LAYER.bias)
        value = of_one(scores.fdbd, ORIGIN_MEAN, [3.0, 4.0], [5.0, 1.0, 2.0], twice)
        np.testing.assert_allclose(value, 4 / 2**0.5 / 5, rtol=1e-5)
        same = LastLayer(jnp.ones((2, 3)), LAYER.bias)
        assert of_one(scores.fdbd, ORIGIN_MEAN, [3.0, 4.0], [5.0, 1, 2], same) == 0
        alone = LastLayer(jnp.ones((2, 1)), jnp.zeros(1))
        assert of_one(scores.fdbd, ORIGIN_MEAN, [3.0, 4.0], [5.0], alone) == 0

    @pytest.mark.usefixtures("without_type_checks")
    def test_a_layer_of_another_network_is_named(self):
        with pytest.raises(ValueError, match=r"2 features, got \(3, 4\) and \(4,"):
            of_one(
                scores.fdbd,
                ORIGIN_MEAN,
                [3.0, 4.0],
                [0.0] * 4,
                LastLayer(jnp.ones((3, 4)), jnp.zeros(4)),
            )
        with pytest.raises(ValueError, match="the 3 classes of last_layer, got 4"):
            of_one(scores.fdbd, ORIGIN_MEAN, [3.0, 4.0], [0.0] * 4, LAYER)


class TestNci:
    @pytest.mark.parametrize(
        ("h", "predicted", "expected"),
        [
            ([3.0, 4.0], 1, 0.8 + 0.7),
            ([0.0, 0.0], 1, 0.0),
            ([3.0, 4.0], 3, NAN),
            ([3.0, 4.0], -1, NAN),
            ([INF, 4.0], 1, NAN),
            ([NAN, 4.0], 1, NAN),
        ],
    )
    def test_edge_case(self, h, predicted, expected):
        value = of_one(scores.nci, ORIGIN_MEAN, h, predicted, LAYER, alpha=0.1)
        np.testing.assert_allclose(value, expected, rtol=1e-6)


class TestMahalanobisPlusPlus:
    POINTS = np.random.default_rng(0).normal(size=(40, 3)) + 1
    LABELS = np.arange(40) % 2

    def test_is_its_equation(self):
        unit = lambda v: v / np.linalg.norm(v, axis=-1, keepdims=True)
        points, queries = unit(self.POINTS), self.POINTS[::-1] * 3 + 1
        means = np.stack([points[c == self.LABELS].mean(axis=0) for c in (0, 1)])
        deviations = points - means[self.LABELS]
        precision = np.linalg.inv(deviations.T @ deviations / 40)
        expected = [
            -min((v - m) @ precision @ (v - m) for m in means) for v in unit(queries)
        ]
        state = scores.fit_mahalanobis_plus_plus(self.POINTS, self.LABELS)
        ours = scores.mahalanobis_plus_plus(state, jnp.asarray(queries, "f4"))
        np.testing.assert_allclose(ours, expected, rtol=1e-4)

    def test_edge_cases(self):
        points = np.array([[2.0, 0.0], [0.0, 3.0], [4.0, 0.0], [0.0, 1.0]])
        state = scores.fit_mahalanobis_plus_plus(
            points, np.array([0, 0, 3, 3]), num_classes=5
        )
        score = lambda h: of_one(scores.mahalanobis_plus_plus, state, h)
        # The means are (1/2, 1/2): 0 is as far off as (1, 0), in the other direction.
        assert score([5.0, 5.0]) <= 0
        np.testing.assert_allclose(score([1e30, 0.0]), score([1e-30, 0.0]), rtol=1e-5)
        assert np.isfinite(score([0.0, 0.0]))
        assert np.isnan(score([INF, 0.0]))
        assert np.isnan(score([NAN, 0.0]))

    def test_of_one_direction_it_tells_nothing(self):
        points = np.array([[1.0, 2.0], [3.0, 6.0], [1 / 3, 2 / 3]])
        state = scores.fit_mahalanobis_plus_plus(points, np.array([0, 0, 0]))
        assert of_one(scores.mahalanobis_plus_plus, state, [5.0, -1.0]) == 0


class TestVim:
    POINTS = np.array([[4.0, 1.0], [-4.0, 1.0]])
    SQUARE = LastLayer(np.eye(2), np.zeros(2))

    @pytest.mark.parametrize(
        ("h", "z", "expected"),
        [
            ([9.0, 0.0], [2.0, 2.0], 2 + np.log(2)),
            ([9.0, 2.0], [2.0, -INF], 2 - 2.5 * 2),
            ([9.0, 2.0], [INF, 0.0], INF),
            ([9.0, 2.0], [INF, INF], INF),
            ([INF, 2.0], [0.0, 0.0], NAN),
            ([9.0, NAN], [0.0, 0.0], NAN),
            ([9.0, 2.0], [NAN, 0.0], NAN),
        ],
    )
    def test_edge_case(self, h, z, expected):
        state = scores.fit_vim(self.POINTS, self.SQUARE)
        np.testing.assert_allclose(of_one(scores.vim, state, h, z), expected, rtol=1e-6)

    def test_a_space_that_holds_the_training_set_leaves_the_energy(self):
        state = scores.fit_vim(np.array([[1.0, 2.0], [3.0, 6.0]]), self.SQUARE)
        assert float(state.alpha) == 0
        value = of_one(scores.vim, state, [5.0, -5.0], [3.0, -INF])
        np.testing.assert_allclose(value, 3.0)

    @pytest.mark.parametrize(
        ("width", "dimensions"), [(1, 0), (7, 3), (768, 512), (2048, 1000)]
    )
    def test_the_principal_space_of_so_many_features(self, width, dimensions):
        assert _vim.usual_dimensions(width) == dimensions

    def test_the_residual_space_is_the_rest(self):
        points = np.random.default_rng(0).normal(size=(5, 7))
        residual = scores.fit_vim(
            points, LastLayer(np.ones((7, 2)), np.zeros(2))
        ).residual
        np.testing.assert_allclose(residual.T @ residual, np.eye(4), atol=1e-6)

    @pytest.mark.usefixtures("without_type_checks")
    def test_bad_dimensions_are_named(self):
        with pytest.raises(ValueError, match="<= 1, got 2"):
            scores.fit_vim(self.POINTS, self.SQUARE, dimensions=2)


class TestReact:
    @pytest.mark.parametrize(
        ("h", "expected"),
        [
            ([1.0, 2.0], [1.0, 2.0, 0.0]),
            ([INF, 2.0], [4.0, 2.0, -3.0]),
            ([9.0, 9.0], [4.0, 4.0, -2.0]),
            ([NAN, 2.0], [NAN, NAN, NAN]),
        ],
    )
    def test_edge_case(self, h, expected):
        value = of_one(scores.react, scores.ReactState(jnp.asarray(4.0)), h, LAYER)
        np.testing.assert_allclose(value, limits.energy(np.array(expected)), rtol=1e-6)


class TestAshAndScale:
    """Of four features half are left; the layer only adds them up."""

    SUM = LastLayer(jnp.array([[1.0, -99]] * 4), jnp.array([0.5, 0.0]))

    @pytest.mark.parametrize(
        ("variant", "h", "expected"),
        [
            ("P", [4.0, 3.0, 2.0, 1.0], 7.5),
            ("B", [4.0, 3.0, 2.0, 1.0], 10.5),
            ("S", [4.0, 3.0, 2.0, 1.0], 7 * np.exp(10 / 7) + 0.5),
            (None, [4.0, 3.0, 2.0, 1.0], 10 * np.exp(10 / 7) + 0.5),
            ("P", [2.0, 2.0, 2.0, 2.0], 4.5),  # the first two
            ("B", [0.0, 0.0, 0.0, 0.0], np.log(np.exp(0.5) + 1)),
            ("S", [0.0, 0.0, 0.0, 0.0], np.log(np.exp(0.5) + 1)),
            (None, [0.0, 0.0, 0.0, 0.0], np.log(np.exp(0.5) + 1)),
            ("S", [1.0, -1.0, -2.0, -2.0], np.log(np.exp(0.5) + 1)),
            (None, [3.0, -3.0, -3.0, 4.0], np.exp(1 / 7) + 0.5),
            ("S", [1e37, 1e37, 0.0, 0.0], 2e37 * np.e),
            ("P", [INF, 3.0, 2.0, 1.0], NAN),
            ("S", [NAN, 3.0, 2.0, 1.0], NAN),
            (None, [4.0, 3.0, -INF, 1.0], NAN),
        ],
    )
    def test_edge_case(self, variant, h, expected):
        if variant is None:
            value = of_one(scores.scaled_energy, h, self.SUM, percentile=0.5)
        else:
            value = of_one(scores.ash, h, self.SUM, variant=variant, percentile=0.5)
        np.testing.assert_allclose(value, expected, rtol=1e-5)

    def test_one_feature_is_always_left(self):
        layer = LastLayer(jnp.array([[1.0, -99]] * 2), jnp.zeros(2))
        assert of_one(scores.ash, [3.0, 2.0], layer, variant="P") == 3

    @pytest.mark.usefixtures("without_type_checks")
    def test_bad_options_are_named(self):
        h = jnp.ones((2, 4))
        with pytest.raises(ValueError, match=r"percentile must be in \[0, 1\), got 90"):
            scores.ash(h, self.SUM, percentile=90)
        with pytest.raises(ValueError, match="variant must be one of S, B, P"):
            scores.ash(h, self.SUM, variant="ASH-S")


class TestNnguide:
    def test_a_bank_is_taken_from_all_of_a_training_set(self):
        features = np.arange(1.0, 5001)[:, None] * np.ones((1, 2))
        logits = np.arange(5000.0)[:, None] * np.ones((1, 2))
        for share, count in ((0.01, 1000), (0.5, 2500)):
            bank = scores.fit_nnguide(features, logits, share=share).bank
            energies = bank[:, 0] * 2**0.5 - np.log(2)
            assert bank.shape == (count, 2)
            np.testing.assert_allclose(energies[jnp.array([0, -1])], [0, 4999], atol=1)

    @pytest.mark.parametrize(
        ("h", "z", "expected"),
        [
            ([0.0, 0.0], [3.0, -INF], 0.0),
            ([INF, 0.0], [3.0, 0.0], NAN),
            ([NAN, 0.0], [3.0, 0.0], NAN),
            ([1.0, 0.0], [NAN, 0.0], NAN),
        ],
    )
    def test_edge_case(self, h, z, expected):
        state = scores.fit_nnguide(np.eye(2), np.ones((2, 2)))
        np.testing.assert_equal(of_one(scores.nnguide, state, h, z, k=1), expected)

    @pytest.mark.usefixtures("without_type_checks")
    def test_too_few_are_named(self):
        state = scores.fit_nnguide(np.eye(2), np.ones((2, 2)))
        with pytest.raises(ValueError, match="k must be an integer >= 1 and <= 2"):
            of_one(scores.nnguide, state, [1.0, 0.0], [1.0, 0.0])


@pytest.mark.parametrize("name", ["fdbd", "nci", "vim", "ash", "nnguide"])
def test_a_batch_on_a_mesh_of_explicit_axes_needs_no_traffic(name):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    case, fn = scores_battery_test.Case(name), scores.lookup(name).fn
    rows = jax.device_put(case.rows, NamedSharding(mesh, PartitionSpec("data")))
    compiled = jax.jit(lambda rows: case.score(rows, fn)).lower(rows).compile()
    program = compiled.as_text() or ""
    assert not re.search("all-gather|all-reduce|all-to-all|collective", program)
    np.testing.assert_allclose(
        compiled(rows), case.score(case.rows, fn), rtol=1e-5, atol=1e-6
    )
