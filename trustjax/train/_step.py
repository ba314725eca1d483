"""One training step: what it changes, and the jitted function that changes it."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from trustjax import bridge, passes, transforms
from trustjax.train._config import TrainConfig
from trustjax.typing import Params

TrainBatch = Mapping[str, Any]
"""`image`, `mask` and the targets of a batch; where `mask` is False is padding."""

AugmentFn = Callable[[jax.Array, jax.Array], jax.Array]
"""`(images, key) -> images`: what is done to the images of a step."""

AdversaryFn = Callable[[Any, Params, jax.Array, TrainBatch], jax.Array]
"""`(apply_fn, params, images, batch) -> images`: an attack on the network of a step."""

ExampleLossFn = Callable[[jax.Array, TrainBatch], jax.Array]
"""`(outputs, batch) -> [batch]`: the loss of each example, nothing averaged."""

DatasetLossFn = Callable[[jax.Array, TrainBatch], jax.Array]
"""`(outputs, batch) -> []`: a loss of a batch as a whole, such as one of its order."""

NetworkLossFn = Callable[[Any, Params, jax.Array, TrainBatch], jax.Array]
"""`(apply_fn, params, images, batch) -> []`: a loss of the network itself."""


class TrainState(NamedTuple):
    """All that training steps change.

    Attributes:
      step: steps taken.
      params: the trainable arrays.
      statistics: the running statistics of BatchNorm.
      optimizer: the state of the optimiser.
      loss_sum: the data losses of the steps since the epoch began, added up.
      first_bad_step: the first step whose loss, or the weights after it, were not
        finite; -1 while there is none.
    """

    step: jax.Array
    params: Params
    statistics: Any
    optimizer: Any
    loss_sum: jax.Array
    first_bad_step: jax.Array


TrainStep = Callable[[TrainState, TrainBatch, jax.typing.ArrayLike], TrainState]
"""`(state, batch, scale) -> state`; `scale` multiplies the learning rate."""


def cross_entropy(logits: jax.Array, batch: TrainBatch) -> jax.Array:
    """The cross entropy to the true classes, `batch["label"]`."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])


def make_train_step(
    model: nnx.Module,
    config: TrainConfig,
    *,
    steps_per_epoch: int,
    loss_fn: ExampleLossFn = cross_entropy,
    dataset_loss_fn: DatasetLossFn | None = None,
    network_loss_fn: NetworkLossFn | None = None,
    compute_dtype: Any = None,
    augment_fn: AugmentFn | None = None,
    adversary_fn: AdversaryFn | None = None,
) -> tuple[TrainState, TrainStep]:
    """The first state of a run, and the function that takes a step.

    The loss is the mean `loss_fn` of the examples that are not padding, plus the L2
    penalty. Dropout and shifts are drawn from the seed and the number of the step, so
    a resumed run draws what the first would have drawn.

    Args:
      model: the network, with the weights to start from.
      config: the choices of the run.
      steps_per_epoch: for the cosine schedule.
      loss_fn: the loss of each example, from the network's outputs and the batch.
      dataset_loss_fn: is added to their mean, once for each batch: what no example has
        by itself, such as `lambda logits, batch: jnp.nan_to_num(metrics.smooth_aurc(
        scores.max_softmax(logits), logits.argmax(-1) == batch["label"],
        weights=batch["mask"]))`. It says itself what it is of a batch that does not
        define it: NaN stops a run.
      network_loss_fn: is added as well: what the outputs do not show, such as the size
        of gradients, `lambda apply_fn, params, images, batch: jnp.mean(
        gradients.gradient_statistics(apply_fn, params, images, group="network",
        statistics=(statistics.l2_norm,)).values ** 2, where=batch["mask"][:, None,
        None])`. It has the network as it answers, without dropout and by its running
        statistics, and weights in the type that they are kept in.
      compute_dtype: what the network computes in, such as `jnp.bfloat16`; weights,
        losses and the optimiser stay as they are. None for the weights' own type.
      augment_fn: changes the images of a step, after the shifts. It may make several of
        each, for a `loss_fn` that takes as many outputs, as `augmix_views` does.
      adversary_fn: attacks the network as it is before the step, with its dropout on;
        the step learns from what the attack leaves, such as
        `lambda apply_fn, params, images, batch: interventions.fgsm(apply_fn, params,
        images, batch["label"], epsilon=0.1)`.

    Returns:
      `(state, train_step)`; `train_step` is jitted and gives its input state away, so
      a state is used once. The model is left as it is.
    """
    state, seeded_step = make_seeded_train_step(
        model,
        config,
        steps_per_epoch=steps_per_epoch,
        loss_fn=loss_fn,
        dataset_loss_fn=dataset_loss_fn,
        network_loss_fn=network_loss_fn,
        compute_dtype=compute_dtype,
        augment_fn=augment_fn,
        adversary_fn=adversary_fn,
    )
    # The seed is an argument and no constant: runs that differ in it share a program,
    # and find it in JAX's compilation cache.
    return state, functools.partial(seeded_step, jax.random.key(config.seed))


