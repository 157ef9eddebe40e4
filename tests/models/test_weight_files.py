"""Files of weights, made by PyTorch 2.14 (fixtures/torch) or by hand: what they hold, and what is refused of them."""

import hashlib
import json
import os
import pickle
import re
import struct
import sys
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls.errors import UserError
from jaxcls.models import hub, text_tower, tower_files, weight_files

TORCH = Path(__file__).parent / "fixtures" / "torch"
X = np.arange(24, dtype=np.float32).reshape(4, 6)
THREE = np.arange(3)
# What zip.pth and old.pth were saved from, by torch.save in its two formats.
KINDS = {
    "f64": X.astype(np.float64), "f32": X, "f16": X.astype(np.float16), "bf16": X.astype(ml_dtypes.bfloat16),
    "i64": np.array(3, np.int64), "i32": THREE.astype(np.int32), "i16": THREE.astype(np.int16),
    "i8": THREE.astype(np.int8), "u8": THREE.astype(np.uint8), "bool": X > 3, "c64": X.astype(np.complex64),
    "u16": THREE.astype(np.uint16), "f8": X.astype(ml_dtypes.float8_e4m3fn),
    "transposed": X.T, "part": X[1:3, 2:5], "shared": X[2], "empty": np.zeros((0, 3), np.float32),
    "parameter": X + 1, "expanded": np.ones((1, 1), np.float32),
}  # fmt: skip


def equal(got, expected):
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].dtype == array.dtype and got[name].shape == array.shape, name
        np.testing.assert_array_equal(got[name].astype(array.dtype), array, err_msg=name)


@pytest.mark.parametrize("name", ["zip", "old"])
def test_every_type_and_view_that_torch_saves(name):
    found = weight_files.read(TORCH / f"{name}.pth")
    equal(found.tensors, KINDS)
    assert found.container == "" and not any(array.flags.writeable for array in found.tensors.values() if array.size)


def test_a_torchscript_archive_gives_the_state_dict_of_its_program():
    """scripted.pt: a net with the layout of OpenAI's CLIP in float16, by torch.jit.script and torch.jit.save, less the
    debug_pkl files; scripted.json: dtype, shape and BLAKE2b of each tensor of torch.jit.load(...).state_dict()."""
    found = weight_files.read(TORCH / "scripted.pt").tensors
    wanted = json.loads((TORCH / "scripted.json").read_text())
    assert found.keys() - wanted.keys() == {"transformer.resblocks.0.attn_mask"}  # an attribute of the program
    for name, described in wanted.items():
        content = hashlib.blake2b(np.ascontiguousarray(found[name]).tobytes(), digest_size=8).hexdigest()
        assert [str(found[name].dtype), list(found[name].shape), content] == described, name
    towers = tower_files.split(found)
    assert towers.image["head.weight"].shape == towers.text["text_projection.weight"].shape == (6, 8)
    assert towers.scale == pytest.approx(np.exp(2.5)) and not any("attn_mask" in name for name in towers.text)
    text_tower.of_tensors(towers.text)  # refuses what is no tower


@pytest.mark.parametrize("times", [1, 2])
def test_a_program_whose_modules_hold_themselves(tmp_path, times):
    itself = b"".join(b"X\4\0\0\0sel%dh\1" % i for i in range(times))
    pickled = b"\x80\2c__torch__\nM\nq\0)\x81q\1}(" + itself + b"ub."
    found = refusal(archive(tmp_path / "x.pt", {"m/data.pkl": pickled, "m/constants.pkl": b""}))
    assert "is a TorchScript program whose modules lie in each other too deep" in found


def test_the_averaged_weights_of_a_training_checkpoint(tmp_path):
    """Beside them it holds the weights, the optimiser's state, a NumPy number and an argparse.Namespace."""
    found = weight_files.read(TORCH / "checkpoint.pth")
    assert found.container == "state_dict_ema" and found.tensors["0.weight"].shape == (2, 3, 1, 1)
    np.testing.assert_allclose(found.tensors["1.weight"], 2, atol=0.7)  # twice the scale of a BatchNorm after a step


def test_a_published_file_of_python_2_and_torch_0(shared):
    found = weight_files.read(shared / "data/weights/resnet20_cifar10.th")
    assert found.container == "state_dict" and found.tensors["module.linear.weight"].shape == (10, 64)
    assert found.sha256 == "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8"


