"""What the training of an oracle is: every choice that its result depends on."""

import dataclasses
from collections.abc import Callable, Mapping

from trustjax import _validate, losses, metrics, train

LOSSES = ("cross_entropy", "focal", "steep_slope", "true_class_probability")
"""The losses an oracle can be trained with."""

METRICS: Mapping[str, Callable] = {
    "aupr_error": metrics.aupr_error,
    "aupr_success": metrics.aupr_success,
    "auroc": metrics.auroc,
}
"""What can decide which epoch is the best one; higher is better for each."""

_HEADS = ("linear", "signed_distance")
_PRECISIONS = ("bfloat16", "float32")


@dataclasses.dataclass(frozen=True)
class OracleConfig(train.TrainConfig):
    r"""The choices of an oracle's training; those of `train.TrainConfig`, and these.

    With the schedule `"plateau"` training ends when `metric` stagnates at the lowest
    learning rate; with `"cosine"` it takes all its epochs. Either way the weights of
    the best epoch are kept.

    Attributes:
      head: `"signed_distance"` to a hyperplane, or `"linear"`.
      loss: one of `LOSSES`.
      alpha_positive: of the steep slope loss, for right answers.
      alpha_negative: of the steep slope loss, for wrong answers.
      gamma: of the focal loss.
      class_balance: :math:`\beta` of the class-balanced weights of right and wrong
        answers; 0 weighs all examples alike, 1 gives both kinds the same weight.
      metric: one of `METRICS`, measured on the validation set.
      precision: what the network computes in during training; weights, losses and the
        trained oracle stay in float32.

    Raises:
      ValueError: if a name is unknown or a number out of its range.

    References:
      Luo et al. 2021 (arXiv:2110.00054), section 5: alpha+ and alpha- of 1 and 3 for a
      transformer, 2 and 5 for a residual network; a linear head for the losses other
      than steep slope.
    """

    epochs: int = 10
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    minimum_learning_rate: float = 1e-4
    patience: int = 2
    l2: float = 0.0
    head: str = "signed_distance"
    loss: str = "steep_slope"
    alpha_positive: float = 1.0
    alpha_negative: float = 3.0
    gamma: float = 2.0
    class_balance: float = 0.0
    metric: str = "auroc"
    precision: str = "float32"

    def __post_init__(self):
        super().__post_init__()
        _validate.choice("head", self.head, _HEADS)
        _validate.choice("loss", self.loss, LOSSES)
        _validate.choice("metric", self.metric, tuple(METRICS))
        _validate.choice("precision", self.precision, _PRECISIONS)
        losses.check_alphas(self.alpha_positive, self.alpha_negative)
        _validate.not_negative("gamma", self.gamma)
        _validate.fraction("class_balance", self.class_balance)
