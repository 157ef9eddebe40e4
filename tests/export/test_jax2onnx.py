"""Our ONNX files beside those of jax2onnx, where it gives any (reference: tests/fixtures/jax2onnx_answers.py)."""

import collections
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import draw
from fixtures.jax2onnx_answers import pictures
from tiny_models import TINY

from jaxcls.export.writer import to_onnx

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
NETS = json.loads((Path(__file__).parents[1] / "fixtures/jax2onnx.json").read_text())["nets"]


@pytest.mark.parametrize("name", [name for name, found in NETS.items() if "answers" in found])
def test_the_same_answers_with_no_more_transposes(name):
    kind, fields, shape = TINY[name]
    model = kind(num_classes=3, **fields)
    variables = draw(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape))), seed=1)
    function = lambda v, x: model.apply(v, x, train=False)[0]  # noqa: E731
    written = to_onnx(function, variables, shape, dtype=np.float32)
    session = onnxruntime.InferenceSession(written.SerializeToString(), providers=["CPUExecutionProvider"])
    want = np.array(NETS[name]["answers"])
    (got,) = session.run(None, {"image": pictures(shape)})
    np.testing.assert_allclose(got, want, rtol=0, atol=5e-6 * np.abs(want).max())
    assert collections.Counter(node.op_type for node in written.graph.node)["Transpose"] <= NETS[name]["transposes"]
