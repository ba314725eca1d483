"""A network that comes with its weights: loaded, looked at, and what it is asked about.

Nothing is trained here. What belongs to the network (how its images are prepared, which
of its outputs are the logits, which of its classes are the dataset's) is found or asked
for, and said.
"""

import dataclasses
import hashlib
import logging
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import _fingerprint, bridge, data, models, preprocessing, weights
from trustjax.pipeline import (
    _answers,
    _classes,
    _ending,
    _network,
    _outputs,
    _own,
    _preprocessing_check,
)
from trustjax.pipeline._config import ReportConfig, in_reach
from trustjax.pipeline._dataset import Datasets
from trustjax.pipeline._network import Network
from trustjax.preprocessing import Preprocessing
from trustjax.typing import Params, StochasticApplyFn

_logger = logging.getLogger("trustjax.pipeline")

_LOOKED_AT = 128
"""Images: enough to tell preparations apart, and few beside a test set."""


class Brought(NamedTuple):
    """What somebody brings, before any image is seen.

    Attributes:
      thing: what is at the place of one's own network; None for a named one.
      file: the arrays of the weights' file, and what there is to say; None for none.
      steps: what becomes of an image.
    """

    thing: Any
    file: weights.Contents | None
    steps: Preprocessing


def opened(config: ReportConfig) -> Brought:
    """Reads the code and the weights, so that a mistake there costs nothing.

    Raises:
      ValueError: if the code or the file is not what it should be.
      OSError: if the file cannot be read.
    """
    assert config.model is not None, "a config without a model brings none"
    thing = _own.found(config.model) if _own.is_own(config.model) else None
    file = None
    if config.weights is not None:
        file = weights.contents(
            config.weights, part=config.weights_part, sha256=config.weights_sha256
        )
    if config.preprocessing is not None:
        steps = preprocessing.parse(config.preprocessing)
    elif thing is None:
        steps = models.preprocessing(config.model, config.weights)
    else:
        steps = Preprocessing()
    if config.image_size is not None:
        steps = dataclasses.replace(steps, size=None, resize=None)
    return Brought(thing, file, steps)


def ready(
    config: ReportConfig, brought: Brought, datasets: Datasets
) -> tuple[Datasets, Network]:
    """The network as it is asked, and the datasets as it takes them.

    Args:
      config: what the report is about.
      brought: as `opened` returns it.
      datasets: the test set, and the training set if scores are fitted on one; images
        that nobody has labelled will do. The others are prepared as the test set is.

    Raises:
      ValueError: if the weights are not of the network, or the network does not take
        the images, or its outputs are no logits, or its classes not the dataset's, or
        it does not offer what is asked.
    """
    steps, thing = brought.steps, brought.thing
    arrays = None if brought.file is None else brought.file.arrays
    datasets = _prepared(datasets, steps, *_wanted(config, thing, arrays))
    example = jax.ShapeDtypeStruct((2, *datasets.test.fixed_shape), jnp.float32)
    network = _bridged(config, thing, arrays, jax.eval_shape(steps.numbers, example))
    numbers, x = _some(datasets.test)
    taken = steps.normalized(network.apply_fn)
    _answers.require_taken(taken, network.params, x)
    answers = _answers.look(taken, network.params, x, config.head)
    placed, notes = _placed(config, datasets, answers.num_classes)
    apply_fn = answers.logits(network.apply_fn)
    better = None
    if datasets.test.num_classes:
        _, labels = placed.test.source.take(numbers)
        better = _preprocessing_check.better(apply_fn, network.params, steps, x, labels)
    if better is not None:
        # At once: a reader of the page hears it when all is done.
        _logger.warning("%s", better.sentence())
    stochastic = network.stochastic_apply_fn
    asked = steps.normalized(apply_fn)
    shape = placed.test.fixed_shape
    oracle = _network.oracle_of(config, shape, (asked, network.params))
    offers = config.offers(stochastic is not None, datasets.train is not None)
    config.require_offered(offers)
    scores, of_scores = in_reach(
        config.score_names(offers), config.scores, answers.num_classes
    )
    scores, of_ending = _ending.readable(
        scores, config.scores, asked, network.params, x[:2]
    )
    if answers.outputs == "probabilities":
        scores = _outputs.without_constant(scores, config.scores, answers.num_classes)
    return placed, Network(
        asked,
        network.params,
        _stochastic(stochastic, answers, steps),
        _network.brought(config, oracle),
        {
            "model": config.network,
            "num_parameters": sum(map(np.size, jax.tree.leaves(network.params))),
            "preprocessing": str(steps),
            **_of_the_file(config, brought.file),
            **_network.of_detector(config),
        },
        scores,
        answers.outputs,
        (
            *answers.notes,
            *notes,
            *of_scores,
            *of_ending,
            *([better.sentence()] if better else []),
        ),
    )


