"""What a method of explanation is as a value: a question, an answer, and its words."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Int

from trustjax import transforms
from trustjax.typing import ApplyFn, Params

ONE_EACH = "a forward and a backward pass"


class Question(NamedTuple):
    """What is asked of a network about a batch of images, whatever the method.

    Attributes:
      apply_fn: `(params, x) -> logits`, in evaluation mode.
      params: what it takes first.
      x: images or clips, as everywhere in `explain`.
      target: `[batch]`, the class that is asked about, P.
      contrasts: `[batch, asked]`, the classes it is compared with, Q.
      key: where random masks and noise come from.
      at: where the network is cut, as `transforms.split` takes it.
      grid: the rows and columns of tokens; None where they are found.
      class_tokens: how many tokens come before those of the image.
      baseline: what hides a pixel; None for what the method takes by itself.
      samples: how many random masks, or noisy images, are drawn.
      microbatch: how many images go through the network at once; None for a batch.
    """

    apply_fn: ApplyFn
    params: Params
    x: Float[Array, "batch ..."]
    target: Int[Array, " batch"]
    contrasts: Int[Array, "batch asked"]
    key: jax.Array
    at: str | transforms.Cut = "feature_map"
    grid: Sequence[int] | None = None
    class_tokens: int = 0
    baseline: Any = None
    samples: int = 1000
    microbatch: int | None = None

    @property
    def hiding(self) -> dict[str, Any]:
        """The keyword of what hides a pixel, where it is said."""
        return {} if self.baseline is None else {"baseline": self.baseline}


class Answer(NamedTuple):
    """What a method says, in one form for all.

    Attributes:
      map: `[batch, *size]`, raw; of a method that asks about each contrast `[batch,
        asked, *size]`.
      standard_error: of each of its numbers; None of a method that draws no samples.
      facts: numbers `[batch]` beside the map, by the names in `Method.facts`.
    """

    map: Float[Array, "batch ..."]
    standard_error: Float[Array, "batch ..."] | None = None
    facts: Mapping[str, Float[Array, " batch"]] = {}


@dataclasses.dataclass(frozen=True)
class Method:
    """A method of explanation as a value.

    Attributes:
      fn: the public function; its name is the method's.
      ask: asks it.
      title: how a page writes it.
      question: what it answers, with `{answer}` and `{contrast}` for the classes.
      summary: what it does, in a sentence.
      paper: authors and year.
      cost: what it takes, in words.
      standard: whether it is among those that are asked if none are named.
      contrasts: whether it stands in the row of contrasts.
      for_each_contrast: whether it asks about each of the contrasts by itself.
      signed: whether 0 stands in the middle.
      ranks_pixels: whether a larger value says that a pixel speaks more for the answer,
        so that insertion and deletion can follow it.
      facts: numbers beside the map: name -> how a page writes it.
    """

    fn: Callable[..., Any]
    ask: Callable[[Question], Answer]
    _: dataclasses.KW_ONLY
    title: str
    question: str
    summary: str
    paper: str
    cost: str = ONE_EACH
    standard: bool = False
    contrasts: bool = False
    for_each_contrast: bool = False
    signed: bool = False
    ranks_pixels: bool = False
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """That of its function."""
        return self.fn.__name__

    @property
    def described(self) -> str:
        """What it does, what it takes, and where it is from."""
        return f"{self.summary} It takes {self.cost} ({self.paper})."
