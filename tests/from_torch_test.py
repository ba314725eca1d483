"""PyTorch modules through torchax: what they say, their gradients, what is refused.

`make test-torch` installs what this needs; elsewhere it is skipped.
"""

import logging
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from trustjax import (
    assess,
    bridge,
    explain,
    gradients,
    preprocessing,
    report,
    scoring,
    statistics,
    transforms,
)

torch_networks = pytest.importorskip(
    "tests.torch_networks",
    reason="torch and torchax are not here: make test-torch installs them",
)
torch, nn = torch_networks.torch, torch_networks.nn

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
]


@pytest.fixture(scope="module", params=torch_networks.SMALL)
def small(request):
    """A network, its batch, and the same network for JAX."""
    module, x = torch_networks.SMALL[request.param]()
    return module, x, *bridge.from_torch(module, x)


@pytest.fixture(scope="module")
def convolutional():
    module, x = torch_networks.convolutional()
    return module, x, *bridge.from_torch(module, x)


def arrays(x):
    return jnp.array(x.numpy())


def torch_gradients(module, x):
    """Of each example alone, by the parameters, of the predicted class's loss."""
    parameters = dict(module.named_parameters())
    for parameter in parameters.values():
        parameter.requires_grad_()
    rows = []
    for example in x:
        logits = module(example[None])
        loss = nn.functional.cross_entropy(logits, logits.argmax(-1))
        found = torch.autograd.grad(
            loss, list(parameters.values()), allow_unused=True, materialize_grads=True
        )
        rows.append([gradient.numpy() for gradient in found])
    return dict(zip(parameters, map(np.stack, zip(*rows, strict=True)), strict=True))


def dotted(path):
    return jax.tree_util.keystr(path, simple=True, separator=".")


def assert_close(ours, theirs, tolerance=1e-5):
    np.testing.assert_allclose(
        ours, theirs, rtol=0, atol=tolerance * max(np.abs(theirs).max(), 1e-12)
    )


def test_logits_are_torchs_for_any_batch_and_under_vmap(small):
    module, x, apply_fn, params = small
    expected = module(x).detach().numpy()
    assert_close(jax.jit(apply_fn)(params, arrays(x)), expected)
    assert_close(jax.jit(apply_fn)(params, arrays(x)[:1]), expected[:1])
    one = jax.vmap(lambda example: apply_fn(params, example[None])[0])
    assert_close(jax.jit(one)(arrays(x)), expected)


def test_params_have_torchs_names_nested(small):
    module, _, _, params = small
    found = {
        dotted(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    expected = dict(module.named_parameters())  # tied ones once, frozen ones too
    assert found.keys() == expected.keys()
    for name, leaf in found.items():
        np.testing.assert_array_equal(leaf, expected[name].detach().numpy())


def test_gradients_and_their_statistics_are_those_of_a_loop_in_torch(small):
    module, x, apply_fn, params = small
    expected = torch_gradients(module, x)
    found = jax.jit(
        lambda params, x: gradients.gradient_statistics(
            apply_fn, params, x, statistics=(statistics.l2_norm, statistics.maximum)
        )
    )(params, arrays(x))
    assert [name.replace("/", ".") for name in found.groups] == sorted(expected)
    for column, name in enumerate(found.groups):
        gradient = expected[name.replace("/", ".")].reshape(len(x), -1)
        largest = np.abs(gradient).max()
        norm, maximum = np.moveaxis(found.values[:, column], -1, 0)
        scale = max(np.linalg.norm(gradient, axis=1).max(), 1e-12)
        np.testing.assert_allclose(
            norm, np.linalg.norm(gradient, axis=1), rtol=0, atol=1e-5 * scale
        )
        np.testing.assert_allclose(
            maximum, gradient.max(axis=1), rtol=0, atol=1e-5 * max(largest, 1e-12)
        )


def test_groups_are_layers_of_torch(convolutional):
    _, x, apply_fn, params = convolutional
    found = gradients.gradient_statistics(apply_fn, params, arrays(x), group="layer")
    assert "stem/0" in found.groups
    assert "head/2" in found.groups


@pytest.mark.parametrize("axes", ["Auto", "Explicit"])
def test_sharded_is_unsharded(convolutional, axes):
    _, x, apply_fn, params = convolutional
    x = jnp.concatenate([arrays(x)] * 4)
    norms = jax.jit(
        lambda params, x: (
            gradients.gradient_statistics(
                apply_fn, params, x, statistics=(statistics.l2_norm,)
            ).values
        )
    )
    alone = norms(params, x)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType[axes],))
    sharded = norms(
        jax.device_put(params, NamedSharding(mesh, P())),
        jax.device_put(x, NamedSharding(mesh, P("data"))),
    )
    np.testing.assert_allclose(sharded, alone, rtol=1e-5)
    assert len(sharded.sharding.device_set) == 8


