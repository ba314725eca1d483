"""What a network says of test images under the masks of explanations."""

import functools
import pathlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from trustjax import (
    _files,
    _processes,
    assess,
    data,
    explain,
    gradients,
    interventions,
    scoring,
)
from trustjax.explain import Question
from trustjax.pipeline import _mistakes, _shifts
from trustjax.pipeline._config import ReportConfig
from trustjax.pipeline._network import Network
from trustjax.typing import Params, ProgressFn

SHARES = tuple(round(0.1 * step, 1) for step in range(1, 10))
HALF = 0.5
CONTROLS = ("Centred Gaussian", "Noise")
_TASK = "masking"
_SAMPLES = 300  # masks, or noisy images, of a method that draws them

_Maps = Callable[[Params, jax.Array], jax.Array]


def require(config: ReportConfig, network: Network, test: data.Dataset) -> None:
    """Refuses a method that cannot be asked of the network, before any scoring.

    Raises:
      ValueError: naming the method and the reason.
    """
    shape = (1, *test.fixed_shape) if config.interventions.methods else ()
    for name in config.interventions.methods:
        maps = _maps(config, network)[explain.METHODS[name].title]
        try:
            jax.eval_shape(
                maps, network.params, jax.ShapeDtypeStruct(shape, jnp.float32)
            )
        except (NotImplementedError, ValueError) as error:
            raise ValueError(
                f"--interventions.methods {name} cannot be asked of "
                f"{config.network}: {_mistakes.in_short(error)}"
            ) from error


def asked(
    config: ReportConfig,
    network: Network,
    test: data.Dataset,
    *,
    batch_size: int,
    folder: pathlib.Path,
    progress: ProgressFn | None,
) -> assess.Intervened | None:
    """Masks the first test images; a killed run goes on with the next method.

    Args:
      config: which methods, of how many images.
      network: what is asked.
      test: the test set as the network takes it.
      batch_size: images at a time.
      folder: where the numbers of finished methods are kept, until all are.
      progress: hears how many images are done, of those of all methods.

    Returns:
      What was said; None where nothing is asked.
    """
    options = config.interventions
    if not options.methods:
        return None
    count = min(options.images, len(test))
    last = min(count + options.others, len(test))
    images, _ = test.source.take(range(last))
    x = _mistakes.as_floats(np.asarray(images))
    # Others than those that are asked about, where there are any.
    others = x[-options.others :] if last > count else x[: options.others]
    maps, found = _maps(config, network), {}
    paths = {title: folder / f"{number}.npz" for number, title in enumerate(maps)}
    of_network = scoring.fingerprint((network.params, test.fingerprint))
    for number, (title, path) in enumerate(paths.items(), 1):
        origin = scoring.fingerprint((of_network, title, repr(options), config.seed))
        parts = _kept(path, origin)
        if parts is None:
            ask = functools.partial(_program(network, maps[title]), others=others)
            ask = gradients.in_microbatches(ask, size=min(batch_size, count))
            # Masks are drawn for a batch as a whole, which one process has.
            parts = _processes.of_first(
                lambda ask=ask: ask(network.params, jnp.asarray(x[:count]))
            )
            _keep(path, origin, parts)
        found[title] = parts
        if progress is not None:
            progress(_TASK, number * count, len(maps) * count, {})
    _shifts.drop(paths.values())
    return assess.Intervened(found)


def _maps(config: ReportConfig, network: Network) -> dict[str, _Maps]:
    """`(params, x) -> [batch, *positions]` by title, those that know nothing last."""
    key = jax.random.key(config.seed)

    def asking(name: str) -> _Maps:
        def map_of(params: Params, x: jax.Array) -> jax.Array:
            target = jnp.argmax(network.apply_fn(params, x), axis=-1)
            question = Question(
                network.apply_fn,
                params,
                x,
                target,
                target[:, None],
                key,
                class_tokens=_mistakes.class_tokens(config),
                samples=_SAMPLES,
            )
            return explain.METHODS[name].ask(question).map

        return map_of

    def gaussian(params: Params, x: jax.Array) -> jax.Array:
        y, z = (jnp.linspace(-1, 1, size) ** 2 for size in x.shape[-3:-1])
        return jnp.broadcast_to(jnp.exp(-2 * (y[:, None] + z[None])), x.shape[:-1])

    def noise(params: Params, x: jax.Array) -> jax.Array:
        return jax.random.uniform(key, x.shape[:-1])

    named = {
        explain.METHODS[name].title: asking(name)
        for name in config.interventions.methods
    }
    return named | dict(zip(CONTROLS, (gaussian, noise), strict=True))


def _program(network: Network, maps: _Maps) -> Callable[..., Mapping[str, jax.Array]]:
    """`(params, x, others) -> {part: [batch]}`."""

    @jax.jit
    def ask(params: Params, x: jax.Array, others: jax.Array) -> dict[str, jax.Array]:
        map_ = maps(params, x)
        shares = interventions.highest_shares(map_, SHARES)
        unsure = interventions.predictive_uncertainty_of(
            network.apply_fn, params, x, interventions.masked(shares)
        )
        mask = interventions.highest_shares(map_, (HALF,))[0]
        redrawn = interventions.given(others[:, None])
        of = (network.apply_fn, params, x, mask, redrawn)
        return {
            "between": unsure.between,
            "within": unsure.within,
            "sufficiency": interventions.sufficiency(*of).value,
            "necessity": interventions.necessity(*of).value,
        }

    return ask


def _keep(path: pathlib.Path, origin: str, parts: Mapping[str, np.ndarray]) -> None:
    if _processes.is_first():
        with _files.written_whole(path) as temporary:
            np.savez(temporary, allow_pickle=False, origin=origin, **parts)


def _kept(path: pathlib.Path, origin: str) -> dict[str, np.ndarray] | None:
    arrays = _files.kept_arrays(path)
    there = arrays is not None and bool(arrays.get("origin") == origin)
    if not _processes.all_have(there) or arrays is None:
        return None
    return {name: values for name, values in arrays.items() if name != "origin"}
