"""VOICE: do its IoU and SNR tell right answers from wrong ones, and what noise does.

A part of the study `explanations`, which runs it. VOICE is the variance of the maps of
all contrasts "why P, rather than Q?"; its two numbers are the overlap (IoU) of this
uncertainty with the explanation, and the ratio of its mean to its deviation (SNR). Of
both, the tutorial says: the higher, the less is the answer to be trusted.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import scipy.special
import scipy.stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from experiments import explanations_shared as shared
from experiments.explanations_shared import Network, Study
from trustjax import explain, metrics

METHODS = {"grad_cam": "Grad-CAM", "grad_cam_plus_plus": "Grad-CAM++"}
"""The maps whose contrasts vary, and their names."""

SOFTMAX = "max softmax"


def run(study: Study, networks: Sequence[Network]) -> dict[str, Any]:
    """Every number of VOICE, printed as tables too."""
    asked = {one.name: of_images(one) for one in networks}
    found: dict[str, Any] = {}
    for one in networks:
        # An explanation without a positive value overlaps with nothing: no IoU.
        every = np.stack(list(asked[one.name].values()))
        known = np.asarray(np.isfinite(every).all(axis=0))
        found[one.name] = {
            "images_without_a_number": int((~known).sum()),
            "errors_without_a_number": int((~known & ~one.correct).sum()),
            **right_and_wrong(study, one, asked[one.name], known),
        }
    reliable = reliability(study, asked)
    noise = {one.name: under_noise(study, one.first(study.images)) for one in networks}
    for one in networks:
        print(f"\n{one.name}: right and wrong\n\n{auroc_table(found[one.name])}")
        print(f"\n{added_table(found[one.name])}")
    print(f"\nMethod and network\n\n{reliability_table(reliable)}")
    print(f"\nNoise\n\n{noise_table(noise)}")
    draw(noise, study)
    return {"right_and_wrong": found, "reliability": reliable, "noise": noise}


def of_images(network: Network) -> dict[str, np.ndarray]:
    """IoU and SNR of each method for each image, `[images]`."""

    def make() -> dict[str, np.ndarray]:
        arrays = {}
        for method in METHODS:
            found = shared.in_pieces(voice_fn(network, method), network.x)
            arrays |= {f"IoU, {METHODS[method]}": found.iou}
            arrays |= {f"SNR, {METHODS[method]}": found.snr}
        return arrays

    return dict(shared.kept(network.folder / f"voice_{len(network.x)}.npz", make))


@functools.cache
def _compiled(apply_fn: Any, method: str) -> Any:
    def numbers(params: Any, x: jax.Array) -> explain.Voice:
        found = explain.voice(apply_fn, params, x, method=method)
        # The maps are not needed.
        return found._replace(explanation=found.iou, uncertainty=found.iou)

    return jax.jit(numbers)


def voice_fn(network: Network, method: str) -> Any:
    """Images to VOICE, compiled."""
    return functools.partial(_compiled(network.apply_fn, method), network.params)


def right_and_wrong(
    study: Study, network: Network, columns: Mapping[str, np.ndarray], known: np.ndarray
) -> dict[str, Any]:
    """How well each number ranks right answers above wrong ones, and what it adds."""
    correct = network.correct[known]
    certainty = log_odds(network.logits[known])
    # In the order of the largest softmax, and never rounded to 1.
    trust = {SOFTMAX: certainty.astype(np.float32)}
    # As the tutorial has it: higher IoU and SNR, less trust.
    trust |= {f"-{name}": -own[known] for name, own in columns.items()}
    base = polynomial(certainty)
    added = {}
    for title in METHODS.values():
        pair = {part: columns[f"{part}, {title}"][known] for part in ("IoU", "SNR")}
        both = np.stack(list(pair.values()), axis=1)
        added[title] = {
            **{
                f"{part} to max softmax": ratio_test(correct, base, own[:, None])
                for part, own in pair.items()
            },
            "max softmax to IoU and SNR": ratio_test(correct, both, base),
        }
        trust[f"{SOFTMAX} with IoU and SNR, {title}"] = out_of_fold(
            correct, np.concatenate([base, both], axis=1)
        )
    compared = metrics.compare(
        {name: jnp.asarray(own) for name, own in trust.items()},
        jnp.asarray(correct),
        level=study.level,
        key=jax.random.key(0),
        num_samples=study.num_samples,
    )
    own = lambda values: shared.interval(study, metrics.auroc, values, correct)
    tests = [test for of_method in added.values() for test in of_method.values()]
    for test in tests:  # of one family
        test["p"] = min(1.0, test["p"] * len(tests))
        test["told_apart"] = bool(test["p"] < 1 - study.level)
    return {
        "auroc": {name: own(values) for name, values in trust.items()},
        "less_max_softmax": shared.differences(compared, SOFTMAX),
        "may_be_best": list(compared.may_be_best),
        "added": added,
    }


def log_odds(logits: np.ndarray) -> np.ndarray:
    """Those of the largest softmax, exact for sure answers too."""
    z = np.asarray(logits, np.float64)
    largest = z.argmax(axis=-1)
    others = np.ma.array(z, mask=np.eye(z.shape[-1], dtype=bool)[largest])
    rest = scipy.special.logsumexp(others.filled(-np.inf), axis=-1)
    return z.max(axis=-1) - rest


def polynomial(values: np.ndarray) -> np.ndarray:
    """A number in standard units and its square and cube: no straight line is meant."""
    unit = (values - values.mean()) / values.std()
    return np.stack([unit, unit**2, unit**3], axis=1)


def model() -> LogisticRegression:
    return LogisticRegression(C=np.inf, max_iter=10_000, tol=1e-8)


def standardised(columns: np.ndarray) -> np.ndarray:
    return (columns - columns.mean(axis=0)) / columns.std(axis=0)


def ratio_test(
    correct: np.ndarray, base: np.ndarray, added: np.ndarray
) -> dict[str, Any]:
    """Likelihood-ratio test of a logistic model against one with further columns."""

    def likelihood(columns: np.ndarray) -> float:
        x = standardised(columns)
        return float(
            model()
            .fit(x, correct)
            .predict_log_proba(x)[np.arange(len(correct)), correct.astype(int)]
            .sum()
        )

    whole = np.concatenate([base, added], axis=1)
    statistic = 2 * (likelihood(whole) - likelihood(base))
    slope = model().fit(standardised(whole), correct).coef_[0, -added.shape[1] :]
    return {
        "statistic": statistic,
        "freedom": added.shape[1],
        "p": float(scipy.stats.chi2.sf(statistic, added.shape[1])),
        "slopes": slope.tolist(),
    }


def out_of_fold(correct: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What a logistic model says of images that it has not learnt from."""
    folds = cross_val_predict(
        model(), standardised(columns), correct, cv=5, method="decision_function"
    )
    return np.asarray(folds, np.float32)