def test_last_layer_scores_are_those_of_torchs_autograd(convolutional):
    module, x, apply_fn, params = convolutional
    asked = ["logits", "grad_trust", "grad_norm", "gradient_l2_norm"]
    batches = scoring.batches(x.numpy(), np.zeros(len(x), np.int32), batch_size=3)
    found = scoring.run(asked, apply_fn, params, batches).values
    weight = module.head[-1].weight

    def squares(loss, norm=2):
        (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
        return gradient.norm(norm).item() ** norm

    for row, example in enumerate(x):
        log_p = module(example[None]).log_softmax(-1)[0]
        by_class = [squares(-loss) for loss in log_p]
        answer = int(log_p.argmax())
        others = np.delete(by_class, answer)
        grad_trust = np.mean(others) / by_class[answer]
        np.testing.assert_allclose(found["grad_trust"][row], grad_trust, rtol=1e-4)
        grad_norm = squares(-log_p.sum(), norm=1)
        np.testing.assert_allclose(found["grad_norm"][row], grad_norm, rtol=1e-4)
    by_parameter = torch_gradients(module, x).values()
    whole = np.sqrt(sum((g.reshape(len(x), -1) ** 2).sum(-1) for g in by_parameter))
    np.testing.assert_allclose(found["gradient_l2_norm"], -whole, rtol=1e-4)
    assert_close(found["logits"], module(x).detach().numpy())


def test_split_gives_what_torch_has_there(convolutional):
    module, x, apply_fn, params = convolutional
    feature_map = module.stem(x)
    embedding, logits = module.head[:2](feature_map), module(x)
    for at, expected in {
        "embedding": embedding,
        "feature_map": feature_map.movedim(1, -1),
    }.items():
        parts = transforms.split(apply_fn, params, arrays(x), at=at)
        features = parts.features_fn(params, arrays(x))
        assert_close(features, expected.detach().numpy())
        assert_close(parts.head_fn(params, features), logits.detach().numpy())


def test_cuts_are_named_by_sub_modules(convolutional):
    _, x, apply_fn, params = convolutional
    names = [cut.name for cut in transforms.cuts(apply_fn, params, arrays(x))]
    assert any("stem/1" in name for name in names), names


def test_a_page_of_a_network_of_torch(convolutional, tmp_path):
    """Images channels last go through the preprocessing into channels first."""
    _, x, apply_fn, params = convolutional
    shown = preprocessing.Preprocessing(
        mean=(0.4, 0.5), std=(0.2, 0.3), channels_first=True
    )
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(40, *x.shape[2:], x.shape[1])).astype(np.float32)
    labels = rng.integers(0, 3, 40)
    network = shown.normalized(apply_fn)
    seen = (np.moveaxis(images, -1, 1) - np.reshape((0.4, 0.5), (2, 1, 1))) / (
        np.reshape((0.2, 0.3), (2, 1, 1))
    )
    found = network(params, jnp.asarray(images))
    assert_close(found, apply_fn(params, jnp.asarray(seen, jnp.float32)))
    asked = ["logits", "grad_trust", "gradient_l2_norm", "grad_norm"]
    values = scoring.run(asked, network, params, scoring.batches(images, labels)).values
    predictions = assess.Predictions(
        values["logits"], labels, scores={name: values[name] for name in asked[1:]}
    )
    page = report.write(assess.assess(predictions), predictions, tmp_path / "page")
    assert "grad trust" in page.read_text()


