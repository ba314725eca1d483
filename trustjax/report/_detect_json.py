"""The numbers of a page about a detector, for programs."""

from collections.abc import Sequence
from typing import Any

from trustjax.assess import Tried
from trustjax.report import _detect_text, _json
from trustjax.report._detected import DetectionPage


def numbers(page: DetectionPage) -> dict[str, Any]:
    """Every number on the page."""
    found = page.detection
    return {
        "what": _detect_text.what(page),
        "kind": page.kind,
        "num_columns": page.num_columns[0],
        "num_columns_of_detector": page.num_columns[1],
        "confidence_level": found.level,
        "num_trusted": found.num_trusted,
        "num_untrusted": found.num_untrusted,
        "detector": found.detector,
        "best_single_score": found.single,
        "scores": found.numbers,
        "ahead_of_best_single_score": found.ahead,
        "is_ahead": found.is_ahead,
        "is_behind": found.is_behind,
        "comparison": _json.of_statement("auroc", found.comparison),
        "by_population": found.by_population,
        "kinds": _tried(found.kinds, "validation_auroc"),
        "single_scores": _tried(found.singles, "fitting_auroc"),
        "coefficients": {
            "kind": page.weights_of,
            "scores": {w.statistic: w.value for w in page.weights if not w.place},
            "gradients": {
                place: {w.statistic: w.value for w in page.weights if w.place == place}
                for place in dict.fromkeys(w.place for w in page.weights if w.place)
            },
        },
        "examples": {
            name: {
                "trusted": trusted,
                **dict(zip(page.parts, counts, strict=True)),
            }
            for name, trusted, counts in zip(
                page.populations, page.trusted, page.counts.tolist(), strict=True
            )
        },
        "run": page.run,
    }


def _tried(tried: Sequence[Tried], before: str) -> dict[str, Any]:
    return {one.title: {before: one.before, "auroc": one.auroc} for one in tried}
