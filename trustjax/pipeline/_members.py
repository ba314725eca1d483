"""What the scores say of images that the network learned from."""

from collections.abc import Callable

import numpy as np

from trustjax import assess, data, scoring
from trustjax.pipeline import _shifts
from trustjax.pipeline._config import ReportConfig
from trustjax.pipeline._dataset import Datasets


def require(config: ReportConfig, datasets: Datasets) -> None:
    """Refuses to ask about a training set that is not there, before any work is done.

    Raises:
      ValueError: if there is none.
    """
    if config.membership and datasets.train is None:
        raise ValueError(
            "--membership asks about the images that the network learned from: it "
            f"needs a training set (--train-split) of {config.dataset}"
        )


def scored(
    config: ReportConfig,
    datasets: Datasets,
    ask: Callable[[data.Dataset], tuple[_shifts.Answers, scoring.Results]],
) -> assess.Members | None:
    """Asks about as many training images as there are test images, drawn by the seed.

    Args:
      config: what the report is about.
      datasets: of which the training set is asked about.
      ask: says what the network and its scores say of a dataset.
    """
    train = datasets.train
    if not config.membership or train is None:
        return None
    size = min(len(train), len(datasets.test))
    rng = np.random.default_rng(config.seed)
    numbers = np.sort(rng.choice(len(train), size, replace=False))
    images, labels = train.source.take(numbers.tolist())
    drawn = data.from_arrays(
        f"members of {train.name}", images, labels, train.class_names
    )
    answers, results = ask(drawn)
    return assess.Members(answers.logits, results.labels, answers.scores)
