"""The families of `models` whose full networks are too large for a battery, in small.

Each is `Small(build, image_shape, embedding, feature_map)`: the family's class with a
configuration of few and narrow layers, and the shapes of its embedding and feature map
for one image. Weights are drawn by one rule, biases, scales and statistics too, so that
nothing of a network is hidden behind a zero.
"""

import functools
import zlib
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests import reference
from trustjax import bridge, gradients, models, scores, transforms
from trustjax.models import _weights

BATCH, CLASSES = 8, 3
LIGHT = {"confidnet_mnist", "convnext", "r3d", "shufflenet", "swin", "vit"}
"""Those that `make test` takes; the others' programs take the compiler longer."""


class Small(NamedTuple):
    """A small network of a family, and what is known of it."""

    build: Callable[..., models.Classifier]
    image_shape: tuple[int, ...]
    embedding: tuple[int, ...]
    feature_map: tuple[int, ...]


def _video_resnet(*stages: str) -> Small:
    config = models.VideoResNetConfig(stages, (4, 6), (1, 1), stem_hidden=5)
    frames = 4 if stages[1] == "2d" else 2
    return Small(
        functools.partial(models.VideoResNet, config),
        (4, 8, 8, 3),
        (6,),
        (frames, 2, 2, 6),
    )


ATTENTION = {
    "convnext": Small(
        functools.partial(models.ConvNeXt, models.ConvNeXtConfig((4, 6), (1, 1), 0.5)),
        (17, 16, 3),
        (6,),
        (2, 2, 6),
    ),
    "vit": Small(
        functools.partial(
            models.ViT, models.ViTConfig((4, 4), 8, depth=2, heads=2, dropout_rate=0.5)
        ),
        (8, 12, 3),
        (8,),
        (7, 8),
    ),
    # Sizes that no window divides: padded, shifted and cut again.
    "swin": Small(
        functools.partial(
            models.Swin,
            models.SwinConfig(4, (2, 1), (2, 2), (3, 3), (2, 2), 0.5),
        ),
        (14, 10, 3),
        (8,),
        (4, 3, 8),
    ),
    "swin_v2": Small(
        functools.partial(
            models.Swin,
            models.SwinConfig(4, (2, 1), (2, 2), (3, 3), (2, 2), 0.5, version=2),
        ),
        (14, 10, 3),
        (8,),
        (4, 3, 8),
    ),
    "maxvit": Small(
        functools.partial(
            models.MaxViT,
            models.MaxViTConfig(4, (8,), (2,), 4, (2, 2), 0.5),
        ),
        (8, 16, 3),
        (8,),
        (2, 4, 8),
    ),
}


VIDEO = {
    "r3d": _video_resnet("3d", "3d"),
    "mc3": _video_resnet("3d", "2d"),
    "r2plus1d": _video_resnet("2+1d", "2+1d"),
    # The windows of the second stage are cut to its clip, which torchvision's
    # positions do not follow.
    "swin3d": Small(
        functools.partial(
            models.Swin,
            models.SwinConfig(4, (2, 1), (2, 2), (2, 3, 3), (2, 2, 2), 0.5),
        ),
        (6, 9, 8, 3),
        (8,),
        (3, 3, 2, 8),
    ),
}


def _inverted(config: models.InvertedResidualConfig, *known: Any) -> Small:
    return Small(functools.partial(models.InvertedResidualNet, config), *known)


CONVOLUTIONAL = {
    # What the convolutions leave, 2x1, is pooled to 2x2.
    "alexnet": Small(
        functools.partial(
            models.AlexNet, models.AlexNetConfig((4, 5, 6, 6, 4), hidden=6, pooled=2)
        ),
        (95, 80, 3),
        (6,),
        (2, 2, 4),
    ),
    # And here 3x2.
    "vgg": Small(
        functools.partial(models.VGG, models.VGGConfig((1, 2), (4, 6), 8, pooled=2)),
        (12, 8, 3),
        (8,),
        (2, 2, 6),
    ),
    "resnext": Small(
        functools.partial(
            models.ResNet,
            models.ResNetConfig(
                (1, 1), (4, 6), block="bottleneck", groups=2, group_width=32
            ),
        ),
        (16, 16, 3),
        (24,),
        (2, 2, 24),
    ),
    "mobilenet_v1": Small(
        functools.partial(
            models.MobileNetV1,
            models.MobileNetV1Config(((1, 1, 6), (1, 2, 8)), stem=4),
        ),
        (8, 8, 3),
        (8,),
        (2, 2, 8),
    ),
    "mobilenet_v2": _inverted(
        models.mobilenet_v2_config(((1, 4, 1, 1), (2, 6, 2, 2)), stem=4, head=8),
        (8, 8, 3),
        (8,),
        (2, 2, 8),
    ),
    "mobilenet_v3": _inverted(
        models.mobilenet_v3_config(
            ((3, 4, 4, True, "relu", 2), (5, 10, 4, True, "hard_swish", 1)),
            hidden=7,
            stem=4,
        ),
        (16, 16, 3),
        (7,),
        (4, 4, 24),
    ),
    "efficientnet_v2": _inverted(
        models.efficientnet_v2_config(
            ((True, 1, 1, 4, 1), (True, 2, 2, 8, 2), (False, 2, 1, 8, 1)),
            stem=4,
            head=8,
        ),
        (8, 8, 3),
        (8,),
        (2, 2, 8),
    ),
    "efficientnet_lite": _inverted(
        models.efficientnet_lite_config(
            rows=((3, 1, 1, 8, 1), (5, 2, 2, 8, 2), (3, 2, 1, 8, 1)), stem=4, head=8
        ),
        (10, 12, 3),
        (8,),
        (3, 3, 8),
    ),
    "shufflenet": Small(
        functools.partial(
            models.ShuffleNetV2, models.ShuffleNetV2Config(((2, 8),), stem=4, head=8)
        ),
        (16, 16, 3),
        (8,),
        (2, 2, 8),
    ),
    "densenet": Small(
        functools.partial(
            models.DenseNet,
            models.DenseNetConfig((2, 1), 3, stem=4, bottleneck=2, dropout_rate=0.5),
        ),
        (32, 32, 3),
        (8,),
        (4, 4, 8),
    ),
    "confidnet_mnist": Small(
        functools.partial(models.ConfidNetMNIST, widths=(3, 4), hidden=6),
        (8, 8, 1),
        (6,),
        (2, 2, 4),
    ),
    "confidnet_vgg": Small(
        functools.partial(models.ConfidNetVGG, depths=(1, 2), widths=(4, 6), hidden=8),
        (8, 8, 3),
        (8,),
        (2, 2, 6),
    ),
}
ALL = {**ATTENTION, **CONVOLUTIONAL, **VIDEO}