def _wanted(
    config: ReportConfig, thing: Any, arrays: Mapping[str, np.ndarray] | None
) -> tuple[tuple[int, int] | None, int | None]:
    """The size and the channels of images that a named network is known to take."""
    if thing is not None:
        return None, None
    assert config.model is not None, "a named network has a name"
    assert arrays is not None, "and comes with its weights"
    _, channels = models.shape_of_weights(config.model, arrays)
    *_, height, width, known_channels = models.known(config.model).image_shape
    return (height, width), channels or known_channels


def _prepared(
    datasets: Datasets,
    steps: Preprocessing,
    size: tuple[int, int] | None,
    channels: int | None,
) -> Datasets:
    """Images in one size, and as many channels as the network takes."""
    if steps.size is None and None in datasets.test.image_shape:
        if size is None:
            raise ValueError(
                f"the images of {datasets.test.name} vary in size: say what the "
                'network takes, as by --preprocessing "imagenet resize=256 crop=224"'
            )
        steps = dataclasses.replace(steps, size=size)

    def prepared(dataset: data.Dataset) -> data.Dataset:
        dataset = data.preprocessed(dataset, steps)
        *size, own = dataset.fixed_shape
        if channels in (None, own):
            return dataset
        return data.convert(dataset, (*size, channels))

    learnt_from = {
        name: None if dataset is None else prepared(dataset)
        for name, dataset in (
            ("train", datasets.train),
            ("validation", datasets.validation),
        )
    }
    return datasets._replace(
        test=prepared(datasets.test),
        **learnt_from,
        others={name: prepared(other) for name, other in datasets.others.items()},
    )


def _bridged(
    config: ReportConfig,
    thing: Any,
    arrays: Mapping[str, np.ndarray] | None,
    example: jax.ShapeDtypeStruct,
) -> bridge.Bridged:
    """The network, with the weights of the file."""
    try:
        if thing is not None:
            return bridge.from_object(thing, arrays=arrays, example=example)
        assert config.model is not None, "a named network has a name"
        assert arrays is not None, "and comes with its weights"
        model = models.pretrained(config.model, arrays, image_shape=example.shape[1:])
    except ValueError as error:
        where = config.model if config.weights is None else config.weights
        raise ValueError(f"{where}: {error}") from error
    return bridge.from_object(model)


def _some(dataset: data.Dataset) -> tuple[list[int], np.ndarray]:
    """Numbers of records from one end of a dataset to the other, and their images.

    Folders come class by class: the first records are of one class.
    """
    count = min(_LOOKED_AT, len(dataset))
    numbers = np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist()
    images, _ = dataset.source.take(numbers)
    scale = 255 if images.dtype == np.uint8 else 1
    return numbers, images.astype(np.float32) / scale


def _placed(
    config: ReportConfig, datasets: Datasets, num_classes: int
) -> tuple[Datasets, tuple[str, ...]]:
    """The datasets under the classes of the network."""
    known = _known_classes(config, num_classes)
    test, notes = _classes.placed(datasets.test, num_classes, known, config.class_map)
    train, validation = (
        None
        if dataset is None
        else _classes.placed(dataset, num_classes, known, config.class_map)[0]
        for dataset in (datasets.train, datasets.validation)
    )
    return datasets._replace(test=test, train=train, validation=validation), notes


def _known_classes(config: ReportConfig, num_classes: int) -> _classes.Known:
    """The names of a network's classes: 1,000 are ImageNet's."""
    assert config.model is not None, "a network that is brought has a name"
    if num_classes != len(models.imagenet_class_names()):
        return _classes.NOT_KNOWN
    return _classes.Known(
        models.imagenet_class_names(),
        models.imagenet_wordnet_ids(),
        certain=not _own.is_own(config.model),
    )


def _stochastic(
    stochastic: StochasticApplyFn | None,
    answers: _answers.Answers,
    steps: Preprocessing,
) -> StochasticApplyFn | None:
    """With dropout on, and the same before and behind it."""
    if stochastic is None:
        return None

    def stochastic_apply_fn(params: Params, x: Any, key: jax.Array) -> Any:
        keyed = lambda params, x: stochastic(params, x, key)
        return steps.normalized(answers.logits(keyed))(params, x)

    return stochastic_apply_fn


def _of_the_file(config: ReportConfig, file: weights.Contents | None) -> dict[str, Any]:
    """Which weights they are: the file's digest, or that of what a folder holds."""
    if file is None or config.weights is None:
        return {}
    said: dict[str, Any] = {"weights": config.weights}
    if os.path.isfile(config.weights):
        with open(config.weights, "rb") as opened_file:
            digest = hashlib.file_digest(opened_file, "sha256")
        said["weights_sha256"] = digest.hexdigest()
    else:
        said["weights_fingerprint"] = _fingerprint.fingerprint(file.arrays)
    if file.notes:
        said["weights_notes"] = list(file.notes)
    return said
