"""Safetensors files, read without their library: what the header claims is compared with the file before it is used."""

import json
import math
import mmap
import struct
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from jaxcls.errors import UserError
from jaxcls.models.torch_pickle import LONGEST_NAME, RANK

# Of safetensors, in bytes. By its definition 100 MB, of which Python would make 3 GB; a tensor takes some 100 bytes.
LONGEST_HEADER = 3 * 2**20
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "C64": np.complex64,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read(file: IO[bytes]) -> tuple[dict[str, np.ndarray], Any]:
    """(name -> array, the metadata). 8 bytes with the length of a JSON header, the header, the numbers without gaps."""
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    (length,) = struct.unpack_from("<Q", mapped)
    if length > len(mapped) - 8:
        raise ValueError("its header is longer than the file")
    if length > LONGEST_HEADER:
        raise UserError(f"has a header of {length:,} bytes; at most {LONGEST_HEADER:,} are read")
    header = _parse(mapped[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    data, tensors, end = memoryview(mapped)[8 + length :], {}, 0
    for name, entry in header.items():
        if len(name) > LONGEST_NAME or not all(map(_is_place, (entry["shape"], entry["data_offsets"]))):
            raise ValueError("a tensor has an impossible name or place")
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape, (start, stop) = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
        if start != end:
            raise ValueError("its tensors leave gaps or overlap")
        if stop > len(data) or stop - start != math.prod(shape) * dtype.itemsize:
            raise ValueError("a tensor is longer than its data")
        tensors[name] = np.ndarray(shape, dtype, data[start:stop]) if stop > start else np.zeros(shape, dtype)
        end = stop
    if end != len(data):
        raise ValueError("there is more in it than its header says")
    return tensors, metadata


def _is_place(numbers):
    return (
        isinstance(numbers, list) and len(numbers) <= RANK and all(type(n) is int and 0 <= n < 2**63 for n in numbers)
    )


def _parse(text):
    """A JSON object; names that stand in it twice are refused."""

    def unique(pairs):
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name stands twice in its header")
        return dict(pairs)

    header = json.loads(text.decode(), object_pairs_hook=unique)
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return header


def write(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes a file. Raises UserError for a type that the format lacks, OSError where it can't be written."""
    from safetensors import SafetensorError, numpy

    names = {np.dtype(dtype) for dtype in _DTYPES.values()}
    for name, array in tensors.items():
        if array.dtype not in names:
            raise UserError(f"{name} is of type {array.dtype}, which safetensors does not know")
    try:
        numpy.save_file({name: np.asarray(array, order="C") for name, array in tensors.items()}, path, metadata)
    except SafetensorError as error:  # a full disk, say
        raise OSError(str(error)) from error