def make_seeded_train_step(
    model: nnx.Module,
    config: TrainConfig,
    *,
    steps_per_epoch: int,
    loss_fn: ExampleLossFn = cross_entropy,
    dataset_loss_fn: DatasetLossFn | None = None,
    network_loss_fn: NetworkLossFn | None = None,
    compute_dtype: Any = None,
    augment_fn: AugmentFn | None = None,
    adversary_fn: AdversaryFn | None = None,
) -> tuple[TrainState, Callable[..., TrainState]]:
    """As `make_train_step`, with the key that all draws come from as an argument.

    Returns:
      `(state, train_step)`, `train_step(key, state, batch, scale)`.
    """
    state, telling_step = make_telling_train_step(
        model,
        config,
        steps_per_epoch=steps_per_epoch,
        loss_fn=loss_fn,
        dataset_loss_fn=dataset_loss_fn,
        network_loss_fn=network_loss_fn,
        compute_dtype=compute_dtype,
        augment_fn=augment_fn,
        adversary_fn=adversary_fn,
    )

    @functools.partial(jax.jit, donate_argnums=1)
    def train_step(
        seed: jax.Array,
        state: TrainState,
        batch: TrainBatch,
        scale: jax.typing.ArrayLike,
    ) -> TrainState:
        return telling_step(seed, state, batch, scale)[0]

    return state, train_step


def make_telling_train_step(
    model: nnx.Module,
    config: TrainConfig,
    *,
    steps_per_epoch: int,
    loss_fn: ExampleLossFn = cross_entropy,
    dataset_loss_fn: DatasetLossFn | None = None,
    network_loss_fn: NetworkLossFn | None = None,
    compute_dtype: Any = None,
    augment_fn: AugmentFn | None = None,
    adversary_fn: AdversaryFn | None = None,
) -> tuple[TrainState, Callable[..., tuple[TrainState, jax.Array]]]:
    """As `make_seeded_train_step`; the step says what the network answered as well.

    Returns:
      `(state, train_step)`, where `train_step(key, state, batch, scale)`, which is not
      jitted, returns the next state and the outputs that the step learned from.
    """
    graph, *states = nnx.split(
        _in_training_mode(model, compute_dtype),
        nnx.Param,
        nnx.BatchStat,
        nnx.RngKey,
        ...,
    )
    params, statistics, keys, rest = map(nnx.to_pure_dict, states)
    # The step gives its arguments away; the model keeps its own arrays.
    params, statistics = jax.tree.map(jnp.copy, (params, statistics))
    optimizer = _direction(config)
    learning_rate = _schedule(config, steps_per_epoch)

    def in_compute_dtype(tree):
        if compute_dtype is None:
            return tree
        return jax.tree.map(lambda leaf: leaf.astype(compute_dtype), tree)

    def merged(params, statistics, key) -> Any:
        return nnx.merge(
            graph,
            in_compute_dtype(params),
            statistics,
            bridge.fresh_keys(keys, key),
            rest,
        )

    def outputs(statistics, key, params, images):
        return merged(params, statistics, key)(in_compute_dtype(images))

    answers = _make_answers(model)

    def total_loss(params, statistics, images, batch, key):
        network = merged(params, statistics, key)
        said = network(in_compute_dtype(images))
        mask = batch["mask"]
        losses = loss_fn(said, batch)
        data_loss = jnp.sum(losses * mask) / jnp.maximum(jnp.sum(mask), 1)
        if dataset_loss_fn is not None:
            data_loss += dataset_loss_fn(said, batch)
        if network_loss_fn is not None:
            answering = functools.partial(answers, statistics)
            data_loss += network_loss_fn(answering, params, images, batch)
        squares = sum(jnp.sum(kernel**2) for kernel in _kernels(params))
        statistics = nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))
        return data_loss + config.l2 / 2 * squares, (data_loss, statistics, said)

    def train_step(
        seed: jax.Array,
        state: TrainState,
        batch: TrainBatch,
        scale: jax.typing.ArrayLike,
    ) -> tuple[TrainState, jax.Array]:
        dropout_key, shift_key = jax.random.split(jax.random.fold_in(seed, state.step))
        images = batch["image"]
        if config.max_shift:
            images = passes.random_shift(images, shift_key, config.max_shift)
        if augment_fn is not None:
            images = augment_fn(images, jax.random.fold_in(shift_key, 1))
        if adversary_fn is not None:
            network = functools.partial(outputs, state.statistics, dropout_key)
            images = adversary_fn(network, state.params, images, batch)
        gradient, (data_loss, statistics, said) = jax.grad(total_loss, has_aux=True)(
            state.params, state.statistics, images, batch, dropout_key
        )
        direction, optimizer_state = optimizer.update(
            gradient, state.optimizer, state.params
        )
        rate = scale * learning_rate(state.step)
        params = jax.tree.map(
            lambda value, towards: value - rate * towards, state.params, direction
        )
        finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]
        good = jnp.isfinite(data_loss) & jnp.stack(finite).all()
        bad = (state.first_bad_step < 0) & ~good
        after = TrainState(
            step=state.step + 1,
            params=params,
            statistics=statistics,
            optimizer=optimizer_state,
            loss_sum=state.loss_sum + data_loss,
            first_bad_step=jnp.where(bad, state.step, state.first_bad_step),
        )
        return after, said

    state = TrainState(
        step=jnp.int32(0),
        params=params,
        statistics=statistics,
        optimizer=optimizer.init(params),
        loss_sum=jnp.float32(0),
        first_bad_step=jnp.int32(-1),
    )
    return state, train_step


