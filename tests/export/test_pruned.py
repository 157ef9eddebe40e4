"""Files of pruned nets answer as the nets do, whatever the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from tiny_models import TINY

from jaxcls.export.writer import to_onnx
from jaxcls.prune import build, groups, kept


def check(name):
    constructor, fields, shape = TINY[name]
    model = constructor(**fields, num_classes=3)
    found = groups.find(model, shape)
    stay = [np.arange(0 if group.why else group.units // 2, group.units) for group in found.groups]
    small = build.of_module(model, kept.to_config(found.groups, stay))
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    variables = jax.device_get(small.init(jax.random.key(0), images.astype(np.float32), train=False))
    answer = lambda v, x: small.apply(v, x.astype(jnp.float32) / 255, train=False)[0]  # noqa: E731
    file = to_onnx(answer, variables, shape)
    session = onnxruntime.InferenceSession(file.SerializeToString())
    (theirs,) = session.run(None, {session.get_inputs()[0].name: images})
    ours = np.asarray(answer(variables, images))
    np.testing.assert_allclose(theirs, ours, atol=1e-5 * max(1, np.abs(ours).max()))
    return {node.op_type for node in file.graph.node}


def test_a_pruned_net_is_written():
    check("resnet_cifar_a")


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_every_pruned_net_is_written(name):
    written = check(name)
    if name == "mobilenet_v3":
        assert {"HardSwish", "HardSigmoid"} <= written  # named calls are still known
