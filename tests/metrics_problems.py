"""The problems that the metric tests share."""

import functools
import pathlib

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

GOLDEN = pathlib.Path(__file__).parent / "golden"
FAILURES = ("cont", "cont_nowindow", "ties")


@functools.cache
def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def failures(variant):
    """The golden numbers of a variant, its scores and its outcomes."""
    prefix = variant + "/"
    numbers = {
        name.removeprefix(prefix): value
        for name, value in golden("04_failure_metrics").items()
        if name.startswith(prefix)
    }
    scores = jnp.asarray(numbers["z"], jnp.float32)
    return numbers, scores, jnp.asarray(numbers["correct"])


@st.composite
def tied_problems(draw):
    """Float32 scores with many ties, and outcomes of both kinds.

    One length, so that the metrics compile once.
    """
    few = st.sampled_from([-4.0, -0.5, -0.0, 0.0, 1e-30, 0.25, 0.5, 7.0])
    many = st.floats(-1e6, 1e6, width=32)
    scores = draw(st_numpy.arrays(np.float32, 24, elements=st.one_of(few, many)))
    correct = draw(st_numpy.arrays(bool, 24))
    correct[draw(st.permutations(range(24)))[0]] = True
    if correct.all():
        correct[0] = False
    return scores, correct