def safetensors(header, data=b"", length=None):
    """A file of the format by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def test_safetensors_by_hand(tmp_path):
    values = np.array([1.5, -2.0, 0.25], np.float32)
    bf16 = (values.view(np.uint32) >> 16).astype("<u2").tobytes()  # the upper half of a float32
    header = {
        "b": {"dtype": "F32", "shape": [3, 1], "data_offsets": [6, 18]},
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]},
        "none": {"dtype": "F32", "shape": [0, 7], "data_offsets": [18, 18]},
        "one": {"dtype": "I64", "shape": [], "data_offsets": [18, 26]},
    }
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors(header, bf16 + values.tobytes() + struct.pack("<q", -7)))
    equal(
        weight_files.read(path).tensors,
        {"a": values.astype(ml_dtypes.bfloat16), "b": values[:, None], "none": np.zeros((0, 7), np.float32),
         "one": np.array(-7)},
    )  # fmt: skip


DTYPES = st.sampled_from(["float32", "float16", "float64", "int64", "uint8", "bool", ml_dtypes.bfloat16])
TENSORS = st.dictionaries(
    st.text(st.characters(categories=["L", "N"], include_characters="._"), min_size=1, max_size=20),
    st.tuples(st.lists(st.integers(0, 3), max_size=4), DTYPES, st.integers(0, 100)),
    min_size=1, max_size=5,
)  # fmt: skip


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@given(drawn=TENSORS)
def test_what_is_written_can_be_read(tmp_path_factory, suffix, drawn):
    path = tmp_path_factory.getbasetemp() / f"round{suffix}"
    tensors = {
        name: np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)
        for name, (shape, dtype, seed) in drawn.items()
    }
    weight_files.write(path, tensors, {"format": "pt"})
    equal(weight_files.read(path).tensors, tensors)
    assert not path.with_name(path.name + ".tmp").exists()


def test_what_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for name, message in (("x.h5", "must end in .safetensors, .pth or .pt"), ("file/x.pth", "can't be written")):
        with pytest.raises(UserError, match=message):
            weight_files.write(tmp_path / name, {"a": X}, {})
    with pytest.raises(UserError, match="a is of type float8_e4m3fn, for which torch.save has no storage"):
        weight_files.write(tmp_path / "x.pth", {"a": KINDS["f8"]}, {})
    with pytest.raises(UserError, match="a is of type complex128, which safetensors does not know"):
        weight_files.write(tmp_path / "x.safetensors", {"a": X.astype(np.complex128)}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# What is refused


def refusal(path):
    """The message for a file, which has to be one line that names it."""
    with pytest.raises(UserError) as error:
        weight_files.read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


ONE = b"\0\0\0\0"
DAMAGED = "is damaged or cut off"


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"hello, I am a text", "is neither safetensors nor a file of torch.save (it begins with b'hello, I')"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a pointer of Git LFS"),
        (b"<!DOCTYPE html>", "is a web page, not weights"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (safetensors({"a": entry()}, ONE)[:-1], DAMAGED),
        (safetensors({"a": entry()}, ONE + ONE), DAMAGED),
        (safetensors({"a": entry()}, ONE)[:12], DAMAGED),
        (safetensors({"a": entry()}, ONE, length=2**63), DAMAGED),
        (safetensors({"a": entry(shape=[2**40])}, ONE), DAMAGED),
        (safetensors({"a": entry(shape=[0, 2**70], offsets=[0, 0])}), DAMAGED),
        (safetensors({"a": entry(shape=[1] * 99)}, ONE), DAMAGED),
        (safetensors({"a": entry(shape=[-1], offsets=[0, -4])}, ONE), DAMAGED),
        (safetensors({"a": entry(shape=[1.0])}, ONE), DAMAGED),
        (safetensors({"a": entry(offsets=[-4, 0])}, ONE), DAMAGED),
        (safetensors({"a": entry(), "b": entry()}, ONE), "leave gaps or overlap"),
        (safetensors({"a": entry(), "b": entry(offsets=[8, 12])}, ONE * 3), "leave gaps or overlap"),
        (safetensors(b'{"a": {}, "a": {}}'), "a name stands twice"),
        (safetensors({"a": entry(dtype="F13")}, ONE), DAMAGED),
        (safetensors({"a": 3}), DAMAGED),
        (safetensors({"a\nb": entry()}, ONE), r"a tensor is called 'a\\nb'"),
        (safetensors(b'{"a":' * 100_000), DAMAGED),
        (safetensors({"__metadata__": {}}), "holds no tensors"),
    ],
)
def test_a_file_that_is_no_good(tmp_path, content, message):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    assert message in refusal(path)


def test_a_path_that_leads_nowhere(tmp_path, monkeypatch):
    (tmp_path / "resnet.pth").write_bytes(b"x")
    assert "there is no such file; did you mean 'resnet.pth'?" in refusal(tmp_path / "resnet.pht")
    assert "there is no such file" in refusal(tmp_path / "no" / "x.pth")
    neither = "is a folder without model.safetensors or pytorch_model.bin and no workdir of a run; give a file"
    assert neither in refusal(tmp_path)
    assert "can't be read: File name too long" in refusal(tmp_path / ("x" * 300))
    monkeypatch.chdir(tmp_path)
    assert "for the Hugging Face hub write hf-hub:timm/resnet50.a1_in1k" in refusal("timm/resnet50.a1_in1k")


def archive(path, files, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    return path


def test_zip_archives_of_other_things(tmp_path):
    path = tmp_path / "x.pth"
    np.savez(tmp_path / "x.npz", a=X)
    assert "is a zip archive without weights ('a.npy')" in refusal(tmp_path / "x.npz")
    assert "is compressed" in refusal(archive(path, {"m/data.pkl": bytes(99999)}, zipfile.ZIP_DEFLATED))
    assert "big-endian" in refusal(archive(path, {"m/data.pkl": pickle.dumps({}), "m/byteorder": b"big"}))
    assert "holds a list, not a state dict" in refusal(archive(path, {"m/data.pkl": pickle.dumps([1], 2)}))
    found = refusal(archive(path, {"m/data.pkl": pickle.dumps({"epoch": 3, "model": {"a": 1}}, 2)}))
    assert "is no state dict and holds none under" in found and "its keys are 'epoch', 'model'" in found
    path.write_bytes((TORCH / "zip.pth").read_bytes()[:-100])
    assert DAMAGED in refusal(path)


# Pickles


def old(tmp_path, pickled, keys=("0",), storages=ONE * 8, endian=True):
    """A file in the format before the archives, with a pickle of one's own and storages of two float32."""
    head = b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": endian}))
    body = b"".join(struct.pack("<q", len(storages) // 4) + storages for _ in keys)
    path = tmp_path / "old.pth"
    path.write_bytes(head + pickled + pickle.dumps(list(keys), 2) + body)
    return path


def tensor(offset="0", size="(2,)", stride="(1,)", count="8", kind="torch FloatStorage"):
    """The opcodes of `{"a": a tensor}`, from texts of Python."""
    numbers = [pickle.dumps(eval(text), 2)[2:-1] for text in (offset, size, stride)]
    storage = b"(X\7\0\0\0storagec" + kind.replace(" ", "\n").encode() + b"\nX\1\0\0\0" + b"0X\3\0\0\0cpu"
    storage += pickle.dumps(eval(count), 2)[2:-1] + b"NtQ"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"".join(numbers)
    return b"\x80\2}X\1\0\0\0a" + made + b"\x89ccollections\nOrderedDict\n)RtRs."


def test_the_pickle_by_hand_is_a_good_one(tmp_path):
    numbers = np.arange(8, dtype="<f4").tobytes()
    found = weight_files.read(old(tmp_path, tensor(), storages=numbers))
    np.testing.assert_array_equal(found.tensors["a"], [0, 1])
    found = weight_files.read(old(tmp_path, tensor("1", "(2, 3)", "(1, 2)"), storages=numbers))
    np.testing.assert_array_equal(found.tensors["a"], [[1, 3, 5], [2, 4, 6]])


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"offset": "7"}, "reaches beyond its storage"),
        ({"stride": "(8,)"}, "reaches beyond its storage"),
        ({"size": "(9,)", "stride": "(0,)"}, "reaches beyond its storage"),  # more elements than there are
        ({"size": "(2**40,)"}, "reaches beyond its storage"),
        ({"size": "(2**40,)", "count": "2**40"}, DAMAGED),
        ({"size": "(2, 2)"}, DAMAGED),
        ({"offset": "-1"}, "impossible place"),
        ({"stride": "(-1,)"}, "impossible place"),
        ({"size": "(-2,)"}, "impossible place"),
        ({"size": "(2.0,)"}, "impossible place"),
        ({"size": "(10**30,)"}, "impossible place"),
        ({"size": "[1] * 99", "stride": "[1] * 99"}, DAMAGED),
        ({"size": "(0, 2**62, 2**62)", "stride": "(1, 1, 1)"}, DAMAGED),
        ({"count": "-8"}, "described in another way"),
        ({"count": "9"}, DAMAGED),
        ({"kind": "torch DoubleStorage"}, DAMAGED),
        ({"kind": "torch Size"}, DAMAGED),
        ({"kind": "torch QInt8Storage"}, "wants to call 'torch.QInt8Storage'"),
    ],
)
def test_a_tensor_that_its_storage_does_not_hold(tmp_path, fields, message):
    assert message in refusal(old(tmp_path, tensor(**fields)))


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("function", [os.system, eval, exec, getattr, __import__, pickle.loads, np.load, open])
def test_no_code_runs(tmp_path, function, protocol):
    """The file would make a file if it were unpickled."""
    made = tmp_path / "made"
    argument = f"touch {made}" if function is os.system else f"open({str(made)!r}, 'w')"
    for thing in ({"a": Call(function, argument)}, {"state_dict": Call(getattr, Call(function, argument), "x")}):
        pickled = pickle.dumps(thing, protocol)
        for path in (old(tmp_path, pickled), archive(tmp_path / "new.pth", {"m/data.pkl": pickled})):
            assert re.search(r"wants to call '[\w.]+', which is refused since it could do anything", refusal(path))
    assert not made.exists()


