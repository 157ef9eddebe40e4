"""Small files of weights that ask for large memory or time, or for code to be run, and tables and JSON of that kind.

`weights(scale)`: name -> bytes. Each name begins with its kind; `scale` 1 makes those of up to some 100 kB to 8 MB.
"""

import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

HEAD = b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
ORDERED = b"ccollections\nOrderedDict\n"
ONE = struct.pack("<q", 1) + b"\0\0\0\0"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def storage(count: int = 1, key: str = "0") -> bytes:
    return b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(count) + b"tQ"


def number(n: int) -> bytes:
    return b"\x8a\x10" + n.to_bytes(16, "little", signed=True)


def zipped(pickled: bytes, data: bytes = b"\0\0\0\0", method: int = zipfile.ZIP_STORED) -> bytes:
    """PyTorch's archive of a pickle (without its protocol) and of one storage."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("m/data.pkl", b"\x80\2" + pickled)
        archive.writestr("m/data/0", data)
    return file.getvalue()


def old(pickled: bytes, keys: bytes = b"]" + text("0") + b"a.", data: bytes = ONE) -> bytes:
    """PyTorch's older format."""
    return HEAD + b"\x80\2" + pickled + b"\x80\2" + keys + data


def safetensors(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def tensor(size: bytes = b"K\1\x85", stride: bytes = b"K\1\x85", on: bytes = b"h\x09") -> bytes:
    """Opcodes of a tensor, on the storage in memo 9."""
    return REBUILD + b"(" + on + b"K\0" + size + stride + b"\x89)tR"


def held(size: bytes = b"K\1\x85", stride: bytes = b"K\1\x85") -> bytes:
    """Opcodes of a tensor on a storage of its own, which goes into memo 9."""
    return tensor(size, stride, storage() + b"q\x09")


NEST = b")" + b"q\x07h\x07h\x07\x86" * 60  # each tuple twice in the next one: 2**60 parts
REFUSED = (
    b"cos\nsystem\n" + text("true") + b"\x85R.",
    b"cbuiltins\neval\n" + text("1") + b"\x85R.",
    b"c__builtin__\n__import__\n" + text("os") + b"\x85R.",
    b"cposix\nsystem\n" + text("true") + b"\x85R.",
    text("os") + text("system") + b"\x93" + text("true") + b"\x85R.",
    b"ctorch.storage\n_load_from_bytes\nC\1x\x85R.",
    b"cbuiltins\ngetattr\n(" + text("a") + text("b") + b"tR.",
    b"c" + b"x" * 400_000 + b"\nname\n.",
    b"(cos\nsystem\n" + text("true") + b"o.",
    b"}cnumpy.core.multiarray\n_reconstruct\nsb.",
)


def pickles(scale: float = 1) -> Iterator[tuple[str, bytes]]:
    """(kind, a pickle without its protocol)."""
    many, few = int(100_000 * scale), int(20_000 * scale)
    row = b"(" + b"K\1" * many
    keep = b"(" + storage() + b"q\x09t"  # leaves something on the stack, which is one too many at the end
    yield "size-copied", keep + REBUILD + b"q\3" + row + b"tq\4" + b"h\3(h\x09K\0h\4h\4\x89)tR" * few + b"."
    yield "arguments-copied", keep + row + b"tq\x04" + REBUILD + b"q\x03" + b"h\x03h\x04R" * few + b"."
    yield "ordered-pairs", ORDERED + b"q\3](" + b"K\1K\1\x86" * few + b"eq\4" + b"h\3h\4\x85R" * few + b"."
    yield "namespace-copied", (
        b"cargparse\nNamespace\nq\3}(" + b"".join(text(f"{i}") + b"N" for i in range(few)) + b"uq\4"
        + b"h\3)Rh\4b" * few + b"."
    )  # fmt: skip
    yield "persistent-id-copied", row + b"tq\4" + b"h\4Q" * few + b"."
    yield "rank", b"}" + text("a") + held(row + b"t", row + b"t") + b"s."
    yield "rank-zero", b"}" + text("a") + held(b"(K\0" + row[1:] + b"t", b"(K\0" + row[1:] + b"t") + b"s."
    yield "colliding-keys", b"}(" + b"".join(number(i * (2**61 - 1)) + b"N" for i in range(few)) + b"u."
    yield "colliding-memo", b"N" + b"".join(b"r" + struct.pack("<I", i << 20) for i in range(4000)) + b"."
    for kind, opcode in {"list": b"]", "dict": b"}", "mark": b"(", "none": b"N", "proto": b"\x80\2"}.items():
        yield f"opcodes-{kind}", opcode * int(4_000_000 * scale) + b"."
    yield "dicts-of-one", b"]" + b"}K\1Nsa" * int(800_000 * scale) + b"."
    yield "deep", b")" + b"\x85" * int(4_000_000 * scale) + b"."
    yield "nest-as-key", b"}" + NEST + b"Ns."
    yield "nest-as-mean", (
        b"}(" + text("state_dict") + b"}" + text("a") + held() + b"s" + text("args") + b"}(" + text("model")
        + text("resnet50") + text("mean") + NEST + text("model_kwargs") + b"}" + text("odd") + b"h\x07suu."
    )  # fmt: skip
    same = "k" * 500_000
    yield "long-storage-keys", b"(" + storage(1, same) + storage(1, same) * 2 + b"l."
    yield "long-number", b"\x8b" + struct.pack("<I", many) + b"\x7f" * many + b"."
    yield "claims-text", b"X\xff\xff\xff\x7fx."
    yield "claims-bytes", b"\x8e" + b"\xff" * 7 + b"\x7f."
    yield "numpy-size", b"}" + text("a") + held(b"(K\0" + number(2**62) * 2 + b"t", b"(K\1K\1K\1t") + b"s."
    yield "storage-size", b"}" + text("a") + tensor(number(2**60) + b"\x85", on=storage(2**60)) + b"s."
    views = b"".join(text(f"{i}") + b"h\6" for i in range(few))
    yield "one-tensor-often", b"}(" + text("a") + held() + b"q\6" + views + b"u."
    for i, code in enumerate(REFUSED):
        yield f"code-{i}", code


def weights(scale: float = 1) -> Iterator[tuple[str, bytes]]:
    """(name, content) of hostile files."""
    for kind, pickled in pickles(scale):
        yield f"{kind}.zip.pth", zipped(pickled)
        yield f"{kind}.old.pth", old(pickled)
    good = b"}" + text("a") + held() + b"s."
    yield "keys.old.pth", old(good, b"](" + text("0") + b"q\1" + b"h\1" * int(500_000 * scale) + b"e.")
    yield "nest-keys.old.pth", old(good, b"]" + NEST + b"a.")
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield f"compressed-{method}.pth", zipped(b"]" * int(10_000_000 * scale) + b".", method=method)
    yield "members.pth", _members(int(100_000 * scale))
    shared = b"".join(text(f"{i}") + tensor(number(250_000) + b"\x85") for i in range(int(4000 * scale)))
    yield "views.pth", zipped(b"}" + text("x") + storage(250_000) + b"q\x09s(" + shared + b"u.", data=bytes(1_000_000))
    yield from _safetensors(scale)


def _members(count):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\2}.")
    content = file.getvalue()
    at = content.index(b"PK\1\2")
    end = content.index(b"PK\5\6")
    directory = content[at:end] * count
    tail = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(directory), at, 0)
    return content[:at] + directory + tail


