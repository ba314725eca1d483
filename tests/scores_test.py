"""The scores against their definitions, the authors' numbers, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import golden_numbers, scores_reference
from trustjax import scores

CLOSED_FORM = scores.names(computable_from={"logits", "features"})


def random_logits(examples=64, classes=10, scale=4.0):
    return jax.random.normal(jax.random.key(0), (examples, classes)) * scale


def random_features(examples=64, width=6):
    return jax.random.normal(jax.random.key(1), (examples, width))


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("name", CLOSED_FORM)
def test_score_is_its_definition(name, classes):
    score = scores.lookup(name)
    made = {"logits": random_logits(classes=classes), "features": random_features()}
    args = [made[need.name] for need in score.needs]
    by_loop = getattr(scores_reference, name)
    rows = zip(*(np.asarray(a, np.float64) for a in args), strict=True)
    expected = [by_loop(*row) for row in rows]
    np.testing.assert_allclose(score.fn(*args), expected, rtol=3e-5, atol=1e-6)


@pytest.mark.parametrize("top_k", [1, 3, 9])
@pytest.mark.parametrize("name", ["grad_trust", "grad_trust_rows"])
def test_grad_trust_of_the_most_probable_rivals(name, top_k):
    logits = random_logits()
    by_loop = getattr(scores_reference, name)
    expected = [by_loop(row, top_k) for row in np.asarray(logits, np.float64)]
    np.testing.assert_allclose(
        getattr(scores, name)(logits, top_k=top_k), expected, rtol=3e-5
    )


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("max_softmax", "demo/softmax"),
        ("margin", "demo/margin"),
        ("max_logit", "demo/nll"),
        ("max_logit", "max_logit"),
        ("log_likelihood", "log_msp"),
        ("energy", "energy_T1"),
        ("grad_trust_reference", "demo/gradtrust"),
    ],
)
def test_score_agrees_with_the_authors(name, key):
    g = golden_numbers.load("01_gradtrust")
    ours = scores.lookup(name).fn(jnp.asarray(g["f32/logits"]))
    # The margin is a difference of probabilities: float32 keeps 1e-6 of it.
    np.testing.assert_allclose(ours, g[f"f64/{key}"], rtol=1e-5, atol=1e-6)


def test_entropy_and_brier_agree_with_the_authors_up_to_sign_and_scale():
    g = golden_numbers.load("01_gradtrust")
    logits = jnp.asarray(g["f32/logits"])
    np.testing.assert_allclose(
        scores.negative_entropy(logits, normalised=False),
        g["f64/demo/entropy"],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        scores.negative_brier(logits), -g["f64/demo/brier"], rtol=1e-5
    )


def test_energy_with_a_temperature_agrees_with_the_authors():
    g = golden_numbers.load("01_gradtrust")
    np.testing.assert_allclose(
        scores.energy(jnp.asarray(g["f32/logits"]), temperature=2.0),
        g["f64/energy_T2"],
        rtol=1e-5,
    )


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_grad_norm_agrees_with_the_authors(temperature):
    g = golden_numbers.load("01_gradtrust")
    ours = scores.grad_norm(
        jnp.asarray(g["f32/logits"]),
        jnp.asarray(g["f32/features"]),
        temperature=temperature,
    )
    authors = g[f"f64/gradnorm_huang_T{temperature:.0f}"]
    np.testing.assert_allclose(ours, authors, rtol=1e-5)


def test_the_demo_calls_another_gradient_grad_norm():
    """There: -|p (log p + H)|_2 |h|_2 / C, the gradient of the entropy over C."""
    g = golden_numbers.load("01_gradtrust")
    logits, features = g["f64/logits"], g["f64/features"]
    p = np.stack([scores_reference.softmax(row) for row in logits])
    entropy = -(p * np.log(p)).sum(1, keepdims=True)
    change = p * (np.log(p) + entropy) / logits.shape[1]
    as_run = -np.linalg.norm(change, axis=1) * np.linalg.norm(features, axis=1)
    np.testing.assert_allclose(g["f64/demo/gradnorm"], as_run, rtol=1e-6)
    ours = scores.grad_norm(jnp.asarray(g["f32/logits"]), jnp.asarray(features, "f4"))
    assert (ours > 0).all()
    assert (as_run < 0).all()


@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy"])
def test_introspective_norm_is_that_of_the_gradient(loss):
    logits, features = random_logits(examples=8), random_features(examples=8)

    def of_kernel(kernel, features, bias):
        z = features @ kernel + bias
        if loss == "squared_error":
            return jnp.mean((z - 2.0) ** 2)
        log_p, log_q = jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)
        return -jnp.mean(2.0 * log_p - 1.0 * log_q)

    kernel = jnp.zeros((features.shape[1], logits.shape[1]))
    gradients = jax.vmap(jax.grad(of_kernel), in_axes=(None, 0, 0))(
        kernel, features, logits
    )
    np.testing.assert_allclose(
        scores.introspective_norm(logits, features, loss=loss, target=2.0),
        jnp.linalg.norm(gradients.reshape(8, -1), axis=1),
        rtol=1e-5,
    )


INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("name", "row", "features", "expected"),
    [
        ("grad_norm", [2.0], [1.0, 2.0], 0.0),
        ("grad_norm", [3.0, 3.0], [1.0, 2.0], 0.0),
        ("grad_norm", [3.0, 1.0], [0.0, 0.0], 0.0),
        ("grad_norm", [INF, 1.0], [1.0, 2.0], 6.0),  # |2 - 1| + |0 - 1|, times 3
        ("grad_norm", [INF, INF], [1.0, 2.0], NAN),
        ("grad_norm", [3.0, NAN], [1.0, 2.0], NAN),
        ("grad_norm", [3.0, 1.0], [1.0, NAN], NAN),
        ("introspective_norm", [1.0, 1.0], [1.0, 2.0], 0.0),
        ("introspective_norm", [3.0, 1.0], [0.0, 0.0], 0.0),
        ("introspective_norm", [2.0], [3.0, 4.0], 10.0),  # 2 / 1 * (2 - 1) * 5
        ("introspective_norm", [3e30, 4e30], [1.0, 0.0], 5e30),
        ("introspective_norm", [INF, 1.0], [1.0, 2.0], NAN),
        ("introspective_norm", [-INF, 2.0], [3.0, 4.0], 10.0),
        ("introspective_norm", [-INF, -INF], [3.0, 4.0], NAN),
        ("introspective_norm", [3.0, NAN], [1.0, 2.0], NAN),
        ("introspective_norm", [3.0, 1.0], [1.0, NAN], NAN),
    ],
)
def test_edge_case_of_the_last_layer(name, row, features, expected):
    value = getattr(scores, name)(jnp.array([row]), jnp.array([features]))
    np.testing.assert_allclose(value, [expected], rtol=2e-5, atol=1e-6)


def test_introspective_norm_of_an_infinite_logit_under_the_binary_cross_entropy():
    value = scores.introspective_norm(
        jnp.array([[INF, -INF]]), jnp.array([[3.0, 4.0]]), loss="binary_cross_entropy"
    )
    np.testing.assert_allclose(value, [2.5])  # |(0, -1) / 2| * 5


@pytest.mark.usefixtures("without_type_checks")
def test_features_of_another_batch_are_refused():
    with pytest.raises(ValueError, match="logits has 64, features has 3"):
        scores.grad_norm(random_logits(), random_features(examples=3))


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("max_softmax", [2.0], 1.0),
        ("max_softmax", [1.0, 1.0, 1.0, 1.0], 0.25),
        ("max_softmax", [INF, 0.0], 1.0),
        ("max_softmax", [INF, INF], NAN),
        ("max_softmax", [NAN, 0.0], NAN),
        ("max_softmax", [NAN], NAN),
        ("log_likelihood", [2.0], 0.0),
        ("log_likelihood", [0.0, 0.0], -np.log(2)),
        ("log_likelihood", [INF, 0.0], 0.0),
        ("log_likelihood", [INF, INF], NAN),
        ("log_likelihood", [0.0, NAN], NAN),
        # 1 - p = exp(-30) / (1 + exp(-30)): log_softmax would round it to zero
        ("log_likelihood", [30.0, 0.0], -9.3576e-14),
        ("max_logit", [-3.0], -3.0),
        ("max_logit", [INF, 0.0], INF),
        ("max_logit", [0.0, NAN], NAN),
        ("margin", [3.0, 3.0, 1.0], 0.0),
        ("margin", [2.0], 1.0),
        ("margin", [INF, 0.0], 1.0),
        ("margin", [INF, INF], NAN),
        ("margin", [NAN, 1.0], NAN),
        ("negative_entropy", [2.0], 0.0),
        ("negative_entropy", [0.0, 0.0, 0.0], -1.0),
        ("negative_entropy", [0.0, 0.0, -INF], -np.log(2) / np.log(3)),
        ("negative_entropy", [1000.0, 0.0], 0.0),
        ("negative_entropy", [INF, INF], NAN),
        ("negative_entropy", [NAN, 0.0], NAN),
        ("negative_brier", [2.0], 0.0),
        ("negative_brier", [0.0, 0.0], -0.25),  # -(0.5^2 + 0.5^2) / 2
        ("negative_brier", [INF, INF], NAN),
        ("negative_brier", [NAN, 0.0], NAN),
        ("energy", [2.0], 2.0),
        ("energy", [0.0, 0.0], np.log(2)),
        ("energy", [INF, 0.0], INF),
        ("energy", [NAN, 0.0], NAN),
        ("gen", [2.0], 0.0),
        ("gen", [NAN], NAN),
        ("gen", [1.0, 1.0, 1.0], -3 * (2 / 9) ** 0.1),
        ("gen", [1.0, 1.0, -INF], -2 * 0.25**0.1),
        ("gen", [INF, 0.0], 0.0),
        ("gen", [INF, INF], NAN),
        ("gen", [0.0, NAN], NAN),
        # p (1 - p) is exp(-40): a difference to 1 would be 0 in float32
        ("gen", [40.0, 0.0], -2 * np.exp(-4.0)),
        ("grad_trust", [2.0], INF),
        ("grad_trust", [NAN], NAN),
        ("grad_trust", [1.0, 1.0, 1.0], 1.0),
        ("grad_trust", [0.0, -INF], INF),
        ("grad_trust", [100.0, 0.0], INF),
        # two classes: the rival's |p - e|^2 is 2 p^2, the prediction's 2 (1 - p)^2
        ("grad_trust", [20.0, 0.0], np.exp(40.0)),
        ("grad_trust", [INF, INF], NAN),
        ("grad_trust", [NAN, 0.0], NAN),
        ("log_grad_trust", [2.0], INF),
        ("log_grad_trust", [1.0, 1.0], 0.0),
        ("log_grad_trust", [0.0, -INF], INF),
        ("log_grad_trust", [60.0, 0.0], 120.0),
        ("log_grad_trust", [INF, INF], NAN),
        ("log_grad_trust", [NAN, 0.0], NAN),
        ("grad_trust_rows", [2.0], INF),
        ("grad_trust_rows", [3.0, 3.0], 1.0),
        ("grad_trust_rows", [3.0, 0.5], INF),
        ("grad_trust_rows", [0.5, 0.5], 1.0),
        ("grad_trust_rows", [1e30, 1e29], 1e4),  # no overflow in the fourth power
        ("grad_trust_rows", [INF, 0.0], NAN),
        ("grad_trust_rows", [NAN, 0.0], NAN),
        ("grad_trust_reference", [2.0], 1.0),
        ("grad_trust_reference", [3.0, 3.0], 1.0),
        ("grad_trust_reference", [0.5, 0.5], 1.0),
        ("grad_trust_reference", [-INF, 0.0], 1.0),
        ("grad_trust_reference", [INF, 0.0], NAN),
        ("grad_trust_reference", [-INF, -INF], NAN),
        ("grad_trust_rows", [-INF, 2.0], INF),
        ("grad_trust_rows", [-INF, 1.0], INF),
        ("grad_trust_rows", [-INF, -INF], NAN),
        ("grad_trust_reference", [NAN, 0.0], NAN),
    ],
)
def test_edge_case(name, row, expected):
    value = getattr(scores, name)(jnp.array([row]))
    np.testing.assert_allclose(value, [expected], rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([2.0], INF),
        ([4.0, 1.5], 2.5),
        ([3.0, 3.0, 1.0], 0.0),
        ([INF, 0.0], INF),
        ([INF, INF], NAN),
        ([NAN, 1.0], NAN),
    ],
)
def test_margin_of_logits(row, expected):
    value = scores.margin(jnp.array([row]), of="logits")
    np.testing.assert_allclose(value, [expected])


def test_limits_of_entropy_and_energy_with_their_options():
    equal = jnp.zeros((1, 4))
    entropy = scores.negative_entropy(equal, normalised=False)
    np.testing.assert_allclose(entropy, [-np.log(4)], rtol=1e-6)
    energy = scores.energy(equal, temperature=2.5)
    np.testing.assert_allclose(energy, [2.5 * np.log(4)], rtol=1e-6)


def test_grad_trust_ignores_a_shift_of_the_logits_and_the_released_formula_does_not():
    logits = random_logits()
    np.testing.assert_allclose(
        scores.grad_trust(logits + 5), scores.grad_trust(logits), rtol=1e-4
    )
    shifted = scores.grad_trust_reference(logits + 5)
    assert not np.allclose(shifted, scores.grad_trust_reference(logits), rtol=0.1)


def test_unknown_names_say_what_exists():
    with pytest.raises(ValueError, match=r"must be one of max_softmax.*got 'msp'"):
        scores.lookup("msp")
    with pytest.raises(ValueError, match="of must be one of logits, probabilities"):
        scores.margin(random_logits(), of="softmax")


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("top_k", [0, 10, 2.5, True])
def test_top_k_outside_the_rivals_is_refused(top_k):
    with pytest.raises(ValueError, match="top_k must be an integer >= 1 and <= 9"):
        scores.grad_trust(random_logits(), top_k=top_k)


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="'margin' is already registered"):
        scores.register(scores.lookup("margin"))


@pytest.mark.parametrize("classes", [4, 40])
def test_entropy_keeps_its_digits_where_the_network_is_sure(classes):
    logits = jnp.full((1, classes), -30.0).at[0, 1].set(0.0)
    others = (classes - 1) * np.exp(-30.0)
    expected = np.log1p(others) + 30 * others / (1 + others)
    log_p = -30 - np.log1p(others)

    entropy = lambda z: scores.negative_entropy(z, normalised=False)[0]
    value, gradient = jax.value_and_grad(entropy)(logits)
    np.testing.assert_allclose(value, -expected, rtol=1e-5)
    slope = np.exp(log_p) * (log_p + expected)
    np.testing.assert_allclose(gradient[0, 0], slope, rtol=1e-5)


def test_the_gradient_of_a_single_class_is_zero():
    gradient = jax.grad(lambda z: scores.negative_brier(z)[0])(jnp.array([[2.0]]))
    np.testing.assert_array_equal(gradient, [[0.0]])


MASKED = [[2.0, -0.5, 0.0, -INF], [0.0, 3.0, 1.0, -INF], [0.0, 0.0, 0.0, -INF]]


@pytest.mark.parametrize("name", scores.names(computable_from={"logits", "features"}))
def test_a_masked_class_works_in_every_score(name):
    given = {"logits": jnp.array(MASKED), "features": jnp.ones((3, 2))}
    score = scores.lookup(name)
    assert np.isfinite(score.fn(*(given[need.name] for need in score.needs))).all()


@pytest.mark.parametrize("options", [{}, {"top_k": 1}, {"top_k": 2}])
def test_rows_of_masked_classes_are_left_out(options):
    logits = jnp.array(MASKED)
    for fn, options_of in (
        (scores.grad_trust_rows, options),
        (scores.grad_trust_reference, {}),
    ):
        np.testing.assert_allclose(
            fn(logits, **options_of), fn(logits[:, :3], **options_of), rtol=1e-5
        )