@pytest.mark.parametrize(
    "pickled, message",
    [
        (b"(S'touch x'\nios\nsystem\n.", "holds something else than weights (pickle's "),  # INST
        (b"(cos\nsystem\nS'touch x'\no.", "wants to call 'os.system'"),
        (b"cposix\nsystem\nX\1\0\0\0x\x85R.", "wants to call 'posix.system'"),
        (b"X\2\0\0\0osX\6\0\0\0system\x93X\1\0\0\0x\x85R.", "wants to call 'os.system'"),
        (b"ctorch.storage\n_load_from_bytes\nC\1x\x85R.", "wants to call 'torch.storage._load_from_bytes'"),
        (b"\x82\1.", "holds something else"),  # EXT1
        (b"X\2\0\0\0osX\6\0\0\0system\x86Q.", DAMAGED),  # a persistent id that is no storage
        (b"(((((((((((((((.", DAMAGED),
        (b"}Q.", DAMAGED),
        (b"}X\1\0\0\0ah\5s.", DAMAGED),  # of the memo what was never put there
        (b"}r\xff\xff\xff\xff.", DAMAGED),  # where `pickle` would reserve 64 GiB
        (b"X\xff\xff\xff\x7fx.", DAMAGED),
        (b"\x8e" + b"\xff" * 8 + b".", DAMAGED),
        (b"\x8b\xff\xff\xff\x7f\1.", DAMAGED),
        (b")R.", DAMAGED),
        (b"ctorch\nSize\n)R.", DAMAGED),
        (b".", DAMAGED),
        (b"}", DAMAGED),
    ],
)
def test_a_hostile_or_broken_pickle(tmp_path, pickled, message):
    assert message in refusal(old(tmp_path, b"\x80\2" + pickled))


