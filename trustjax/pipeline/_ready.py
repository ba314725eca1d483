"""The road of every command to a network and to what it is asked about."""

from collections.abc import Callable
from typing import NamedTuple

from trustjax import _processes
from trustjax.pipeline import _brought, _dataset, _network, _shifts
from trustjax.pipeline._config import ReportConfig
from trustjax.pipeline._dataset import Datasets
from trustjax.pipeline._network import Network
from trustjax.typing import ProgressFn


class Ready(NamedTuple):
    """A network that can be asked.

    Attributes:
      config: the settings, with a network of ours that takes the images.
      datasets: what it is asked about, as it takes them.
      network: the one that was brought or loaded, or that has just learned.
    """

    config: ReportConfig
    datasets: Datasets
    network: Network


def ready(
    config: ReportConfig,
    progress: ProgressFn | None,
    *,
    admit: Callable[[ReportConfig], object] = lambda config: None,
    load: Callable[[], Datasets] | None = None,
) -> Ready:
    """Opens a network and the datasets that it is asked about, or trains one of ours.

    What can be refused is refused before what takes long: code and weights before any
    image is read, and everything before training.

    Args:
      config: which network and which datasets.
      progress: hears how far each long task is.
      admit: refuses settings, such as a folder that is taken, by raising; hears them
        when they are complete, before anything is asked or trained.
      load: the datasets where they are not those that `config` names.

    Raises:
      ValueError: if a dataset, a checkpoint or weights are not what they should be, or
        the network cannot take the images; if the processes of a run have other data.
      OSError: if a file cannot be read.
    """

    def loaded() -> Datasets:
        datasets = load() if load else _dataset.load(config, progress)
        parts = (datasets.train, datasets.validation, datasets.test)
        _processes.require_same(
            {
                f"{part.name} {part.split}": f"{part.fingerprint[:12]} of {len(part)}"
                for part in parts
                if part is not None
            }
        )
        return datasets

    def complete(datasets: Datasets) -> Datasets:
        _shifts.require(config, datasets.test)
        return datasets if load else _dataset.with_others(datasets, config)

    if config.brings_network:
        admit(config)
        brought = _brought.opened(config)
        datasets, network = _brought.ready(config, brought, loaded())
        return Ready(config, complete(datasets), network)
    datasets = loaded()
    config = config.for_images(datasets.test.fixed_shape)
    admit(config)
    datasets = complete(datasets)
    return Ready(config, datasets, _network.trained(config, datasets, progress))
