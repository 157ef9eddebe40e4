"""`jaxcls export --to triton`: a model of a Triton repository around a checked ONNX file.

    NAME/config.pbtxt    what Triton's `ModelConfig` has (protobuf's text format)
    NAME/labels.txt      names of the classes, one a line
    NAME/1/model.onnx    and model.int8.onnx or model.float16.onnx beside it, where these are asked for and served

The server decodes and resizes nothing: its clients send prepared pictures (`preprocessing` in the file's metadata).
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jaxcls import files
from jaxcls.errors import UserError
from jaxcls.export import onnx_export
from jaxcls.export.asked import Options, Subject
from jaxcls.runtime import metadata, session
from jaxcls.text import printable
from jaxcls.types import Note

Device = Literal["cpu", "gpu"]
BATCH = 32  # pictures that are answered together at most
TYPES = {"uint8": "TYPE_UINT8", "float": "TYPE_FP32"}  # ONNX Runtime's words -> Triton's


def export(subject: Subject, options: Options, device: Device, instances: int, note: Note = print) -> int | None:
    """Writes the ONNX file as `onnx_export.export` does, checked, into a folder, and the rest around it.

    The file that is served is the INT8 or float16 one where that is asked for. Where it is set aside, nothing says
    that it be served, and the old config.pbtxt goes.

    Args:
      subject, options: as of `onnx_export.export`, but `out` is the model's folder.
      device: "cpu" or "gpu".
      instances: of the model that work at a time; on a CPU one thread each.
      note: where lines go.

    Returns:
      None, or 1 where a file was set aside.

    Raises:
      UserError: for what can't be used or written.
    """
    assert options.out is not None
    folder, config = options.out, options.out / "config.pbtxt"
    try:
        (folder / "1").mkdir(parents=True, exist_ok=True)
        config.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"--out={folder} can't be written: {error.strerror}; choose another place.") from error
    status = onnx_export.export(subject, dataclasses.replace(options, out=folder / "1" / "model.onnx"), note)
    if status:
        note(f"there is no {config}: the file above was set aside")
        return status
    served = "model.int8.onnx" if options.int8 else "model.float16.onnx" if options.float16 else "model.onnx"
    opened = session.open(folder / "1" / served)
    told = metadata.read(opened.metadata, opened.path)
    if told.output != "features":
        with files.replacing(folder / "labels.txt") as temporary:
            temporary.write_text("".join(f"{printable(name)}\n" for name in told.classes), encoding="utf-8")
    with files.replacing(config) as temporary:
        temporary.write_text(text(folder.name, opened, told.output, device, instances), encoding="utf-8")
    note(f"{config}: {served} in {instances} instance(s) on {device}s; tritonserver --model-repository={folder.parent}")
    return None


def text(name: str, opened: session.Session, output: str, device: Device, instances: int) -> str:
    """config.pbtxt of a file of ours.

    Args:
      name: of the model, which its folder has, too.
      opened: the file.
      output: what it gives: "logits", "probabilities" or "features", which has no labels.
      device, instances: as of `export`.
    """
    given, answer = opened.inputs[0], opened.outputs[0]
    labels = [] if output == "features" else ['label_filename: "labels.txt"']
    # On a CPU an instance of one thread for each core answers most: a batch gains nothing there, and several threads
    # for one picture little. Triton's ONNX backend would start a thread a core in every instance.
    threads = {"intra_op_thread_count": "1", "inter_op_thread_count": "1"} if device == "cpu" else {}
    lines = [
        f"name: {_quoted(name)}",
        'backend: "onnxruntime"',
        f"default_model_filename: {_quoted(Path(opened.path).name)}",
        f"max_batch_size: {BATCH}",
        f"input [ {{ {_tensor(given)} }} ]",
        f"output [ {{ {' '.join([_tensor(answer), *labels])} }} ]",
        f"instance_group [ {{ count: {instances} kind: KIND_{device.upper()} }} ]",
        "dynamic_batching { }",  # what has come meanwhile is answered together; nothing waits for company
        *(f"parameters {{ key: {_quoted(k)} value {{ string_value: {_quoted(v)} }} }}" for k, v in threads.items()),
    ]
    return "\n".join(lines) + "\n"


def _tensor(found):
    """A tensor's name, type and shape without the batch."""
    dims: Sequence[int] = found.shape[1:]
    return f"name: {_quoted(found.name)} data_type: {TYPES[found.dtype]} dims: [ {', '.join(map(str, dims))} ]"


def _quoted(text):
    return json.dumps(text)
