"""Pictures of maps, with the numbers of their colours."""

from collections.abc import Sequence

from trustjax.report import _explain_text, _overlay, _section


def of_map(
    question: str,
    laid: _overlay.Overlay,
    notes: Sequence[str],
    image: str,
    beside: tuple[str, str, bool] | None,
) -> _section.Panel:
    """A map under the question that it answers.

    Args:
      question: above it.
      laid: the map over its image.
      notes: below it.
      image: what the image is called.
      beside: an image to compare with, as `Panel` has it.
    """
    if laid.scale is None:
        return _section.Panel(
            question=question,
            source=laid.source,
            alternative=f"{question}: no map of {image}, it is not a number",
            pixelated=laid.pixelated,
            notes=[notes[0], "not a number: the network says nothing here"],
        )
    low, high = map(_explain_text.number, laid.scale[:2])
    if laid.scale.low == laid.scale.high:
        notes = [*notes, f"{low} everywhere"]
    return _section.Panel(
        question=question,
        source=laid.source,
        alternative=f"{question}: a map over {image}, from {low} to {high}",
        pixelated=laid.pixelated,
        legend=laid.scale.gradient,
        low=low,
        high=high,
        notes=notes,
        beside=beside,
    )
