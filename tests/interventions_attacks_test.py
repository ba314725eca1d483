"""Attacks against a loop over examples and steps, and what they may never do."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests import problems
from trustjax import interventions, losses

BOUNDS = (-2.0, 2.5)
LABELS = jnp.arange(8) % 3


@pytest.fixture(scope="module")
def network():
    apply_fn, params, x = problems.get("cnn")
    return apply_fn, params, jnp.clip(x, *BOUNDS)


@functools.cache
def slope():
    """The gradient of one example's loss, by `jax.grad` alone."""
    apply_fn, params, _ = problems.get("cnn")

    def loss(x, label):
        return losses.cross_entropy(apply_fn(params, x[None]), label[None])[0]

    return jax.jit(jax.grad(loss))


def by_loop(x, labels, *, epsilon, steps, size, norm, momentum=0.0, sign=1):
    """Each example and step by itself, in NumPy."""
    found = []
    for clean, label in zip(np.asarray(x), np.asarray(labels), strict=True):
        image, speed = clean.copy(), np.zeros_like(clean)
        for _ in range(steps):
            g = sign * np.asarray(slope()(image, label))
            speed = momentum * speed + g / np.abs(g).mean()
            if norm == "linf":
                image = image + size * np.sign(speed)
                image = np.clip(image, clean - epsilon, clean + epsilon)
            else:
                change = image + size * speed / np.linalg.norm(speed) - clean
                length = np.linalg.norm(change)
                image = clean + change * min(1, epsilon / length)
            image = np.clip(image, *BOUNDS)
        found.append(image)
    return np.stack(found)


def loss_of(network, x):
    apply_fn, params, _ = network
    return np.asarray(losses.cross_entropy(jax.jit(apply_fn)(params, x), LABELS))


@pytest.mark.parametrize(
    "options",
    [
        {"norm": "linf", "momentum": 0.0},
        {"norm": "linf", "momentum": 0.9},
        {"norm": "l2", "momentum": 0.0},
        {"norm": "l2", "momentum": 0.5, "targeted": True},
    ],
)
def test_pgd_is_that_of_a_loop(network, options):
    apply_fn, params, x = network
    epsilon = {"linf": 0.1, "l2": 1.0}[options["norm"]]
    attack = functools.partial(
        interventions.pgd,
        apply_fn,
        epsilon=epsilon,
        steps=4,
        step_size=0.4 * epsilon,
        bounds=BOUNDS,
        **options,
    )
    found = jax.jit(attack)(params, x, LABELS)
    expected = by_loop(
        x,
        LABELS,
        epsilon=epsilon,
        steps=4,
        size=0.4 * epsilon,
        norm=options["norm"],
        momentum=options["momentum"],
        sign=-1 if "targeted" in options else 1,
    )
    # A sign turns on the last digit of a slope that is nearly zero.
    assert np.mean(np.abs(found - expected) > 1e-4) < 0.01
    worse = loss_of(network, found) - loss_of(network, x)
    assert ((worse < 0) if "targeted" in options else (worse > 0)).all()


def test_fgsm_is_one_step(network):
    apply_fn, params, x = network
    attack = functools.partial(interventions.fgsm, apply_fn, epsilon=0.1, bounds=BOUNDS)
    found = jax.jit(attack)(params, x, LABELS)
    g = np.stack([np.asarray(slope()(*r)) for r in zip(x, LABELS, strict=True)])
    expected = np.clip(x + 0.1 * np.sign(g), *BOUNDS)
    assert np.mean(np.abs(found - expected) > 1e-5) < 0.01
    assert (loss_of(network, found) > loss_of(network, x)).all()


def test_one_program_serves_a_sweep_of_radii(network):
    apply_fn, params, x = network

    def attack(epsilon):
        options = {"steps": 3, "norm": "l2", "bounds": BOUNDS}
        return interventions.pgd(
            apply_fn, params, x, LABELS, epsilon=epsilon, **options
        )

    sweep = jax.jit(chex.assert_max_traces(attack, 1))
    for epsilon in (0.5, 2.0):
        by_array = sweep(jnp.array(epsilon))
        by_number = jax.jit(attack, static_argnums=0)(epsilon)
        np.testing.assert_allclose(by_array, by_number, atol=1e-5)
    halved, flat = x.astype(jnp.bfloat16), lambda params, x: x.reshape(len(x), -1)
    small = lambda epsilon: interventions.fgsm(
        flat, None, halved, LABELS, epsilon=epsilon, bounds=BOUNDS
    )
    assert jax.eval_shape(small, jnp.array(0.5)).dtype == jnp.bfloat16


@pytest.mark.parametrize(("norm", "order"), [("linf", np.inf), ("l2", 2)])
def test_of_restarts_each_example_keeps_the_best(network, norm, order):
    apply_fn, params, x = network
    attack = functools.partial(
        interventions.pgd, apply_fn, epsilon=0.5, norm=norm, bounds=BOUNDS
    )

    def ends(restarts, **options):
        of = functools.partial(
            attack, restarts=restarts, key=jax.random.key(0), **options
        )
        return np.asarray(jax.jit(of)(params, x, LABELS))

    starts = ends(1, steps=1, step_size=1e-9) - x
    lengths = np.linalg.norm(np.reshape(starts, (8, -1)), order, axis=1)
    assert (lengths <= 0.5 * (1 + 1e-5)).all()
    assert (lengths > 0.3).all()  # clipped a little by the bounds
    one, three = ends(1, steps=2), ends(3, steps=2)
    gained = loss_of(network, three) - loss_of(network, one)
    assert (gained >= -1e-5).all()
    changed = (three != one).any(axis=(1, 2, 3))
    assert changed.any()
    assert (gained[changed] > 0).all()


