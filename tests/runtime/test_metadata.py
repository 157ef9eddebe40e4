"""What files say about themselves: written of a network, read again, and what is damaged is told in one line."""

import json
import types

import pytest

from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.errors import UserError
from jaxcls.runtime import metadata

DECISION = {
    "step": 3, "classes": ["a", "b"], "temperature": 1.5, "costs": None,
    "thresholds": [{"class": "b", "index": 1, "kind": "recall", "wanted": 0.9, "threshold": 0.25}],
}  # fmt: skip


def network(**changes):
    """Something with a Network's attributes."""
    fields = {
        "title": "a net", "name": "net", "model": None, "classes": ("a", "b"), "output": "softmax", "views": ("flip",),
        "preprocessing": Preprocessing(("resize(40)", "center_crop(32)", "grey"), (0.5,), (0.25,)),
        "calibration": DECISION, "averaged": True, "step": 3, "data": "folder/x", "source": {"sha256": "0"},
    }  # fmt: skip
    return types.SimpleNamespace(**{**fields, **changes})


def test_what_is_written_is_read():
    found = metadata.read(metadata.of(network(), output="logits", precision="int8"), "x.onnx")
    assert (found.classes, found.answer, found.output, found.precision) == (("a", "b"), "softmax", "logits", "int8")
    assert found.decision == DECISION and found.views == ("flip",) and found.averaged is True and found.step == 3
    assert found.picture == (32, 32, 3)
    assert found.preprocessing.transforms == ("resize(40)", "center_crop(32)")  # grey is in the graph
    assert found.preprocessing.mean == (0.5,) and found.source == {"sha256": "0"} and found.data == "folder/x"
    assert "numpy" in found.versions


def test_sets_kept_in_memory_are_squeezed():
    small = network(preprocessing=Preprocessing((), (0.5,), (0.25,), 1, (8, 8, 1)), calibration=None)
    found = metadata.read(metadata.of(small, output="probabilities", precision="float32"), "x.onnx")
    assert found.picture == (8, 8, 1) and found.preprocessing.picture == (8, 8, 1) and found.decision is None


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("jaxcls", "2", "newer jaxcls"),
        ("jaxcls", None, "not written by jaxcls"),
        ("classes", None, "lack 'classes'"),
        ("classes", "[1, 2]", "damaged 'classes'"),
        ("classes", '["a", "b", "c"]', "3 and 2 classes"),
        ("picture", "[8, 8]", "damaged 'picture'"),
        ("picture", "nonsense", "damaged 'picture'"),
        ("output", "votes", "damaged 'output'"),
        ("averaged", "perhaps", "damaged 'averaged'"),
        ("decision", json.dumps({**DECISION, "temperature": -1}), "damaged 'decision'"),
        ("decision", "7", "damaged 'decision'"),
        ("preprocessing", json.dumps({"host": ["resize(-3)"]}), "damaged 'preprocessing'"),
        ("preprocessing", json.dumps({"host": [], "colour": 3}), "damaged 'preprocessing'"),
        ("preprocessing", "[" * 10**5, "damaged 'preprocessing'"),
    ],
)
def test_what_is_damaged_is_one_line(key, value, words):
    mapping = metadata.of(network(), output="logits", precision="float32") | {key: value}
    with pytest.raises(UserError, match=words) as caught:
        metadata.read({k: v for k, v in mapping.items() if v is not None}, "x.onnx")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("x.onnx")


def test_fields_are_those_that_differ_from_the_class():
    from jaxcls import models

    found = json.loads(metadata.of(network(model=models.create("resnet18", num_classes=7)), output="logits",
                                   precision="float32")["fields"])  # fmt: skip
    assert found["num_classes"] == 7 and "name" not in found and "parent" not in found