def reliability(
    study: Study, asked: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """IoU and SNR of each method and network on the images that all have them for."""
    every = np.stack([own for columns in asked.values() for own in columns.values()])
    known = np.isfinite(every).all(axis=0)
    found: dict[str, Any] = {"images": int(known.sum())}
    for part in ("IoU", "SNR"):
        cells = {
            f"{title}, {name}": columns[f"{part}, {title}"][known]
            for name, columns in asked.items()
            for title in METHODS.values()
        }
        compared = shared.compared_means(study, cells, higher_is_better=False)
        found[part] = {
            "means": {
                name: shared.mean_interval(study, own) for name, own in cells.items()
            },
            "best": compared.best,
            "may_be_best": list(compared.may_be_best),
            "differences": {name: shared.differences(compared, name) for name in cells},
        }
    return found


def under_noise(study: Study, network: Network) -> dict[str, Any]:
    """SNR of images under more and more noise, with accuracy and confidence."""

    def make() -> dict[str, np.ndarray]:
        arrays = {}
        for level in study.noise:
            noise = np.random.default_rng(0).normal(size=network.x.shape)
            x = np.clip(network.x + level * noise, 0, 1).astype(np.float32)
            for method, title in METHODS.items():
                found = shared.in_pieces(voice_fn(network, method), x)
                arrays[f"SNR, {title}, {level}"] = found.snr
                arrays[f"IoU, {title}, {level}"] = found.iou
            answer = functools.partial(network.apply_fn, network.params)
            arrays[f"logits, {level}"] = shared.in_pieces(answer, x)
        return arrays

    name = f"noise_{len(network.x)}_{'_'.join(map(str, study.noise))}.npz"
    arrays = shared.kept(network.folder / name, make)
    found: dict[str, Any] = {"levels": list(study.noise)}
    for title in METHODS.values():
        columns = {str(s): arrays[f"SNR, {title}, {s}"] for s in study.noise}
        compared = shared.compared_means(study, columns)
        found[title] = {
            "SNR": {s: shared.mean_interval(study, own) for s, own in columns.items()},
            "less_no_noise": shared.differences(compared, str(study.noise[0])),
        }
    logits = {s: arrays[f"logits, {s}"] for s in study.noise}
    found["accuracy"] = {
        str(s): float((z.argmax(-1) == network.labels).mean())
        for s, z in logits.items()
    }
    found["max_softmax"] = {
        str(s): float(scipy.special.softmax(z, axis=-1).max(-1).mean())
        for s, z in logits.items()
    }
    return found


def auroc_table(found: Mapping[str, Any]) -> str:
    lines = ["| Score | AUROC | less max softmax |", "|---|---|---|"]
    for name, own in found["auroc"].items():
        less = found["less_max_softmax"].get(name)
        apart = shared.cell(less, 4) if less else "-"
        mark = " =" if name in found["may_be_best"] else ""
        lines.append(f"| {name} | {shared.cell(own)}{mark} | {apart} |")
    return "\n".join(lines)


def added_table(found: Mapping[str, Any]) -> str:
    lines = ["| Method | added | statistic (freedom) | p |", "|---|---|---|---|"]
    for title, tests in found["added"].items():
        for name, test in tests.items():
            statistic = f"{test['statistic']:.1f} ({test['freedom']})"
            lines.append(f"| {title} | {name} | {statistic} | {test['p']:.2g} |")
    return "\n".join(lines)


def reliability_table(found: Mapping[str, Any]) -> str:
    lines = ["| Method, network | IoU | SNR |", "|---|---|---|"]
    for name in found["IoU"]["means"]:
        cells = []
        for part in ("IoU", "SNR"):
            best = found[part]["best"] == name
            mark = " *" if best else " =" if name in found[part]["may_be_best"] else ""
            cells.append(shared.cell(found[part]["means"][name]) + mark)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def noise_table(found: Mapping[str, Any]) -> str:
    heads = [f"SNR, {title}" for title in METHODS.values()]
    lines = [f"| Network | Noise | Right | Max softmax | {' | '.join(heads)} |"]
    lines.append("|---" * (4 + len(heads)) + "|")
    for name, own in found.items():
        for s in map(str, own["levels"]):
            cells = [shared.cell(own[title]["SNR"][s]) for title in METHODS.values()]
            lines.append(
                f"| {name} | {s} | {own['accuracy'][s]:.1%} | "
                f"{own['max_softmax'][s]:.3f} | {' | '.join(cells)} |"
            )
    return "\n".join(lines)


def draw(found: Mapping[str, Any], study: Study) -> None:
    """SNR over noise, a panel for each network."""
    canvas, panels = plt.subplots(
        1, len(found), figsize=(4 * len(found), 3.2), sharey=True, squeeze=False
    )
    for panel, (name, own) in zip(panels[0], found.items(), strict=True):
        for title, style in zip(METHODS.values(), ("o-", "s--"), strict=True):
            numbers = list(own[title]["SNR"].values())
            low, value, high = (
                np.array([n[k] for n in numbers]) for k in ("low", "value", "high")
            )
            panel.errorbar(
                own["levels"],
                value,
                (value - low, high - value),
                fmt=style,
                capsize=3,
                label=title,
            )
        panel.set(title=name, xlabel="standard deviation of the noise")
    panels[0, 0].set(ylabel="SNR of the uncertainty")
    panels[0, 0].legend()
    canvas.tight_layout()
    shared.save(canvas, study, "noise")
