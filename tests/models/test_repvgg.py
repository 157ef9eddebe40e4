from functools import partial

import jax
import numpy as np
import pytest

from jaxcls.models import pretrained
from jaxcls.models.repvgg import RepVGG, fuse

TINY = {"depths": (1, 2), "widths": (8, 16), "first": 8, "num_classes": 3}


@pytest.fixture
def net(drawn):
    model = RepVGG(**TINY)
    return model, drawn(model, 32, 24, 3), np.random.default_rng(0).normal(size=(2, 32, 24, 3)).astype(np.float32)


def test_one_convolution_a_block_gives_the_same_answers(net):
    model, variables, image = net
    with jax.default_matmul_precision("highest"):
        want = jax.jit(partial(model.apply, train=False))(variables, image)
        fused, weights = model.for_inference(variables)
        got = jax.jit(partial(fused.apply, train=False))(weights, image)
    assert want[1].keys() == got[1].keys()
    for name in ("stage1", "stage2", "pre_logits"):
        assert np.linalg.norm(got[1][name] - want[1][name]) <= 1e-5 * np.linalg.norm(want[1][name])
    assert np.linalg.norm(got[0] - want[0]) <= 1e-5 * np.linalg.norm(want[0])


def test_the_fused_net_has_timms_names_and_no_norm(net):
    """`reparameterize_model` of timm 1.0.31 leaves these."""
    model, variables, _ = net
    fused, weights = model.for_inference(variables)
    blocks = ("stem", "stages.0.0", "stages.1.0", "stages.1.1")
    names = [f"{block}.reparam_conv.{leaf}" for block in blocks for leaf in ("weight", "bias")]
    assert set(pretrained.to_state_dict(weights)) == {*names, "head.fc.weight", "head.fc.bias"}
    again, same = fused.for_inference(weights)
    assert again == fused
    jax.tree.map(np.testing.assert_array_equal, same, weights)


def test_a_block_that_keeps_its_shape_adds_its_input(net):
    """Of branches without scale but the input's, what is left is the input through its norm."""
    _, variables, _ = net
    params = {**variables["params"]}
    block = {name: leaf for name, leaf in params["stages.1.1"].items()}
    for norm in ("conv_kxk.bn", "conv_1x1.bn"):
        block[norm] = jax.tree.map(np.zeros_like, block[norm])
    params["stages.1.1"] = block
    made = fuse({**variables, "params": params}, 1e-5)["params"]["stages.1.1"]["reparam_conv"]
    scale = block["identity"]["scale"] / np.sqrt(variables["batch_stats"]["stages.1.1"]["identity"]["var"] + 1e-5)
    want = np.zeros((3, 3, 16, 16))
    want[1, 1] = np.diag(scale)
    np.testing.assert_allclose(made["kernel"], want, rtol=1e-6)
