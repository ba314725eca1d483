"""A batch and its network: one forward pass, and one backward pass if it is asked."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from trustjax import _network_questions, gradients, losses, transforms
from trustjax.typing import (
    ApplyFn,
    LastLayer,
    Params,
    SplitModel,
    StochasticApplyFn,
)


@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch and the network that is asked about it, by ingredients.

    Attributes:
      model: `apply_fn`, or a `SplitModel` whose features are those to score with.
      params: what the model takes first.
      x: inputs, `[batch, ...]`, an array or a tree of them.
      groupings: by which gradient statistics are asked for as well; where there are
        any, logits and features are of their forward pass, and there is no second one.
      index: record numbers, `[batch]`: what is drawn for an example is drawn by its
        number, wherever in a batch it lies. None for 0, 1, 2, ...
      stochastic_apply_fn: `(params, x, key) -> logits`, the network with dropout on;
        None if there is none.
      mask: `[batch]`, False for padding; None where there is none.
    """

    model: ApplyFn | SplitModel
    params: Params
    x: Any
    groupings: tuple[str, ...] = ()
    index: jax.Array | None = None
    stochastic_apply_fn: StochasticApplyFn | None = None
    mask: jax.Array | None = None

    @functools.cached_property
    def apply_fn(self) -> ApplyFn:
        """The whole network, which is asked for logits."""
        whole = self.model
        apply_fn = whole.apply_fn if isinstance(whole, SplitModel) else whole
        return lambda params, x: _network_questions.logits(apply_fn(params, x))

    @functools.cached_property
    def features(self) -> jax.Array:
        """What the last dense layer takes, `[batch, ...]`.

        Raises:
          ValueError: if there is no such layer (`transforms.split`).
        """
        if self.groupings and isinstance(self.model, SplitModel):
            return self._pass[0].features
        parts = transforms.split(self.model, self.params, self.x, at="embedding")
        return parts.features_fn(self.params, self.x)

    @functools.cached_property
    def last_layer(self) -> LastLayer:
        """The affine map from the features to the logits.

        Raises:
          ValueError: if the network ends in none (`transforms.last_layer`).
        """
        parts = transforms.split(self.model, self.params, self.x, at="embedding")
        head_fn = lambda params, h: _network_questions.logits(parts.head_fn(params, h))
        return transforms.last_layer(head_fn, self.params, self.features)

    @functools.cached_property
    def logits(self) -> jax.Array:
        """`[batch, classes]`."""
        if self.groupings:
            return self._pass[0].logits
        if isinstance(self.model, SplitModel):
            output = self.model.head_fn(self.params, self.features)
        else:
            output = self.model(self.params, self.x)
        return _network_questions.logits(output)

    @functools.cached_property
    def wrt(self) -> Callable[[str], bool] | None:
        """Which parameters have a gradient: all but counts, keys and whole numbers."""
        without = _network_questions.not_floating(self.params)
        return (lambda path: path not in without) if without else None

    def gradient_statistics_by(self, group: str) -> gradients.GradientStatistics:
        """Of the cross entropy to the predicted class, one of `gradients.GROUPINGS`."""
        if group in self.groupings:
            return self._pass[1][group]
        return gradients.gradient_statistics(
            self.apply_fn, self.params, self.x, group=group, wrt=self.wrt
        )

    @functools.cached_property
    def _pass(self) -> tuple["_Outputs", dict[str, gradients.GradientStatistics]]:
        """One forward and one backward pass."""

        def outputs(params: Params, x: jax.Array) -> _Outputs:
            if not isinstance(self.model, SplitModel):
                output, features = self.model(params, x), None
            else:
                features = self.model.features_fn(params, x)
                output = self.model.head_fn(params, features)
            return _Outputs(_network_questions.logits(output), features)

        return gradients.outputs_and_grouped_statistics(
            outputs,
            self.params,
            self.x,
            groups=self.groupings,
            loss_fn=lambda outputs: losses.predicted_cross_entropy(outputs.logits),
            wrt=self.wrt,
        )


class _Outputs(NamedTuple):
    """What a network says: `[batch, classes]` and, if it is split, `[batch, ...]`."""

    logits: jax.Array
    features: Any
