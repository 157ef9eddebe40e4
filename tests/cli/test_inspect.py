"""Checkpoints written by Orbax itself, from one device and from four, looked at by the library and the command."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxcls.checkpoints import view
from jaxcls.cli.command import main
from jaxcls.errors import UserError

SCRIPT = Path(__file__).parents[2] / "scripts" / "inspect_checkpoint.py"

# Writes steps 5 and 10 of a run on the given number of devices, the state sharded where its first axis allows.
WRITER = """
import hashlib, json, pathlib, sys
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", int(sys.argv[2]))
import jax.numpy as jnp, numpy as np, orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

workdir, devices = pathlib.Path(sys.argv[1]).absolute(), int(sys.argv[2])
mesh = Mesh(np.array(jax.devices()), ("data",))
assert mesh.size == devices

def put(x):
    x = jnp.asarray(x)
    return jax.device_put(x, NamedSharding(mesh, P("data") if x.ndim and x.shape[0] % devices == 0 else P()))

def state(step):
    kernel = np.arange(288, dtype=np.float32).reshape(3, 3, 4, 8) + step
    params = {"layer1.0": {"conv1": {"kernel": kernel, "bias": jnp.zeros(8, jnp.bfloat16)}},
              "fc": {"kernel": np.full((8, 3), 2.0, np.float32)}}
    return jax.tree.map(put, {
        "step": np.int32(step), "params": params,
        "model_state": {"batch_stats": {"bn1": {"mean": np.zeros(8, np.float32)}}},
        "opt_state": {"0": {}, "1": {"trace": {"fc": {"kernel": np.array([[1.0, np.nan, np.inf]], np.float32)}}}},
        "rng": np.array([0, 7], np.uint32), "extra": {}, "controls": {"lr_scale": np.float32(1)}})

options = ocp.CheckpointManagerOptions(best_fn=lambda metrics: metrics["score"])
with ocp.CheckpointManager(workdir / "checkpoints", options=options) as manager:
    for step in (5, 10):
        meta = {"config": {"model": {"name": "resnet18"}, "lr": step / 100, "augment": {}}, "step": step,
                "classes": [f"class {i}" for i in range(12)], "metrics": {"accuracy": 1 / step},
                "versions": {"jax": jax.__version__}}
        items = {"state": ocp.args.StandardSave(state(step)), "meta": ocp.args.JsonSave(meta)}
        manager.save(step, args=ocp.args.Composite(**items), metrics={"score": 1 / step})
    manager.wait_until_finished()
(workdir / "manifests").mkdir()
for step in (5, 10):
    folder = workdir / "checkpoints" / str(step)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    files = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    (workdir / "manifests" / f"{step}.json").write_text(json.dumps({"step": step, "files": files}))
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, devices in (("one", 1), ("four", 4)):
        subprocess.run([sys.executable, "-c", WRITER, str(folder / name), str(devices)], check=True)
    return folder


@pytest.fixture
def workdir(written, tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(written / "one", tmp_path / "run"))