@pytest.mark.timeout(30)
def test_a_nest_of_tuples_is_never_hashed(tmp_path):
    """Sixty pairs, each of the one before twice: to hash the last one takes 2**60 steps."""
    nest = b")" + b"2\x86" * 60
    for pickled in (b"}" + nest + b"Ns.", b"(X\7\0\0\0storage" + nest + b"X\1\0\0\x000X\3\0\0\0cpuK\1NtQ."):
        assert refusal(old(tmp_path, b"\x80\2" + pickled))
        assert refusal(old(tmp_path, b"\x80\2" + pickled.replace(b"2\x86", b"q\0h\0h\0\x86")))
    keys = b"\x80\2]" + b")" + b"q\0h\0h\0\x86" * 60 + b"a."
    path = old(tmp_path, tensor())
    content = path.read_bytes()
    path.write_bytes(content[: content.index(pickle.dumps(["0"], 2))] + keys)
    assert DAMAGED in refusal(path)


def test_other_states_of_the_older_format(tmp_path):
    assert "big-endian" in refusal(old(tmp_path, tensor(), endian=False))
    views = tensor().replace(b"NtQ", b"(X\1\0\0\x001K\0K\1ttQ")
    assert "views of storages" in refusal(old(tmp_path, views))
    path = old(tmp_path, tensor())
    path.write_bytes(path.read_bytes()[:-1])
    assert "a storage is cut off" in refusal(path)


