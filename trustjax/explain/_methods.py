"""Every method by name: what it answers, what it takes, where it is from.

A row stands here and nowhere else: the page, the command and the README's table are
made from them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trustjax.explain._cam import grad_cam, grad_cam_plus_plus, hires_cam, layer_cam
from trustjax.explain._contrast import (
    causal_cam,
    contrast_cam,
    counterfactual_cam,
    why_not_certain,
)
from trustjax.explain._gradient_maps import (
    deconvolution,
    guided_backprop,
    guided_grad_cam,
    input_times_gradient,
    over_channels,
    saliency,
)
from trustjax.explain._integrated_gradients import integrated_gradients
from trustjax.explain._layout import layout
from trustjax.explain._method import Answer, Method, Question
from trustjax.explain._occlusion import occlusion
from trustjax.explain._rise import rise, shape
from trustjax.explain._smooth_grad import smooth_grad
from trustjax.explain._voice import voice

_WHY = "why {answer}?"
_MOVES = "which pixels move {answer}?"
_NOISY_IMAGES = 50
_WINDOWS = 7  # side by side; every second one lies between two of them


def _of_features(fn: Callable[..., Any], question: Question, **options: Any) -> Any:
    """A method that cuts the network, asked about the target."""
    return fn(
        question.apply_fn,
        question.params,
        question.x,
        target=question.target,
        at=question.at,
        grid=question.grid,
        class_tokens=question.class_tokens,
        **options,
    )


def _cam(fn: Callable[..., jax.Array], question: Question) -> Answer:
    return Answer(_of_features(fn, question))


def _contrast_cam(question: Question) -> Answer:
    """One map for each contrast; what they share is computed once under `jax.jit`.

    The difference of two logits, for the cross entropy to Q says the same whichever P
    is asked about.
    """
    ask = functools.partial(contrast_cam, objective="logit_difference")
    maps = [
        _of_features(ask, question, contrast=contrast)
        for contrast in question.contrasts.T
    ]
    return Answer(jnp.stack(maps, axis=1))


def _causal_cam(question: Question) -> Answer:
    return Answer(_of_features(causal_cam, question).causal)


def _voice(question: Question) -> Answer:
    found = _of_features(voice, question)
    return Answer(found.uncertainty, facts={"iou": found.iou, "snr": found.snr})


def _by_x(
    fn: Callable[..., Any], question: Question, *, by: str, **options: Any
) -> Answer:
    """A method that differentiates by the image, its channels put together."""
    maps = fn(
        question.apply_fn,
        question.params,
        question.x,
        target=question.target,
        **options,
    )
    return Answer(over_channels(maps, by=by))


def _guided_grad_cam(question: Question) -> Answer:
    return Answer(over_channels(_of_features(guided_grad_cam, question)))


def _integrated_gradients(question: Question) -> Answer:
    found = integrated_gradients(
        question.apply_fn,
        question.params,
        question.x,
        target=question.target,
        **question.hiding,
    )
    facts = {"residual": found.residual}
    return Answer(over_channels(found.map, by="sum"), facts=facts)


def _smooth_grad(question: Question) -> Answer:
    found = smooth_grad(
        question.apply_fn,
        question.params,
        question.x,
        key=question.key,
        target=question.target,
        # As its paper: more than so many change little.
        samples=min(question.samples, _NOISY_IMAGES),
        each=over_channels,
    )
    return Answer(found.map, found.standard_error)


def _masked(fn: Callable[..., Any], question: Question) -> Answer:
    """A method that looks at many images of which random masks hide a part."""
    microbatch = question.microbatch and min(question.microbatch, question.samples)
    found = fn(
        question.apply_fn,
        question.params,
        question.x,
        key=question.key,
        masks=question.samples,
        target=question.target,
        microbatch=microbatch,
        **question.hiding,
    )
    return Answer(found.map, found.standard_error)


def _occlusion(question: Question) -> Answer:
    """Windows as large whatever the image: else a large one takes thousands."""
    window = [max(1, side // _WINDOWS) for side in layout(question.x.shape).size]
    maps = occlusion(
        question.apply_fn,
        question.params,
        question.x,
        window=window,
        stride=[max(1, side // 2) for side in window],
        target=question.target,
        **question.hiding,
    )
    return Answer(maps)


def _why(fn: Callable[..., Any], title: str, **words: Any) -> Method:
    """A class activation map of the target."""
    ask = functools.partial(_cam, fn)
    return Method(fn, ask, title=title, question=_WHY, ranks_pixels=True, **words)


_ROWS = (
    _why(
        grad_cam,
        "Grad-CAM",
        summary="The features that the network ends in, each channel weighed by its "
        "mean gradient.",
        paper="Selvaraju et al. 2017",
        standard=True,
        contrasts=True,
    ),
    Method(
        counterfactual_cam,
        functools.partial(_cam, counterfactual_cam),
        title="CounterfactualCAM",
        question="what if not {answer}?",
        summary="Grad-CAM of the negated gradient: what would lower the answer.",
        paper="Selvaraju et al. 2017",
        standard=True,
        contrasts=True,
    ),
    Method(
        contrast_cam,
        _contrast_cam,
        title="ContrastCAM",
        question="why {answer}, rather than {contrast}?",
        summary="Grad-CAM of the difference of two logits: what speaks for the answer "
        "against another class.",
        paper="Prabhushankar et al. 2020",
        cost="a forward pass, and a backward pass for each contrast",
        standard=True,
        contrasts=True,
        for_each_contrast=True,
    ),
    Method(
        why_not_certain,
        functools.partial(_cam, why_not_certain),
        title="Why not certain",
        question="why not {answer} at 100 %?",
        summary="Grad-CAM of all other classes together against the answer.",
        paper="AlRegib and Prabhushankar 2025",
        standard=True,
        contrasts=True,
    ),
    Method(
        voice,
        _voice,
        title="VOICE",
        question="where do the reasons differ from class to class?",
        summary="The variance of ContrastCAM over all other classes. IoU: how much of "
        "it lies where Grad-CAM does; SNR: how dispersed it is; larger is less sure.",
        paper="Prabhushankar and AlRegib 2024",
        cost="a forward pass, and a pass through the end of the network for each class",
        standard=True,
        contrasts=True,
        facts={"iou": "IoU", "snr": "SNR"},
    ),
    Method(
        causal_cam,
        _causal_cam,
        title="CausalCAM",
        question="what belongs to {answer} alone?",
        summary="Grad-CAM without what it shares with the other classes.",
        paper="Prabhushankar and AlRegib 2021",
        ranks_pixels=True,
    ),
    _why(
        grad_cam_plus_plus,
        "Grad-CAM++",
        summary="Grad-CAM with a weight for each position, so that several objects of "
        "a class count.",
        paper="Chattopadhay et al. 2018",
    ),
    _why(
        hires_cam,
        "HiResCAM",
        summary="Features times their gradients, position by position: nothing is "
        "averaged.",
        paper="Draelos and Carin 2020",
    ),
    _why(
        layer_cam,
        "LayerCAM",
        summary="Features times the positive part of their gradients, position by "
        "position.",
        paper="Jiang et al. 2021",
    ),
    Method(
        saliency,
        functools.partial(_by_x, saliency, by="largest"),
        title="Gradient",
        question=_MOVES,
        summary="The largest gradient of a pixel's channels: where a small change "
        "would move the answer, up or down.",
        paper="Simonyan et al. 2014",
        ranks_pixels=True,
    ),
    Method(
        input_times_gradient,
        functools.partial(_by_x, input_times_gradient, by="sum"),
        title="Input x gradient",
        question=_MOVES,
        summary="The gradient times the image: black pixels count for nothing.",
        paper="Shrikumar et al. 2017",
        signed=True,
        ranks_pixels=True,
    ),
    Method(
        integrated_gradients,
        _integrated_gradients,
        title="Integrated gradients",
        question="what does each pixel add to {answer}?",
        summary="The gradient on the way from an empty image to this one; all pixels "
        "together are the difference of the two answers, but for the residual.",
        paper="Sundararajan et al. 2017",
        cost="50 forward and backward passes",
        standard=True,
        signed=True,
        ranks_pixels=True,
        facts={"residual": "residual"},
    ),
    Method(
        smooth_grad,
        _smooth_grad,
        title="SmoothGrad",
        question=_MOVES,
        summary="The gradient on average over noisy copies of the image.",
        paper="Smilkov et al. 2017",
        cost="50 forward and backward passes",
        ranks_pixels=True,
    ),
    Method(
        occlusion,
        _occlusion,
        title="Occlusion",
        question="what does {answer} lose without it?",
        summary="A window moves over the image and hides what is under it.",
        paper="Zeiler and Fergus 2014",
        cost="a forward pass for each of some 200 windows",
        signed=True,
        ranks_pixels=True,
    ),
    Method(
        rise,
        functools.partial(_masked, rise),
        title="RISE",
        question="what is enough for {answer}?",
        summary="Random masks, each weighed by how sure the network is of what it "
        "leaves.",
        paper="Petsiuk et al. 2018",
        cost="a forward pass for each mask",
        ranks_pixels=True,
    ),
    Method(
        shape,
        functools.partial(_masked, shape),
        title="SHAPE",
        question="what does {answer} need?",
        summary="Random masks, each weighed by how much less sure the network is of "
        "what it leaves, where it hides.",
        paper="AlRegib and Prabhushankar 2025",
        cost="a forward pass for each mask",
        ranks_pixels=True,
    ),
    Method(
        guided_backprop,
        functools.partial(_by_x, guided_backprop, by="largest"),
        title="Guided backpropagation",
        question="which shapes are seen on the way to {answer}?",
        summary="The gradient with what is negative cut off at every ReLU. It restores "
        "the image, and hardly depends on what is asked.",
        paper="Springenberg et al. 2015",
    ),
    Method(
        guided_grad_cam,
        _guided_grad_cam,
        title="Guided Grad-CAM",
        question="which shapes does Grad-CAM see for {answer}?",
        summary="Guided backpropagation where Grad-CAM is.",
        paper="Selvaraju et al. 2017",
        cost="a forward pass and two backward passes",
    ),
    Method(
        deconvolution,
        functools.partial(_by_x, deconvolution, by="largest"),
        title="Deconvolution",
        question="which shapes are seen on the way to {answer}?",
        summary="The positive part of the gradient is passed back at every ReLU, "
        "whatever came in.",
        paper="Zeiler and Fergus 2014",
    ),
)

METHODS = {row.name: row for row in _ROWS}
"""Name -> the method, in the order of a page."""


def markdown_table() -> str:
    """The methods as a table in Markdown: the README's is this one.

    >>> print(markdown_table().splitlines()[2])
    | `grad_cam` | Grad-CAM | Why P? | a forward and a backward pass | Selvaraju et ...
    """
    rows = [("Name", "Method", "It answers", "It takes", "Paper"), ("---",) * 5]
    for row in METHODS.values():
        asked = row.question.format(answer="P", contrast="Q")
        question = asked[0].upper() + asked[1:]
        rows.append((f"`{row.name}`", row.title, question, row.cost, f"{row.paper}."))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
