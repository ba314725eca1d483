"""Contrasts against the authors' numbers, sums of class maps, and hand-made regions."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import networks
from tests.explain_cam_test import (
    GOLDEN,
    GOLDEN_NETWORK,
    assert_close,
    at_size,
    by_the_book,
    quietly,
)
from trustjax import explain
from trustjax.typing import SplitModel

OF_THE_AUTHORS = {
    "counterfactual_cam": (explain.counterfactual_cam, {}),
    "contrast_cam_default": (explain.contrast_cam, {}),
    "contrast_cam_class": (explain.contrast_cam, {"contrast": "explicit_class"}),
    "contrast_cam_pred": (explain.contrast_cam, {"contrast": "pred"}),
}


@pytest.mark.parametrize("name", OF_THE_AUTHORS)
def test_of_the_authors(name):
    function, keywords = OF_THE_AUTHORS[name]
    keywords = {k: jnp.asarray(GOLDEN[v]) for k, v in keywords.items()}
    maps = quietly(function, *GOLDEN_NETWORK, **keywords)
    assert_close(maps, at_size(GOLDEN[f"f64/{name}/feature_map_relu"], (32, 32)))
    assert_close(maps[:4], GOLDEN[f"f64/{name}/upsampled"])
    constant = GOLDEN[f"f64/{name}/is_nan"][:4]
    ours = explain.normalized(maps)[:4]
    assert_close(ours[~constant], GOLDEN[f"f64/{name}/normalized"][~constant], 2e-5)
    assert not ours[constant].any()


@pytest.mark.parametrize("which", ["gradcampp", "contrastpp_class"])
def test_of_the_authors_grad_cam_plus_plus(which):
    """Theirs has 1e-7 below and the exponential of logit or loss as a factor.

    Their denominator is another too, but not where all positions have one gradient.
    """
    z, kernel = GOLDEN["f64/logits"], np.float64(GOLDEN["params/dense/kernel"])
    rows = np.arange(12)
    if which == "gradcampp":
        labels = GOLDEN["pred"]
        weights, factor = np.eye(10)[labels], np.exp(z[rows, labels])
        ours = quietly(explain.grad_cam_plus_plus, *GOLDEN_NETWORK)
    else:
        labels = GOLDEN["explicit_class"]
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        weights, factor = p - np.eye(10)[labels], 1 / p[rows, labels]
        ours = quietly(
            explain.contrast_cam,
            *GOLDEN_NETWORK,
            contrast=jnp.asarray(labels),
            method="grad_cam_plus_plus",
        )
    features = GOLDEN["f64/activations"]
    gradients = (weights @ kernel.T / 256)[:, None, None] + 0 * features

    def of_the_paper(epsilon):
        of_images = zip(features, gradients, strict=True)
        return np.stack(
            [by_the_book("GradCAMPlusPlus", *i, epsilon=epsilon) for i in of_images]
        )

    theirs = factor[:, None, None] * np.maximum(of_the_paper(1e-7), 0)
    assert_close(theirs, GOLDEN[f"f64/voice_{which}/feature_map_relu"], 1e-10)
    assert_close(ours, at_size(of_the_paper(0), (32, 32)), 3e-5)


def test_the_most_probable_other_class_is_the_default():
    contrast = functools.partial(quietly, explain.contrast_cam, *GOLDEN_NETWORK)
    first, second = (jnp.asarray(GOLDEN[name]) for name in ("pred", "second"))
    assert_close(contrast(), contrast(contrast=second))
    assert_close(contrast(target=second), contrast(contrast=first))


@pytest.mark.parametrize(
    "name",
    ["dense", pytest.param("pooled_by_attention", marks=pytest.mark.exhaustive)],
)
def test_all_are_sums_of_class_maps(name):
    apply_fn, params, x, *_ = networks.get(name)
    maps = np.asarray(quietly(explain.class_maps, apply_fn, params, x))
    p = np.asarray(jax.nn.softmax(apply_fn(params, x)))
    rows, first = np.arange(len(x)), p.argmax(1)
    second = np.argsort(-p)[:, 1]
    believed = np.einsum("nc,nchw->nhw", p, maps)
    others = (p * (1 - np.eye(p.shape[1])[first]))[:, :, None, None]
    others = (others * maps).sum(1) / others.sum(1)
    of_p, of_q = maps[rows, first], maps[rows, second]
    of_network = (apply_fn, params, x)
    for ours, raw in (
        (explain.counterfactual_cam, -of_p),
        (explain.contrast_cam, believed - of_q),
        (explain.why_not_certain, others - of_p),
    ):
        found = quietly(ours, *of_network)
        assert_close(found, at_size(raw, x.shape[1:3]), 5e-5)
    found = quietly(explain.contrast_cam, *of_network, objective="logit_difference")
    assert_close(found, at_size(of_p - of_q, x.shape[1:3]), 5e-5)


def certain(confidence):
    """One position each for P, for Q, for both, against both, and for neither."""
    shift = jnp.array([[jnp.log(confidence / (1 - confidence)), 0.0]])
    features = jnp.eye(5)[None, :, None]
    kernel = jnp.array([[1.0, 0], [0, 1], [1, 1], [-1, -1], [0, 0]])
    return SplitModel(
        lambda params, x: features + 0 * x,
        lambda params, a: (a - 0.2).sum((1, 2)) @ kernel + shift,
    )


@pytest.mark.parametrize("confidence", [0.6, 0.99, 1 - 1e-6])
def test_why_not_certain_where_the_network_is(confidence):
    """The contrast with the prediction itself, without the factor that vanishes."""
    split, x = certain(confidence), jnp.zeros((1, 5, 1, 1))
    maps = quietly(explain.why_not_certain, split, None, x)
    np.testing.assert_allclose(maps.ravel(), [0, 1, 0, 0, 0], atol=1e-6)
    with_itself = quietly(explain.contrast_cam, split, None, x, contrast=0)
    np.testing.assert_allclose(with_itself, (1 - confidence) * maps, rtol=0.05)


@pytest.mark.parametrize("confidence", [0.5001, 0.9, 1 - 1e-6])
@pytest.mark.parametrize("contrast", [None, 1])
def test_what_speaks_for_p_alone_is_causal(confidence, contrast):
    split, x = certain(confidence), jnp.zeros((1, 5, 1, 1))
    found = quietly(explain.causal_cam, split, None, x, contrast=contrast)
    np.testing.assert_allclose(found.causal.ravel(), [1, 0, 0, 0, 0], atol=1e-5)
    assert found.context.ravel()[2] == pytest.approx(1)


def test_causal_cam_of_one_class():
    split = SplitModel(
        lambda params, x: x, lambda params, a: a.mean((1, 2)) @ jnp.ones((1, 1))
    )
    x = jnp.array([[[[1.0], [3.0]]]])
    found = quietly(explain.causal_cam, split, None, x)
    np.testing.assert_allclose(found.causal, [[[0.0, 1.0]]])
    assert not found.context.any()
    for function in (explain.contrast_cam, explain.why_not_certain):
        with pytest.raises(ValueError, match=r"second class, got logits .* \(1, 1\)"):
            function(split, None, x)


@pytest.mark.usefixtures("without_type_checks")
def test_what_is_refused():
    apply_fn, params, x, *_ = networks.get("dense")
    for function in (explain.contrast_cam, explain.causal_cam):
        with pytest.raises(ValueError, match=r"target must be in \[0, 5\), got 5"):
            function(apply_fn, params, x, contrast=5)
    with pytest.raises(ValueError, match="objective must be one of cross_entropy, "):
        quietly(explain.contrast_cam, apply_fn, params, x, objective="loss")
    with pytest.raises(ValueError, match=r"target must have shape \[batch\]"):
        quietly(explain.causal_cam, apply_fn, params, x, target=jnp.zeros((4, 2), int))
    no_class: Any = lambda z: z[:, 0]
    with pytest.raises(TypeError, match="target must be a class here"):
        quietly(explain.causal_cam, apply_fn, params, x, target=no_class)


def test_a_contrast_with_itself_is_nothing():
    apply_fn, params, x, *_ = networks.get("dense")
    with pytest.warns(UserWarning, match=r"^contrast_cam: .*zero everywhere"):
        maps = explain.contrast_cam(
            apply_fn, params, x, contrast=2, target=2, objective="logit_difference"
        )
    assert not maps.any()
