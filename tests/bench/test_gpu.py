"""scripts/bench/gpu.py: what its table says of canned figures, and all of it at small sizes."""

import importlib.metadata
import json
import sys

import pytest

from scripts import SCRIPTS, load

bench = load("bench/gpu.py")
parts = sys.modules["_gpu_parts"]
MACHINE = {"platform": "gpu", "device": "NVIDIA H100", "devices": 1, "python": "3.11", "jax": "0.10", "jaxlib": "0.10"}
OURS = {"pictures_per_second": 2000.0, "step_ms": 128.0, "compile_s": 40.0, "peak_memory_bytes": 2**34, **MACHINE}
TORCH = {"pictures_per_second": 2500.0, "step_ms": 102.4, "compile_s": 50.0, "peak_memory_bytes": 2**34, "torch": "2.9"}
FAST = {"train_s": 3.0, "evaluate_s": 0.5, "compile_s": 20.0, "steps": 475, "batch": 1024, "accuracy": 0.9391}
RUNGS = [
    {"name": "baseline", "mean": 0.71, "difference": None, "seconds": 60.0, "runs": [{"state": "finished"}]},
    {"name": "+ SE", "mean": 0.72, "difference": 0.01, "seconds": 62.0, "runs": [{"state": "finished"}]},
    {"name": "teacher", "mean": None, "runs": [{"state": "failed", "failed": "no time was left"}]},
]


@pytest.fixture
def children(monkeypatch):
    """Script -> what it answers; an exception is raised. Also the seconds that each was given."""
    answers = {
        "step.py": OURS,
        "_torch_peer.py": TORCH,
        "_cifar_fast.py": {**FAST, "count": 10000, "data": "tfds/cifar10"},
        "_ladder.py": {"rungs": RUNGS},
        "seconds": {},
    }

    def child(arguments, seconds):
        if arguments[0] == "-c":
            return MACHINE
        answers["seconds"][arguments[0].name] = seconds
        answer = answers[arguments[0].name]
        if callable(answer):
            answer = answer(arguments)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(parts, "child", child)
    return answers


def table(text):
    """First cell -> the other cells of a row, of a Markdown table."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in rows}


def test_the_table_and_the_files(children, tmp_path, capsys):
    assert bench.main(["--out", str(tmp_path / "gpu.md"), str(tmp_path / "gpu.json")]) == 0
    out = capsys.readouterr().out
    rows = table(out)
    assert rows["ResNet-50 training, pictures/s"][:2] == ["2,000", "2,500"]
    assert rows["ResNet-50 training, our time in units of PyTorch's"][0] == "1.25"
    # 6 x 4.089 G operations a picture: 49.07 and 61.3 TFLOP/s of the 989 of an H100
    assert rows["ResNet-50 training, TFLOP/s"][:2] == ["49 (5% of the peak)", "61 (6% of the peak)"]
    assert rows["cifar10_fast, training and evaluation, s"][0] == "3.50"
    assert rows["cifar10_fast, test accuracy"][:2] == ["93.91% of 10,000, one seed", "94.01 % (mean)"]
    assert rows["CIFAR-100 ladder: + SE"][0] == "72.00%" and "+1.00%" in rows["CIFAR-100 ladder: + SE"][2]
    assert "- Left out: CIFAR-100 ladder: teacher: no time was left" in out
    assert table((tmp_path / "gpu.md").read_text()) == rows
    stored = json.loads((tmp_path / "gpu.json").read_text())
    assert stored["device"] == "NVIDIA H100" and stored["rows"][0]["raw"]["torch"] == TORCH
    assert sum(children["seconds"].values()) <= 2 * 12 * 60 and max(children["seconds"].values()) <= 12 * 60


def test_what_is_missing_is_a_line_and_the_rest_goes_on(children, capsys):
    children["_torch_peer.py"] = parts.LeftOut("PyTorch finds no GPU (CUDA).")
    missing = parts.LeftOut("tfds/cifar10 is not in DIR; get it with: jaxcls prepare cifar10")
    synthetic = {**FAST, "count": 12500, "data": "synthetic/50000x32x3x10"}
    children["_cifar_fast.py"] = lambda arguments: synthetic if "--data" in arguments else missing
    children["_ladder.py"] = ValueError("a fault\nof two lines")
    assert bench.main([]) == 0
    out = capsys.readouterr().out
    rows = table(out)
    assert rows["ResNet-50 training, pictures/s"][:2] == ["2,000", ""]
    assert rows["cifar10_fast, training and evaluation, s"][0] == "3.50" and "cifar10_fast, test accuracy" not in rows
    left_out = [line for line in out.splitlines() if line.startswith("- Left out")]
    assert [line.split(": ")[1] for line in left_out] == ["ResNet-50 in PyTorch", "cifar10_fast on CIFAR-10", "ladder"]
    assert left_out[2].endswith("ValueError: a fault of two lines")


def test_no_figure_is_status_1_and_no_gpu_2(children, monkeypatch, capsys):
    for script in ("step.py", "_cifar_fast.py", "_ladder.py"):
        children[script] = parts.LeftOut("no")
    assert bench.main([]) == 1
    monkeypatch.setattr(parts, "child", lambda arguments, seconds: {**MACHINE, "platform": "cpu"})
    assert bench.main([]) == 2
    assert "--small" in capsys.readouterr().err


def test_a_process_that_fails_or_takes_too_long_is_told(tmp_path):
    code = "import sys; print('first', file=sys.stderr); sys.exit('error: the reason')"
    with pytest.raises(parts.LeftOut, match="^the reason$"):
        parts.child(["-c", code], 60)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_DFL); time.sleep(60)"
    with pytest.raises(parts.LeftOut, match="longer than 1 s"):
        parts.child(["-c", stubborn], 1)
    with pytest.raises(parts.LeftOut, match="no time"):
        parts.child(["-c", "pass"], 0)
    assert parts.child(["-c", "print('a note'); print('{\"x\": 1}')"], 60) == {"x": 1}


@pytest.mark.slow
def test_all_parts_at_small_sizes(tmp_path, capsys):
    assert bench.main(["--small", "--minutes", "60", "--out", str(tmp_path / "gpu.json")]) == 0
    rows = {row["what"]: row for row in json.loads((tmp_path / "gpu.json").read_text())["rows"]}
    assert float(rows["SqueezeNet1_1 training, pictures/s"]["jaxcls"]) > 0
    assert rows["cifar10_fast, training and evaluation, s"]["raw"]["steps"] == 4
    assert rows["CIFAR-100 ladder: baseline"]["jaxcls"].endswith("%")
    assert "mean nothing" in capsys.readouterr().out


def test_no_file_hides_a_module():
    """Python puts the folder of a script before all installed modules."""
    names = {path.stem for path in (SCRIPTS / "bench").glob("*.py")}
    assert not names & set(sys.stdlib_module_names)
    assert not names & set(importlib.metadata.packages_distributions())
