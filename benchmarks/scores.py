"""What scores cost beyond the pass that they are computed from.

Run `python -m benchmarks.scores`. Each row is the best of the rounds, as a multiple of
the first row of its table: the forward pass, the gradient engine, or the same distances
by scikit-learn. The rivals take turns, so that a busy moment hits all of them.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from sklearn.neighbors import NearestNeighbors

from benchmarks._timing import interleaved
from trustjax import (
    gradients,
    models,
    passes,
    scores,
    scoring,
    targets,
    transforms,
)

OF_LOGITS = scores.names(computable_from={"logits"})
CLOSED_FORM = scores.names(computable_from={"logits", "features", "last_layer"})


def table(title: str, rivals: dict[str, Callable[[], Any]], rounds: int) -> None:
    """Prints the best time of each rival over that of the first."""
    best = {name: min(s) for name, s in interleaved(rivals, rounds).items()}
    baseline = next(iter(best.values()))
    print(f"\n{title}: 1.00 is {1e3 * baseline:.2f} ms")
    for name, seconds in best.items():
        print(f"  {name:52} {seconds / baseline:6.2f} x")


def network(name: str, batch: int) -> tuple[Any, Any, jax.Array]:
    """A split network of `trustjax.models`, its parameters, and a batch of noise."""
    shape = (224, 224, 3) if name == "resnet18" else (28, 28, 1)
    classes = 1000 if name == "resnet18" else 10
    apply_fn, params = models.load(name, num_classes=classes, image_shape=shape)
    x = jax.random.normal(jax.random.key(0), (batch, *shape))
    return transforms.split(apply_fn, params, x, at="embedding"), params, x


def forward_and_scores(name: str, batch: int, rounds: int) -> None:
    """Scores in closed form against the forward pass alone."""
    split, params, x = network(name, batch)
    compiled = {
        "forward pass": jax.jit(split.apply_fn),
        "GradTrust": jax.jit(lambda p, x: scores.grad_trust(split.apply_fn(p, x))),
        f"all {len(OF_LOGITS)} scores of logits": asked(OF_LOGITS, split),
        f"all {len(CLOSED_FORM)} of logits, features, last layer": asked(
            CLOSED_FORM, split
        ),
    }
    table(f"{name}, batch {batch}", calls(compiled, params, x), rounds)


def engine_and_scores(name: str, batch: int, rounds: int) -> None:
    """Gradient scores against the gradients that they are computed from.

    Three sets, each with the gradients alone before it: towards the prediction,
    towards all classes at once as well, and towards each class in turn as well. The
    last is left out where there are a thousand classes.
    """
    split, params, x = network(name, batch)
    apply_fn = split.apply_fn

    def towards_prediction(params, x):
        return gradients.gradient_statistics(apply_fn, params, x)

    def and_confounding(params, x):
        confounding = passes.confounding_gradients(apply_fn, params, x)
        return towards_prediction(params, x), confounding

    def and_classes(params, x):
        labels = targets.every_class(apply_fn(params, x))
        by_class = gradients.class_gradients(apply_fn, params, x, labels)
        return and_confounding(params, x), by_class

    sets = {
        towards_prediction: ("gradient_statistics",),
        and_confounding: ("gradient_statistics", "confounding_gradients"),
        and_classes: (
            "gradient_statistics",
            "confounding_gradients",
            "class_gradients",
            "logits",
        ),
    }
    if name == "resnet18":
        del sets[and_classes]
    for engine, needs in sets.items():
        of_gradients = scores.names(computable_from=needs)
        wanted = dict.fromkeys((*CLOSED_FORM, *of_gradients))
        compiled = {
            " + ".join(needs): jax.jit(engine),
            f"with their scores and the closed forms, {len(wanted)} in all": asked(
                tuple(wanted), split
            ),
        }
        table(f"{name}, batch {batch}", calls(compiled, params, x), rounds)


def neighbours(rounds: int, points: int = 50_000, width: int = 128) -> None:
    """Distances to 50,000 training features against scikit-learn's."""
    rng = np.random.default_rng(0)
    train = rng.standard_normal((points, width)).astype(np.float32)
    train /= np.linalg.norm(train, axis=1, keepdims=True)
    queries = jax.device_put(train[:256] + 0.01)
    brute = NearestNeighbors(n_neighbors=50, algorithm="brute").fit(train)
    by_class = scores.fit_trust_score(train, np.arange(points) % 10)
    at_once = scores.fit_knn(train)
    predictions = np.zeros(256, np.int32)
    knn, trust = jax.jit(scores.knn_distance), jax.jit(scores.trust_score)
    rivals = {
        "scikit-learn, 50 neighbours": lambda: brute.kneighbors(np.asarray(queries)),
        "k-NN distance, 50 neighbours": lambda: knn(at_once, queries),
        "Trust Score, 10 classes": lambda: trust(by_class, queries, predictions),
    }
    table(f"256 examples, {points} points of {width} features", rivals, rounds)


def asked(names: tuple[str, ...], model: Any) -> Callable[..., Any]:
    """One jitted plan for a set of scores."""
    return jax.jit(lambda p, x: scoring.score_batch(names, model, p, x))


def calls(
    compiled: dict[str, Callable[..., Any]], *args: Any
) -> dict[str, Callable[[], Any]]:
    """The functions with their arguments, to be called without any."""
    return {name: lambda f=f: f(*args) for name, f in compiled.items()}


def main() -> None:
    forward_and_scores("cnn", batch=256, rounds=60)
    forward_and_scores("resnet18", batch=16, rounds=12)
    engine_and_scores("cnn", batch=256, rounds=15)
    engine_and_scores("resnet18", batch=8, rounds=4)
    neighbours(rounds=10)


if __name__ == "__main__":
    main()