SMALL = {
    "old.pth": (TORCH / "old.pth").read_bytes(),
    "zip.pth": (TORCH / "zip.pth").read_bytes(),
    "x.safetensors": safetensors({"a": entry(shape=[2], offsets=[0, 8]), "b": entry(offsets=[8, 12])}, ONE * 3),
}


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=300)
@given(data=st.data())
def test_any_damage_is_a_line_or_goes_unnoticed(tmp_path_factory, name, data):
    """A cut, and bytes that changed: never another exception, whatever is hit."""
    content = bytearray(SMALL[name])
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(0, 3)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged-{name}"
    path.write_bytes(content)
    try:
        found = weight_files.read(path)
    except UserError as error:
        assert "\n" not in str(error) and str(path) in str(error)
    else:
        assert all(isinstance(array, np.ndarray) for array in found.tensors.values())
        assert sum(array.nbytes for array in found.tensors.values()) <= 30 * len(content)


# The hub


class LocalEntryNotFoundError(Exception):
    """What the client raises, after half a minute, where there is no network and no copy of a file."""


class FakeHub:
    """Stands in for huggingface_hub: `files` are those of the one repository it has."""

    def __init__(self, folder, files, offline=False):
        self.folder, self.files, self.offline, self.asked = folder, files, offline, []

    def hf_hub_download(self, repo, file, revision=None, local_files_only=False):
        self.asked.append((repo, file, revision))
        if self.offline and not local_files_only:
            raise LocalEntryNotFoundError("An error happened while trying to locate the file on the Hub")
        if file not in self.files:
            raise FileNotFoundError(f"404 Client Error.\n\nEntry Not Found for url: .../{file}")
        return str(self.folder / self.files[file])


@pytest.mark.parametrize("files", [{"model.safetensors": "x.safetensors"}, {"pytorch_model.bin": "zip.pth"}])
def test_weights_of_the_hub(tmp_path, monkeypatch, files):
    (tmp_path / "x.safetensors").write_bytes(SMALL["x.safetensors"])
    (tmp_path / "zip.pth").write_bytes(SMALL["zip.pth"])
    fake = FakeHub(tmp_path, files)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    found = weight_files.read("hf-hub:timm/resnet50.a1_in1k@v1")
    assert found.path == tmp_path / [*files.values()][0] and found.name == "hf-hub:timm/resnet50.a1_in1k@v1"
    assert fake.asked[0] == ("timm/resnet50.a1_in1k", "model.safetensors", "v1")


def test_without_a_network_the_second_file_is_looked_for_at_once(tmp_path, monkeypatch):
    fake = FakeHub(tmp_path, {"pytorch_model.bin": "zip.pth"}, offline=True)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    path, config = hub.fetch("hf-hub:timm/resnet50.a1_in1k")
    assert path == tmp_path / "zip.pth" and config.startswith("its config.json can't be had (404 Client Error")
    fake.files = {}
    with pytest.raises(UserError, match="no network .An error happened while trying to locate the file"):
        hub.fetch("hf-hub:timm/resnet50.a1_in1k")


def test_the_hub_out_of_reach(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", FakeHub(tmp_path, {}))
    with pytest.raises(UserError) as error:
        hub.fetch("hf-hub:timm/nothing")
    assert "can't be downloaded: 404 Client Error. Entry Not Found" in str(error.value) and "\n" not in str(error.value)
    assert "download the file by hand" in str(error.value)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"install it with: pip install huggingface_hub, or download the file by hand"):
        weight_files.read("hf-hub:timm/nothing")
