"""Whatever data brings, the right number comes of it or an error that names it."""

import dataclasses
import functools
import inspect

import pytest

from tests import hostile, hostile_metrics, hostile_scores, hostile_statistics
from trustjax import losses, metrics, scores, statistics, targets

PARTS = {
    "scores": (scores, hostile_scores.SCORES),
    "metrics": (metrics, hostile_metrics.METRICS),
    "losses": (losses, hostile_scores.LOSSES),
    "statistics": (statistics, hostile_statistics.STATISTICS),
    "targets": (targets, hostile_scores.TARGETS_OF),
}
SUBJECTS = {
    f"{part}.{name}": subject
    for part, (_, subjects) in PARTS.items()
    for name, subject in subjects.items()
}


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("name", SUBJECTS)
class TestHostileValues:
    @pytest.mark.exhaustive
    def test_outside_jit(self, name):
        assert not hostile.complaints(SUBJECTS[name])

    @pytest.mark.exhaustive
    def test_under_jit(self, name):
        assert not hostile.complaints_under_jit(SUBJECTS[name])

    @pytest.mark.exhaustive
    def test_in_double(self, name):
        assert not hostile.complaints_in_double(SUBJECTS[name])


# Nothing public is left out but for one of these reasons, and each is checked.


def asks_a_network(function):
    """What it takes are a network's own inputs; its logits go to functions above."""
    first = next(iter(inspect.signature(function).parameters), "")
    return first.endswith("apply_fn")


def is_a_record(function):
    """It holds what the functions above return or take, and computes nothing."""
    named_tuple = inspect.isclass(function) and hasattr(function, "_fields")
    return named_tuple or dataclasses.is_dataclass(function)


def resamples(function):
    """It draws at random what the metrics above say of."""
    return bool(
        {"metric_fn", "samples", "key"} & set(inspect.signature(function).parameters)
    )


def counts_alone(function):
    """Its arguments are counts, compared with exact sums in its own test."""
    return list(inspect.signature(function).parameters)[:2] == ["successes", "trials"]


def searches(function):
    """It minimises a function above step by step, up to a tolerance."""
    return "max_steps" in inspect.signature(function).parameters


def takes_no_array(function):
    """Names and single numbers, which `_validate` checks."""
    parameters = inspect.signature(function).parameters.values()
    return not any("Array" in str(p.annotation) for p in parameters)


def unpacks(function):
    """It gives back what was put into its argument, as the test of `pack` says."""
    return next(iter(inspect.signature(function).parameters), "") == "packed"


REASONS = (
    asks_a_network,
    is_a_record,
    resamples,
    searches,
    counts_alone,
    takes_no_array,
    unpacks,
)


def public_functions(module):
    return {
        name: value
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and getattr(value, "__module__", "").startswith(module.__name__)
    }


def called(subject):
    """The functions of the library that a subject calls."""
    functions = subject.calls or (subject.fn,)
    return {fn.func if isinstance(fn, functools.partial) else fn for fn in functions}


@pytest.mark.parametrize("part", PARTS)
def test_every_public_function_meets_hostile_values(part):
    module, subjects = PARTS[part]
    under_test = set().union(*map(called, subjects.values()))
    left_out = {
        name
        for name, function in public_functions(module).items()
        if function not in under_test and not any(why(function) for why in REASONS)
    }
    assert not left_out
