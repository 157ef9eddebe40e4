"""A run that is trained for INT8: from a float run, interrupted, as a file."""

import signal
import time
from pathlib import Path

import onnx
import pytest
import runs

from jaxcls import load
from jaxcls.checkpoints import view
from jaxcls.cli import command

pytestmark = pytest.mark.slow
INT8 = onnx.TensorProto.INT8
SHORT = ["--config.duration=60 steps", "--config.checkpoint.every=15 steps", "--config.ema_decay=0.9"]


def test_interrupted_is_uninterrupted_and_its_file_holds_integers(tmp_path):
    whole, killed, before = (tmp_path / name for name in ("whole", "killed", "float"))
    runs.finish(runs.start(before, "--config.duration=20 steps", report=False), before)
    arguments = [*SHORT, "--config.model.quantize=int8", f"--config.model.pretrained={before}"]
    runs.finish(runs.start(whole, *arguments, report=False), whole)
    process = runs.start(killed, *arguments, report=False)
    while process.poll() is None and not list((Path(killed) / "manifests").glob("*.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    runs.finish(runs.start(killed, *arguments, report=False), killed)
    left, right = runs.final_arrays(whole), runs.final_arrays(killed)
    assert left.keys() == right.keys() and any("/quant/" in name for name in left)
    assert not [name for name in left if left[name].tobytes() != right[name].tobytes()]
    assert view.read_meta(view.find_step(whole)).answer.model["quantize"] == "int8"
    file = tmp_path / "net.onnx"
    assert not command.main(["export", str(whole), "--to", "onnx", "--out", str(file)])
    assert {tensor.data_type for tensor in onnx.load(file).graph.initializer if len(tensor.dims) > 1} == {INT8}
    read = load(file)  # what it is made of travels with it
    assert (read.classes, read.picture) == (load(whole).classes, load(whole).picture)
