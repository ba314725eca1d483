"""Fitting a detector of any kind."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from trustjax import _validate, metrics
from trustjax.detectors import _columns, _detector, _linear, _network
from trustjax.detectors._detector import KINDS, Detector
from trustjax.detectors._linear import Layers
from trustjax.detectors._network import NetworkChoices
from trustjax.detectors._populations import (
    Populations,
    checked,
    divided,
    require_varying,
)

Columns = Mapping[str, np.ndarray | jax.Array]


def fit(
    kind: str,
    columns: Columns,
    targets: Any,
    *,
    validation: tuple[Columns, Any] | None = None,
    transform: str | None = None,
    seed: int = 0,
    **options: Any,
) -> Detector:
    r"""Fits a detector on columns of two populations.

    ===============  ================================================  ================
    Kind             What it is                                        Options
    ===============  ================================================  ================
    `"threshold"`    the one column that separates best, eq. 7
    `"glm"`          logistic regression without a penalty
    `"lasso"`        with an L1 penalty                                `strengths`
    `"ridge"`        with an L2 penalty                                `strengths`
    `"elastic_net"`  with half of each                                 `strengths`,
                                                                       `l1_ratio`
    `"network"`      one hidden layer of 15 ReLU units                 `NetworkChoices`
    `"purview"`      the same with 64, on squared norms of gradients   `NetworkChoices`
                     towards a confounding label (`columns_of(...,
                     "confounding")`)
    ===============  ================================================  ================

    Columns are standardized by the mean and the deviation of the fit's examples. What
    is chosen (the strength of a penalty, the best column, the epoch of a network) is
    chosen on the validation part alone.

    Args:
      kind: one of `KINDS`.
      columns: name -> `[examples]`, finite.
      targets: `[examples]`, True for what is to be trusted: right answers, or inputs
        of the known classes.
      validation: columns and targets of other examples, to choose by. If there are
        none, a third of each population is held out; what is then chosen is fitted
        on all examples (a network: on the other two thirds).
      transform: `"none"`, or `"signed_log"` of what spans decades, in units of each
        column's median magnitude; None for the latter with `"purview"` alone.
      seed: of the held-out third, of the first weights and of the order of examples.
      **options: of the kind, as above.

    Returns:
      The detector, which keeps those columns alone that it gives a weight.

    Raises:
      ValueError: naming columns that are constant, NaN or infinite, or missing in the
        validation part; if a population has fewer than two examples; if `kind` or an
        option is unknown.
      ModuleNotFoundError: if scikit-learn is missing, naming the extra.

    >>> rng = np.random.default_rng(0)
    >>> trusted = np.arange(60) % 3 > 0
    >>> columns = {"margin": trusted + rng.normal(size=60), "id": np.arange(60)}
    >>> detector = fit("ridge", columns, trusted)
    >>> weights = _detector.coefficients(detector)
    >>> weights["margin"] > abs(weights["id"])
    True

    References:
      Oberdiek et al. 2018 (arXiv:1805.08440), sections 4 to 6: features as they are,
      which their unpenalized and ridge regressions did not survive (Table 2);
      standardized ones are this library's choice. Lee and AlRegib 2021
      (arXiv:2206.08229): a detector of two dense layers; its width and the logarithm
      are this library's.
    """
    _validate.choice("kind", kind, KINDS)
    fitted = _options(kind, options)
    names = tuple(columns)
    if not names:
        raise ValueError("there are no columns to fit a detector on")
    for name in names:
        if kind == "purview" and not name.startswith(f"{_columns.CONFOUNDING}/"):
            raise ValueError(
                "a detector of kind 'purview' is fitted on squared norms of "
                f"confounding gradients alone, got the column {name}"
            )
    everything = checked(columns, targets, names, "the fit")
    require_varying(everything, names)
    if transform is None:
        transform = "signed_log" if kind == "purview" else "none"
    unit = _unit(everything.values)
    moved = _detector.transformed(everything.values, transform, unit, xp=np)
    centre, scale = moved.mean(axis=0), moved.std(axis=0)

    def standardized(data: Populations) -> Populations:
        v = _detector.transformed(data.values, transform, unit, xp=np)
        return Populations((v - centre) / scale, data.trusted)

    if validation is None:
        learning, chosen_on = map(standardized, divided(everything, seed))
    else:
        learning = standardized(everything)
        chosen_on = standardized(checked(*validation, names, "the validation part"))
    layers = fitted(learning, chosen_on, standardized(everything), seed)
    kept = np.flatnonzero(np.any(layers[0][0] != 0, axis=1))
    if not len(kept):
        raise ValueError(
            f"the {kind} gives no column a weight: no strength separates the "
            "populations; give weaker ones"
        )
    (kernel, bias), *rest = layers
    made = Detector(
        layers=((kernel[kept], bias), *rest),
        centre=centre[kept],
        scale=scale[kept],
        unit=unit[kept],
        threshold=np.zeros(()),
        names=tuple(names[i] for i in kept),
        kind=kind,
        transform=transform,
    )
    return _with_threshold(made, columns, everything.trusted)


def _with_threshold(
    detector: Detector, columns: Columns, trusted: np.ndarray
) -> Detector:
    s = _detector.score(detector, columns)
    found = metrics.balanced_threshold(s, trusted)
    return dataclasses.replace(detector, threshold=np.asarray(found.threshold))


def _unit(values: np.ndarray) -> np.ndarray:
    """The median magnitude of each column; 1 where that is zero."""
    median = np.median(np.abs(values), axis=0)
    return np.where(median > 0, median, 1.0)


_Fit = Callable[[Populations, Populations, Populations, int], Layers]


def _options(kind: str, options: dict[str, Any]) -> _Fit:
    """The function that fits a kind, its options bound.

    Raises:
      ValueError: if an option is not one of the kind, naming those that are.
    """
    if kind == "threshold":
        _require_options(kind, options, ())
        return lambda learning, validation, _, seed: _linear.fit_threshold(
            learning, validation
        )
    if kind in _L1_RATIOS:
        l1_ratio = _L1_RATIOS[kind]
        known = () if l1_ratio is None else ("strengths",)
        known += ("l1_ratio",) if kind == "elastic_net" else ()
        _require_options(kind, options, known)
        bound = {"l1_ratio": l1_ratio, **options}
        if bound["l1_ratio"] is not None:
            _validate.fraction("l1_ratio", bound["l1_ratio"])
        return lambda learning, validation, everything, seed: _linear.fit_logistic(
            learning, validation, everything, seed=seed, **bound
        )
    _require_options(kind, options, NetworkChoices._fields)
    choices = NetworkChoices(**{"hidden": 64 if kind == "purview" else 15, **options})
    return lambda learning, validation, _, seed: _network.fit_network(
        learning, validation, seed=seed, choices=choices
    )


_L1_RATIOS = {"glm": None, "lasso": 1.0, "ridge": 0.0, "elastic_net": 0.5}


def _require_options(
    kind: str, options: dict[str, Any], known: tuple[str, ...]
) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"a detector of kind {kind!r} takes "
            f"{', '.join(known) if known else 'no options'}, got {', '.join(unknown)}"
        )
