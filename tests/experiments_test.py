import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from trustjax import assess, data, models, oracles, train

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")
auac_grids = pytest.importorskip("experiments.auac_grids")
score_table = pytest.importorskip("experiments.score_table")
oberdiek2018_train = pytest.importorskip("experiments.oberdiek2018_train")
luo2021 = pytest.importorskip("experiments.luo2021")
rise_shape = pytest.importorskip("experiments.rise_shape")
luo2021_confidnet = pytest.importorskip("experiments.luo2021_confidnet")
luo2021_losses = pytest.importorskip("experiments.luo2021_losses")
luo2021_pairs = pytest.importorskip("experiments.luo2021_pairs")
luo2021_study = pytest.importorskip("experiments.luo2021_study")
wong2020_table1 = pytest.importorskip("experiments.wong2020_table1")
shifts = pytest.importorskip("experiments.shifts")
shifts_numbers = pytest.importorskip("experiments.shifts_numbers")
explanations = pytest.importorskip("experiments.explanations")
explanations_games = pytest.importorskip("experiments.explanations_games")
explanations_shared = pytest.importorskip("experiments.explanations_shared")
explanations_voice = pytest.importorskip("experiments.explanations_voice")
grad_trust_table = pytest.importorskip("experiments.grad_trust_table")
representation = pytest.importorskip("experiments.representation")
lee2021_open_set = pytest.importorskip("experiments.lee2021_open_set")
shared = pytest.importorskip("experiments.shared")
train_for_trust = pytest.importorskip("experiments.train_for_trust")
train_for_trust_numbers = pytest.importorskip("experiments.train_for_trust_numbers")
train_for_trust_terms = pytest.importorskip("experiments.train_for_trust_terms")


@pytest.mark.exhaustive
def test_oberdiek2018_train_runs_and_learns(tmp_path, capsys):
    config = train.TrainConfig(epochs=2)
    accuracy = oberdiek2018_train.main("mnist5k", config, tmp_path)
    assert accuracy > 0.6  # chance is 0.1
    out, err = capsys.readouterr()
    assert out.startswith("6,250 weights, 2 epochs, 24 steps")
    assert "training 24/24 epoch 2" in err
    assert (tmp_path / "mnist5k" / "24").is_dir()


@pytest.mark.exhaustive
def test_rise_and_shape_on_a_photograph(tmp_path, capsys):
    try:
        rise_shape.weights_of_package()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    study = dataclasses.replace(
        rise_shape.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers.json",
        figure=tmp_path / "figure.png",
    )
    made = rise_shape.main(study)
    (row,) = made["rows"]
    assert row["class"] in ("tabby, tabby cat", "tiger cat", "Egyptian cat")
    areas = np.array(list(row["areas"]["RISE"].values()))
    assert ((areas > 0) & (areas < 1)).all()
    written = json.loads((tmp_path / "numbers.json").read_text())
    assert written["rows"][0]["masks needed"] == row["masks needed"]
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert "| chelsea.png | 0.5 |" in capsys.readouterr().out
    # What it has asked already is not asked again.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert before
    again = rise_shape.main(study)
    assert again["rows"] == made["rows"]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


@pytest.mark.exhaustive
def test_luo2021_study_runs_whole_from_one_command(tmp_path, capsys):
    pair = luo2021.Pair(  # the smallest there is: digits of 8x8 pixels
        dataset="digits",
        oracle="mlp",
        classifier="mlp",
        classifier_epochs=2,
        oracle_epochs=1,
        seeds=(0,),
        workdir=tmp_path,
    )
    without_dropout = dataclasses.replace(pair, classifier="resnet8")
    made = luo2021_study.run(
        [pair, without_dropout],
        tmp_path,
        losses=("CE", "SS"),
        alphas=(5.0,),
        heads=("linear",),
        kinds=("contrast",),
        images=200,
    )
    rows = made["table 1"]
    assert list(rows)[:5] == ["CE", "SS", "MCP", "MC dropout", "Trust Score"]
    assert rows["MCP"].shape == (1, len(luo2021.COLUMNS))
    assert rows["MCP"][0, 3] > 70
    others = made["table 1, <mlp, resnet8>"]
    assert list(others)[:5] == ["CE", "SS", "MCP", "Trust Score", "GradTrust"]
    assert [*made["table 3"]] == (
        ["as they are", "negative", "FGSM", "PGD", "functional", "contrast"]
    )
    fooled, as_they_are = (
        made["table 3"][name]["MCP"] for name in ("PGD", "as they are")
    )
    assert fooled.shape == as_they_are.shape == (1, len(luo2021.COLUMNS))
    assert fooled[0, 3] < as_they_are[0, 3]
    assert made["figure 3"]["SS"].shape == (1, 2)
    assert (made["figure 4"]["linear"][5.0] >= 0).all()
    for number in (3, 4):
        assert (tmp_path / f"luo2021_figure{number}_digits.png").stat().st_size > 1000
    out = capsys.readouterr().out
    assert "<mlp, mlp> on digits" in out
    assert "AUC of SS less that of: CE" in out
    assert "figure4 took" in out


