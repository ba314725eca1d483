"""What data brings: every dtype, shape, value and container, and what must come of it.

A `Subject` is a function of the library with its arguments and its reference. From
those every case is generated; each must give what the reference gives, computed in more
than double precision from the very same numbers, or a `ValueError` or `TypeError` of
the library that names the argument and says what came. Which of the two is no choice of
the function: the kind of its argument says it for all functions alike.
"""

import dataclasses
import itertools
import pathlib
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

import trustjax

LIBRARY = str(pathlib.Path(trustjax.__file__).parent)
FLOATS = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
INTEGERS = {"int32": np.dtype(np.int32), "int64": np.dtype(np.int64)}
DTYPES = FLOATS | INTEGERS | {"bool": np.dtype(bool)}
CONTAINERS = ("list", "numpy", "jax")

# Small, and no two alike where a function could confuse them.
SIZES = {"batch": 4, "n": 8, "classes": 3, "features": 2, "samples": 5, "groups": 2}


class Refused(NamedTuple):
    """The one right answer is an error of the library with this in its message."""

    pattern: str


# Hostile values, each put into the first three examples; the last one stays ordinary,
# so that what is wrong with its neighbours is seen to be none of its business.


def _rows(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def _ties(values, dtype):
    rows = _rows(values)
    rows[0] = rows[0, 0]
    rows[1, :2] = rows[1, 0]
    return values


def _near_ties(values, dtype):
    rows = _rows(values)
    step = ml_dtypes.finfo(dtype).eps
    rows[0] = 0.75 + float(step) * np.arange(rows.shape[1])
    rows[1] = rows[1, 0]
    rows[1, -1] += float(step)
    return values


def _zeros(values, dtype):
    rows = _rows(values)
    rows[0], rows[1], rows[2, 0] = 0.0, -0.0, 0.0
    return values


def _subnormal(values, dtype):
    rows = _rows(values)
    smallest = float(ml_dtypes.finfo(dtype).smallest_subnormal)
    rows[0] = smallest * (1 + np.arange(rows.shape[1]))
    rows[1], rows[2, 0] = -smallest, smallest
    return values


def _huge(values, dtype):
    rows = _rows(values)
    largest = float(ml_dtypes.finfo(dtype).max)
    rows[0] = largest * np.resize([1.0, -0.5, 0.25, -1.0], rows.shape[1])
    rows[1], rows[2] = largest, -largest
    return values


def _infinite(values, dtype):
    rows = _rows(values)
    rows[0, 0], rows[1] = np.inf, np.inf
    return values


def _masked(values, dtype):
    rows = _rows(values)
    rows[0, -1], rows[1], rows[2, 0], rows[2, -1] = -np.inf, -np.inf, np.inf, -np.inf
    return values


def _nan(values, dtype):
    rows = _rows(values)
    rows[0, -1], rows[1], rows[2, 0], rows[2, -1] = np.nan, np.nan, np.inf, np.nan
    return values


def _ordinary(values, dtype):
    return values


def _whole_huge(values, dtype):
    rows = _rows(values)
    rows[0], rows[1] = np.iinfo(dtype).max, np.iinfo(dtype).min
    return values


def _whole_outside(values, dtype):
    rows = _rows(values)
    rows[0], rows[1] = -1, 100
    return values


def _wraps(values, dtype):
    """Numbers that are 0 and 1 if the upper half of an int64 is forgotten."""
    rows = _rows(values)
    if dtype.itemsize == 8:
        rows[0], rows[1] = 2**32, 2**32 + 1
    return values


OF_FLOATS = {
    "ordinary": _ordinary,
    "ties": _ties,
    "near_ties": _near_ties,
    "zeros": _zeros,
    "subnormal": _subnormal,
    "huge": _huge,
    "inf": _infinite,
    "masked": _masked,
    "nan": _nan,
}
OF_INTEGERS = {
    "ordinary": _ordinary,
    "ties": _ties,
    "zeros": _zeros,
    "outside": _whole_outside,
    "huge": _whole_huge,
    "wraps": _wraps,
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """What an argument is, and which values of it are refused.

    Attributes:
      dtypes: those that are taken.
      asked: what the refusal of the others asks for.
      refuses: `values -> pattern or None`: which numbers are refused if they are known.
      keeps_64: numbers of 64 bits are ranked by all their digits, whatever JAX has.
      unknown: what comes of numbers to refuse under `jax.jit`: `"formula"`, what the
        reference says of them, or `"anything"`, as no reference does.
    """

    dtypes: tuple[str, ...]
    asked: str
    refuses: Callable[[np.ndarray], str | None] = lambda values: None
    keeps_64: bool = False
    unknown: str = "formula"

    def values(self, dtype: str) -> dict[str, Callable]:
        if dtype not in self.dtypes or dtype == "bool":
            return {"ordinary": _ordinary}
        return OF_FLOATS if dtype in FLOATS else OF_INTEGERS


def as_probabilities(values):
    """What float32 rounds beyond 0 and 1 is moved there; NaN of the rest outside."""
    nearest = np.clip(values, 0, 1)
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(values - nearest) <= 1e-6, nearest, np.nan)


def _outside_unit_interval(values):
    outside = np.isnan(as_probabilities(values.astype(np.longdouble)))
    return None if not outside.any() else r"must be in \[0, 1\], got"


def _not_binary(values):
    return None if np.isin(values, (0, 1)).all() else "must be 0 or 1, got"


def _not_finite(values):
    if not np.isfinite(values).all():
        return "must be finite, got"
    beyond = r"must be in \[-1e\+18, |must fit float32, got"
    return beyond if (np.abs(values) > 1e18).any() else None


NUMBERS = Kind(tuple(FLOATS), "must be floating point, got")
PROBABILITIES = Kind(
    tuple(FLOATS), "must be floating point, got", _outside_unit_interval
)
FINITE = Kind(
    tuple(FLOATS),
    "must be floating point, got",
    _not_finite,
)
CLASSES = Kind(
    tuple(INTEGERS),
    "must be integers, got",
    lambda values: None if np.isin(values, range(1000)).all() else r"must be in \[0, ",
)
RANKED = Kind(
    tuple(DTYPES),
    "must be floating point, signed integers or boolean, got",
    lambda values: "must not be NaN, got" if np.isnan(values).any() else None,
    keeps_64=True,
)
LABELS = Kind(tuple(INTEGERS), "must be integers, got")
OUTCOMES = Kind(
    (*INTEGERS, "bool"), "must be boolean or 0 and 1, got", _not_binary
)  # fmt: skip
COUNTS = Kind(
    tuple(INTEGERS),
    "must be integers, got",
    lambda values: None if (values >= 0).all() else "must not be negative, got",
)


@dataclasses.dataclass(frozen=True)
class Argument:
    """One array that a function takes.

    Attributes:
      name: what errors call it.
      axes: the names of its axes; a number is a length that is always the same.
      kind: what it holds.
      draw: `(generator, shape) -> values` that are nothing special.
      wrap: what the function takes in place of the array itself.
      at_least: axes that must not be empty, by name.
    """

    name: str
    axes: str
    kind: Kind
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    wrap: Callable[[Any], Any] = lambda array: array

    def shape(self, sizes: dict[str, int]) -> tuple[int, ...]:
        return tuple(sizes.get(axis) or int(axis) if axis.isdigit() else sizes[axis]
                     for axis in self.axes.split())  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Subject:
    """A function under test.

    Attributes:
      fn: takes the arguments in their order.
      arguments: what it takes.
      reference: the same of float64 or integers, one number or array; NumPy.
      nonempty: axes of which it needs at least one; empty, they are refused by name.
      plural: axes of which it needs two.
      unit: the size of the numbers it computes with: what rounding is relative to.
      rtol: relative error in units of the result's rounding.
      refuses: `{name: values} -> pattern or None`: what is refused of known values
        that the kinds would take.
      chooses: it picks a class or an order, so that it is no continuous function: of
        float64, where x64 is off, it is that of the numbers rounded to float32.
      keeps_dtype: the result has the dtype of the first argument, and its digits.
      in_float32: what was fitted is kept in float32, and so are the result's digits.
      shows_scores: thresholds are among its results, and must fit JAX's dtype.
      any_float: in double its results may be of float32 too: shares of whole counts.
      any_shape: it takes arrays of every shape.
      options: what errors may name beside the arguments.
      calls: the functions of the library behind `fn`, if that is not one itself.
      jits: it can be called under `jax.jit`; else it must say that it cannot.
    """

    fn: Callable[..., Any]
    arguments: tuple[Argument, ...]
    reference: Callable[..., Any]
    nonempty: tuple[str, ...] = ()
    plural: tuple[str, ...] = ()
    unit: float = 1.0
    rtol: float = 100.0
    refuses: Callable[..., str | None] = lambda **values: None
    chooses: bool = False
    jits: bool = True
    keeps_dtype: bool = False
    in_float32: bool = False
    shows_scores: bool = False
    any_shape: bool = False
    any_float: bool = False
    options: tuple[str, ...] = ()
    calls: tuple[Callable[..., Any], ...] = ()


@dataclasses.dataclass(frozen=True)
class Case:
    """One call: what each argument is, in words and as values."""

    words: str
    values: tuple[np.ndarray, ...]
    containers: tuple[str, ...]
    refused: Refused | None = None
    also: dict = dataclasses.field(default_factory=dict)


def drawn(subject: Subject, sizes: dict[str, int]) -> tuple[np.ndarray, ...]:
    """Values that are nothing special, as wide as they come."""
    generator = np.random.default_rng(0)
    return tuple(
        argument.draw(generator, argument.shape(sizes))
        for argument in subject.arguments
    )


def narrow(values: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        return values.astype(DTYPES[dtype])


def natural(values: np.ndarray, *, x64: bool = False) -> np.ndarray:
    """In the dtype that an ordinary caller has."""
    if values.dtype.kind == "f":
        return values.astype(np.float64 if x64 else np.float32)
    if values.dtype.kind == "b":
        return values
    return values.astype(np.int64 if x64 else np.int32)


def by_value(
    subject: Subject, *, known: bool = True, x64: bool = False
) -> Iterator[Case]:
    """Each argument in turn with each dtype and each of its hostile values.

    Args:
      subject: what is asked.
      known: the values can be looked at; else arrays of JAX alone.
      x64: those of 64 bits alone, for JAX has them.
    """
    ordinary = drawn(subject, SIZES)
    for place, argument in enumerate(subject.arguments):
        for turn, (dtype, type_) in enumerate(DTYPES.items()):
            if x64 and type_.itemsize < 8:
                continue
            for more, (what, make) in enumerate(argument.kind.values(dtype).items()):
                wide = ordinary[place].copy()
                if dtype == "bool" and wide.dtype.kind == "f":
                    wide = wide > 0
                elif dtype in argument.kind.dtypes and dtype != "bool":
                    wide = wide.astype(np.float64 if dtype in FLOATS else np.int64)
                    wide = make(wide, type_)
                values = [natural(v, x64=x64) for v in ordinary]
                values[place] = narrow(wide, dtype)
                containers = ["jax"] * len(values)
                if known:
                    # Without x64 JAX has no 64 bits.
                    possible = CONTAINERS[: 2 if type_.itemsize == 8 else 3]
                    containers[place] = possible[(turn + more) % len(possible)]
                yield Case(
                    f"{argument.name}: {containers[place]} {dtype} {what}",
                    tuple(values),
                    tuple(containers),
                    _refusal(subject, place, values, known=known, x64=x64),
                )


def by_size(subject: Subject) -> Iterator[Case]:
    """No example, one number in all, and every other axis empty and of one element."""
    axes = {axis for a in subject.arguments for axis in a.axes.split()} & SIZES.keys()
    examples = axes & {"batch", "n"}
    sizes = [dict.fromkeys(examples, 0), dict.fromkeys(axes, 1)]
    sizes += [{axis: size} for axis in sorted(axes - examples) for size in (0, 1)]
    for changed in sizes:
        drew = drawn(subject, SIZES | changed)
        values = tuple(map(natural, drew))
        empty = {axis for axis, size in changed.items() if size == 0}
        alone = {axis for axis, size in changed.items() if size == 1}
        refused = None
        if empty & set(subject.nonempty) or alone & set(subject.plural):
            refused = Refused("got|has")
        yield Case(f"{changed}", values, ("jax",) * len(values), refused)


def by_shape(subject: Subject) -> Iterator[Case]:
    """Each argument in turn with a shape that is not its own."""
    ordinary = [natural(v) for v in drawn(subject, SIZES)]
    for place, argument in enumerate(subject.arguments):
        own = ordinary[place]
        wrong = {
            "scalar": own.ravel()[0],
            "one axis fewer": own.reshape((*own.shape[:-2], -1))[..., 0]
            if own.ndim == 1
            else own[..., 0],
            "(n, 1) for (n,)": own[..., None],
        }
        first_axes = [a.axes.split()[0] for a in subject.arguments]
        if first_axes.count(first_axes[place]) > 1:
            wrong["one example fewer"] = own[:-1]
        for container, (what, value) in zip(
            itertools.cycle(CONTAINERS), wrong.items(), strict=False
        ):
            values = list(ordinary)
            values[place] = np.asarray(value)
            containers = ["jax"] * len(values)
            containers[place] = container
            yield Case(
                f"{argument.name}: {container} {what} {values[place].shape}",
                tuple(values),
                tuple(containers),
                Refused("got|has"),
            )


def _refusal(subject, place, values, *, known, x64) -> Refused | None:
    argument, own = subject.arguments[place], values[place]
    dtype = next(name for name, type_ in DTYPES.items() if type_ == own.dtype)
    if dtype not in argument.kind.dtypes:
        return Refused(f"{argument.name} {argument.kind.asked}")
    if not known:
        return None
    if own.dtype.itemsize == 8 and not x64 and not argument.kind.keeps_64:
        short = np.float32 if own.dtype.kind == "f" else np.int32
        with np.errstate(all="ignore"):
            kept, whole = own.astype(short), own.dtype.kind == "i"
        lost = np.isfinite(own) & (np.isinf(kept) | ((own != kept) & whole))
        if lost.any():
            return Refused(f"{argument.name} must fit {np.dtype(short)}, got")
        own = kept
    with np.errstate(all="ignore"):
        pattern = argument.kind.refuses(own)
    if pattern is None:
        pattern = subject.refuses(
            **{a.name: v for a, v in zip(subject.arguments, values, strict=True)}
        )
    return None if pattern is None else Refused(pattern)


def contained(values: np.ndarray, container: str) -> Any:
    if container == "list":
        return values.astype(np.float64 if values.dtype.kind == "V" else values.dtype
                             ).tolist()  # fmt: skip
    return jnp.asarray(values) if container == "jax" else values


def flushed(values: np.ndarray, *, x64: bool) -> np.ndarray:
    """As XLA computes on CPUs: a number below the smallest normal one counts as 0."""
    if values.dtype.kind not in "fV":
        return values
    wide = values.astype(np.longdouble)
    type_ = np.float64 if x64 and values.dtype.itemsize == 8 else np.float32
    return np.where(np.abs(wide) < np.finfo(type_).tiny, 0 * wide, wide)


def complaint(
    subject: Subject, case: Case, fn: Callable, *, x64: bool = False
) -> str | None:
    """What is wrong with the answer to a case, in a line; None if nothing is."""
    arrays = [
        argument.wrap(contained(v, container))
        for argument, v, container in zip(
            subject.arguments, case.values, case.containers, strict=True
        )
    ]
    if subject.shows_scores and not x64 and not case.refused:
        case = dataclasses.replace(case, refused=_unshown(subject, case))
    try:
        got = fn(*arrays)
    except (ValueError, TypeError) as error:
        return _complaint_of_refusal(subject, case, error)
    except Exception as error:
        return f"{case.words}: {type(error).__name__}: {str(error)[:150]}"
    if case.refused:
        return f"{case.words}: gave {_short(got)}, not an error {case.refused.pattern}"
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = [
            v if argument.kind.keeps_64 else flushed(v, x64=x64)
            for argument, v in zip(subject.arguments, case.values, strict=True)
        ]
        if subject.chooses and not x64:
            values = [
                v.astype(np.float32) if v.dtype.kind == "f" else v for v in values
            ]
        wanted = subject.reference(*values)
    return _complaint_of_value(subject, case, got, wanted, x64=x64)


def _unshown(subject: Subject, case: Case) -> Refused | None:
    """A refusal if a threshold is a number that 32 bits do not hold."""
    scores = case.values[0]
    if scores.dtype.itemsize < 8:
        return None
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = jax.tree.leaves(subject.reference(*case.values))
    largest = np.finfo(np.float32).max if scores.dtype.kind == "f" else 2**31
    finite = [
        np.abs(a)[np.isfinite(np.asarray(a, float))] for a in map(np.atleast_1d, wanted)
    ]
    beyond = any((a > largest).any() for a in finite)
    return Refused("scores must fit") if beyond else None


def _complaint_of_refusal(subject, case, error) -> str | None:
    message = f"{type(error).__name__}: {str(error)[:150]}"
    if case.refused is None:
        return f"{case.words}: refused, {message}"
    where = traceback.extract_tb(error.__traceback__)[-1].filename
    if not where.startswith(LIBRARY):
        return f"{case.words}: not an error of the library, {message}"
    names = "|".join([a.name for a in subject.arguments] + list(subject.options))
    if not re.search(rf"\b({names})\b", str(error)):
        return f"{case.words}: names no argument, {message}"
    if not re.search(case.refused.pattern, str(error)):
        return f"{case.words}: not {case.refused.pattern!r}, {message}"
    return None


def _complaint_of_value(subject, case, got, wanted, *, x64) -> str | None:
    got_leaves, wanted_leaves = jax.tree.leaves(got), jax.tree.leaves(wanted)
    if len(got_leaves) != len(wanted_leaves):
        return f"{case.words}: {len(got_leaves)} arrays for {len(wanted_leaves)}"
    floats = [v.dtype for v in case.values if v.dtype.kind in "fV"]
    wide = x64 and subject.jits and (not floats or np.dtype(np.float64) in floats)
    for ours, right in zip(got_leaves, wanted_leaves, strict=True):
        right = np.asarray(right)
        if right.dtype.kind == "f":
            type_ = np.dtype(np.float64 if wide else np.float32)
            if subject.keeps_dtype and case.containers[0] != "list":
                type_ = min(type_, case.values[0].dtype, key=lambda t: t.itemsize)
            # The threshold of whole scores is whole.
            if subject.any_float:
                type_ = np.dtype(ours.dtype if ours.dtype.kind == "f" else type_)
            if ours.dtype != type_ and ours.dtype.kind == "f":
                return f"{case.words}: in {ours.dtype}, not {type_}"
            with np.errstate(all="ignore"):
                right = right.astype(type_)
            eps = ml_dtypes.finfo(np.float32 if subject.in_float32 else type_).eps
            eps = float(eps)
            tolerance = {"rtol": subject.rtol * eps, "atol": 8 * eps * subject.unit}
        else:
            tolerance = {"rtol": 0, "atol": 0}
        if np.shape(ours) != right.shape:
            return f"{case.words}: shape {np.shape(ours)} for {right.shape}"
        if right.dtype.kind == "f" and not subject.keeps_dtype:
            # A sum of what is near the largest float may overflow on the way.
            edge = np.abs(right) > np.finfo(right.dtype).max / 32
            right = np.where(edge, np.copysign(np.inf, right), right)
            edge = np.abs(ours) > np.finfo(right.dtype).max / 64
            ours = np.where(edge, np.copysign(np.inf, ours), ours)
        ours, right = (np.asarray(a).astype(np.longdouble) for a in (ours, right))
        if not np.allclose(ours, right, equal_nan=True, **tolerance):
            return f"{case.words}: {_short(ours)} for {_short(right)}"
    return None


def _short(value: Any) -> str:
    return " ".join(str(np.asarray(leaf)) for leaf in jax.tree.leaves(value))[
        :300
    ].replace("\n", " ")  # fmt: skip


def complaints(subject: Subject) -> list[str]:
    """All that is wrong where every value is known."""
    cases = [*by_value(subject)]
    if not subject.any_shape:
        cases += by_shape(subject)
    if not subject.jits:
        cases += by_size(subject)
    return [c for case in cases if (c := complaint(subject, case, subject.fn))]


def complaints_under_jit(subject: Subject) -> list[str]:
    """The same of the dtypes that callers have, and of every size."""
    fn = jax.jit(subject.fn)
    cases = [
        case
        for case in by_value(subject, known=False)
        if all(v.dtype in (np.float32, np.int32, bool) for v in case.values)
    ]
    cases = [case for case in cases if not _is_anything(subject, case)]
    cases += by_size(subject)
    if not subject.jits:
        outside = Refused("must be known values, got")
        cases = [dataclasses.replace(case, refused=outside) for case in cases[:1]]
    return [c for case in cases if (c := complaint(subject, case, fn))]


def _is_anything(subject: Subject, case: Case) -> bool:
    """Whether nothing is said of such numbers where they cannot be refused."""
    with np.errstate(all="ignore"):
        return any(
            argument.kind.unknown == "anything" and argument.kind.refuses(values)
            for argument, values in zip(subject.arguments, case.values, strict=True)
        )


def complaints_in_double(subject: Subject) -> list[str]:
    """The same of 64 bits where JAX has them."""
    with jax.enable_x64(True):
        fn = jax.jit(subject.fn) if subject.jits else subject.fn
        cases = by_value(subject, known=not subject.jits, x64=True)
        cases = [case for case in cases if not _is_anything(subject, case)]
        return [c for case in cases if (c := complaint(subject, case, fn, x64=True))]
