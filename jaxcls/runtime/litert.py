"""LiteRT (TensorFlow Lite): a .tflite file opened as `runtime.session` opens ONNX files, without TensorFlow.

What a file of ours says about itself is a zip archive behind the model, as TensorFlow Lite's own metadata have their
associated files: a runtime reads the model and never looks there, `unzip -p FILE jaxcls.json` does, and a copy of the
one file has it.
"""

import contextlib
import io
import json
import mmap
import os
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.runtime.opened import Session, Tensor
from jaxcls.types import PathLike

NAME = "LiteRT"
SUFFIX = ".tflite"
INSTALL = "pip install ai-edge-litert"
MEMBER = "jaxcls.json"  # of the archive: string -> string (runtime.metadata)
IDENTIFIER = b"TFL3"  # bytes 4 to 8 of a model
WORDS = {"float32": "float"}  # NumPy's words for types that ONNX Runtime calls otherwise


class Handle:
    """An interpreter that is asked as ONNX Runtime's sessions are. Threads take turns: it computes in its own memory.

    Tensors of integers with a scale are given as the numbers that they stand for, float32.
    """

    def __init__(self, interpreter: Any):
        self._interpreter, self._lock = interpreter, threading.Lock()
        self._outputs = {found["name"]: found for found in interpreter.get_output_details()}
        self._ready = False

    def run(self, names: Sequence[str], feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs of these names for the one input. Raises ValueError or RuntimeError as the interpreter does."""
        ((name, array),) = feed.items()
        with self._lock:
            given = next(found for found in self._interpreter.get_input_details() if found["name"] == name)
            if not self._ready or tuple(given["shape"]) != array.shape:
                if tuple(given["shape"]) != array.shape:
                    self._interpreter.resize_tensor_input(given["index"], array.shape)
                self._interpreter.allocate_tensors()
                self._ready = True
            self._interpreter.set_tensor(given["index"], array)
            self._interpreter.invoke()
            return [self._value(self._outputs[name]) for name in names]

    def _value(self, found):
        value = self._interpreter.get_tensor(found["index"])  # a copy
        scale, zero = found["quantization"]
        return (value.astype(np.float32) - zero) * np.float32(scale) if scale and value.dtype.kind in "iu" else value


def open(path: PathLike, *, threads: int | None = None) -> Session:
    """Opens a .tflite file.

    Args:
      path: of the file.
      threads: that compute one answer; None for the cores that this process may use.

    Raises:
      UserError: where LiteRT isn't installed, or refuses the file.
    """
    name = os.fspath(path)
    Interpreter = _runtime()
    told = read(name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with silence():
            interpreter = Interpreter(model_path=name, num_threads=threads or cores)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{name}: {NAME} refuses it: {' '.join(str(error).split())[:200]}") from error
    given, answers = interpreter.get_input_details(), interpreter.get_output_details()
    inputs, outputs = (tuple(map(_tensor, found)) for found in (given, answers))
    return Session(name, inputs, outputs, told, Handle(interpreter), runtime=NAME)


def packed(model: bytes, told: Mapping[str, str]) -> bytes:
    """A model with what it says about itself behind it. The same for the same content, whenever it is written."""
    buffer = io.BytesIO(model)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(MEMBER)  # of 1980
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, json.dumps(dict(told), ensure_ascii=False))
    return buffer.getvalue()


def read(path: PathLike) -> dict[str, str]:
    """What a .tflite file says about itself; {} for a file of others.

    Raises:
      UserError: where it can't be read, or is no such file.
    """
    name = os.fspath(path)
    try:
        with files.open_regular(name, None) as file:
            head = file.read(8)
            if not head:
                raise UserError(f"{name} is empty, not a {SUFFIX} file; export it again")
            if head[4:] != IDENTIFIER:
                raise UserError(f"{name} is no {SUFFIX} file, or a damaged one; export it again")
            return _told(file, name)
    except OSError as error:
        raise UserError(f"{name} can't be read: {error.strerror or error}") from error


def _told(file, name):
    """The content of MEMBER; {} where there is none."""
    if not zipfile.is_zipfile(file):
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.rfind(MEMBER.encode()) < 0:
                return {}
        raise UserError(f"{name} lacks its last bytes, with what it says about itself; export it again")
    try:
        with zipfile.ZipFile(file) as archive:
            if MEMBER not in archive.namelist():
                return {}
            if archive.getinfo(MEMBER).file_size > files.LARGEST:
                raise ValueError
            found = json.loads(archive.read(MEMBER))
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            raise ValueError
    except (ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{name}: what it says about itself is damaged; export it again") from error
    return found


def _runtime():
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UserError(f"{SUFFIX} files are run by {NAME}, which is not installed: {INSTALL}") from error
    return Interpreter


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Without the lines that LiteRT's library writes on stderr when it opens a file."""
    with contextlib.ExitStack() as stack:
        try:
            kept = os.dup(2)
            stack.callback(os.close, kept)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, nowhere)
            os.dup2(nowhere, 2)
            stack.callback(os.dup2, kept, 2)
        except OSError:  # no stderr, nothing to keep quiet
            pass
        yield


def _tensor(found):
    dtype = np.dtype(found["dtype"]).name
    signature = found.get("shape_signature", found["shape"])
    sizes = signature if len(signature) else found["shape"]
    return Tensor(found["name"], WORDS.get(dtype, dtype), tuple(None if n < 0 else int(n) for n in sizes))
