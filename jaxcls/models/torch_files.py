"""What `torch.save` writes, read and written without PyTorch: its zip format (since 1.6) and the one before.

Of what `torch.jit.save` writes (OpenAI's CLIP) the tensors are read, and its program is passed over.
"""

import functools
import io
import math
import mmap
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import IO, Any, BinaryIO

import numpy as np

from jaxcls.errors import UserError
from jaxcls.models.torch_pickle import STEPS, STORAGES, Machine, Module, Tensor

# The older format is a row of pickles: this number, the protocol, sizes of the system, the object, the keys of the
# storages; then for each of these its count and its numbers. The first pickle of all is the same in every file.
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
MOST_PARTS, DEEPEST = 100_000, 64  # tensors and modules of a TorchScript archive; modules within modules
LONGEST_PICKLE = 16 * 2**20  # bytes, of zip archives also of their table of contents; weights need 200 a tensor
BEGINS = b"\x8a\n" + MAGIC.to_bytes(10, "little")  # after the two bytes of the pickle's protocol


def read(file: IO[bytes]) -> tuple[Any, Callable[[Tensor], np.ndarray]]:
    """The object in a file, with a `Tensor` for each tensor, and a function that gets the (read-only) array of one.

    Raises UserError, without the name of the file, for what is refused; for damaged files exceptions of any type.
    """
    begins = file.read(2)
    file.seek(0)
    return _read_zip(file) if begins == b"PK" else _read_old(file)


class _Bounded:
    """A file whose reads are refused if long: zipfile reads a table of contents in one go, and makes much of it."""

    def __init__(self, file):
        self.file, self.longest = file, LONGEST_PICKLE // 4

    def read(self, count=-1):
        if count > self.longest:
            raise UserError("is a zip archive of more files than any weights have")
        return self.file.read(count)

    def __getattr__(self, name):
        return getattr(self.file, name)


def _read_zip(file):
    bounded: Any = _Bounded(file)
    archive = zipfile.ZipFile(bounded)
    bounded.longest = math.inf
    members = archive.infolist()
    sizes = {info.filename: info.file_size for info in members}
    roots = [name.removesuffix("data.pkl") for name in sizes if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(roots) != 1:
        there = ", ".join(ascii(name[:60]) for name in [*sizes][:3]) or "empty"
        raise UserError(f"is a zip archive without weights ({there})")
    (root,) = roots
    read = [x for x in members if x.filename.startswith((f"{root}data.pkl", f"{root}data/", f"{root}byteorder"))]
    if any(x.compress_type != zipfile.ZIP_STORED for x in read) or sum(x.file_size for x in read) > _size(file):
        raise UserError("is compressed, which torch.save's archives never are; unpack and save it again")
    if f"{root}byteorder" in sizes:
        _require_little_endian(sizes[f"{root}byteorder"] < 99 and archive.read(f"{root}byteorder") == b"little")
    if sizes[f"{root}data.pkl"] > LONGEST_PICKLE:
        raise UserError(
            f"has a pickle of more than {LONGEST_PICKLE:,} bytes beside the tensors; save the weights alone"
        )
    content = Machine(archive.read(f"{root}data.pkl")).run()
    if isinstance(content, Module):
        content = _named(content)
    raw = functools.cache(lambda key: archive.read(f"{root}data/{key}"))
    return content, lambda tensor: _view(tensor, raw(tensor.storage.key))


def _named(module):
    """Name -> Tensor of a TorchScript module and those below it, as its state dict has them; tensors that are mere
    attributes come too, since what they are stands in the program alone."""
    found: dict[str, Tensor] = {}
    todo, parts = [("", module)], 0
    while todo:
        start, here = todo.pop()
        if start.count(".") > DEEPEST:
            raise UserError("is a TorchScript program whose modules lie in each other too deep")
        for name, value in here.items():
            parts += isinstance(value, (Module, Tensor))
            if parts > MOST_PARTS:
                raise UserError(f"is a TorchScript program of more than {MOST_PARTS:,} parts")
            if isinstance(value, Module):
                todo.append((f"{start}{name}.", value))
            elif isinstance(value, Tensor):
                found[f"{start}{name}"] = value
    return found


def _size(file):
    return file.seek(0, 2)


def _read_old(file):
    mapped, start = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), 0

    def machine(longest=LONGEST_PICKLE, steps=STEPS):
        """One for the next pickle, and what that makes."""
        nonlocal start
        data = io.BytesIO(mapped[start : start + longest])  # no text in it can claim to be longer
        made = Machine(data, steps)
        result = made.run()
        start += data.tell()
        return made, result

    if machine(999)[1] != MAGIC or machine(999)[1] != PROTOCOL:
        raise UserError("is of a protocol that no torch.save wrote")
    _require_little_endian(machine(9999)[1]["little_endian"] is True)
    first, content = machine()
    _, keys = machine(steps=first.left)
    raw = {}
    for key in keys:
        if not isinstance(key, str):  # a nest of tuples could take for ever to hash
            raise ValueError("a storage has no key")
        storage = first.storages[key]
        (count,) = struct.unpack_from("<q", mapped, start)
        start, end = start + 8, start + 8 + count * storage.dtype.itemsize
        if count != storage.numel or end > len(mapped):
            raise ValueError("a storage is cut off")
        raw[key], start = memoryview(mapped)[start:end], end
    return content, lambda tensor: _view(tensor, raw[tensor.storage.key])


