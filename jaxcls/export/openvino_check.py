"""The same INT8 file in OpenVINO, where that is installed (`jaxcls[openvino]`): often faster there, on CPUs."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxcls.errors import UserError


def installed() -> bool:
    """Whether OpenVINO is there."""
    return importlib.util.find_spec("openvino") is not None


def opened(path: Path, threads: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """A file as a function of uint8 pictures [n, h, w, c], compiled for this CPU.

    Args:
      path: of the ONNX file.
      threads: that compute an answer; 0 for OpenVINO's choice.

    Raises:
      UserError: where OpenVINO refuses it.
    """
    openvino = _openvino()
    settings = {"PERFORMANCE_HINT": "LATENCY", **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
    try:
        # The bytes, not the path: OpenVINO guesses the format by the name, which is a temporary one here
        model = openvino.Core().compile_model(openvino.Core().read_model(path.read_bytes()), "CPU", settings)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path.name}: OpenVINO {openvino.__version__} refuses it: {reason}") from error
    return lambda images: np.array(model(images)[model.output(0)])


def _openvino():
    """The package, without the statistics that its import sends to Google, in a process that it forks: unasked for,
    and JAX's threads don't bear a fork."""
    lacking = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None
    try:
        import openvino
    finally:
        if lacking is None:
            del sys.modules["openvino_telemetry"]
        else:
            sys.modules["openvino_telemetry"] = lacking
    return openvino
