"""The study of Oberdiek et al. 2018: its protocol, its arithmetic, its page."""

import dataclasses
import json
from collections import Counter

import numpy as np
import pytest

from trustjax import data, ingredients, metrics

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")
oberdiek2018 = pytest.importorskip("experiments.oberdiek2018")
columns = pytest.importorskip("experiments.oberdiek2018_columns")
judges = pytest.importorskip("experiments.oberdiek2018_judges")
oracle = pytest.importorskip("experiments.oberdiek2018_oracle")
page = pytest.importorskip("experiments.oberdiek2018_page")
resampled = pytest.importorskip("experiments.oberdiek2018_resampled")
study = pytest.importorskip("experiments.oberdiek2018_study")


def test_images_are_divided_anew_each_time():
    first, second = (oberdiek2018.divided(study.MNIST5K, n) for n in (0, 1))
    pool = np.concatenate(
        [
            data.as_arrays(s)[0]
            for s in data.load_splits("mnist5k", study.MNIST5K.pooled)
        ]
    )
    for parts in (first, second):
        images = [data.as_arrays(p)[0] for p in (parts.train, parts.validation)]
        test = data.as_arrays(parts.test)[0]
        assert tuple(map(len, (*images, test))) == study.MNIST5K.sizes
        np.testing.assert_array_equal(test, pool[parts.numbers])
        together = np.concatenate([*images, test])
        count = lambda rows: Counter(image.tobytes() for image in rows)
        assert count(together) == count(pool)
    both = np.intersect1d(first.numbers, second.numbers)
    assert 700 < len(both) < 900  # 2,000 * 2,000 / 5,000
    again = oberdiek2018.divided(study.MNIST5K, 0)
    assert again.train.fingerprint == first.train.fingerprint
    more = dataclasses.replace(study.MNIST5K, sizes=(3000, 1000, 1001))
    with pytest.raises(ValueError, match="mnist5k has 5000 images, not the 5001"):
        oberdiek2018.divided(more, 0)


def test_whole_classes_are_set_apart():
    labels = np.repeat(np.arange(10), 90)
    role = oberdiek2018.for_training(study.MNIST5K, "letters", labels, 3)
    assert (role == 1).sum() == 200
    for letter in range(10):
        of_letter = role[labels == letter]
        assert (of_letter == 0).all() or (of_letter != 0).all()
    # Images that are not alike are set apart one by one, and half of them judge.
    role = oberdiek2018.for_training(study.MNIST5K, "faces", np.zeros(100), 3)
    assert np.bincount(role).tolist() == [50, 50]
    other = oberdiek2018.for_training(study.MNIST5K, "faces", np.zeros(100), 4)
    assert (role != other).any()


