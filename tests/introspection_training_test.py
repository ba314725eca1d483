"""Sparse and robust gradients: the measures, and the study run whole in small."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from experiments import introspection_training as study
from trustjax import introspection


def features(seed, asked=()):
    keys = jax.random.split(jax.random.key(seed))
    change = jax.random.normal(keys[0], (4, *asked, 3))
    return introspection.Features(change, jax.random.normal(keys[1], (4, 5)))


def flattened(found):
    """The outer products that nobody should form."""
    return np.einsum("b...c,bw->b...cw", found.change, found.embedding)


def test_sparseness_is_that_of_the_outer_product():
    found = features(0, (2,))
    for example, towards in np.ndindex(4, 2):
        r = flattened(found)[example, towards].ravel()
        root = np.sqrt(r.size)
        expected = (root - np.abs(r).sum() / np.linalg.norm(r)) / (root - 1)
        got = study.sparseness(found)[example, towards]
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_sparseness_has_its_ends():
    one, flat = jnp.array([[0.0, -3.0]]), jnp.array([[2.0, -2.0]])
    for row, expected in ((one, 1.0), (flat, 0.0)):
        got = study.sparseness(introspection.Features(row, row))
        np.testing.assert_allclose(got, [expected], atol=1e-6)


@pytest.mark.parametrize("asked", [(), (2,)])
def test_the_cosine_is_that_of_all_outer_products(asked):
    pair = features(0, asked), features(1, asked)
    ours = study.cosine_of_features(*pair)
    for example, got in enumerate(ours):
        a, b = (flattened(one)[example].ravel() for one in pair)
        expected = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        np.testing.assert_allclose(got, expected, rtol=1e-4)


@pytest.mark.exhaustive
def test_the_study_runs_whole_in_small(tmp_path):
    pytest.importorskip("imagecorruptions")
    small = dataclasses.replace(
        study.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    said = study.main(small)
    own = said["datasets"]["mnist5k"]
    names = set(study.statements(small))
    assert set(own["differences"]) == names
    assert said["level_of_each_difference"] == pytest.approx(1 - 0.05 / len(names))
    curves = own["curves"]
    assert curves["accuracy"][-1]["value"] > curves["accuracy"][0]["value"]
    # By algebra, and so of every network: no steadier than the embedding.
    for name in study.FEATURES:
        for severity in small.severities:
            gradients, embedding = (
                [point["value"] for point in curves[f"cosine|{of}|{severity}"]]
                for of in (name, study.EMBEDDING)
            )
            assert all(np.array(gradients) <= np.array(embedding) + 1e-6)
    assert (tmp_path / "figures/introspection_training.png").stat().st_size > 10_000
    written = (tmp_path / "numbers/introspection_training.json").read_text()
    assert json.loads(written) == said
    assert study.main(small) == said  # of what is kept
