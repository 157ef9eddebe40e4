"""INT8 files by onnxruntime.quantization: static (QDQ) for nets of convolutions, dynamic for transformers.

Static: weights int8 per output channel, activations 8 bits per tensor, their ranges from pictures (calibration). The
form is QDQ, which ONNX Runtime and OpenVINO both run. For which processor (`target`):

  any   uint8 activations, weights of 7 bits (reduce_range). Without VNNI, `vpmaddubsw` adds two products of uint8 and
        int8 in 16 bits and saturates, silently, where weights are near 127, which each channel of per-channel scales
        reaches. Right on every machine, so the default.
  vnni  uint8 activations, weights of 8 bits: for processors whose instruction adds in 32 bits.
  arm   int8 activations, weights of 8 bits: ONNX Runtime's advice for ARM (documentation of `quantize_static`: its
        kernels there are signed, and sdot/smmla add in 32 bits, so that nothing saturates).

What comes before the first layer (the picture's normalisation) and what follows the last stays in float: pixels are
8 bits already, and logits of 8 bits would tie.
"""

import contextlib
import dataclasses
import io
import logging
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.errors import UserError
from jaxcls.export import ends, weighted

if TYPE_CHECKING:
    from onnx import ModelProto

TARGETS = ("any", "vnni", "arm")
METHODS = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
MOSTLY = 0.5  # share of the multiply-adds in convolutions from which a net counts as one of convolutions
# What is quantised beside the layers of a CNN: all that ONNX Runtime has an 8-bit kernel for and that keeps its range.
# Softmax and norms are left out, which need more than 8 bits.
AROUND = (
    "Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Mul", "Pad",
    "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """A model with the ranges of its activations, of which quantised ones are made (`quantised`).

    Attributes:
      model: the float model, its nodes named and its shapes inferred.
      ranges: onnxruntime.quantization.TensorsData.
      operators: types that are quantised.
    """

    model: "ModelProto"
    ranges: Any
    operators: tuple[str, ...]


def way(model: "ModelProto", wanted: str = "auto") -> tuple[str, str]:
    """("static" or "dynamic", a sentence that says why): chosen by the kind of net, or what is wanted.

    Convolutions have half of the multiply-adds or more: static. Else, a transformer or mixer: dynamic.

    Raises:
      UserError: where dynamic is wanted for a net of convolutions.
    """
    share = weighted.share_of_convolutions(weighted.named(model))
    told = f"{100 * share:.0f} % of its multiply-adds are in convolutions"
    if wanted == "dynamic" and share >= MOSTLY:
        raise UserError(
            f"--int8=dynamic: {told}, for which ONNX Runtime is slower in dynamic INT8 than in float; "
            "use --int8=static, which a calibration on pictures makes faster."
        )
    if wanted in ("static", "dynamic"):
        return wanted, f"{wanted}, as asked for; {told}"
    return ("static" if share >= MOSTLY else "dynamic"), told


def static(
    model: "ModelProto",
    batches: Iterable[np.ndarray],
    *,
    target: str = "any",
    method: str = "minmax",
    keep_float: Collection[str] = (),
) -> "ModelProto":
    """A static INT8 model (QDQ) of a float one; see the module.

    Args:
      model: uint8 pictures in; its metadata is kept, with "precision" int8.
      batches: prepared pictures, uint8 [n, h, w, c].
      target: "any", "vnni" or "arm".
      method: how a range is found: "minmax", "percentile" (99.999 %), "entropy" (Kullback-Leibler).
      keep_float: names of layers (`weighted.layers`) that stay in float.

    Raises:
      UserError: without pictures, or where ONNX Runtime refuses.
    """
    return quantised(calibrated(model, batches, method=method), target=target, keep_float=keep_float)


def calibrated(model: "ModelProto", batches: Iterable[np.ndarray], *, method: str = "minmax") -> Calibrated:
    """The ranges of a model's activations on pictures. Args as of `static`.

    A batch is worked on at a time: min-max keeps two numbers of each tensor, the other methods a histogram; these hold
    all activations of a batch for a moment, so give them small batches (`batch_size`).

    Raises:
      UserError: without pictures, or where ONNX Runtime refuses.
    """
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    ready = weighted.named(model)
    convolutions = weighted.share_of_convolutions(ready) >= MOSTLY
    operators = (*weighted.WEIGHTED, *(AROUND if convolutions else ()))
    name, none = ready.graph.input[0].name, True
    with _refusals("calibrate"), _quiet(), tempfile.TemporaryDirectory(prefix="jaxcls-int8-") as folder:
        path = Path(folder) / "float.onnx"
        path.write_bytes(ready.SerializeToString())
        calibrator = create_calibrator(
            path,
            list(operators),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=getattr(CalibrationMethod, METHODS[method]),
        )
        for batch in batches:
            calibrator.collect_data(_Once({name: batch}))
            none = False
        if none:
            raise UserError("INT8 needs pictures to calibrate on, and there are none; give some with --calibration.")
        ranges = calibrator.compute_data()
    return Calibrated(ready, ranges, operators)


def batch_size(method: str) -> int:
    """How many pictures `calibrated` is given at a time, so that its memory is bounded: histograms need all activations
    of a batch at once (ResNet-50 at 224 px: about 0.1 GB a picture)."""
    return 8 if method == "minmax" else 1


def quantised(
    source: Calibrated, *, target: str = "any", keep_float: Collection[str] = (), only: Collection[str] = ()
) -> "ModelProto":
    """A static INT8 model; `only`: layers that alone are quantised, for measuring what each costs. Args as of `static`.

    What follows a layer (`weighted.followers`) shares its fate: a sum of 8 bits would undo a layer kept in float.

    Raises:
      UserError: where ONNX Runtime refuses.
    """
    import onnx
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    copy = onnx.ModelProto()
    copy.CopyFrom(source.model)
    followers = weighted.followers(copy)
    whole = lambda names: [each for name in names for each in (name, *followers.get(name, ()))]  # noqa: E731
    excluded = [*ends.around_the_layers(copy.graph), *whole(keep_float)]
    with _refusals("quantise"), _quiet():
        quantizer = QDQQuantizer(
            copy,
            True,  # per channel
            target == "any",  # reduce_range
            QuantType.QInt8,
            QuantType.QInt8 if target == "arm" else QuantType.QUInt8,
            source.ranges,
            whole(only),
            excluded,
            list(source.operators),
            {},
        )
        quantizer.quantize_model()
        out = quantizer.model.model
    ends.open_the_end(out)
    return labelled(out, source.model, "int8")


def dynamic(
    model: "ModelProto", *, target: str = "any", keep_float: Collection[str] = (), only: Collection[str] = ()
) -> "ModelProto":
    """A dynamic INT8 model: products with weights in int8, the range of their input measured anew at each call.

    For transformers; it needs no pictures. Convolutions stay in float (`way` refuses nets of convolutions). Args as of
    `quantised`; activations are always uint8, which ONNX allows alone here.

    Raises:
      UserError: where ONNX Runtime refuses.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    ready = weighted.named(model)
    with _refusals("quantise"), _quiet(), tempfile.TemporaryDirectory(prefix="jaxcls-int8-") as folder:
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(
            ready,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=target == "any",
            weight_type=QuantType.QInt8,
            nodes_to_quantize=list(only),
            nodes_to_exclude=list(keep_float),
            extra_options={"MatMulConstBOnly": True},
        )
        out = onnx.load(path)
    return labelled(out, model, "int8")


def labelled(model: "ModelProto", source: "ModelProto", precision: str) -> "ModelProto":
    """The model with the metadata of the one that it was made of, but for "precision", and no inferred shapes."""
    weighted.sort(model.graph)
    said = {entry.key: entry.value for entry in source.metadata_props}  # before: the two may be one model
    del model.metadata_props[:], model.graph.value_info[:]
    for key, value in {**said, "precision": precision}.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.producer_version = source.producer_name, source.producer_version
    used = {node.domain for node in model.graph.node}
    for entry in [e for e in model.opset_import if e.domain not in used and e.domain not in ("", "ai.onnx")]:
        model.opset_import.remove(entry)
    return model


class _Once:
    """A CalibrationDataReader of one batch."""

    def __init__(self, inputs):
        self.left = [inputs]

    def get_next(self):
        return self.left.pop() if self.left else None


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    """What ONNX Runtime raises for a graph that it can't quantise, in a line."""
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # of half a dozen types
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"INT8: onnxruntime can't {what} this net ({reason}); export it without --int8.") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what onnxruntime.quantization prints and logs on its way."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