def _require_little_endian(little):
    if not little:
        raise UserError("was written on a big-endian machine, which can't be read here; save it on another one")


def _view(tensor, raw):
    """The array of a tensor on the bytes of its storage, which it may neither reach beyond nor be larger than."""
    (_, stored, numel), dtype, size = tensor.storage, tensor.dtype, tensor.size
    if numel * stored.itemsize > len(raw):
        raise ValueError("a storage is shorter than it claims")
    if math.prod(size) == 0:
        return np.zeros(size, dtype)
    available = numel * stored.itemsize // dtype.itemsize
    last = tensor.offset + sum((n - 1) * step for n, step in zip(size, tensor.stride, strict=True))
    if last >= available or math.prod(size) > available:
        raise ValueError("a tensor reaches beyond its storage")
    strides = tuple(step * dtype.itemsize for step in tensor.stride)
    array = np.ndarray(size, dtype, raw, tensor.offset * dtype.itemsize, strides)
    array.flags.writeable = False
    return array


def write(file: BinaryIO, tensors: dict[str, np.ndarray], versions: Mapping[str, int]) -> None:
    """Writes a state dict in the zip format, for `torch.load(..., weights_only=True)`.

    `versions`, of modules, become the dict's attribute `_metadata`, as `Module.state_dict` makes it. PyTorch adds the
    counters of a BatchNorm only where that has no version, so those that nobody asks for are better left out.

    Raises UserError for a type that PyTorch has no storage for.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", _pickled(tensors, versions))
        archive.writestr("archive/byteorder", "little")
        for i, array in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{i}", np.ascontiguousarray(array).tobytes())
        archive.writestr("archive/version", "3\n")


def _pickled(tensors, versions):
    """The pickle (protocol 2) of an OrderedDict from names to tensors, the i-th on the storage "i"."""
    dtypes = {np.dtype(dtype): name for name, dtype in STORAGES.items()}
    empty = _global("collections", "OrderedDict") + b")R"
    parts = [b"\x80\x02", empty, b"("]
    for i, (name, array) in enumerate(tensors.items()):
        if array.dtype not in dtypes:
            raise UserError(f"{name} is of type {array.dtype}, for which torch.save has no storage")
        storage = b"(" + _text("storage") + _global("torch", f"{dtypes[array.dtype]}Storage")
        storage += _text(str(i)) + _text("cpu") + _number(array.size) + b"tQ"
        strides = [math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
        parts += [_text(name), _global("torch._utils", "_rebuild_tensor_v2"), b"(", storage, _number(0)]
        parts += [_numbers(array.shape), _numbers(strides), b"\x89", empty, b"tR"]
    parts.append(b"u")
    if versions:  # a dict of the object's attributes, put into place by BUILD
        parts += [b"}", _text("_metadata"), empty, b"("]
        for module, version in versions.items():
            parts += [_text(module), b"}", _text("version"), _number(version), b"s"]
        parts.append(b"usb")
    return b"".join([*parts, b"."])


def _global(module, name):
    return f"c{module}\n{name}\n".encode()


def _text(text):
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _number(n):
    return b"\x8a\x08" + struct.pack("<q", n)


def _numbers(values):
    return b"(" + b"".join(map(_number, values)) + b"t"