@pytest.mark.parametrize("name", torch_networks.REFUSED)
def test_refusals_say_what_and_where(name):
    make, error, message = torch_networks.REFUSED[name]
    with pytest.raises(error, match=message):
        bridge.from_torch(*make())


def test_what_torch_computes_from_values_is_said_to_be_no_program():
    module = torch_networks.Asks().eval()
    with pytest.raises(jax.errors.ConcretizationTypeError) as raised:
        bridge.from_torch(nn.Sequential(module).eval(), torch.ones(2, 4))
    assert any("in 0 (Asks)" in note for note in raised.value.__notes__)


def test_an_operator_can_be_given():
    module, x = torch_networks.without_lowering()

    def adaptive_max_pool2d(x, size):
        assert tuple(size) == (1, 1)
        return x.max((2, 3), keepdims=True), jnp.zeros((1,), jnp.int32)

    given = {torch.ops.aten.adaptive_max_pool2d: adaptive_max_pool2d}
    apply_fn, params = bridge.from_torch(module, x, operators=given)
    assert_close(apply_fn(params, arrays(x)), module(x).detach().numpy())


def test_roundings_that_add_up_are_no_sub_modules_fault():
    module, x = torch_networks.Sensitive().eval(), torch.rand(6, 64)
    with pytest.raises(ValueError, match="No sub-module alone differs by as much"):
        bridge.from_torch(module, x)
    bridge.from_torch(module, x, tolerance=0.1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_a_module_of_any_precision_is_compared_in_float32(dtype):
    module, x = torch_networks.convolutional()
    module.to(getattr(torch, dtype))
    apply_fn, params = bridge.from_torch(module, x)
    kept = jnp.dtype("float32" if dtype == "float64" else dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {kept}
    assert {p.dtype for p in module.parameters()} == {getattr(torch, dtype)}
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    expected = module.float()(x).detach().numpy()
    assert_close(apply_fn(single, arrays(x)), expected, 1e-2)


def test_the_module_is_left_as_it_is():
    module, x = torch_networks.convolutional()
    fired = []
    handle = module.stem[0].register_forward_hook(lambda *seen: fired.append(seen))
    module.head[2].weight.requires_grad_(False)
    before = {name: t.clone() for name, t in module.state_dict().items()}
    attributes = {name: dict(vars(part)) for name, part in module.named_modules()}
    given = x.clone()
    apply_fn, params = bridge.from_torch(module, x)
    jax.jit(apply_fn)(params, arrays(x))
    assert torch.equal(x, given)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])
    for name, part in module.named_modules():
        assert vars(part) == attributes[name]
    assert not module.head[2].weight.requires_grad
    # Once, for what the hooks may change, and never with tracers.
    assert len(fired) == 1
    assert type(fired[0][2]) is torch.Tensor
    handle.remove()
    assert not module.stem[0]._forward_hooks


def test_later_changes_of_the_module_do_not_reach_apply_fn():
    module, x = torch_networks.convolutional()
    apply_fn, params = bridge.from_torch(module, x)
    before = np.asarray(apply_fn(params, arrays(x)))
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.fill_(7) if tensor.is_floating_point() else None
    module.head[2].register_forward_hook(lambda *_: pytest.fail("a hook fired"))
    module.train()
    np.testing.assert_array_equal(apply_fn(params, arrays(x)), before)


def test_frozen_parameters_have_gradients(convolutional):
    module, x = torch_networks.convolutional()
    module.requires_grad_(False)
    apply_fn, params = bridge.from_torch(module, x)
    gradient = jax.grad(lambda p: apply_fn(p, arrays(x)).max())(params)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient["head"]))


def test_several_inputs_by_place_and_by_name():
    module = torch_networks.Two().eval()
    tokens, mask = torch.arange(12).reshape(3, 4), torch.rand(3, 4)
    expected = module(tokens, mask=mask).detach().numpy()
    apply_fn, params = bridge.from_torch(module, (tokens, mask))
    assert_close(apply_fn(params, (arrays(tokens), arrays(mask))), expected)
    named = {"tokens": arrays(tokens), "mask": arrays(mask)}
    apply_fn, params = bridge.from_torch(module, named)
    assert_close(apply_fn(params, named), expected)


