"""What every network of this package is, to a caller."""

from flax import nnx
from jaxtyping import Array, Float


class Classifier(nnx.Module):
    """A module that maps images to logits.

    Attributes:
      dense: the last layer, whose output the logits are.
    """

    dense: nnx.Linear

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch classes"]:
        """The logits of each image."""
        raise NotImplementedError
