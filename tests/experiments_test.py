import jax.numpy as jnp
import numpy as np
import pytest

from trustjax import assess, train

pytest.importorskip("tyro")
pytest.importorskip("matplotlib")
auac_grids = pytest.importorskip("experiments.auac_grids")
score_table = pytest.importorskip("experiments.score_table")
oberdiek2018_train = pytest.importorskip("experiments.oberdiek2018_train")
luo2021 = pytest.importorskip("experiments.luo2021")
luo2021_figure3 = pytest.importorskip("experiments.luo2021_figure3")
luo2021_figure4 = pytest.importorskip("experiments.luo2021_figure4")
luo2021_table1 = pytest.importorskip("experiments.luo2021_table1")
luo2021_table3 = pytest.importorskip("experiments.luo2021_table3")


def test_oberdiek2018_train_runs_and_learns(tmp_path, capsys):
    config = train.Config(epochs=2)
    accuracy = oberdiek2018_train.main("mnist5k", config, tmp_path)
    assert accuracy > 0.6  # chance is 0.1
    out, err = capsys.readouterr()
    assert out.startswith("6,250 weights, 2 epochs, 24 steps")
    assert "training 24/24 epoch 2" in err
    assert (tmp_path / "mnist5k" / "24").is_dir()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The smallest <oracle, classifier> pair: digits of 8x8 pixels."""
    return luo2021.Pair(
        dataset="digits",
        oracle="mlp",
        classifier="mlp",
        classifier_epochs=2,
        oracle_epochs=1,
        seeds=(0,),
        workdir=tmp_path_factory.mktemp("luo2021"),
    )


def test_luo2021_table1_compares_losses_and_baselines(pair, capsys):
    rows = luo2021_table1.main(pair, losses=("SS",))
    assert list(rows)[:4] == ["SS", "MCP", "MC dropout", "Trust Score"]
    assert rows["MCP"].shape == (1, len(luo2021.COLUMNS))
    assert rows["MCP"][0, 3] > 70
    out = capsys.readouterr().out
    assert "<mlp, mlp> on digits" in out
    assert "AUC of SS less MCP: -" in out


def test_luo2021_table3_changes_the_test_set(pair):
    table = luo2021_table3.main(pair, rows=("SS",), kinds=("contrast",), severities=[5])
    names = {domain for domain, _ in table}
    assert names == {"negative", "FGSM", "PGD", "functional", "contrast 5"}


def test_luo2021_figures_are_drawn_from_the_same_runs(pair, tmp_path):
    found = luo2021_figure3.main(pair, losses=("SS",), figure=tmp_path / "3.png")
    assert found["SS"].shape == (1, 2)
    assert (tmp_path / "3.png").stat().st_size > 1000
    sweep = luo2021_figure4.main(pair, losses=("SS",), alphas=(5.0,), heads=("linear",))
    assert (sweep["linear", 5.0] >= 0).all()


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
        tied_with_best=True,
        risk_coverage=assess.Curve(np.zeros(1), np.zeros(1)),
        num_infinite=0,
    )
    unknown = {"margin": {"auroc": assess.Quantity(None)}}
    *_, row = score_table.table((score,), {"letters": unknown}).splitlines()
    middle = " | ".join(["25.00"] * len(known))
    assert row == f"| Margin | 50.00 [40.00, 62.50] = | {middle} | - |"