@pytest.mark.exhaustive
def test_luo2021_pairs_and_confidnet_on_the_smallest_data(tmp_path, capsys):
    smallest = dataclasses.replace(luo2021_pairs.SMOKE.swept, workdir=tmp_path)
    study = dataclasses.replace(
        luo2021_pairs.SMOKE,
        pairs=(smallest,),
        swept=smallest,
        numbers=tmp_path / "pairs.json",
        figures=tmp_path,
    )
    made = luo2021_pairs.main(study)
    assert list(made["pairs"]) == ["<mlp, mlp>"]
    first = made["pairs"]["<mlp, mlp>"]
    assert list(first["rows"]) == ["CE", "SS", "MCP"]
    assert first["rows"]["MCP"]["AUC"][0] > 70
    value, low, high = first["SS less"]["AUC"]["MCP"]
    assert low < value < high
    ours, theirs = (first["rows"][name]["AUC"][0] for name in ("SS", "MCP"))
    assert value == pytest.approx(ours - theirs, abs=1e-3)
    assert list(made["alpha_plus"]["mean"]) == ["1", "3"]
    assert list(made["unseen"]["domains"]) == ["as they are", "contrast", "letters"]
    assert made["unseen"]["domains"]["letters"]["right"] == 0
    for name in ("risks", "alpha_plus", "unseen"):
        assert (tmp_path / f"luo2021_{name}_digits.png").stat().st_size > 5000

    study = dataclasses.replace(
        luo2021_confidnet.SMOKE, pairs=(smallest,), numbers=tmp_path / "confidnet.json"
    )
    rows = luo2021_confidnet.main(study)["datasets"]["digits"]["rows"]
    assert list(rows)[:4] == ["TCP head", "TCP cloned", "SS head", "SS cloned"]
    assert rows["SS cloned"]["AUC"][0] > 70
    written = json.loads((tmp_path / "confidnet.json").read_text())
    assert written["datasets"]["digits"]["rows"] == rows
    assert "AUC of SS cloned less that of: TCP head" in capsys.readouterr().out


def test_the_curves_of_oracle_losses(tmp_path):
    found = luo2021_losses.main(tmp_path)
    assert found["right, SS (1, 3)"]["slope"] == pytest.approx(-1)
    assert found["wrong, SS (1, 3)"]["slope"] == pytest.approx(3)
    # What a wrong answer's true class was given is all the distrust that TCP asks for.
    least = found["wrong, TCP, p = 0.4"]["least_at"]
    assert least == pytest.approx(np.log(0.4 / 0.6), abs=0.02)
    assert (tmp_path / "luo2021_losses.png").stat().st_size > 10_000


@pytest.mark.exhaustive
def test_a_rescaling_changes_the_range_grid_alone():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(400, 3)).astype(np.float32) * 3)
    labels = jnp.asarray(np.where(rng.random(400) < 0.6, logits.argmax(1), 0))
    scales = list(auac_grids.of_scales(logits, labels).values())
    for name in ("auroc", "auac", "aufc"):
        assert len({float(getattr(found, name)) for found in scales}) == 1
    for name in ("auac_range", "aufc_range"):
        assert np.ptp([float(getattr(found, name)) for found in scales]) > 0.01


def test_score_table_has_a_row_for_each_score():
    known = dict.fromkeys(score_table.METRICS, assess.Quantity(0.25))
    score = assess.ScoreAssessment(
        name="margin",
        title="Margin",
        info="",
        numbers=known | {"auroc": assess.Quantity(0.5, 0.4, 0.625)},
        behind_best=assess.Quantity(0.1),
        may_be_best=True,
        selective_risk=assess.Quantity(0.1),
        risk_coverage=assess.Curve(np.zeros(1), np.zeros(1)),
        num_infinite=0,
    )
    unknown = {"margin": {"auroc": assess.Quantity(None)}}
    *_, first, row = score_table.table(
        (score, score), {"letters": unknown}
    ).splitlines()
    middle = " | ".join(["25.00"] * len(known))
    assert first == f"| Margin | 50.00 [40.00, 62.50] | {middle} | - |"
    assert row == f"| Margin | 50.00 [40.00, 62.50] = | {middle} | - |"


