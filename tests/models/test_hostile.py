"""Small files can't take large memory or time: every file of tests/hostile.py, each read by a process of its own."""

import io
import json
import os
import pickle

import hostile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls import files
from jaxcls.data import groups, metadata
from jaxcls.errors import UserError
from jaxcls.measure import cost_file, stored
from jaxcls.models import weight_files
from scripts import load

bench = load("bench/_attack_weights.py")
MEBIBYTES, SECONDS = 500, 6  # over what the process began with; three times what is promised, for slow machines
LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="tells memory as Linux does")
# What ends by the same count or bound as another; scripts/bench/attack.py reads all.
SAME = (
    *("opcodes-dict", "opcodes-mark", "opcodes-none", "opcodes-proto", "opcodes-list", "dicts-of-one.old", "deep.old"),
    *("ordered-pairs.old", "namespace-copied", "compressed-14", "lists-short", "numbers", "texts", "spaces", "names"),
)
OLD = ("code", "nest", "keys", "claims", "rank", "storage")  # tried in the older format, too
# Those that are whole: a nest in what a file says of itself is not used; a table without a picture's line is one.
WHOLE = {
    *(("weights", f"nest-as-mean.{form}.pth") for form in ("zip", "old")),
    *(("table", name) for name in ("nines", "many")),
    *(("json", name) for name in ("json-lists", "none")),
    ("weights", "metadata.safetensors"),
}


@pytest.mark.slow
@LINUX
def test_small_files_take_no_large_memory_or_time(tmp_path):
    """Weights, and what stands in place of a CSV, a list or a JSON file: pipes, devices, folders, too."""
    made = [(name, content) for name, content in hostile.weights() if not name.startswith(SAME)]
    made = [(name, content) for name, content in made if "old" not in name or name.startswith(OLD)]
    asked = [("weights", path) for path in bench.written(tmp_path / "weights", made)]
    texts = list(hostile.texts(tmp_path))
    asked += [(kind, path) for kind in ("table", "json", "costs") for path in texts]
    special = [path for path in texts if not os.path.isfile(path) or path.name.startswith("sparse")]
    asked += [("weights", path) for path in special]
    found = bench.measured(asked)
    assert found.keys() == {(kind, str(path)) for kind, path in asked}
    for (kind, path), record in found.items():
        assert record["status"] == 0 and "\n" not in record["answer"], record
        assert record["mebibytes"] < MEBIBYTES and record["seconds"] < SECONDS, record
        assert bool(record["answer"]) == ((kind, os.path.basename(path)) not in WHOLE), record


