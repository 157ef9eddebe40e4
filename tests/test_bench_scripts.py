"""The benchmark scripts in their tiny forms."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

SCRIPTS = Path(__file__).parents[1] / "scripts"
DIGITS = str(SCRIPTS.parent / "configs" / "lenet5_digits.py")


def load(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench_step, bench_input, bench_import = load("bench_step"), load("bench_input"), load("bench_import")
torch_peer, bench_convolve = load("torch_peer"), load("bench_convolve")


def run(script, capsys, arguments):
    assert script.main([*arguments.split(), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(list(script.lines(result))) >= 3
    return result


def test_step(capsys):
    r = run(bench_step, capsys, "--model lenet5 --size 28 --classes 10 --channels 1 --batch 16 --steps 2 --rounds 2")
    assert (r["model"], r["batch"], r["picture"], r["devices"]) == ("lenet5", 16, [28, 28, 1], 8)
    # Multiply-adds of LeNet-5: 28x28x6x25 + 10x10x16x150 + 400x120 + 120x84 + 84x10. Each is 2 operations, done once
    # forward and twice backward, but no gradient flows into the pictures.
    first, rest = 117_600, 240_000 + 48_000 + 10_080 + 840
    assert r["flops_per_step"] == pytest.approx(16 * 2 * (2 * first + 3 * rest), rel=0.25)
    assert r["flops_per_second"] == pytest.approx(r["flops_per_step"] / r["step_ms"] * 1e3)
    assert r["pictures_per_second"] == pytest.approx(16e3 / r["step_ms"])
    assert 0 < r["step_ms_min"] <= r["step_ms"] and r["compile_s"] > 0 and r["peak_memory_bytes"] > 2**26


def test_step_and_loop(capsys):
    r = run(bench_step, capsys, f"--config {DIGITS}:tiny --loop --steps 3 --rounds 1")
    loop = r["loop"]
    assert loop["evaluation_and_checkpoint_every"] == 95 and loop["evaluates"]  # 5 epochs of 0.7 x 1797 / 64 steps
    assert loop["overhead_percent"] == pytest.approx(100 * (loop["step_ms"] / r["step_ms"] - 1))
    assert loop["overhead_percent_with_both"] >= loop["overhead_percent"]


def test_step_says_what_is_wrong(capsys, monkeypatch):
    assert bench_step.main(["--config", "configs/none.py"]) == 2
    assert "there is no file configs/none.py" in capsys.readouterr().err
    assert bench_step.main(["--config", DIGITS, "--batch", "4097"]) == 2
    assert "config.batch_size" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "torch", None)
    small = ["--model", "resnet18", "--size", "32", "--classes", "2", "--batch", "8"]
    with pytest.raises(bench_step.UserError, match="pip install torch"):
        bench_step.TorchPeer(bench_step.build.build(bench_step.read_config(bench_step.parse(small))), (None, None))


@pytest.mark.parametrize(
    ("name", "fields", "classes", "parameters"),
    [("resnet18", {"stem": "cifar"}, 10, 11_173_962), ("mobilenet_v3_large", {}, 1000, 5_483_032)],
)
def test_the_peer_is_the_same_net(name, fields, classes, parameters):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    net = torch_peer.build(name, fields, 3, classes)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, classes)


@pytest.mark.slow
def test_several_models_give_a_table(capfd):
    arguments = "--size 28 --classes 10 --channels 1 --batch 16 --steps 1 --rounds 1 --forward"
    assert bench_step.main(["--model", "lenet5", "lenet5_1998", *arguments.split()]) == 0
    head, _, *rows = capfd.readouterr().out.splitlines()
    assert [row.split(" | ")[0] for row in rows] == ["| lenet5", "| lenet5_1998"]
    assert all(row.count("|") == head.count("|") for row in rows)


def test_convolve(capsys):
    assert bench_convolve.main(["--rounds", "1", "--case", "1x1, 64 to 256"]) == 0
    *_, head, _, row = capsys.readouterr().out.splitlines()
    assert row.startswith("| 56, 1x1, 64 to 256 |") and row.count("|") == head.count("|")
    assert all(float(cell) > 0 for cell in row.split("|")[2:-1])


def test_input(capsys):
    options = "--reads 8 --batch 4 --size 32 --rounds 2 --sizes as-is --jobs train"
    r = run(bench_input, capsys, f"{options} --only decode jaxcls pillow packed-copy")
    (found,) = r["sets"]
    assert [(p["job"], p["peer"]) for p in found["pipelines"]] == [
        ("train", "decode"), ("train", "jaxcls"), ("train", "pillow"), ("train", "packed-copy")
    ]  # fmt: skip
    assert all(p["pictures_per_second"] > 0 and p["pictures_per_cpu_second"] > 0 for p in found["pipelines"])
    assert all(("times_pillow" in p) == (p["peer"] != "pillow") for p in found["pipelines"])
    assert found["reads"] == 8 and found["files"] == 64 and found["missing"] == []
    assert [m["set"] for m in r["in_memory"]] == ["mnist", "cifar10"]


def test_input_says_which_peer_is_missing(capsys, tmp_path):
    bench_input.make_pictures(tmp_path, n=1)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 3\n")
    python.chmod(0o755)
    options = f"--folder {tmp_path} --reads 1 --batch 1 --rounds 1 --sizes as-is --jobs train --only tf.data"
    r = run(bench_input, capsys, f"{options} --tf-python {python}")
    assert r["sets"][0]["missing"] == ["tf.data"] and r["sets"][0]["pipelines"] == []
    assert any(line.startswith("tf.data: not installed, skipped") for line in bench_input.lines(r))


def test_input_needs_pictures(tmp_path, capsys):
    assert bench_input.main(["--folder", str(tmp_path)]) == 2
    assert "there are no JPEGs" in capsys.readouterr().err


def pipelines_spec(folder, **options):
    paths = [str(path) for path in sorted(folder.glob("*.jpg"))]
    return {"paths": paths, "pack": "", "size": 56, "batch": 3, "threads": 1, "workers": 0, "steps": 2, **options}


@pytest.mark.parametrize("size", [(60, 80), (80, 60), (71, 50)])
def test_both_loaders_do_the_same_work(tmp_path, size):
    bench_input.make_pictures(tmp_path, n=3, size=size)
    spec = pipelines_spec(tmp_path, job="eval", peer="jaxcls")
    ours, theirs = bench_input.stream(spec), bench_input.peers.pillow(spec)
    for _ in range(3):
        np.testing.assert_array_equal(next(ours)["image"], next(theirs))


def test_draft_changes_little_and_tf_data_gives_such_pictures(tmp_path):
    bench_input.make_pictures(tmp_path, n=3, size=(400, 600))
    spec = pipelines_spec(tmp_path, job="eval", peer="pillow")
    exact, draft = (next(bench_input.peers.pillow(spec, draft=d)) for d in (False, True))
    assert exact.shape == draft.shape == (3, 56, 56, 3)
    assert 0 < np.abs(exact.astype(int) - draft).mean() < 8
    train = {**spec, "job": "train"}
    assert next(bench_input.peers.pillow(train, draft=True)).shape == (3, 56, 56, 3)
    pytest.importorskip("tensorflow")
    assert next(bench_input.peers.tf_data(spec)).shape == next(bench_input.peers.tf_data(train)).shape == exact.shape


def test_enlarged_pictures_keep_their_orientation(tmp_path):
    for name, size in (("wide", (60, 80)), ("high", (80, 60))):
        bench_input.make_pictures(tmp_path / name, n=1, size=size)
    made = bench_input.enlarge(bench_input.jpegs(tmp_path), (500, 375), tmp_path / "made")
    sizes = []
    for path in made:
        with Image.open(path) as picture:
            sizes.append(picture.size)
    assert sizes == [(375, 500), (500, 375)]


@given(st.integers(1, 400), st.integers(1, 400))
def test_random_box_lies_inside(width, height):
    left, top, right, bottom = bench_input.peers.random_box(width, height)
    assert 0 <= left < right <= width and 0 <= top < bottom <= height


def test_made_pictures_are_about_as_hard_as_photographs(tmp_path):
    bench_input.make_pictures(tmp_path, n=2)
    with Image.open(tmp_path / "0.jpg") as picture:
        assert picture.size == (341, 256)
    assert 0.2 < (tmp_path / "0.jpg").stat().st_size / (341 * 256) < 1  # bytes a pixel


def test_import():
    # A process of its own: at its start a process counts its parent's memory as its own peak.
    arguments = ["--json", "--rounds", "1", "--top", "3", "--cases", "python", "numpy", "import", "help"]
    r = json.loads(subprocess.check_output([sys.executable, bench_import.__file__, *arguments]))
    assert len(list(bench_import.lines(r))) == 9
    assert r["python"]["heavy"] == [] and r["numpy"]["heavy"] == ["numpy"]
    assert not {"jax", "tensorflow"} & {*r["import"]["heavy"], *r["help"]["heavy"]}
    assert r["numpy"]["imports"][0][1] == "numpy"
    for figure in ("cpu_s", "peak_rss_bytes"):
        assert 0 < r["python"][figure] < r["numpy"][figure]