@pytest.mark.parametrize(
    "name", ["cifar10", pytest.param("imagenet2012", marks=pytest.mark.exhaustive)]
)
def test_luo2021_studies_of_the_papers_data_are_valid(name):
    for pair in luo2021_study.STUDIES[name]:
        assert pair.dataset == name
        image_shape = pair.image_shape or (32, 32, 3)
        for loss in luo2021.LOSSES:
            config = pair.oracle_config(loss, seed=0)
        oracle = nnx.eval_shape(functools.partial(oracles.create, config, image_shape))
        assert jax.tree.leaves(nnx.state(oracle.dense))[-1].shape[-1] == 1
        assert pair.classifier_config(pair.classifier).model == pair.classifier


@pytest.mark.exhaustive
def test_wong2020_table1_says_where_accuracy_and_trust_part():
    labels = np.arange(600) % 3
    right = 6.0 * np.eye(3)[labels]
    hesitant = np.where(np.arange(600)[:, None] % 20 > 0, right / 10, 0.6 - right / 10)
    sure = np.where(np.arange(600)[:, None] % 8 > 0, right, 6.0 - right)
    compared = assess.compare(
        {
            "hesitant": assess.Predictions(hesitant, labels),
            "sure": assess.Predictions(sure, labels, run={"num_parameters": 1500}),
        },
        num_samples=200,
    )
    lines = wong2020_table1.table(compared).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| hesitant | ")
    assert "| 95.00 [" in lines[2]
    assert lines[3].endswith("| 0.002 |")
    text = wong2020_table1.answer(compared)
    assert text.startswith("The most accurate is hesitant, the highest NetTrustScore")
    assert "hesitant is right more often than sure, and trusted less: by more" in text


def test_wong2020_table1_names_the_weights_that_are_missing():
    with pytest.raises(
        ValueError,
        match=r"takes weights of mobilenetv1_100, mobilenet_v2, resnet50: give "
        r"--weights mobilenetv1_100=mobilenetv1_100\.ra4",
    ):
        wong2020_table1.main("imagenet2012", weights=("shufflenet_v2_x1_0=s.pth",))
    assert not wong2020_table1.missing(wong2020_table1.STUDIES["fashion_mnist"], {})


@pytest.mark.exhaustive
def test_the_networks_of_wong2020_have_the_weights_of_its_table():
    """Without the last layer and with the running statistics, and 1 to 4 % less."""
    study = wong2020_table1.STUDIES["imagenet2012"]
    for (name, _), row in zip(study.networks, wong2020_table1.PAPER, strict=True):
        model = models.outlined(name)
        count = sum(
            leaf.size
            for path, leaf in nnx.to_flat_state(
                nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
            )
            if path[0] != "dense"
        )
        assert 1 < row.parameters / count < 1.04


