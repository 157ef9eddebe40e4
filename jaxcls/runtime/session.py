"""ONNX Runtime: a file opened, and asked. Whatever it refuses is one line. Files of LiteRT are opened by `litert`."""

import os
import re
from collections.abc import Sequence

import numpy as np

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.runtime import litert
from jaxcls.runtime.opened import Session as Session
from jaxcls.runtime.opened import Tensor as Tensor
from jaxcls.types import PathLike

INSTALL = "pip install onnxruntime"
CPU = ("CPUExecutionProvider",)
SUFFIXES = (".onnx", litert.SUFFIX)  # of files that can be opened
_QUIET = 4  # its own lines on stderr: only before it ends the process


def open(path: PathLike, *, threads: int | None = None, providers: Sequence[str] = CPU) -> Session:
    """Opens an ONNX file, or one of LiteRT (.tflite).

    Args:
      path: of the file.
      threads: that compute one answer. None: what ONNX Runtime takes, one for each physical core; the cores that this
        process may use, where these are fewer (it would count, and bind threads to, cores that are not ours).
      providers: ONNX Runtime's execution providers, in order; LiteRT computes on the CPU.

    Raises:
      UserError: where the runtime isn't installed, or refuses the file.
    """
    name = os.fspath(path)
    if name.lower().endswith(litert.SUFFIX):
        if tuple(providers) != CPU:
            raise UserError(f"{name}: LiteRT files are computed on the CPU here, not by {providers[0]}; leave that out")
        return litert.open(name, threads=threads)
    runtime = _runtime()
    try:
        with files.open_regular(name, None) as file:
            if not file.read(1):
                raise UserError(f"{name} is empty, not an ONNX file; export it again")
    except OSError as error:
        raise UserError(f"{name} can't be read: {error.strerror or error}") from error
    if lacking := [provider for provider in providers if provider not in runtime.get_available_providers()]:
        there = ", ".join(runtime.get_available_providers())
        raise UserError(f"this ONNX Runtime has no {lacking[0]}; it has {there}")
    options = runtime.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads or _fewer_cores()
    try:
        handle = runtime.InferenceSession(name, options, providers=list(providers))
    except Exception as error:  # half a dozen types of its own, without a common one
        raise UserError(_refused(name, error, runtime.__version__)) from error
    inputs, outputs = (tuple(map(_tensor, found)) for found in (handle.get_inputs(), handle.get_outputs()))
    return Session(name, inputs, outputs, dict(handle.get_modelmeta().custom_metadata_map), handle)


def is_file(text: str) -> bool:
    """Whether a path is meant for a runtime, by its name; a folder of such a name may be a workdir."""
    return text.lower().endswith(SUFFIXES) and not os.path.isdir(text)


def run(session: Session, array: np.ndarray) -> np.ndarray:
    """The first output for an array given as the first input. Raises UserError as `outputs`."""
    return outputs(session, array, [session.outputs[0].name])[0]


def outputs(session: Session, array: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
    """Outputs of these names for an array given as the first input.

    Raises:
      UserError: where the runtime can't compute it.
    """
    try:
        return session.handle.run(list(names), {session.inputs[0].name: array})
    except Exception as error:
        reason = f"{session.runtime} can't compute it for {array.dtype} {list(array.shape)}: {_reason(error)}"
        raise UserError(f"{session.path}: {reason}") from error


def _runtime():
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # its library knows an address of Microsoft's
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"ONNX files are run by ONNX Runtime, which is not installed: {INSTALL}") from error
    onnxruntime.set_default_logger_severity(_QUIET)
    return onnxruntime


def _fewer_cores():
    """The cores that this process may use, where that are not all; else 0, by which ONNX Runtime chooses."""
    if not hasattr(os, "sched_getaffinity"):
        return 0
    allowed = len(os.sched_getaffinity(0))
    return allowed if allowed < (os.cpu_count() or 1) else 0


def _tensor(found):
    dtype = re.sub(r"^tensor\((.*)\)$", r"\1", found.type)
    return Tensor(found.name, dtype, None if found.shape is None else tuple(found.shape))


def _refused(name, error, version):
    kind = type(error).__name__
    if kind == "InvalidProtobuf" or "No graph was found" in str(error):
        return f"{name} is no ONNX file, or a damaged one; export it again"
    return f"{name}: ONNX Runtime {version} refuses it: {_reason(error)}"


def _reason(error):
    """What went wrong, without the places in ONNX Runtime's source."""
    text = " ".join(str(error).split())
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .*? failed: ?", "", text)
    text = re.sub(r"/\S+\.(cc|h):\d+ .*?\) (?=[A-Z])", "", text, count=1)
    return text[:200]