@functools.cache
def network(small: str) -> tuple[Any, Any, jax.Array]:
    """`(apply_fn, params, x)` of a family, made once."""
    known = ALL[small]
    model = filled(known)
    apply_fn, params = bridge.from_nnx(model)
    x = np.random.default_rng(0).standard_normal((BATCH, *known.image_shape))
    return apply_fn, params, jnp.asarray(x, jnp.float32)


def filled(known: Small) -> models.Classifier:
    """The network with every array drawn by its name, in evaluation mode."""
    model = known.build(
        num_classes=CLASSES, image_shape=known.image_shape, rngs=nnx.Rngs(0)
    )
    for path, variable in _weights.variables(model).items():
        rng = np.random.default_rng(zlib.crc32(path.encode()))
        values = rng.standard_normal(variable.shape)
        kind = path.rpartition("/")[2]
        if kind == "kernel":
            values /= np.sqrt(np.prod(variable.shape[:-1]))
        elif kind in ("scale", "layer_scale", "var"):
            values = 1 + 0.1 * np.abs(values)
        else:
            values *= 0.3
        variable.set_value(jnp.asarray(values, variable.dtype))
    model.eval()
    return model


def names(of: dict[str, Small], light: Collection[str] = LIGHT) -> list[Any]:
    """For `parametrize`; those that are not light are tried with the exhaustive."""
    return [
        pytest.param(name, marks=[] if name in light else pytest.mark.exhaustive)
        for name in of
    ]


def check_statistics(name: str) -> None:
    """Of a batch over eight devices, and its scores: those of a loop on one."""
    apply_fn, params, x = network(name)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    over_data = NamedSharding(mesh, P("data"))

    @jax.jit
    def asked(params, x):
        logits, statistics = gradients.outputs_and_gradient_statistics(
            apply_fn, params, x
        )
        return logits, statistics, scores.grad_trust(logits)

    logits, statistics, trust = asked(
        jax.device_put(params, NamedSharding(mesh, P())), jax.device_put(x, over_data)
    )
    for array in (logits, statistics.values, trust):
        assert array.sharding.is_equivalent_to(over_data, array.ndim)
    loop = reference.per_example_gradients(apply_fn, params, x)
    expected, groups = reference.gradient_statistics(loop, "tensor")
    assert statistics.groups == groups
    # The shape of a gradient of zeros, or of one number, is undefined in both.
    np.testing.assert_array_equal(np.isnan(statistics.values), np.isnan(expected))
    off = np.nan_to_num(np.abs(np.asarray(statistics.values) - expected))
    expected = np.nan_to_num(expected)
    # Each number of a gradient is known to the rounding of the whole of it.
    lengths = expected[..., 1:2]
    assert (off[..., :6] <= 1e-4 * np.abs(expected[..., :6]) + 1e-6 * lengths).all()
    assert (off[..., 6:] <= 2e-3 * np.abs(expected[..., 6:]) + 2e-3).all()
    whole = jax.jit(apply_fn)(params, x)
    np.testing.assert_allclose(logits, whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(trust, scores.grad_trust(whole), rtol=1e-3)


def check_parts(name: str) -> None:
    """What is before and behind a cut, composed, is the network."""
    apply_fn, params, x = network(name)
    x = x[:2]
    splits = {
        at: transforms.split(apply_fn, params, x, at)
        for at in ("embedding", "feature_map")
    }

    @jax.jit
    def run(params, x):
        features = {at: split.features_fn(params, x) for at, split in splits.items()}
        composed = [split.head_fn(params, features[at]) for at, split in splits.items()]
        return apply_fn(params, x), features, composed

    whole, features, composed = run(params, x)
    for at, array in features.items():
        assert array.shape == (2, *getattr(ALL[name], at))
    # One program for all, so mostly bit for bit; XLA may still add in another order.
    for logits in composed:
        assert np.abs(logits - whole).max() <= 1e-6 * np.abs(whole).max()


def check_modes(name: str) -> None:
    """Training draws anew in every pass; evaluation is `bridge.from_nnx`'s function."""
    apply_fn, params, x = network(name)
    model = filled(ALL[name])

    @nnx.jit
    def run(model, x):
        model.train()
        random = model(x), model(x)
        model.eval()
        return random, model(x)

    (first, second), evaluated = run(model, x)
    # BatchNorm by the batch moves its running statistics, and evaluation with them.
    drawn = any(isinstance(m, nnx.BatchNorm) for _, m in nnx.iter_modules(model))
    assert not np.allclose(first, second)
    if not drawn:
        expected = jax.jit(apply_fn)(params, x)
        np.testing.assert_allclose(evaluated, expected, rtol=1e-4, atol=1e-5)