def run(capsys, *arguments):
    """(exit status, standard output, standard error) of the command."""
    status = main(["inspect", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


SHAPES = {
    "controls/lr_scale": ((), "float32"),
    "model_state/batch_stats/bn1/mean": ((8,), "float32"),
    "opt_state/1/trace/fc/kernel": ((1, 3), "float32"),
    "params/fc/kernel": ((8, 3), "float32"),
    "params/layer1.0/conv1/bias": ((8,), "bfloat16"),
    "params/layer1.0/conv1/kernel": ((3, 3, 4, 8), "float32"),
    "rng": ((2,), "uint32"),
    "step": ((), "int32"),
}


@pytest.mark.parametrize("name", ["one", "four"])
def test_shapes_and_values_from_any_number_of_devices(written, name):
    step_dir = view.find_step(written / name, 5)
    tensors = view.read_tensors(step_dir)
    assert {n: (t.shape, str(t.dtype)) for n, t in tensors.items()} == SHAPES
    assert (tensors["params/layer1.0/conv1/bias"].count, tensors["params/layer1.0/conv1/bias"].nbytes) == (8, 16)
    arrays = view.read_arrays(step_dir)
    assert {n: (a.shape, str(a.dtype)) for n, a in arrays.items()} == SHAPES
    assert all(type(a) is np.ndarray for a in arrays.values())
    kernel = np.arange(288, dtype=np.float32).reshape(3, 3, 4, 8) + 5
    np.testing.assert_array_equal(arrays["params/layer1.0/conv1/kernel"], kernel)
    only = view.read_arrays(step_dir, ["params/fc/kernel"])
    assert list(only) == ["params/fc/kernel"]
    np.testing.assert_array_equal(only["params/fc/kernel"], np.full((8, 3), 2.0))


def test_steps_are_listed_with_their_state(workdir):
    (workdir / "checkpoints" / "15.orbax-checkpoint-tmp").mkdir()
    shutil.copytree(workdir / "checkpoints" / "10", workdir / "checkpoints" / "20")
    steps = view.list_steps(workdir)
    assert [(s.number, s.finished, s.best) for s in steps] == [
        (5, True, True),
        (10, True, False),
        (15, False, False),
        (20, False, False),
    ]
    assert [s.metrics for s in steps[:2]] == [{"accuracy": 0.2}, {"accuracy": 0.1}]
    assert view.find_step(workdir).name == "10"  # the newest finished one
    assert view.find_step(workdir, 20).name == "20"
    assert view.find_step(workdir / "checkpoints").name == "10"
    assert view.find_step(workdir / "checkpoints" / "5").name == "5"


def test_a_step_folder_is_found_from_inside(workdir, monkeypatch):
    monkeypatch.chdir(workdir / "checkpoints")
    assert view.verify(view.find_step("5")) == []


@pytest.mark.parametrize(
    ("path", "step", "message"),
    [
        ("absent", None, "absent is no folder"),
        ("", None, "no folder 'checkpoints'"),
        ("run", 7, "holds no step 7; it holds 5, 10"),
        ("run/checkpoints/5", 10, "folder of one step already"),
        ("fresh", None, "holds no finished checkpoint"),
    ],
)
def test_what_is_not_there_is_one_line_and_status_2(workdir, capsys, path, step, message):
    (workdir.parent / "fresh" / "checkpoints").mkdir(parents=True)
    status, out, err = run(capsys, workdir.parent / path, *(["--step", step] if step else []))
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and err.startswith("error: ") and message in err


@pytest.mark.parametrize(
    ("damaged", "size"),
    [("state/_METADATA", 10), ("state/manifest.ocdbt", 10), ("state/d/*", 20), ("meta/metadata", None)],
)
def test_damage_is_one_line_and_status_2(workdir, damaged, size):
    """In a process of its own: TensorStore's threads write to the standard error late."""
    for file in (workdir / "checkpoints" / "10").glob(damaged):
        file.unlink() if size is None else os.truncate(file, size)
    result = subprocess.run([sys.executable, SCRIPT, workdir, "--stats"], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("error: ")
    assert "choose another step" in result.stderr


def test_an_undamaged_step_beside_a_damaged_one_opens(workdir, capsys):
    (workdir / "checkpoints" / "10" / "meta" / "metadata").write_text("{")
    status, out, _ = run(capsys, workdir, "--step", 5)
    assert status == 0 and "layer1.0" in out


def test_a_step_without_state_is_named(workdir, capsys):
    shutil.rmtree(workdir / "checkpoints" / "10" / "state")
    assert "holds no tensors" in run(capsys, workdir)[2]


def test_verify_finds_what_orbax_does_not(workdir, capsys):
    assert run(capsys, workdir, "--verify")[0] == 0
    folder = workdir / "checkpoints" / "10"
    data = max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    (folder / "commit_success.txt").unlink(missing_ok=True)
    (folder / "stranger").write_text("")
    status, out, _ = run(capsys, workdir, "--verify")
    assert status == 1
    assert f"{data.relative_to(folder).as_posix()}: its SHA-256 differs" in out
    assert "stranger: not in the manifest" in out
    (folder / "meta" / "metadata").unlink()
    assert "meta/metadata: missing" in view.verify(folder)
    (workdir / "manifests" / "10.json").write_text('{"step"')
    with pytest.raises(UserError, match=r"10\.json is damaged"):
        view.verify(folder)
    (workdir / "manifests" / "10.json").unlink()
    with pytest.raises(UserError, match="cannot be verified"):
        view.verify(folder)


def test_the_report_names_everything(written, capsys):
    status, out, err = run(capsys, written / "four")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert "5 good, best accuracy 0.2" in lines and "10 good accuracy 0.1" in lines
    assert "params/layer1.0/conv1/kernel 3x3x4x8 float32 288 1.1 KiB" in lines
    assert "params 3 320 1.2 KiB" in lines  # 288 + 24 float32 and 8 bfloat16: 1264 bytes
    assert "total 8 335 1.3 KiB" in lines
    assert 'model.name "resnet18"' in lines and "augment {}" in lines
    assert any("class 9, ... (12 in all)" in line for line in lines)
    assert any(line.startswith("params") for line in lines[: lines.index("total 8 335 1.3 KiB")])


def test_filter_tree_and_config(written, capsys):
    _, out, _ = run(capsys, written / "one", "--filter", "^params/fc")
    assert "params/fc/kernel" in out and "conv1/kernel" not in out
    assert "total 1 24 96 B" in [" ".join(line.split()) for line in out.splitlines()]
    status, _, err = run(capsys, written / "one", "--filter", "conv1/kernal")
    assert status == 2 and "nearest are params/layer1.0/conv1/kernel" in err
    _, out, _ = run(capsys, written / "one", "--tree")
    tree = [" ".join(line.split()) for line in out.splitlines()]
    assert "layer1.0 296 1.1 KiB" in tree and "kernel 8x3 float32 24 96 B" in tree
    _, out, _ = run(capsys, written / "one", "--config", "--step", 5)
    assert json.loads(out) == {"model": {"name": "resnet18"}, "lr": 0.05, "augment": {}}
    status, _, err = run(capsys, written, "--filter", "(")
    assert status == 2 and "'(' is no regular expression" in err


def test_statistics_in_json(written, capsys):
    _, out, _ = run(capsys, written / "four", "--stats", "--json")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    report = json.loads(out, parse_constant=refuse)
    momentum = report["tensors"]["opt_state/1/trace/fc/kernel"]
    assert (momentum["mean"], momentum["norm"], momentum["nonfinite"]) == (1.0, 1.0, 2)
    kernel = report["tensors"]["params/layer1.0/conv1/kernel"]
    assert (kernel["min"], kernel["max"], kernel["mean"]) == (10, 297, 153.5)
    assert kernel["std"] == pytest.approx(math.sqrt((288**2 - 1) / 12))
    assert report["groups"]["params"] == {"tensors": 3, "count": 320, "bytes": 1264}
    assert report["meta"]["classes"][11] == "class 11"


def test_runs_on_one_and_four_devices_are_identical(written, capsys):
    status, out, _ = run(capsys, written / "one", "--diff", written / "four")
    assert status == 0 and "8 of 8 tensors compared are equal" in out


def test_two_steps_differ_in_what_changed(written, capsys):
    status, out, _ = run(capsys, written / "one", "--step", 5, "--diff", 10, "--json")
    report = json.loads(out)
    assert (status, report["identical"]) == (1, False)
    assert list(report["values"]) == ["step", "params/layer1.0/conv1/kernel"]  # the largest first
    kernel = report["values"]["params/layer1.0/conv1/kernel"]
    assert kernel["max_abs"] == 5
    assert kernel["relative_l2"] == pytest.approx(5 * math.sqrt(288) / math.sqrt(sum((i + 5) ** 2 for i in range(288))))
    assert report["config"] == {"lr": [0.05, 0.1]}
    assert report["metrics"] == {"accuracy": [0.2, 0.1]}
    status, out, _ = run(capsys, written / "one", "--step", 5, "--diff", 10, "--filter", "fc")
    assert status == 0 and "2 of 2 tensors" in out


def test_other_tensors_and_shapes_are_told(written, capsys, tmp_path):
    import orbax.checkpoint as ocp

    state = {"params": {"fc": {"kernel": np.zeros((8, 5), np.float32)}, "new": np.zeros(2)}, "step": np.int64(10)}
    with ocp.CheckpointManager(tmp_path / "checkpoints") as manager:
        meta = ocp.args.JsonSave({"config": {}})
        manager.save(10, args=ocp.args.Composite(state=ocp.args.StandardSave(state), meta=meta))
    status, out, _ = run(capsys, written / "one", "--diff", tmp_path / "checkpoints" / "10", "--json")
    report = json.loads(out)
    assert status == 1
    assert report["only_second"] == ["params/new"] and "rng" in report["only_first"]
    assert report["shapes"] == {"params/fc/kernel": [[8, 3], [8, 5]]}
    assert report["dtypes"] == {"step": ["int32", "int64"]} and report["values"] == {}
    assert run(capsys, written / "one", "--diff", tmp_path / "checkpoints" / "10")[0] == 1


arrays = hnp.arrays(np.float32, hnp.array_shapes(max_dims=2, max_side=4), elements=st.floats(width=32))


@given(arrays)
def test_nothing_differs_from_itself(array):
    assert view.difference(array, array.copy()) == view.Difference(True, 0.0, 0.0)
    assert view.difference(array, array.astype(np.float64)).equal


@given(arrays, st.floats(0.5, 100))
def test_a_shift_is_found_at_its_size(array, shift):
    finite = np.nan_to_num(array.astype(np.float64), nan=1.0, posinf=1.0, neginf=1.0).clip(-1e6, 1e6)
    found = view.difference(finite, finite + shift)
    assert not found.equal and found.max_abs == pytest.approx(shift)
    norm = np.sqrt((finite**2).sum())
    expected = shift * np.sqrt(finite.size) / norm if norm else math.inf
    assert found.relative_l2 == pytest.approx(expected)


def test_a_value_lost_to_nan_is_infinitely_far():
    found = view.difference(np.array([1.0, 2.0, np.nan]), np.array([1.0, np.nan, np.nan]))
    assert found == view.Difference(False, math.inf, math.inf)


def test_the_plain_call_needs_neither_the_run_devices_nor_jax_for_json(written):
    """As a user calls it: status 0 and quiet; --config leaves Orbax and JAX alone, so it is instant."""
    env = {key: value for key, value in os.environ.items() if key != "JAX_PLATFORMS"}
    result = subprocess.run([sys.executable, SCRIPT, written / "four"], capture_output=True, text=True, env=env)
    assert (result.returncode, result.stderr) == (0, "")
    code = (
        f"import runpy, sys; sys.argv = ['inspect', {str(written / 'four')!r}, '--config']\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit as stop: sys.exit(stop.code or bool({'jax', 'orbax'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
