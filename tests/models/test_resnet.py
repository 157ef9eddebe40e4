import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxcls import models
from jaxcls.models import resnet
from jaxcls.models.pretrained import from_state_dict, to_state_dict


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_logits_equal_torchvision(name, reference, abstract):
    want = reference(name)
    model = models.create(name)
    variables = from_state_dict(want.state, abstract(model, 64, 64, 3))
    with jax.default_matmul_precision("highest"):
        got, _ = jax.jit(partial(model.apply, train=False))(variables, want.image)
    assert np.linalg.norm(got - want.logits) <= 1e-5 * np.linalg.norm(want.logits)


def test_training_step_equals_torchvision(reference, abstract):
    want = reference("resnet18")
    model = models.create("resnet18")
    variables = from_state_dict(want.state, abstract(model, 64, 64, 3))

    def loss_of(params):
        logits_out, updated = model.apply(
            {**variables, "params": params}, want.train.image, train=True, mutable=["batch_stats"]
        )
        chosen = jax.nn.log_softmax(logits_out[0])[jnp.arange(4), want.train.label]
        return -chosen.mean(), (logits_out[0], updated)

    with jax.default_matmul_precision("highest"):
        step = jax.jit(jax.value_and_grad(loss_of, has_aux=True))
        (loss, (logits, updated)), grads = step(variables["params"])
    np.testing.assert_allclose(loss, want.train.loss, rtol=1e-5)
    assert np.linalg.norm(logits - want.train.logits) <= 2e-5 * np.linalg.norm(want.train.logits)
    norms = {key: np.linalg.norm(grad) for key, grad in to_state_dict({"params": grads}).items()}
    assert norms.keys() == want.train.grad_norm.keys()
    for key, norm in norms.items():
        np.testing.assert_allclose(norm, want.train.grad_norm[key], rtol=1e-3, err_msg=key)
    check_running_statistics(want, to_state_dict({"batch_stats": updated["batch_stats"]}))


def check_running_statistics(want, after):
    """After a step they are 0.9 old + 0.1 batch, the batch's variance biased here and unbiased in PyTorch."""
    sizes = {"bn1": 4 * 32 * 32, "layer4.1.bn2": 4 * 2 * 2}  # values per channel in a batch of four 64x64 pictures
    checked = 0
    for key, value in want.train.after.items():
        layer, _, statistic = key.rpartition(".")
        if statistic == "running_var":
            n = sizes[layer]
            batch = (after[key] - 0.9 * want.state[key]) * n / (n - 1)
            np.testing.assert_allclose(0.9 * want.state[key] + batch, value, rtol=1e-4)
            checked += 1
        elif statistic == "running_mean":
            np.testing.assert_allclose(after[key], value, rtol=1e-4, atol=1e-4)
            checked += 1
    assert checked == 4


@pytest.mark.parametrize(
    "name, projected", [("resnet18", (2, 3, 4)), ("resnet34", (2, 3, 4)), ("resnet50", (1, 2, 3, 4))]
)
def test_only_the_first_block_of_a_stage_that_changes_shape_projects(name, projected, abstract):
    params = abstract(models.create(name), 64, 64, 3)["params"]
    assert {block for block in params if "downsample.0" in params[block]} == {f"layer{i}.0" for i in projected}


def test_the_bottleneck_strides_in_its_3x3(abstract):
    model = resnet.ResNet(stage_sizes=(1, 1), block=resnet.Bottleneck, num_classes=2)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    taken = lambda v, x: model.apply(v, x, train=False, capture_intermediates=True)[1]["intermediates"]  # noqa: E731
    block = jax.eval_shape(taken, abstract(model, 64, 64, 3), images)["layer2.0"]
    assert [block[f"conv{i}"]["__call__"][0].shape[1] for i in (1, 2, 3)] == [16, 8, 8]


@pytest.mark.parametrize("stem, sides", [("imagenet", [16, 16, 8, 4, 2]), ("cifar", [64, 64, 32, 16, 8])])
def test_sides_of_the_stages(stem, sides, abstract):
    model = models.create("resnet18", stem=stem)
    variables = abstract(model, 64, 64, 5)  # any number of channels
    images = jax.ShapeDtypeStruct((2, 64, 64, 5), jnp.float32)
    _, out = jax.eval_shape(partial(model.apply, train=False), variables, images)
    assert [out[key].shape[1] for key in ("stem", "stage1", "stage2", "stage3", "stage4")] == sides
    assert out["pre_logits"].shape == (2, 512)


def test_initialisation_is_torchvisions(shared, abstract):
    table = json.loads((shared / "reference/functions/init_stats.json").read_text())["resnet18"]
    model = models.create("resnet18")
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    ours = to_state_dict({"params": variables["params"]})
    assert ours.keys() == table.keys()
    for key, (shape, mean, std) in table.items():
        assert list(ours[key].shape) == shape, key
        error = 5 / np.sqrt(np.prod(shape))  # of either sample, in units of its deviation
        assert abs(ours[key].mean() - mean) <= error * std, key
        assert abs(ours[key].std() - std) <= error * std, key


@pytest.mark.parametrize("block, last", [(resnet.BasicBlock, "bn2"), (resnet.Bottleneck, "bn3")])
def test_zero_init_residual_makes_a_block_its_shortcut(block, last):
    model = resnet.ResNet((2,), block, num_classes=2, width=4, stem="cifar", zero_init_residual=True)
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    variables = model.init(jax.random.key(0), x)
    scales = {path: leaf for path, leaf in traverse_util.flatten_dict(variables["params"]).items() if "scale" in path}
    assert {path[:2] for path, leaf in scales.items() if not leaf.any()} == {("layer1.0", last), ("layer1.1", last)}
    without = {**variables, "params": {**variables["params"], "layer1.1": jax.tree.map(
        jnp.zeros_like, variables["params"]["layer1.1"])}}  # fmt: skip
    np.testing.assert_array_equal(model.apply(variables, x)[0], model.apply(without, x)[0])