def _safetensors(scale):
    many = int(400_000 * scale)
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    one = json.dumps({"a": entry}).encode()

    def shaped(shape, offsets="[0,4]"):
        return safetensors(f'{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}'.encode(), bytes(4))

    yield "rank.safetensors", shaped("[" + "1," * many + "1]")
    yield "offsets.safetensors", shaped("[1]", "[0," + "1," * many + "1]")
    yield "digits.safetensors", shaped("[" + ",".join(["9" * 4000] * 30) + "]")
    yield "zero.safetensors", shaped("[0," + ",".join([str(2**62)] * 20) + "]", "[0,0]")
    yield "spaces.safetensors", safetensors(b"{" + b" " * int(93_000_000 * scale) + one[1:], bytes(4))
    for kind, part in {"lists": b"[],", "dicts": b'{"":0},', "numbers": b"1.5,", "texts": b'"a",'}.items():
        junk = b"[" + part * int(8_000_000 * scale / len(part)) + b"0]"
        yield f"{kind}.safetensors", safetensors(b'{"a":' + junk + b"}")
        yield f"{kind}-short.safetensors", safetensors(b'{"a":' + junk[: 3_000_000 // len(part) * len(part)] + b"0]}")
    yield "deep.safetensors", safetensors(b'{"a":' + b"[" * many)
    empty = b'{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    names = b",".join(b'"%d":%b' % (i, empty) for i in range(int(60_000 * scale)))
    yield "names.safetensors", safetensors(b"{" + names + b"}")
    inner = json.dumps({"__metadata__": {"model": "x", "normalize": "[" * many, "fields": "[]," * many}, "a": entry})
    yield "metadata.safetensors", safetensors(inner.encode(), bytes(4))
    yield "long-name.safetensors", safetensors(json.dumps({"n" * many: entry}).encode(), bytes(4))
    yield "claims.safetensors", struct.pack("<Q", 2**62) + one


def damaged(valid: dict[str, bytes], number: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """(name, content): `number` times some bytes changed or cut off, of each of name -> content."""
    draw = random.Random(seed)
    for name, content in valid.items():
        for i in range(number):
            changed = bytearray(content)
            if i % 4 == 0:
                del changed[draw.randrange(1, len(changed)) :]
            for _ in range(draw.randint(1, 6)):
                changed[draw.randrange(len(changed))] = draw.randrange(256)
            yield f"flips-{i}-{name}", bytes(changed)


WIDE = ",".join(["path", "group", *map(str, range(40_000))]).encode() + b"\n" + b"a\n" * 10_000
TEXTS = {
    "empty": b"",
    "wide": WIDE,
    "nines": b"path,group," + b",".join(b"%d" % i for i in range(900)) + b"\n" + b"a\n" * 20_000,
    "long-cell": b"path,group\n" + b"x" * 3_000_000,
    "zeros": bytes(1_000_000),
    "quote": b'path,group\n"' + b"x,\n" * 300_000,
    "many": b"path,group\n" + b"a\n" * 500_000,
    "cells": b"0," * 1_000_000 + b"0\n",
    "lines": b"0\n" * 1_000_000,
    "digits": b"9" * 1_000_000,
    "json-deep": b"[" * 1_000_000,
    "json-lists": b"[" + b"[]," * 1_000_000 + b"0]",
    "binary": bytes(range(256)) * 100,
}


def texts(folder: Path) -> Iterator[Path]:
    """Files, pipes, devices, folders in place of a CSV, a JSON file or a list of names."""
    for name, content in TEXTS.items():
        (folder / name).write_bytes(content)
        yield folder / name
    os.mkfifo(folder / "pipe")
    os.symlink("pipe", folder / "link-to-pipe")
    for device in ("zero", "null", "stdin", "full"):
        os.symlink(f"/dev/{device}", folder / f"link-to-{device}")
    (folder / "folder").mkdir()
    with open(folder / "sparse", "wb") as file:
        file.truncate(2**35)
    with open(folder / "sparse-small", "wb") as file:
        file.truncate(2**25)
    for name in ("pipe", "link-to-pipe", "link-to-zero", "link-to-null", "link-to-stdin", "link-to-full", "folder",
                 "sparse", "sparse-small", "none", "x" * 300):  # fmt: skip
        yield folder / name


def small_safetensors() -> bytes:
    """A whole file of two tensors."""
    header = {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "I16", "shape": [2, 1], "data_offsets": [8, 12]},
        "__metadata__": {"format": "pt"},
    }
    return safetensors(json.dumps(header).encode(), bytes(12))