def test_artificial_wrong_answers():
    validation = oberdiek2018.divided(study.MNIST5K, 0).validation
    few = dataclasses.replace(study.MNIST5K, known_unknowns=20)
    made = oberdiek2018.artificial(few, validation, 0)
    images = {name: data.as_arrays(own)[0] for name, own in made.items()}
    assert {own.shape for own in images.values()} == {(20, 28, 28, 1)}
    original = 255 - images["inverted"]
    pool = {image.tobytes() for image in data.as_arrays(validation)[0]}
    assert all(image.tobytes() in pool for image in original)

    def parts(image):
        rows = (
            image[r : r + 7, c : c + 7]
            for r in range(0, 28, 7)
            for c in range(0, 28, 7)
        )
        return sorted(part.tobytes() for part in rows)

    for image, moved in zip(original, images["shuffled"], strict=True):
        assert parts(image) == parts(moved)
    assert (images["shuffled"] != original).any(axis=(1, 2, 3)).all()
    mixed = images["mixed"].astype(int)
    assert (
        (mixed >= original // 2) & (mixed <= (original.astype(int) + 255) // 2)
    ).all()


def test_average_precision_is_that_of_metrics():
    random = np.random.default_rng(0)
    scores = random.integers(0, 12, 60).astype(np.float32)  # many ties
    positive = random.uniform(size=60) < 0.7
    weights = random.integers(0, 4, (3, 60)).astype(np.float32)
    found = resampled.average_precision(scores, positive, weights.T)
    for value, own in zip(found, weights, strict=True):
        expected = metrics.aupr_success(scores, positive, weights=own)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    out = resampled.average_precision(-scores, ~positive, weights[:1].T)
    expected = metrics.aupr_error(scores, positive, weights=weights[0])
    np.testing.assert_allclose(out[0], expected, rtol=1e-5)


def made_up(num_samples=400):
    """Two re-splits of 300 test images out of 500, and 90 letters of ten kinds."""
    random = np.random.default_rng(1)
    few = dataclasses.replace(
        study.MNIST5K, unknowns={"letters": "test"}, num_samples=num_samples
    )
    labels = {"letters": np.arange(90) % 10}
    found = []
    for resplit in range(2):
        right = random.uniform(size=300) < 0.8
        score = {
            "test": right + random.normal(size=300).round(1),
            "letters": random.normal(size=90).round(1) - 0.5,
        }
        found.append(
            columns.Populations(
                columns={
                    name: {"score": own.astype(np.float32)}
                    for name, own in score.items()
                },
                labels=labels,
                correct={"test": right},
                roles={
                    "letters": oberdiek2018.for_training(
                        few, "letters", labels["letters"], resplit
                    )
                },
                numbers=random.permutation(500)[:300],
                pool=500,
            )
        )
    return resampled.Resampler(few, found)


def trust_of(resampler):
    return [
        [{name: own["score"] for name, own in one.columns.items()}]
        for one in resampler.found
    ]


@pytest.mark.parametrize("concept", ["errors", "letters", "all unknown"])
def test_areas_are_means_of_those_of_metrics(concept):
    resampler = made_up()
    judged = trust_of(resampler)
    found = resampler.aurocs({"one": judged}, concept)["one"]
    precisions = resampler.precisions(judged, concept)
    thresholds = [[0.3], [0.1]]
    rate = resampler.rates(judged, thresholds, concept)
    expected = {"auroc": [], "aupr_in": [], "aupr_out": [], "rate": []}
    for one, (trust,), (threshold,) in zip(
        resampler.found, judged, thresholds, strict=True
    ):
        right = trust["test"][one.correct["test"]]
        if concept == "errors":
            others, unit = trust["test"][~one.correct["test"]], 1.0
        else:
            others = trust["letters"][one.roles["letters"] == 0]
            unit = 0.1 * 300 / len(others)  # a tenth of the test images
        scores = np.concatenate([right, others]).astype(np.float32)
        correct = np.arange(len(scores)) < len(right)
        weights = np.where(correct, 1, unit).astype(np.float32)
        expected["auroc"].append(metrics.auroc(scores, correct))
        expected["aupr_in"].append(
            metrics.aupr_success(scores, correct, weights=weights)
        )
        expected["aupr_out"].append(
            metrics.aupr_error(scores, correct, weights=weights)
        )
        expected["rate"].append(
            ((right >= threshold).mean() + (others < threshold).mean()) / 2
        )
    got = {"auroc": found, **precisions, "rate": rate}
    for name, values in expected.items():
        np.testing.assert_allclose(got[name].resplits, values, atol=1e-5)
        np.testing.assert_allclose(got[name].value, np.mean(values), atol=1e-5)


def test_resampled_areas_are_areas_of_reweighted_images():
    resampler = made_up()
    (judge,) = trust_of(resampler)[0]
    found = resampler.found[0]
    alone = dataclasses.replace(resampler, found=[found])
    samples = alone.aurocs({"one": [[judge]]}, "errors")["one"].samples
    weights = alone.weights(0, "test", np.arange(300))
    exact = [
        float(
            metrics.auroc(
                judge["test"].astype(np.float32), found.correct["test"], weights=own
            )
        )
        for own in weights[1:101]
    ]
    # To first order: far closer than the areas are spread.
    assert np.abs(samples[:100] - exact).max() < 0.25 * np.std(exact)
    np.testing.assert_allclose(np.std(samples), np.std(exact), rtol=0.2)


def test_letters_are_resampled_by_letter():
    resampler = made_up()
    weights = resampler.weights(0, "letters", np.arange(90))
    np.testing.assert_array_equal(weights[:, :10], weights[:, 10:20])
    assert (weights[0] == 1).all()
    whom = resampled.groups(resampler.study, resampler.found[0], "letters")
    assert resampler.independent(whom) == 10


def test_features_and_training_rows():
    names = ("max_softmax", "negative_entropy", "layer/a/l2_norm", "layer/b/l2_norm")
    names += ("network/network/l2_norm", "activation/00/mean", "confounding/a/x")
    random = np.random.default_rng(0)
    of = lambda rows: {name: random.normal(size=rows) for name in names}
    found = columns.Populations(
        columns={"validation": of(30), "test": of(20), "letters": of(8)},
        labels={},
        correct={"validation": np.arange(30) % 3 > 0, "test": np.arange(20) > 3},
        roles={"letters": np.array([1, 1, -1, 0, 0, 0, 0, 1])},
        numbers=np.arange(20),
        pool=50,
    )
    assert judges.features(found, "paper") == (*names[2:5], "negative_entropy")
    assert judges.features(found, "last_layer") == (names[3], "negative_entropy")
    assert judges.layers(found) == ("a", "b")
    rows, right = judges.training_rows(found, judges.Meta("glm", known=("letters",)))
    assert set(rows) == set(judges.features(found, "paper"))
    assert right.tolist() == [*(np.arange(30) % 3 > 0), False, False, False]
    last = rows["negative_entropy"][30:]
    expected = found.columns["letters"]["negative_entropy"][[0, 1, 7]]
    np.testing.assert_array_equal(last, expected)


def test_an_oracle_does_not_say_what_it_has_learned():
    asked = ingredients.Ingredient("one"), ingredients.Ingredient("two")
    halves = oracle.Halves(asked, of_first=np.array([True, False]))
    values = {"one": np.array([[1.0], [2.0]]), "two": np.array([[3.0], [5.0]])}
    assert halves.column("validation", values)[oracle.NAME].tolist() == [3, 2]
    assert halves.column("letters", values)[oracle.NAME].tolist() == [2, 3.5]


def test_meta_classifiers_are_named_by_what_they_are():
    known = ("uniform_noise", "letters")
    metas = [judges.Meta("lasso"), judges.Meta("network", known=known)]
    metas += [judges.Meta("network", "scores", known, transform="signed_log")]
    names = [meta.name for meta in metas]
    assert names == [
        "lasso paper none",
        "network paper uniform_noise+letters",
        "network_signed_log scores uniform_noise+letters",
    ]
    assert page.readable(names[2]) == (
        "network of logarithms, scores; knows uniform noise, letters"
    )


@pytest.mark.parametrize("setting", list(study.SETTINGS))
def test_settings_name_what_there_is(setting):
    for one in study.SETTINGS[setting]:
        for name in (one.known, *one.unknowns):
            if name.startswith("folder:"):
                with pytest.raises(FileNotFoundError, match=name.split(":")[1]):
                    data.require_known(name)
            else:
                data.require_known(name)
        assert set(one.known_concept) <= set(one.unknowns)
        assert one.known not in one.unknowns


def test_settings_of_the_paper_say_that_they_must_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTJAX_DATA", str(tmp_path))
    (emnist,) = study.SETTINGS["emnist"]
    with pytest.raises((ConnectionError, FileNotFoundError, ValueError)) as caught:
        oberdiek2018.divided(emnist, 0)
    assert "emnist" in str(caught.value)
    with pytest.raises(FileNotFoundError, match="data/notMNIST_small"):
        oberdiek2018.unknown(emnist, "folder:data/notMNIST_small", (28, 28, 1))


def test_the_page_has_the_tables_of_its_numbers():
    text = page.PAGE.read_text()
    files = list((page.FOLDER / "numbers").glob("oberdiek2018_*.json"))
    assert files, "the numbers of the study are not there"
    found = {
        path.stem.removeprefix("oberdiek2018_"): json.loads(path.read_text())
        for path in files
    }
    assert page.written(text, found) == text
    for known in found:
        assert f"of {known} -->" in text


@pytest.mark.exhaustive
def test_the_whole_study_on_little(tmp_path, capsys):
    smoke = dataclasses.replace(
        study.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    made = study.run(smoke, 0.95)
    assert "tables, statements and figures" in capsys.readouterr().out
    written = json.loads(
        (tmp_path / "numbers" / "oberdiek2018_mnist5k.json").read_text()
    )
    assert written["table1"].keys() == {
        "auroc",
        "aupr_in",
        "aupr_out",
        "balanced_accuracy",
    }
    for name in page.TABLES:
        assert page.TABLES[name](written).startswith("| ")
    for figure in ("concepts", "violins"):
        file = tmp_path / "figures" / f"oberdiek2018_{figure}_mnist5k.png"
        assert file.stat().st_size > 10_000
    # A run that goes on finds everything, and says the same.
    kept = [p for p in tmp_path.rglob("*.npz")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert study.run(smoke, 0.95) == made
    assert {path: path.stat().st_mtime_ns for path in before} == before
