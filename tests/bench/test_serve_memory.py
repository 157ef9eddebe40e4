"""serve_memory.py asks as often as it says, and sees memory and wrong answers."""

import re
import sys

import onnx_files
import pytest

from scripts import load

pytest.importorskip("fastapi")


@pytest.mark.slow
def test_the_whole(tmp_path, capsys):
    if not sys.platform.startswith("linux"):
        pytest.skip("the bench reads /proc")
    path = onnx_files.model(tmp_path / "net.onnx", onnx_files.told())
    script = load("bench/serve_memory.py")
    core = min(script.os.sched_getaffinity(0))
    assert script.main([str(path), "--requests", "200", "--clients", "3", "--cores", str(core), str(core)]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| jaxcls, net.onnx")]
    figures = [float(text) for text in re.findall(r"\| ([\d.]+) (?=\|)", row)]
    assert len(figures) == 7 and min(figures[:4]) > 20 and figures[-1] == 0