def make_outputs(
    model: nnx.Module,
) -> Callable[[TrainState, jax.Array], jax.Array]:
    """`(state, images) -> outputs` of the network in evaluation mode, not jitted."""
    answers = _make_answers(model)

    def outputs(state: TrainState, images: jax.Array) -> jax.Array:
        return answers(state.statistics, state.params, images)

    return outputs


def _make_answers(model: nnx.Module) -> Callable[[Any, Params, jax.Array], jax.Array]:
    """`(statistics, params, images) -> outputs` in evaluation mode."""
    model = nnx.with_attributes(
        model, raise_if_not_found=False, deterministic=True, use_running_average=True
    )
    graph, _, _, rest = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    rest = nnx.to_pure_dict(rest)

    def answers(statistics: Any, params: Params, images: jax.Array) -> jax.Array:
        return nnx.merge(graph, params, statistics, rest)(images)  # type: ignore[operator]

    return answers


def make_count_correct(
    model: nnx.Module,
) -> Callable[[TrainState, TrainBatch], jax.Array]:
    """A jitted `(state, batch) -> number of examples classified right`."""
    outputs = make_outputs(model)

    @jax.jit
    def count_correct(state: TrainState, batch: TrainBatch) -> jax.Array:
        predictions = jnp.argmax(outputs(state, batch["image"]), axis=-1)
        return jnp.sum((predictions == batch["label"]) & batch["mask"])

    return count_correct


def assign(model: nnx.Module, params: Params, statistics: Any) -> None:
    """Puts trained arrays into a model, and the model into evaluation mode."""
    # Through the host: a model that was trained on a mesh is used anywhere.
    trained = jax.tree.map(jnp.asarray, jax.device_get((params, statistics)))
    for arrays in trained:
        nnx.update(model, arrays)
    model.eval()


def _in_training_mode(model: nnx.Module, compute_dtype: Any) -> nnx.Module:
    # BatchNorm, unless it is told, answers in the type of its running statistics.
    dtype = {} if compute_dtype is None else {"dtype": compute_dtype}
    return nnx.with_attributes(
        model,
        raise_if_not_found=False,
        deterministic=False,
        use_running_average=False,
        conv_general_dilated=transforms.cpu_convolution,
        **dtype,
    )


def _direction(config: TrainConfig) -> optax.GradientTransformation:
    """The optimiser without its learning rate."""
    if config.optimizer == "sgd":
        return optax.trace(decay=config.momentum)
    return optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(config.weight_decay, mask=_kernel_mask),
    )


def _schedule(config: TrainConfig, steps_per_epoch: int) -> optax.Schedule:
    if config.schedule == "plateau":
        return optax.constant_schedule(config.learning_rate)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=min(steps_per_epoch, config.epochs * steps_per_epoch // 2),
        decay_steps=config.epochs * steps_per_epoch,
    )


def _kernel_mask(params: Params) -> Any:
    """True for the kernels: what L2 and weight decay act on."""
    return jax.tree.map_with_path(
        lambda path, _: getattr(path[-1], "key", None) == "kernel", params
    )


def _kernels(params: Params) -> list[jax.Array]:
    leaves, mask = jax.tree.leaves(params), jax.tree.leaves(_kernel_mask(params))
    return [leaf for leaf, is_kernel in zip(leaves, mask, strict=True) if is_kernel]
