"""The maps of all classes at once against those of one class at a time."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from tests import networks
from tests.explain_cam_test import METHODS, assert_close, quietly
from trustjax import explain

NAMES = dict(
    zip(
        METHODS,
        ("grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam"),
        strict=True,
    )
)


@pytest.mark.parametrize(
    ("method", "network"),
    [
        ("GradCAM", "dense"),
        ("LayerCAM", "largest_of_windows"),
        *(
            pytest.param(*row, marks=pytest.mark.exhaustive)
            for row in [
                ("HiResCAM", "dense"),
                ("GradCAMPlusPlus", "dense"),
                ("LayerCAM", "pooled_by_attention"),
            ]
        ),
    ],
)
def test_all_classes_of_one_jacobian(method, network):
    """Of an affine head, whose Jacobian is shared, and of one that is not."""
    apply_fn, params, x, *_ = networks.get(network)
    class_maps = functools.partial(quietly, explain.class_maps, apply_fn, params, x)
    maps = class_maps(method=NAMES[method])
    assert maps.shape[:2] == (4, networks.CLASSES)
    every = jnp.broadcast_to(jnp.arange(networks.CLASSES)[None], maps.shape[:2])
    one_by_one = quietly(METHODS[method], apply_fn, params, x, target=every)
    positive = jnp.maximum(maps, 0)
    assert_close(explain.resized(positive, x.shape[1:3], leading=2), one_by_one)
    some = jnp.array([[0, 1], [4, 4], [2, 0], [3, 1]])
    chosen = class_maps(target=some, method=NAMES[method])
    rows = np.arange(4)[:, None]
    assert_close(chosen, np.asarray(maps)[rows, some])


@pytest.mark.usefixtures("without_type_checks")
def test_what_is_refused():
    apply_fn, params, x, *_ = networks.get("dense")
    with pytest.raises(ValueError, match=r"target must have shape \[batch, asked\]"):
        quietly(explain.class_maps, apply_fn, params, x, target=jnp.zeros(4, int))
    with pytest.raises(ValueError, match="method must be one of grad_cam, "):
        quietly(explain.class_maps, apply_fn, params, x, method="eigen_cam")
