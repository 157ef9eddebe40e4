"""Files of self-supervised training, made up by the names that published ones have: the encoder is found, what is
beside it is left out and told, and nothing else passes."""

import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models.pretrained import match
from jaxcls.models.state_dict import slots

QUEUE = {"queue": (128, 64), "queue_ptr": (1,)}
MLP = {"fc.0.weight": (512, 512), "fc.0.bias": (512,), "fc.2.weight": (128, 512), "fc.2.bias": (128,)}
BYOL = {
    "projector.0.weight": (64, 512),
    "predictor.layers.0.weight": (64, 64),
    "predictor.layers.1.running_mean": (64,),
}


@pytest.fixture(scope="module")
def net(request):
    """(model, abstract variables, state dict without a last layer) of a ResNet for 10 classes."""
    import jax

    model = models.create("resnet18", num_classes=10, stem="cifar")
    variables = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32))
    rng = np.random.default_rng(0)
    shapes = {name: slot.shape for name, slot in slots(variables).items() if not name.startswith("fc.")}
    return model, variables, {name: np.float32(rng.random()) * np.ones(s, np.float32) for name, s in shapes.items()}


def under(prefix, state, more=()):
    """The tensors of `state`, and ones of the shapes in `more`, below a prefix."""
    made = {name: np.ones(shape, np.float32) for name, shape in dict(more).items()}
    return {f"{prefix}{name}": value for name, value in {**state, **made}.items()}


def other(state):
    return {name: value + 1 for name, value in state.items()}


FILES = {  # name -> encoder -> tensors
    "MoCo v1": lambda e: {**under("module.encoder_q.", e, {"fc.weight": (10, 512), "fc.bias": (10,)}),
                          **under("module.encoder_k.", other(e), {"fc.weight": (10, 512), "fc.bias": (10,)}),
                          **under("module.", {}, QUEUE)},
    "MoCo v2, as published": lambda e: under("module.encoder_q.", e, MLP),
    "MoCo v3": lambda e: {**under("module.base_encoder.", e, MLP), **under("module.momentum_encoder.", other(e), MLP),
                          **under("module.predictor.", {}, {"0.weight": (64, 64), "1.running_var": (64,)})},
    "momentum alone": lambda e: under("module.momentum_encoder.", e, MLP),
    "solo-learn": lambda e: {**under("backbone.", e), **under("momentum_backbone.", other(e)), **under("", {}, QUEUE),
                             **under("momentum_projector.", {}, MLP), **under("", {}, BYOL),
                             **under("classifier.", {}, {"weight": (10, 512), "bias": (10,)})},
    "Barlow Twins": lambda e: {**under("module.backbone.", e), **under("module.", {}, BYOL),
                               **under("module.bn.", {}, {"running_mean": (64,), "running_var": (64,)})},
    "SimSiam": lambda e: {**under("module.encoder.", e, MLP), **under("module.", {}, BYOL)},
    "SupContrast": lambda e: {**under("module.encoder.", e), **under("module.head.", {}, {"0.weight": (64, 512)})},
    "BYOL": lambda e: {**under("online_network.encoder.", e), **under("online_network.", {}, BYOL),
                       **under("target_network.encoder.", other(e))},
    "DataParallel": lambda e: under("module.", e, MLP),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_the_encoder_is_taken_and_what_is_beside_it_left_out(name, net):
    model, variables, encoder = net
    tensors = FILES[name](encoder)
    weights, report = match(model, variables, tensors)
    found = {key: slot.path for key, slot in slots(variables).items()}
    assert sorted(report.loaded) == sorted(encoder) and report.kept.keys() == {"fc.weight", "fc.bias"}
    assert len(report.loaded) + len(report.skipped) == len(tensors)
    for key, value in encoder.items():
        leaf = weights
        for part in found[key]:
            leaf = leaf[part]
        assert leaf.ravel()[0] == value.ravel()[0]
    assert "self-supervised training" in str(report) or not report.skipped


def test_a_wrapped_net_that_knows_classes_keeps_its_last_layer(net):
    model, variables, encoder = net
    classes = {"fc.weight": (10, 512), "fc.bias": (10,)}
    for prefix in ("backbone.", "module.", "module.encoder."):
        _, report = match(model, variables, under(prefix, encoder, classes))
        assert not report.kept and not report.skipped


@pytest.mark.parametrize(
    "stranger", ["module.decoder.weight", "module.encoder_q.layer9.weight", "module.adapter.weight"]
)
def test_what_is_no_part_of_such_training_is_refused(stranger, net):
    model, variables, encoder = net
    with pytest.raises(UserError, match="1 unexpected"):
        match(model, variables, {**FILES["MoCo v1"](encoder), stranger: np.ones(3, np.float32)})


def test_a_head_of_the_models_own_classes_is_no_classifier(net):
    """MoCo v1's `fc.weight` has the shape of a classifier for as many classes as its projection has numbers."""
    model, variables, encoder = net
    _, report = match(model, variables, FILES["MoCo v1"](encoder))
    assert report.skipped["module.encoder_q.fc.weight"] == "the head of self-supervised training"


def test_a_vision_transformer_of_moco_v3(abstract):
    """Its position table is fixed (sines and cosines) and is stored as timm stores a learnt one."""
    model = models.create("vit_tiny_patch16_224", num_classes=10)
    variables = abstract(model, 224, 224, 3)
    encoder = {key: np.zeros(slot.shape, np.float32) for key, slot in slots(variables).items()}
    encoder = {key: value for key, value in encoder.items() if not key.startswith("head.")}
    head = {"head.0.weight": (8, 192), "head.1.running_mean": (8,), "head.3.weight": (8, 8)}
    state = {**under("module.base_encoder.", encoder, head), **under("module.momentum_encoder.", encoder, head)}
    _, report = match(model, variables, state)
    assert "pos_embed" in report.loaded and len(report.skipped) == len(encoder) + 6
    assert sorted(report.loaded) == sorted(encoder) and report.kept.keys() == {"head.weight", "head.bias"}
