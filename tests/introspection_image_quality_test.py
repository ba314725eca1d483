"""The study of image quality, run whole in small, and its measures against loops."""

import csv
import dataclasses
import json
import pathlib

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

pytest.importorskip("matplotlib")
pytest.importorskip("skimage")

from experiments import introspection_image_quality as study_of
from experiments import introspection_image_quality_agreement as agreement_of
from experiments import introspection_image_quality_measures as measures
from experiments import introspection_image_quality_opinions as opinions_of
from experiments.introspection_image_quality_tables import (
    ACROSS,
    METHODS,
    NUMBERS,
    OUTLIERS,
    PAIRS,
    tables,
)
from experiments.rise_shape import weights_of_package


def square(seed=0, side=192) -> np.ndarray:
    """Something smooth, of bytes."""
    rng = np.random.default_rng(seed)
    blurred = ndimage.gaussian_filter(rng.normal(size=(side, side, 3)), (3, 3, 0))
    return np.clip(128 + 600 * blurred, 0, 255).astype(np.uint8)


def noisy(image: np.ndarray, deviation: float, seed=1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    changed = image + deviation * rng.normal(size=image.shape)
    return np.clip(changed, 0, 255).astype(np.uint8)


def write_set(
    folder: pathlib.Path, *, side: int = 16, deviations: bool = True
) -> pathlib.Path:
    """Three references, each under four levels of noise, and what was said of them."""
    folder.mkdir()
    rows = []
    for seed in range(3):
        reference = square(seed, side)
        Image.fromarray(reference).save(folder / f"r{seed}.png")
        for level in (2, 8, 20, 45):
            name = f"r{seed}-{level}.png"
            Image.fromarray(noisy(reference, level)).save(folder / name)
            row = {"reference": f"r{seed}.png", "distorted": name, "score": 50 - level}
            rows.append(row | ({"deviation": 5} if deviations else {}))
    with open(folder / "opinions.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.mark.exhaustive
def test_the_study_of_image_quality_runs_whole_in_small(tmp_path):
    pytest.importorskip("imagecorruptions")
    try:
        weights_of_package()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    study = dataclasses.replace(
        study_of.SMOKE,
        opinions=(f"SMALL={write_set(tmp_path / 'set', side=192)}",),
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    found = study_of.run(study)
    assert set(found["kinds"]) == set(study.kinds)
    for method in METHODS:
        for name in NUMBERS:
            ends = found["means"][method][name]
            of_kinds = [own[method][name] for own in found["kinds"].values()]
            np.testing.assert_allclose(ends["value"], np.mean(of_kinds))
            assert ends["low"] <= ends["value"] <= ends["high"]
    for one, other in PAIRS:
        for name in NUMBERS:
            gap = [found["means"][own][name]["value"] for own in (one, other)]
            ours = found["differences"][f"{one} less {other}"][name]["value"]
            np.testing.assert_allclose(ours, gap[0] - gap[1], atol=1e-9)
    said = found["opinions"]["SMALL"]
    assert (said["rows"], said["references"]) == (12, 3)
    for method in METHODS:
        assert set(said["means"][method]) == {*ACROSS, OUTLIERS}
        assert said["means"][method]["Spearman"]["value"] > 0.8  # noise is seen by all
    made = tables(found)
    assert "SMALL: 12 images of 3 references" in made
    assert (
        tmp_path / "figures/introspection_image_quality.png"
    ).stat().st_size > 10_000
    path = tmp_path / "numbers/introspection_image_quality.json"
    assert json.loads(path.read_text()) == json.loads(json.dumps(found))
    assert study_of.run(study) == found  # of what is kept


class TestMeasures:
    def test_ms_ssim_is_that_of_its_formula(self):
        a = square()
        b = noisy(a, 25)
        x, y = (image.astype(float) @ [0.299, 0.587, 0.114] for image in (a, b))
        blur = lambda v: ndimage.gaussian_filter(v, 1.5, truncate=3.5)[5:-5, 5:-5]
        expected, c1, c2 = 1.0, 2.55**2, 7.65**2
        weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
        for scale, weight in enumerate(weights):
            mx, my = blur(x), blur(y)
            vx, vy = blur(x * x) - mx**2, blur(y * y) - my**2
            structure = (2 * (blur(x * y) - mx * my) + c2) / (vx + vy + c2)
            light = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
            last = scale == len(weights) - 1
            expected *= (structure * light if last else structure).mean() ** weight
            x, y = (
                (v[::2, ::2] + v[1::2, ::2] + v[::2, 1::2] + v[1::2, 1::2]) / 4
                for v in (x, y)
            )
        np.testing.assert_allclose(measures.ms_ssim(a, b), expected, rtol=1e-6)
        assert measures.ms_ssim(a, a) == pytest.approx(1)
        with pytest.raises(ValueError, match="176 pixels and more, got \\(100, 100\\)"):
            measures.ms_ssim(a[:100, :100], b[:100, :100])

    def test_psnr_of_ten_steps(self):
        # 10 log10(255^2 / 10^2) = 28.13 dB
        a = np.full((20, 20, 3), 100, np.uint8)
        assert measures.psnr(a, a + np.uint8(10)) == pytest.approx(28.1308, abs=1e-4)

    def test_whitened_patches_are_apart(self):
        x = measures.whitened_patches(square())
        assert x.shape == (192, 12 * 12)
        np.testing.assert_allclose(x.mean(axis=1), 0, atol=1e-5)
        # Each eigenvalue v of the covariance becomes v / (v + .1).
        values = np.linalg.eigvalsh(x.astype(float) @ x.T / x.shape[1])
        assert values.min() > -1e-6
        assert 0.9 < values.max() < 1
        corners = np.array([[0, 0], [3, 5], [8, 8]])
        assert measures.whitened_patches(square(), corners).shape == (192, 3)

    def test_unique_is_that_of_a_loop(self):
        rng = np.random.default_rng(0)
        net = measures.Autoencoder(
            *(
                np.float32(rng.normal(size=size) * 0.3)
                for size in ((6, 192), (6, 1), (192, 6), (192, 1))
            )
        )
        a = square()
        b = noisy(a, 30)
        x, y = (measures.whitened_patches(image).astype(float) for image in (a, b))
        sigmoid = lambda v: 1 / (1 + np.exp(-v))
        hidden = sigmoid(net.encoder @ x + net.encoder_bias)
        others = sigmoid(net.encoder @ y + net.encoder_bias)
        cut = lambda v: np.where(v < 0.025, 0, v).ravel()
        pooled = lambda one, other: abs(agreement_of.spearman(one, other)) ** 10
        gradient = np.zeros((192, 6))
        for n in range(x.shape[1]):
            error = net.decoder @ hidden[:, n] + net.decoder_bias[:, 0] - x[:, n]
            gradient += np.outer(error, hidden[:, n]) / x.shape[1]
        luma = gradient[:64] - gradient[:64].mean()
        luma = luma / luma.max(axis=1, keepdims=True)

        def features(x):
            parts = []
            for unit in range(6):
                y = (gradient[:, unit] @ x).astype(complex)
                u = np.log(y / (1 - y))
                values = luma[:, unit] - luma[:, unit].mean()
                peaked = (values**4).mean() / (values**2).mean() ** 2 > 3
                parts.append((2 if peaked else 1) * np.array([np.abs(u), np.angle(u)]))
            return cut(np.stack(parts, axis=1))

        ours = measures.Unique(net, a).qualities(b)
        np.testing.assert_allclose(ours[0], pooled(cut(hidden), cut(others)), rtol=1e-3)
        np.testing.assert_allclose(ours[1], pooled(features(x), features(y)), rtol=1e-3)
        np.testing.assert_allclose(measures.Unique(net, a).qualities(a), 1, rtol=1e-6)

    @pytest.mark.exhaustive
    def test_an_autoencoder_learns_to_restore(self):
        image = square(side=256)
        before, after = (
            measures.trained_autoencoder([image], patches=500, steps=steps, batch=128)
            for steps in (1, 300)
        )
        x = measures.whitened_patches(image)
        errors = [
            np.mean((np.asarray(net.restored(net.hidden(x))) - x) ** 2)
            for net in (before, after)
        ]
        assert errors[1] < errors[0] / 2
        # Rare activations are asked for, of every unit.
        rare = np.asarray(after.hidden(x)).mean(axis=1)
        np.testing.assert_allclose(rare, 0.035, atol=0.02)


class TestAgreement:
    def test_scores_of_a_logistic_function_are_found_again(self):
        q = np.linspace(-2, 3, 40)
        scores = agreement_of.logistic(q, 60.0, 1.7, 0.4, 2.0, 50.0)
        np.testing.assert_allclose(agreement_of.fitted(q, scores), scores, atol=1e-4)
        falling = agreement_of.fitted(-q, scores)
        np.testing.assert_allclose(falling, scores, atol=1e-4)

    def test_qualities_in_perfect_order_are_fitted(self):
        levels = -np.repeat([1.0, 2, 3, 4, 5], 13)
        found = agreement_of.agreement(levels**3, levels)
        assert found["Pearson"] > 0.999
        assert found["Spearman"] == pytest.approx(1)
        flat = agreement_of.fitted(np.ones(65), levels)
        np.testing.assert_array_equal(flat, -3)

    def test_the_jacobian_is_that_of_the_function(self):
        q, b = np.linspace(-2, 2, 9), np.array([3.0, 1.3, 0.2, 0.5, 1.0])
        ours = agreement_of._logistic_jacobian(q, *b)
        for n in range(5):
            step = 1e-6 * np.eye(5)[n]
            slope = agreement_of.logistic(q, *(b + step)) - agreement_of.logistic(
                q, *(b - step)
            )
            np.testing.assert_allclose(ours[:, n], slope / 2e-6, atol=1e-6)

    def test_outliers_are_those_off_by_two_deviations(self):
        q = np.linspace(0, 1, 30)
        scores = 10 * q
        scores[[4, 15]] += 3.0
        found = agreement_of.agreement(q, scores, np.full(30, 1.0))
        assert found[OUTLIERS] == pytest.approx(2 / 30)
        assert OUTLIERS not in agreement_of.agreement(q, scores)

    def test_a_quality_that_is_not_finite(self):
        with pytest.raises(ValueError, match="is an image its own reference"):
            agreement_of.fitted(np.array([1.0, np.inf]), np.array([1.0, 2.0]))


class TestOpinions:
    def test_a_folder_is_read(self, tmp_path):
        found = opinions_of.read_opinions(write_set(tmp_path / "set"))
        assert found.distorted[5] == tmp_path / "set" / "r1-8.png"
        assert found.references[5] == tmp_path / "set" / "r1.png"
        assert found.scores[:4].tolist() == [48, 42, 30, 5]
        assert found.deviations is not None
        assert set(found.deviations) == {5}
        none = opinions_of.read_opinions(write_set(tmp_path / "o", deviations=False))
        assert none.deviations is None

    @pytest.mark.parametrize(
        ("old", "new", "error", "match"),
        [
            ("score", "mos", ValueError, "must have the columns reference, distorted"),
            ("r1-8.png", "gone.png", FileNotFoundError, "line 7: no image .*gone.png"),
            ("42,5", "good,5", ValueError, "line 3: score must be a finite number"),
            ("42,5", "nan,5", ValueError, "line 3: score must be a finite number"),
            ("42,5", "42,-1", ValueError, "line 3: deviation must be a finite number"),
        ],
    )
    def test_a_table_that_is_wrong(self, tmp_path, old, new, error, match):
        folder = write_set(tmp_path / "set")
        path = folder / "opinions.csv"
        path.write_text(path.read_text().replace(old, new, 1))
        with pytest.raises(error, match=match):
            opinions_of.read_opinions(folder)

    def test_too_few(self, tmp_path):
        folder = write_set(tmp_path / "set")
        path = folder / "opinions.csv"
        path.write_text("\n".join(path.read_text().splitlines()[:5]))
        with pytest.raises(
            ValueError, match="10 rows and 2 references at least, got 4 and 1"
        ):
            opinions_of.read_opinions(folder)

    def test_a_set_without_a_name(self):
        study = dataclasses.replace(study_of.SMOKE, opinions=("somewhere",))
        with pytest.raises(
            ValueError, match="opinions must be NAME=FOLDER, got somewhere"
        ):
            study_of.opinion_sets(study)


def test_a_photograph_that_is_too_small():
    with pytest.raises(ValueError, match="must be 300 pixels or more"):
        study_of.middle(square(), 300)
