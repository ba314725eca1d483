import io

from trustjax import _progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines_start_pause_and_end(monkeypatch):
    seconds = iter([0.0, 1.0, 6.0, 6.5, 6.6])
    monkeypatch.setattr(_progress.time, "monotonic", lambda: next(seconds))
    stream = io.StringIO()
    with _progress.reporter(stream) as progress:
        for done in (1, 2, 3, 4):
            progress("training", done, 4, {"epoch": done, "validation_accuracy": 0.5})
        progress("scoring", 1, 9, {})
    assert stream.getvalue().splitlines() == [
        "training 1/4 epoch 1 validation accuracy 0.5",
        "training 3/4 epoch 3 validation accuracy 0.5",
        "training 4/4 epoch 4 validation accuracy 0.5",
        "scoring 1/9",
    ]


def test_a_terminal_gets_bars():
    stream = Terminal()
    with _progress.reporter(stream) as progress:
        progress("training", 1, 4, {})
        progress("training", 4, 4, {"loss": 0.125})
        progress("scoring", 2, 2, {})
    shown = stream.getvalue()
    assert "training" in shown
    assert "4/4" in shown
    assert "loss 0.125" in shown
    assert "2/2" in shown
