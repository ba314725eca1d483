"""What the training of an oracle is: every choice that its result depends on."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from trustjax import _validate, losses, metrics, models, train

LOSSES = ("cross_entropy", "focal", "steep_slope", "true_class_probability")
"""The losses an oracle can be trained with."""

METRICS: Mapping[str, Callable] = {
    "aupr_error": metrics.aupr_error,
    "aupr_success": metrics.aupr_success,
    "auroc": metrics.auroc,
}
"""What can decide which epoch is the best one; higher is better for each."""

_EMBEDDINGS = ("cloned", "frozen", "trained")
_HEADS = ("linear", "signed_distance")
_PRECISIONS = ("bfloat16", "float32")


@dataclasses.dataclass(frozen=True)
class OracleConfig(train.TrainConfig):
    r"""The choices of an oracle's training; those of `train.TrainConfig`, and these.

    With the schedule `"plateau"` training ends when `metric` stagnates at the lowest
    learning rate; with `"cosine"` it takes all its epochs. Either way the weights of
    the best epoch are kept.

    Attributes:
      embedding: what the head stands on: `"trained"` with it; or `"frozen"`: the
        classifier's own, computed once for each record, so that training is cheap,
        and standardized by the training set; or `"cloned"`: a copy of the classifier's
        own, trained with a head that has learnt on the frozen one (`fit`'s `start`).
      head: `"signed_distance"` to a hyperplane, or `"linear"`: what the last layer is.
      head_layers: dense layers from the embedding to the output, that one included;
        5 in ConfidNet.
      head_width: units of each before the last, which have a ReLU.
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
    embedding: str = "trained"
    head: str = "signed_distance"
    head_layers: int = 1
    head_width: int = 400
    loss: str = "steep_slope"
    alpha_positive: float = 1.0
    alpha_negative: float = 3.0
    gamma: float = 2.0
    class_balance: float = 0.0
    metric: str = "auroc"
    precision: str = "float32"

    def __post_init__(self):
        super().__post_init__()
        _validate.choice("embedding", self.embedding, _EMBEDDINGS)
        _validate.choice("head", self.head, _HEADS)
        for name in ("head_layers", "head_width"):
            _validate.count(name, getattr(self, name))
        _validate.choice("loss", self.loss, LOSSES)
        _validate.choice("metric", self.metric, tuple(METRICS))
        _validate.choice("precision", self.precision, _PRECISIONS)
        losses.check_alphas(self.alpha_positive, self.alpha_negative)
        _validate.not_negative("gamma", self.gamma)
        _validate.fraction("class_balance", self.class_balance)


_TRANSFORMERS = ("maxvit", "mvit", "swin", "vit")


def config_for(model: str, **changes: Any) -> OracleConfig:
    """The choices that suit an oracle on a network of this library.

    The slopes are those of the paper for a transformer or a residual network. A
    network with published weights keeps its embedding frozen; with
    `embedding="trained"` it is trained as a whole by the paper's recipe for ImageNet:
    one epoch of SGD in batches of 40, at a learning rate of 1e-5. Small networks are
    trained as a whole, by AdamW.

    Args:
      model: a name of `models.names()`, or any other, which is taken as the name of a
        network with weights of its own.
      **changes: attributes of `OracleConfig` to set otherwise. The head is linear
        where the loss is not the steep slope loss and no head is asked for.

    Returns:
      The choices.

    >>> config = config_for("vit_micro", loss="focal")
    >>> config.embedding, config.head, config.alpha_positive, config.alpha_negative
    ('trained', 'linear', 1.0, 3.0)
    >>> config_for("resnet18").embedding, config_for("resnet18").alpha_negative
    ('frozen', 5.0)

    References:
      Luo et al. 2021 (arXiv:2110.00054), section 5. The momentum of .05 that the paper
      states is overridden by the scheduler of the authors' code, which takes .85 to
      .95; here it is the paper's.
    """
    known = model in models.names()
    has_weights = not known or bool(models.known(model).published)
    steep = changes.get("loss", OracleConfig.loss) == "steep_slope"
    choices: dict[str, Any] = dict(
        model=model,
        embedding="frozen" if has_weights else "trained",
        head="signed_distance" if steep else "linear",
    )
    is_transformer = model.startswith(_TRANSFORMERS)
    slopes = (1.0, 3.0) if is_transformer else (2.0, 5.0)
    choices["alpha_positive"], choices["alpha_negative"] = slopes
    if has_weights and changes.get("embedding") == "trained":
        choices |= dict(
            epochs=1,
            batch_size=40,
            optimizer="sgd",
            learning_rate=1e-5,
            momentum=0.05,
            schedule="cosine",
        )
    else:
        choices |= dict(epochs=30, patience=5)
        if {**choices, **changes}["embedding"] == "frozen":  # the head alone
            choices |= dict(learning_rate=0.01, minimum_learning_rate=1e-3)
    return OracleConfig(**{**choices, **changes})