def test_an_attack_also_raises_what_it_is_told_to(network):
    apply_fn, params, x = network

    def confidence(params, x):
        return 100 * jnp.max(jax.nn.log_softmax(apply_fn(params, x)), axis=-1)

    def attacked(also):
        attack = functools.partial(
            interventions.pgd, apply_fn, epsilon=0.3, bounds=BOUNDS, also=also
        )
        return jax.jit(attack)(params, x, LABELS)

    naive, adaptive = attacked(None), attacked(confidence)
    sure = jax.jit(confidence)
    assert (sure(params, adaptive) > sure(params, naive) - 1e-3).all()
    assert (sure(params, adaptive) > sure(params, x)).all()


def test_a_functional_attack_changes_equal_numbers_alike(network):
    apply_fn, params, x = network
    x = jnp.round(2 * x) / 2  # ten tones in all
    attack = functools.partial(
        interventions.functional_attack, apply_fn, epsilon=0.2, tones=5, bounds=BOUNDS
    )
    found = jax.jit(attack)(params, x, LABELS)
    assert (loss_of(network, found) > loss_of(network, x)).all()
    assert np.abs(found - x).max() <= 0.2 + 1e-6
    for before, after in zip(np.asarray(x), np.asarray(found), strict=True):
        for tone in np.unique(before):
            assert np.ptp(after[before == tone]) < 1e-6
    # Between two knots the change is that of a line.
    knots = np.linspace(*BOUNDS, 5)
    for before, after in zip(np.asarray(x), np.asarray(found), strict=True):
        inner = (before > knots[1]) & (before < knots[2])
        change, where = (after - before)[inner], before[inner]
        assert np.ptp(change) < 0.4 * np.ptp(where) / (knots[2] - knots[1]) + 1e-6


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_a_sharded_batch_is_attacked_alike_and_stays_sharded(network, kind):
    apply_fn, params, x = network
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[kind],))
    sharding = NamedSharding(mesh, P("data"))

    def both(params, x, labels):
        options = {"epsilon": 0.1, "steps": 2, "bounds": BOUNDS}
        return (
            interventions.pgd(apply_fn, params, x, labels, norm="l2", **options),
            interventions.functional_attack(apply_fn, params, x, labels, **options),
        )

    alone = jax.jit(both)(params, x, LABELS)
    batch = jax.device_put((x, LABELS), sharding)
    found = jax.jit(both)(jax.device_put(params, NamedSharding(mesh, P())), *batch)
    for ours, expected in zip(found, alone, strict=True):
        assert ours.sharding.is_equivalent_to(sharding, ours.ndim)
        differs = np.abs(np.asarray(ours) - np.asarray(expected)) > 1e-4
        assert np.mean(differs) < 0.01


def test_an_example_is_attacked_alone_as_in_a_batch_and_in_half_precision(network):
    apply_fn, params, x = network
    attack = functools.partial(
        interventions.pgd, apply_fn, epsilon=0.5, norm="l2", bounds=BOUNDS
    )
    whole = jax.jit(attack)(params, x, LABELS)
    alone = jax.jit(attack)(params, x[3:4], LABELS[3:4])
    np.testing.assert_allclose(alone, whole[3:4], atol=1e-4)
    halved = lambda a: a.astype(jnp.bfloat16)
    half = jax.jit(attack)(jax.tree.map(halved, params), halved(x), LABELS)
    assert half.dtype == jnp.bfloat16
    assert (np.abs(half.astype(np.float32)) <= 2.5).all()


def test_where_nothing_can_be_climbed_nothing_is_changed():
    flat = lambda params, x: jnp.zeros((len(x), 3)) + 0 * x.sum()
    x = jnp.full((2, 4), 0.5)
    for norm in ("linf", "l2"):
        attack = functools.partial(interventions.pgd, flat, None, norm=norm)
        np.testing.assert_array_equal(attack(x, LABELS[:2], epsilon=0.1), x)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 0.0}, "epsilon must be positive, got 0.0"),
        ({"epsilon": jnp.array(-1.0)}, "epsilon must be positive, got -1.0"),
        ({"steps": 0}, "steps must be an integer >= 1, got 0"),
        ({"step_size": -1.0}, "step_size must be positive, got -1.0"),
        ({"norm": "l1"}, "norm must be one of linf, l2, got 'l1'"),
        ({"momentum": 1.5}, r"momentum must be in \[0, 1\], got 1.5"),
        ({"restarts": 2}, "key must be given for restarts"),
        ({"restarts": -1}, "restarts must be an integer >= 0, got -1"),
        ({"bounds": (1.0, 0.0)}, "bounds must rise, got 1.0 and 0.0"),
        ({"bounds": (0.0, 0.5)}, "x must be within bounds, 0.0 to 0.5, got 1 to 1"),
        ({"labels": jnp.array([0, 3])}, r"labels must be in \[0, 3\), got 3"),
        ({"labels": jnp.array([0])}, "must have the same length: x has 2, labels has"),
    ],
)
def test_bad_input_is_named(options, message):
    given = {"epsilon": 0.1, "labels": jnp.array([0, 1])} | options
    network = lambda params, x: x
    with pytest.raises(ValueError, match=message):
        interventions.pgd(network, None, jnp.ones((2, 3)), **given)


@pytest.mark.usefixtures("without_type_checks")
def test_whole_numbers_cannot_be_attacked_by_small_changes():
    with pytest.raises(TypeError, match="x must be floating point, got int32"):
        interventions.fgsm(
            lambda params, x: x, None, jnp.ones((1, 3), int), LABELS[:1], epsilon=1
        )
