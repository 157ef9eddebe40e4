"""The open inference protocol, version 2, which clients of KServe and Triton speak: tensors in, tensors out.

https://github.com/kserve/open-inference-protocol; the binary form of tensors as Triton's extension
(https://docs.nvidia.com/deeplearning/triton-inference-server: "binary tensor data extension").

One input, `image`: prepared pictures as UINT8 [n, height, width, channels], or BYTES [n], files of pictures, which JSON
has in base64. Outputs: `class` BYTES [n], `probability` FP64 [n], `probabilities` FP64 [n, classes], and where they are
stored `abstained`, `outlier` BOOL [n]. Where answers are sets of labels, `labels` BOOL [n, classes] stands in place of
`class` and `probability`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcls.serve import bodies
from jaxcls.serve.limits import Refused
from jaxcls.serve.registry import Served

INPUT = "image"
OUTPUTS = {
    "class": "BYTES", "probability": "FP64", "labels": "BOOL", "probabilities": "FP64", "abstained": "BOOL",
    "outlier": "BOOL",
}  # fmt: skip
WIDE = ("labels", "probabilities")  # with a number a class
SIZE = "binary_data_size"


@dataclasses.dataclass(frozen=True)
class Inference:
    """A request.

    Attributes:
      pictures: as `asking.ask` takes them.
      id: that its sender gave; None for none.
      outputs: the name of each that is wanted -> whether in binary form; None for all of them in the form of `binary`.
      binary: see outputs.
    """

    pictures: list[Any]
    id: str | None
    outputs: Mapping[str, bool] | None
    binary: bool


def describe(served: Served) -> dict[str, Any]:
    """The metadata of a model."""
    stored = served.describe()["beside"]
    answer = ("labels",) if served.sets else ("class", "probability")
    names = [name for name in OUTPUTS if name in (*answer, "probabilities", *stored)]
    wide = dict.fromkeys(WIDE, [-1, len(served.predictor.classes)])
    return {
        "name": served.name,
        "versions": [served.version],
        "platform": "onnxruntime_onnx" if served.backend == "onnxruntime" else served.backend,
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, *served.predictor.picture]}],
        "outputs": [{"name": n, "datatype": OUTPUTS[n], "shape": wide.get(n, [-1])} for n in names],
    }


def read(body: bytes, json_length: int | None, picture: Sequence[int], most: int) -> Inference:
    """A request from its body.

    Args:
      body: JSON, and behind it the binary tensors.
      json_length: bytes of JSON where there are some; None where all is JSON.
      picture: (height, width, channels) that the model takes, of clips (frames, ...).
      most: pictures of a request.

    Raises:
      Refused: 400 for what is none, 413 for too many pictures.
    """
    given = bodies.parsed(body[:json_length])
    inputs = given.get("inputs") if isinstance(given, dict) else None
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refused(400, f'"inputs" has to be a list of one tensor, {INPUT!r}')
    tensor, raw = inputs[0], b"" if json_length is None else body[json_length:]
    if tensor.get("name") != INPUT:
        raise Refused(400, f"the input is called {INPUT!r}")
    shape, kind = tensor.get("shape"), tensor.get("datatype")
    if not isinstance(shape, list) or not all(type(n) in (int, float) and 0 < n < 2**31 and n % 1 == 0 for n in shape):
        raise Refused(400, '"shape" has to be a list of positive whole numbers')
    shape = [int(n) for n in shape]  # JSON does not tell 1.0 from 1
    expected = [shape[0] if shape else 0, *picture] if kind == "UINT8" else shape[:1]
    if kind not in ("UINT8", "BYTES") or shape != expected or not shape:
        taken = ", ".join(map(str, picture))
        raise Refused(400, f"{INPUT!r} is UINT8 of shape [n, {taken}], or BYTES of shape [n]")
    bodies.check_count(shape[0], most)
    size = _parameters(tensor).get(SIZE)
    if size is not None and (size != len(raw) or "data" in tensor):
        raise Refused(400, f'{SIZE!r} and "Inference-Header-Content-Length" do not fit what was sent')
    content = tensor.get("data") if size is None else raw
    pictures = list(_pixels(content, shape) if kind == "UINT8" else _encoded(content, shape[0]))
    identity = given.get("id")
    if not isinstance(identity, str | None):
        raise Refused(400, '"id" has to be a text')
    outputs, binary = _wanted(given)
    return Inference(pictures, identity, outputs, binary)


def _parameters(of):
    found = of.get("parameters", {})
    if not isinstance(found, dict):
        raise Refused(400, '"parameters" has to be an object')
    return found


def _wanted(given) -> tuple[dict[str, bool] | None, bool]:
    binary = _parameters(given).get("binary_data_output", False) is True
    outputs = given.get("outputs")
    if outputs is None:
        return None, binary
    if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
        raise Refused(400, '"outputs" has to be a list of objects')
    found = {}
    for each in outputs:
        if not isinstance(each.get("name"), str) or each["name"] not in OUTPUTS:
            raise Refused(400, f"there are the outputs {', '.join(OUTPUTS)}")
        found[each["name"]] = _parameters(each).get("binary_data", binary) is True
    return found, binary


def _pixels(content, shape) -> np.ndarray:
    """uint8 of that shape."""
    if isinstance(content, bytes):
        if len(content) != math.prod(shape):
            raise Refused(400, f"{shape} are {math.prod(shape):,} bytes, not {len(content):,}")
        return np.frombuffer(content, np.uint8).reshape(shape)
    try:
        found = np.array(content)  # flat or nested
        whole = found.dtype.kind in "iu" and found.size == math.prod(shape) and found.min() >= 0 and found.max() <= 255
    except (ValueError, TypeError, OverflowError):
        whole = False
    if not whole:
        raise Refused(400, f'"data" has to be {math.prod(shape):,} whole numbers from 0 to 255')
    return found.astype(np.uint8).reshape(shape)


def _encoded(content, count) -> list[bytes | str]:
    """Files of pictures: base64 in JSON, or each behind its length of four bytes."""
    if isinstance(content, bytes):
        found: list[bytes | str] = list(_parts(content))
    elif isinstance(content, list) and all(isinstance(text, str) for text in content):
        found = [bodies.unpacked(text) for text in content]
    else:
        raise Refused(400, '"data" has to be a list of files in base64')
    if len(found) != count:
        raise Refused(400, f"the shape says {count:,} pictures, the data have {len(found):,}")
    return found


def _parts(content) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "little")
        at += 4 + length
        if at > len(content):
            raise Refused(400, "the binary data are cut off")
        yield content[at - length : at]


def answer(asked: Inference, found: Any) -> tuple[bytes, int | None]:
    """(the body of an answer, bytes of JSON where binary tensors follow it).

    Args:
      asked: the request.
      found: asking.Answered, every picture of it answered with all classes.
    """
    columns = _columns(found)
    wanted = asked.outputs if asked.outputs is not None else dict.fromkeys(columns, asked.binary)
    outputs, raw = [], []
    for name, binary in wanted.items():
        if name not in columns:
            stored = name in ("abstained", "outlier")
            how = ": `jaxcls calibrate --apply` stores what tells it" if stored else f", but {', '.join(columns)}"
            raise Refused(400, f"{found.model} gives no {name!r}{how}")
        data = columns[name]
        told: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": [len(found.rows)]}
        if name in WIDE:
            told["shape"] = [len(found.rows), len(found.classes)]
            data = [value for row in data for value in row]
        if binary:
            raw.append(_packed(data, OUTPUTS[name]))
            told["parameters"] = {SIZE: len(raw[-1])}
        else:
            told["data"] = data
        outputs.append(told)
    head = {"model_name": found.model, "model_version": found.version, "outputs": outputs}
    text = json.dumps({**head, "id": asked.id} if asked.id is not None else head).encode()
    return text + b"".join(raw), len(text) if raw else None


def _columns(found) -> dict[str, list[Any]]:
    rows = found.rows
    columns = {name: [row[name] for row in rows] for name in OUTPUTS if rows and name in rows[0]}
    if "labels" in columns:
        columns["labels"] = [[name in labels for name in found.classes] for labels in columns["labels"]]
    each = [{best["class"]: best["probability"] for best in row["top"]} for row in rows]
    columns["probabilities"] = [[row[name] for name in found.classes] for row in each]
    return {name: columns[name] for name in OUTPUTS if name in columns}


def _packed(data, kind):
    if kind == "BYTES":
        return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in data)
    return np.asarray(data, "<f8" if kind == "FP64" else np.bool_).tobytes()