@pytest.mark.exhaustive
def test_explanations_runs_whole_in_small(tmp_path, capsys):
    study = dataclasses.replace(
        explanations_shared.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    found = explanations.main(study)
    for name in ("cnn", "vit_micro"):
        games = found["masks"][name]["games"]
        assert set(explanations_games.RIVALS) < set(games["means"])
        for own in games["means"].values():
            for measure in ("insertion", "deletion", "masking", "complexity"):
                number = own[measure]
                assert 0 <= number["low"] <= number["value"] <= number["high"] <= 1
        for game in explanations_games.GAMES:
            curves = found["masks"][name]["structure"][game]["huffman"]
            for x in curves["x"].values():
                assert np.isclose(x, 1).any()  # nothing is masked
        aurocs = found["voice"]["right_and_wrong"][name]["auroc"]
        assert all(0 <= number["value"] <= 1 for number in aurocs.values())
    assert json.loads((tmp_path / "numbers" / "explanations_mnist5k.json").read_text())
    assert len(list((tmp_path / "figures").glob("*.png"))) == 4
    again = explanations.main(study)  # from what is kept
    assert json.dumps(again) == json.dumps(found)  # in which NaN is NaN
    assert "Method and network" in capsys.readouterr().out


def test_likelihood_ratios_find_what_adds_to_a_model():
    rng = np.random.default_rng(0)
    known, hidden, noise = rng.normal(size=(3, 2000, 1))
    correct = (known + hidden + rng.logistic(size=(2000, 1)))[:, 0] > -1
    found = explanations_voice.ratio_test(correct, known, hidden)
    assert found["p"] < 1e-12
    assert found["slopes"][0] > 0
    assert explanations_voice.ratio_test(correct, known, noise)["p"] > 1e-3


def test_shifts_jackknife_of_a_mean_is_its_standard_error():
    rng = np.random.default_rng(0)
    correct = rng.random(60) < 0.7
    labels = np.where(correct, 0, 1)
    logits = np.tile([[2.0, 0.0]], (60, 1))
    said = shifts_numbers.Said(logits, labels, {"s": rng.normal(size=60) + correct})
    found = shifts_numbers.of_version(said, shifts_numbers.masks(60, 60))
    # Each image a group of its own: the textbook's standard error of a mean.
    wanted = correct.std(ddof=1) / np.sqrt(60)
    np.testing.assert_allclose(found["accuracy"].error, wanted, rtol=1e-4)
    pairs = said.scores["s"][correct][:, None] > said.scores["s"][~correct]
    np.testing.assert_allclose(found["s"]["auroc"].value, pairs.mean(), rtol=1e-6)
    best = shifts_numbers.best({"a": found["accuracy"], "b": found["accuracy"]}, 0.95)
    assert best["may_be"] == ["a", "b"]
    less = found["accuracy"]._replace(value=0.0, without=np.zeros(60))
    best = shifts_numbers.best({"a": less, "b": found["accuracy"]}, 0.95)
    assert (best["largest"], best["may_be"]) == ("b", ["b"])


def test_shifts_adversaries_are_as_many_as_the_others():
    score = np.zeros(90)
    where = np.arange(90) < 30
    numbers = shifts_numbers.detection({"s": score}, where, 10)["s"]
    # A score that says nothing keeps all: the share of ordinary images, made a half.
    np.testing.assert_allclose(numbers["audc_quantile"].value, 0.5, atol=1e-6)
    np.testing.assert_allclose(numbers["auroc"].value, 0.5, atol=1e-6)


def test_shifts_of_imagenet_reads_the_right_records(monkeypatch, tmp_path):
    study = shifts.STUDIES["imagenet"]
    with pytest.raises(ValueError, match=r"resnet50=FILE efficientnet_lite0=FILE"):
        shifts.run(study)
    for kind in study.kinds:
        for severity in study.severities:
            data.require_known(study.prepared[0].format(kind=kind, severity=severity))
    data.require_known(study.adversaries[0])
    with pytest.raises(FileNotFoundError, match="by hand"):
        data.load("imagenet2012_corrupted/fog_3", "validation", data_dir=tmp_path)

    asked = []
    images = np.zeros((3, 224, 224, 3), np.uint8)

    def load(name, split):
        asked.append((name, split))
        names = [str(number) for number in range(1000)]
        return data.from_arrays(name, images, np.arange(3), names)

    monkeypatch.setattr(shifts.data, "load", load)
    corrupted = shifts.version(study, shifts.test_images(study), "fog", 3)
    assert corrupted.fixed_shape == (224, 224, 3)
    np.testing.assert_array_equal(data.as_arrays(corrupted)[0], images)
    assert asked == [
        ("imagenet2012", "validation"),
        ("imagenet2012_corrupted/fog_3", "validation"),
    ]

    def answers(study, network, dataset, scores, key):
        values = np.random.default_rng(len(key)).random(len(dataset))
        logits = np.eye(1000)[:3]
        return shifts_numbers.Said(logits, np.arange(3), {"s": values})

    monkeypatch.setattr(shifts, "ask", answers)
    small = dataclasses.replace(study, groups=3)
    found = shifts.adversaries(small, None, None, shifts.test_images(study))
    assert asked[-1] == ("imagenet_a", "test")
    assert found["natural adversaries"]["count"] == 3


@pytest.mark.exhaustive
def test_shifts_runs_whole_in_small_and_goes_on(tmp_path, capsys):
    study = dataclasses.replace(
        shifts.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    made = shifts.run(study)
    written = json.loads((tmp_path / "numbers/shifts_smoke.json").read_text())
    assert written == made
    rows = made["summary"]
    assert list(rows) == ["0", "1", "5"]
    assert (
        rows["5"]["accuracy"]["over_images"]["value"]
        < (rows["0"]["accuracy"]["over_images"]["value"])
    )
    for name in shifts.TUTORIAL:
        for number in shifts_numbers.OF_SCORE:
            own = rows["5"][name][number]["over_images"]
            assert 0 <= own["low"] <= own["value"] <= own["high"] <= 1
    assert sum(made["setups"]["on_top"]["auac_range"].values()) == 4
    assert set(made["adversaries"]) == {"errors of resnet8", "errors of cnn itself"}
    assert made["adversaries"]["errors of cnn itself"]["accuracy"] == 0
    for name in ("network", "scores"):
        figure = tmp_path / f"figures/shifts_{name}_smoke.png"
        assert figure.stat().st_size > 10_000
    out = capsys.readouterr().out
    assert "Corruption errors of resnet8" in out
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*-5.npz")}
    assert len(before) == 4
    assert shifts.run(study) == made
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


@pytest.mark.exhaustive
def test_the_table_of_grad_trust_runs_whole_in_small(tmp_path, capsys):
    study = dataclasses.replace(
        grad_trust_table.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    found = grad_trust_table.main(study)
    assert "| cnn, mnist5k |" in capsys.readouterr().out
    for said in found["networks"].values():
        assert set(said["areas"]) == set(grad_trust_table.SCORES.values())
        for measure, ranks in said["grad_trust"].items():
            column = measure.replace("_quantile", "")
            values = {title: row[column] for title, row in said["areas"].items()}
            better = sum(v > values["GradTrust"] for v in values.values())
            assert ranks["place"] == better + 1, measure
            assert not set(ranks["ahead"]) & set(ranks["behind"])
        errors = round((1 - said["accuracy"]) * said["images"])
        for quadrants in said["quadrants"].values():
            assert sum(q["images"] for q in quadrants.values()) == said["images"]
            assert sum(q["errors"] for q in quadrants.values()) == errors
    assert len(list((tmp_path / "figures").glob("*.png"))) == 2
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("scores.npz")}
    assert grad_trust_table.main(study) == found  # of what is kept
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.exhaustive
def test_the_study_of_embeddings_runs_whole_in_small(tmp_path):
    study = dataclasses.replace(
        representation.SMOKE,
        networks=tmp_path / "networks",
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    found = representation.main(study)
    kinds = {f"{kind} {severity}" for kind in study.corruptions for severity in (1, 5)}
    assert set(found["sets"]) == {"test", *study.unknown, *kinds}
    for name, shape in found["sets"].items():
        assert 1 <= shape["effective_rank"] <= 144
        assert (shape["accuracy"] is None) == (name in study.unknown)
    for name in ("test", *study.unknown):
        spectrum = found["sets"][name]["spectrum"]
        assert len(spectrum) == 144
        assert spectrum == sorted(spectrum, reverse=True)
    for number in found["rank_correlation_with_accuracy"].values():
        assert number["low"] <= number["value"] <= number["high"]
    medians = found["fisher"]["median_trace"]
    assert list(medians) == ["right", "wrong", *study.unknown]
    for row in medians.values():
        assert list(row) == ["conv1", "conv2", "conv3", "dense", "all layers"]
    assert (tmp_path / "figures/representation_mnist5k.png").stat().st_size > 10_000
    assert representation.main(study) == found  # of what is kept


@pytest.mark.exhaustive
def test_open_set_recognition_runs_whole_in_small(tmp_path):
    study = dataclasses.replace(
        lee2021_open_set.SMOKE.study, workdir=tmp_path, numbers=tmp_path / "numbers"
    )
    setting = dataclasses.replace(lee2021_open_set.SMOKE, study=study)
    found = lee2021_open_set.run(setting)
    for one in found["divisions"]:
        assert len(one["known"]) == 6
        assert set(one["first"]) < set(one["known"])
    for judge, own in found["judges"].items():
        assert list(own) == [lee2021_open_set.CLASSES, "letters", "uniform_noise"]
        for of_unknown in own.values():
            learned = judge in lee2021_open_set.LEARNED
            assert ("accuracy, .95" in of_unknown) == learned
            for number in of_unknown.values():
                assert len(number["divisions"]) == 2
                assert all(0 <= value <= 1 for value in number["divisions"])
    assert f"| {lee2021_open_set.DETECTOR}, .95 |" in lee2021_open_set.tables(found)
    written = json.loads(
        (tmp_path / "numbers/lee2021_open_set_mnist5k.json").read_text()
    )
    assert written.keys() == found.keys()
    assert lee2021_open_set.run(setting) == found  # of what is kept


def test_an_open_set_is_divided_into_classes_that_are_known_and_not():
    one = lee2021_open_set.division(10, 0)
    assert (len(one.known), len(one.first)) == (6, 4)
    assert set(one.first) < set(one.known)
    assert lee2021_open_set.division(10, 0) == one != lee2021_open_set.division(10, 1)


def test_differences_of_an_open_set_hold_together():
    detector, *rivals = (lee2021_open_set.DETECTOR, "a", "b")
    apart = np.array([0.1, 0.2, 0.15, 0.12])
    splits = [
        {detector: {"x": {"auroc": 0.5 + own}}}
        | {name: {"x": {"auroc": 0.5}} for name in rivals}
        for own in apart
    ]
    found = lee2021_open_set.differences(splits)["x"]
    # Of two statements each holds at 97.5 %.
    wanted = stats.t.interval(0.975, 3, apart.mean(), stats.sem(apart))
    for name in rivals:
        ends = found[name]["low"], found[name]["high"]
        np.testing.assert_allclose(ends, wanted)


def test_the_page_of_the_open_set_has_the_tables_of_its_numbers():
    folder = pathlib.Path(lee2021_open_set.__file__).parent
    found = json.loads((folder / "numbers/lee2021_open_set_mnist5k.json").read_text())
    text = (folder / "lee2021_open_set.md").read_text()
    for table in lee2021_open_set.tables(found).split("\n\n"):
        assert table in text


def test_a_place_for_programs_that_is_there_stays(tmp_path, monkeypatch):
    changed = {}
    monkeypatch.setattr(jax.config, "update", changed.__setitem__)
    shared.keep_programs(tmp_path)  # all tests have one
    assert not changed
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    shared.keep_programs(tmp_path)
    assert changed == {"jax_compilation_cache_dir": str(tmp_path / "compiled")}


@pytest.mark.exhaustive
def test_training_for_trust_runs_whole_in_small_and_goes_on(tmp_path, capsys):
    study = dataclasses.replace(
        train_for_trust.SMOKE,
        workdir=tmp_path,
        numbers=tmp_path / "numbers",
        figures=tmp_path / "figures",
    )
    said = train_for_trust.main(study)
    written = json.loads((tmp_path / "numbers/train_for_trust.json").read_text())
    assert written == said
    own = said["datasets"]["digits"]
    methods = study.datasets[0].methods()
    assert list(own["chosen"]) == list(methods)
    for baseline, rows in own["less"].items():
        for row, differences in rows.items():
            for metric, one in differences.items():
                assert one["low"] < one["value"] < one["high"]
                less = (
                    own["numbers"][row][metric]["value"]
                    - own["numbers"][baseline][metric]["value"]
                )
                np.testing.assert_allclose(one["value"], less, atol=1e-6)
    # A temperature changes no answer.
    for scaled in (train_for_trust_numbers.SCALED, train_for_trust_numbers.SHARPENED):
        assert "accuracy" not in own["less"][train_for_trust_terms.PLAIN][scaled]
        assert own["temperatures"]
    assert (tmp_path / "figures/train_for_trust.png").stat().st_size > 10_000
    assert "## digits" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert len(before) == sum(len(m.weights) for m in methods.values())
    assert train_for_trust.main(study) == said
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_what_training_for_trust_says_holds_together():
    """Each of n statements by the level of one n-th of the error, paired by seed."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 8))
    rows = {"a": {"nts": one, "ece": one}, "b": {"nts": other, "ece": one}}
    statements = train_for_trust_numbers.Statements()
    found = statements.of_rows(rows, ["b"], rows["a"], only=("nts", "ece"))
    assert "ece" not in found["b"]  # nothing differs
    again = statements.of_rows(rows, ["a"], rows["b"], only=("nts",))
    assert statements.say(0.95) == 2
    paired = stats.ttest_rel(other, one).confidence_interval(0.975)
    assert found["b"]["nts"]["low"] == pytest.approx(paired.low)
    assert found["b"]["nts"]["high"] == pytest.approx(paired.high)
    assert again["a"]["nts"]["low"] == pytest.approx(-paired.high)


def test_networks_trained_for_trust_learn_and_validate_apart():
    own = train_for_trust.OfDataset("digits", 30, 20, 3, epochs=1, batch_size=10)
    learned, held_out = np.split(train_for_trust.drawn(own, 60), [30], axis=1)
    assert held_out.shape == (3, 20)
    for one, other in zip(learned, held_out, strict=True):
        assert len({*one, *other}) == 50
    assert len({tuple(one) for one in learned}) == 3
