"""The studies of interventions, run whole in small."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from experiments import residual_uncertainty


@pytest.mark.exhaustive
def test_the_study_of_residual_uncertainty_runs_whole_in_small(tmp_path):
    study = dataclasses.replace(
        residual_uncertainty.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    found = residual_uncertainty.main(study)
    assert set(found["means"]) == set(residual_uncertainty.FAMILIES)
    for own in found["means"].values():
        for parts in own.values():
            total, between, within = (
                parts[part]["value"] for part in residual_uncertainty.PARTS
            )
            assert 0 <= between <= total <= 0.9
            np.testing.assert_allclose(between + within, total, atol=1e-5)
    assert (tmp_path / "figures/residual_uncertainty.png").stat().st_size > 10_000
    assert residual_uncertainty.main(study) == found  # of what is kept


def test_masks_of_a_map_keep_what_is_highest():
    map_ = np.arange(100.0).reshape(1, 10, 10)
    shares = residual_uncertainty.masks_of("share", jnp.asarray(map_))
    kept = np.asarray(shares).reshape(9, 100).sum(axis=1)
    np.testing.assert_array_equal(kept, np.arange(10, 100, 10))
    assert (np.asarray(shares[0])[0] == (map_[0] >= 90)).all()
    thresholds = np.asarray(
        residual_uncertainty.masks_of("threshold", jnp.asarray(map_))
    )
    assert (thresholds[4, 0] == (map_[0] / 99 >= 0.5)).all()