@LINUX
def test_a_config_beside_weights_is_a_regular_file_of_bounded_size(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(hostile.small_safetensors())
    config = tmp_path / "config.json"
    for target, reason in (("/dev/zero", "it is a pipe or device"), ("pipe", "it is a pipe or device")):
        (tmp_path / "pipe").exists() or os.mkfifo(tmp_path / "pipe")
        config.symlink_to(target)
        with pytest.raises(UserError, match=rf"config.json can't be read \({reason}"):
            weight_files.origin.of_config(config)
        config.unlink()
    for content, reason in ((b" " * 5_000_000, "it has 5,000,000 bytes, where at most"), (b"[" * 10**6, "recursion")):
        config.write_bytes(content)
        with pytest.raises(UserError, match=f"config.json can't be read.*{reason}"):
            weight_files.read(tmp_path)
    config.write_text(json.dumps({"architecture": "resnet50", "mean": ["x" * 10**6]}))
    with pytest.raises(UserError) as error:
        weight_files.read(tmp_path)
    assert "none of a normalisation" in str(error.value) and len(str(error.value)) < 400


def test_a_nest_as_a_setting_is_not_used(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(dict(hostile.weights(0.01))["nest-as-mean.zip.pth"])
    assert weight_files.read(path).says.mean == ()
    assert not weight_files.read(path).says.foreign or "..." in weight_files.read(path).says.foreign.values()


@pytest.mark.parametrize("many", [32, 33])
def test_bounds_of_rank_are_those_that_are_told(tmp_path, many):
    ones = b"(" + b"K\1" * many + b"t"
    shape = json.dumps({"a": {"dtype": "F32", "shape": [1] * many, "data_offsets": [0, 4]}}).encode()
    (tmp_path / "x.pth").write_bytes(hostile.zipped(b"}" + hostile.text("a") + hostile.held(ones, ones) + b"s."))
    (tmp_path / "x.safetensors").write_bytes(hostile.safetensors(shape, bytes(4)))
    for path in tmp_path.iterdir():
        if many == 32:
            assert weight_files.read(path).tensors["a"].shape == (1,) * 32
        else:
            with pytest.raises(UserError, match="is damaged"):
                weight_files.read(path)


def test_a_net_of_thousands_of_tensors_and_one_that_is_saved_twice_can_be_read(tmp_path):
    """As many as no published net has (RegNet and Swin have a thousand), in all three formats."""
    tensors = {f"layers.{i}.a.quite.long.name.of.a.weight": np.full((2, 3), i, np.float32) for i in range(5000)}
    for name in ("x.pth", "x.safetensors"):
        weight_files.write(tmp_path / name, tensors, {"format": "pt"})
        assert len(weight_files.read(tmp_path / name).tensors) == 5000
    pickled = b"}(" + hostile.text("a") + hostile.held() + b"q\6" + hostile.text("b") + b"h\6u."
    (tmp_path / "twice.pth").write_bytes(hostile.old(pickled))
    assert weight_files.read(tmp_path / "twice.pth").tensors.keys() == {"a", "b"}


OPCODES = [
    b"}", b"]", b")", b"(", b"t", b"u", b"s", b"a", b"e", b"R", b"b", b"N", b"\x85", b"\x86", b"\x87", b"\x94",
    b"Q", b"\x93", b"q\1", b"h\1", b"r\1\0\0\0", b"h\x09", b"K\1", b"\x81", b"2", b"0", b"o", hostile.text("a"),
    hostile.storage(), hostile.held(), hostile.REBUILD, hostile.ORDERED, b"ctorch\nSize\n", b"cargparse\nNamespace\n",
    b"cos\nsystem\n",
    hostile.number(2**70), b"G" + bytes(8),
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(OPCODES), max_size=30), st.booleans())
def test_any_row_of_opcodes_is_a_state_dict_or_a_line(tmp_path_factory, opcodes, zipped):
    path = tmp_path_factory.getbasetemp() / "opcodes.pth"
    path.write_bytes((hostile.zipped if zipped else hostile.old)(b"".join(opcodes) + b"."))
    read_or_refused(path)


def read_or_refused(path):
    try:
        found = weight_files.read(path)
    except UserError as error:
        assert "\n" not in str(error) and str(path) in str(error) and len(str(error)) < 600
    else:
        assert found.tensors and all(isinstance(array, np.ndarray) for array in found.tensors.values())


def test_flipped_bytes_are_a_state_dict_or_a_line(tmp_path):
    whole = {path.name: path.read_bytes() for path in bench.TORCH.glob("*.pth")}
    whole["x.safetensors"] = hostile.small_safetensors()
    for name, content in hostile.damaged(whole, 60, seed=1):
        (tmp_path / name).write_bytes(content)
        read_or_refused(tmp_path / name)


def test_tables_keep_what_is_asked_for(tmp_path):
    """Lines that end early, empty ones and those of other pictures; the last of two counts."""
    (tmp_path / "x.csv").write_text("site,path,group\nn,a,1\n\ns,b\nw,other,3\ns,a,2\n")
    assert metadata.table(["a", "b", "c"], "x.csv", tmp_path) == {"site": ["s", "s", ""], "group": ["2", "", ""]}
    with pytest.raises(UserError, match="has no line for 'b'"):
        groups.of_ids(["a", "b"], "x.csv", tmp_path)


def test_costs_of_many_classes_are_read_in_order(tmp_path):
    names = [f"class {i}" for i in range(300)]
    costs = np.random.default_rng(0).integers(1, 9, (300, 300)) * (1 - np.eye(300))
    order = np.random.default_rng(1).permutation(300)
    lines = [",".join(["", *(names[i] for i in order)])]
    lines += [",".join([names[i], *(str(costs[i, j]) for j in order)]) for i in order[::-1]]
    (tmp_path / "x.csv").write_text("\n\n".join(lines))
    np.testing.assert_array_equal(cost_file.read(tmp_path / "x.csv", names), costs)
    (tmp_path / "y.csv").write_text("0,1,9\n1,0\n")
    with pytest.raises(UserError, match="has to hold a number for each pair"):
        cost_file.read(tmp_path / "y.csv", ["a", "b"])


def test_compressed_and_odd_arrays_are_damaged(tmp_path):
    """np.savez, which writes ours, compresses nothing: a megabyte of zeros would come from each kilobyte."""
    path = stored.logits_path(tmp_path, "test", 3)
    path.parent.mkdir()
    whole = {"logits": np.zeros((2, 3), np.float32), "label": np.arange(2), "index": np.arange(2)}
    np.savez(path, **whole)
    assert stored.read_logits(tmp_path, "test", 3).logits.shape == (2, 3)
    odd = io.BytesIO()
    np.save(odd, whole["logits"])
    for damage in (
        lambda: np.savez_compressed(path, **whole),
        lambda: np.savez(path, **whole | {"label": whole["logits"][:, 0]}),
        lambda: path.write_bytes(pickle.dumps(whole)),
        lambda: path.write_bytes(odd.getvalue()),
    ):
        damage()
        with pytest.raises(UserError, match="is damaged"):
            stored.read_logits(tmp_path, "test", 3)
    np.savez_compressed(path, key=np.array("a"), x=np.zeros(9))
    assert files.read_arrays(path, "a") is None