@pytest.mark.parametrize("kind", ["dict", "tuple", "object"])
def test_several_outputs_are_refused_with_the_way_to_one(kind):
    module, x = torch_networks.Several(kind).eval(), torch.ones(2, 4)
    apply_fn, params = bridge.from_torch(module, x)
    head = "0" if kind == "tuple" else "logits"
    with pytest.raises(TypeError, match=rf"bridge.head\(apply_fn, '{head}'\)"):
        apply_fn(params, arrays(x))
    one = jax.jit(bridge.head(apply_fn, head))
    assert_close(one(params, arrays(x)), module.dense(x).detach().numpy())


def test_the_order_of_the_channels_is_said(caplog):
    module, x = torch_networks.convolutional()
    with caplog.at_level(logging.WARNING, logger="trustjax.bridge"):
        bridge.from_torch(module, x)
    assert "channels first, and so does apply_fn: ['batch', 2, 9, 9]" in caplog.text
    caplog.clear()
    bridge.from_torch(nn.Linear(3, 2).eval(), torch.ones(2, 3))
    assert not caplog.messages


def test_other_params_than_the_modules_are_refused(convolutional):
    _, x, apply_fn, params = convolutional
    del (params := {**params, "extra": jnp.ones(1)})["head"]
    with pytest.raises(ValueError, match=r"extra, head\.2\.bias, head\.2\.weight"):
        apply_fn(params, arrays(x))


def test_the_examples_of_readme_run_one_after_the_other():
    readme = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
    code = "".join(re.findall(r"```py\n(.*?)```", readme, re.DOTALL))
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert said.stdout == "(16,) (5, 8)\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "convnext_tiny", "vit_b_16"]
)
def test_torchvisions_networks(name):
    from benchmarks import _torchvision

    size = {"image_size": 64} if name == "vit_b_16" else {}
    module, x = _torchvision.network(name, **size), torch.randn(2, 3, 64, 64)
    apply_fn, params = bridge.from_torch(module, x)
    assert_close(jax.jit(apply_fn)(params, arrays(x)), module(x).detach().numpy())
    norms = jax.jit(
        lambda params, x: gradients.gradient_statistics(
            apply_fn, params, x, statistics=(statistics.l2_norm,)
        )
    )(params, arrays(x))
    expected = torch_gradients(module, x)
    for column, group in enumerate(norms.groups):
        gradient = expected[group.replace("/", ".")].reshape(len(x), -1)
        theirs = np.linalg.norm(gradient, axis=1)
        np.testing.assert_allclose(norms.values[:, column, 0], theirs, rtol=1e-3)
    parts = transforms.split(apply_fn, params, arrays(x))
    features = jax.eval_shape(parts.features_fn, params, arrays(x))
    width = {"resnet18": 512, "mobilenet_v3_small": 1024}.get(name, 768)
    assert features.shape == (len(x), width)


def test_maps_of_a_module():
    """Grad-CAM of torch's own gradients; a layer by the module's name for it."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)]
    module = nn.Sequential(nn.Sequential(*layers), nn.Sequential(*head)).eval()
    x = torch.randn(2, 3, 17, 13)
    features = module[0](x).detach().requires_grad_()
    weights = torch.autograd.grad(module[1](features)[:, 2].sum(), features)[0]
    raw = (weights.mean((2, 3), keepdim=True) * features).sum(1).relu().detach()
    expected = nn.functional.interpolate(raw[:, None], (17, 13), mode="bilinear")[:, 0]
    apply_fn, params = bridge.from_torch(module, x)
    for at in ("feature_map", "0/3"):
        maps = explain.grad_cam(apply_fn, params, arrays(x), target=2, at=at)
        np.testing.assert_allclose(maps, expected, atol=1e-5 * float(expected.max()))
    found = jax.jit(lambda p, x: explain.voice(apply_fn, p, x))(params, arrays(x))
    assert found.uncertainty.shape == (2, 17, 13)
    assert np.asarray(found.uncertainty).max() > 0
