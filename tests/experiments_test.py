import pytest

from trustjax import train

pytest.importorskip("tyro")
oberdiek2018_train = pytest.importorskip("experiments.oberdiek2018_train")


def test_oberdiek2018_train_runs_and_learns(tmp_path, capsys):
    config = train.Config(epochs=2)
    accuracy = oberdiek2018_train.main("mnist5k", config, tmp_path)
    assert accuracy > 0.6  # chance is 0.1
    out, err = capsys.readouterr()
    assert out.startswith("6,250 weights, 2 epochs, 24 steps")
    assert "training 24/24 epoch 2" in err
    assert (tmp_path / "mnist5k" / "24").is_dir()
