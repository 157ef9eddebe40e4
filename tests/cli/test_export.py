"""`jaxcls export`: what a run or a published file holds, as PyTorch would have it."""

import importlib.util
import json
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import draw

from jaxcls import models
from jaxcls.checkpoints.view import find_step, list_steps, read_arrays, read_meta
from jaxcls.cli.command import main
from jaxcls.defaults import default_config
from jaxcls.models import weight_files
from jaxcls.models.state_dict import to_state_dict
from jaxcls.training import build, loop

pytestmark = pytest.mark.usefixtures("bare_end")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run of four steps with BatchNorm and an average; it keeps the checkpoints of steps 2 and 4."""
    config = default_config()
    config.data.name, config.batch_size, config.duration = "synthetic/64x8x3x4", 16, "4 steps"
    config.model.name = "resnet20_cifar_b"
    with config.model.fields.unlocked():
        config.model.fields.depth = 8
    config.eval.every = config.checkpoint.every = "2 steps"
    config.parallel.devices, config.ema_decay = 1, 0.5
    path = tmp_path_factory.mktemp("run") / "w"
    loop.fit(build.build(config), path)
    return path


@pytest.fixture
def export(capsys):
    """`export(source, out, *arguments) -> (status, output or error)`."""

    def call(source, out, *arguments):
        status = main(["export", str(source), "--out", str(out), *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out if status == 0 else captured.err

    return call


def metadata(path):
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    return json.loads(content[8 : 8 + length])["__metadata__"]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("arguments, start", [((), "extra/ema/"), (("--raw",), "")])
def test_a_checkpoint_in_pytorchs_names_and_layouts(export, workdir, tmp_path, suffix, arguments, start):
    path = tmp_path / f"w{suffix}"
    status, out = export(workdir, path, "--step", 4, *arguments)
    kind = "averaged (EMA)" if start else "raw"
    assert status == 0 and f"{kind} weights of step 4" in out
    got = weight_files.read(path).tensors
    arrays = read_arrays(find_step(workdir, 4))
    kernel = arrays[f"{start}params/layer2.0/conv1/kernel"]
    np.testing.assert_array_equal(got["layer2.0.conv1.weight"], kernel.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(got["linear.weight"], arrays[f"{start}params/linear/kernel"].T)
    variance = arrays[f"{start}model_state/batch_stats/layer2.0/shortcut.1/var"]
    np.testing.assert_array_equal(got["layer2.0.shortcut.1.running_var"], variance)
    mine = {name for name in arrays if name.startswith((f"{start}params/", f"{start}model_state/"))}
    assert len(got) == len(mine)


def test_the_metadata_of_safetensors_and_the_best_step(export, workdir, tmp_path):
    path = tmp_path / "w.safetensors"
    assert export(workdir, path)[0] == 0
    (best,) = [step.number for step in list_steps(workdir) if step.best]
    told = metadata(path)
    assert told["format"] == "pt" and told["model"] == "resnet20_cifar_b" and told["step"] == str(best)
    assert tuple(json.loads(told["classes"])) == read_meta(find_step(workdir)).classes
    assert json.loads(told["normalize"])["mean"] == [0.0]
    _, out = export(workdir / "checkpoints" / "4", path)
    assert "of step 4" in out


def test_half_precision(export, workdir, tmp_path):
    whole, half = tmp_path / "w.pth", tmp_path / "h.pth"
    export(workdir, whole)
    status, out = export(workdir, half, "--dtype", "float16")
    assert status == 0 and "float16" in out
    got, expected = weight_files.read(half).tensors, weight_files.read(whole).tensors
    assert {array.dtype.name for array in got.values()} == {"float16"}
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-3, atol=1e-7, err_msg=name)
    assert half.stat().st_size < 0.6 * whole.stat().st_size


def published(path, **changes):
    """Writes ResNet-20's state dict for 10 classes, with wrappers' prefixes, as PyTorch's training scripts do."""
    model, rng = models.create("resnet20_cifar", num_classes=10), np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32))
    state = to_state_dict(jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)) | changes
    weight_files.write(path, {f"module.{name}": value for name, value in state.items()}, {})
    return state


def test_a_published_file_in_another_format(export, tmp_path):
    state = published(tmp_path / "a.pth")
    arguments = ["--model", "resnet20_cifar"]
    status, out = export(tmp_path / "a.pth", tmp_path / "b.safetensors", *arguments)
    assert status == 0 and "resnet20_cifar from" in out
    got = weight_files.read(tmp_path / "b.safetensors").tensors
    assert got.keys() == state.keys() and all(np.array_equal(got[name], state[name]) for name in state)
    status, error = export(tmp_path / "a.pth", tmp_path / "c.pth", *arguments, "--classes", 9)
    assert status == 2 and "(the file has 10 classes, the model 9); see --classes, --field" in error
    status, error = export(tmp_path / "a.pth", tmp_path / "c.pth", *arguments, "--field", "shortcut=B")
    assert status == 2 and "missing: layer2.0.shortcut.0.weight" in error and not (tmp_path / "c.pth").exists()


def test_what_does_not_work_is_one_line(export, workdir, tmp_path):
    published(tmp_path / "a.pth", **{"bn1.running_var": np.full(16, 1e5, np.float32)})
    model = ["--model", "resnet20_cifar"]
    for arguments, message in (
        ([workdir, tmp_path / "x.h5"], "x.h5 must end in .safetensors, .pth or .pt"),
        ([workdir, tmp_path / "a.pth" / "x.pth"], "can't be written"),
        ([workdir, tmp_path / "x.pth", "--step", 3], "holds no step 3; it holds 2, 4"),
        ([tmp_path / "no", tmp_path / "x.pth"], "is no folder"),
        ([tmp_path / "no.pth", tmp_path / "x.pth", *model], "no.pth: there is no such file"),
        ([tmp_path / "a.pth", tmp_path / "x.pth", "--model", "resnet20"], "there is no model 'resnet20'; did you mean"),
        ([tmp_path / "a.pth", tmp_path / "x.pth", *model, "--field", "shortcut"], "--field takes NAME=VALUE"),
        ([tmp_path / "a.pth", tmp_path / "x.pth", *model, "--dtype", "float16"],
         "bn1.running_var has values up to 1e+05, too large for float16; use bfloat16"),
    ):  # fmt: skip
        status, error = export(*arguments)
        assert status == 2 and message in error and error.count("\n") == 1, error
    assert not (tmp_path / "x.pth").exists()


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mobilenet_v2"])
def test_torchvision_takes_it_strictly_and_agrees(tmp_path, name):
    torchvision, torch = pytest.importorskip("torchvision"), pytest.importorskip("torch")
    model, rng = models.create(name), np.random.default_rng(0)
    image = rng.normal(size=(1, 224, 224, 3)).astype(np.float32)
    variables = jax.tree.map(jnp.asarray, draw(jax.eval_shape(model.init, jax.random.key(0), image)))
    weight_files.write(tmp_path / "x.pth", to_state_dict(variables), {})
    theirs = torchvision.models.get_model(name, weights=None).eval()
    theirs.load_state_dict(torch.load(tmp_path / "x.pth", weights_only=True), strict=True)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(image).permute(0, 3, 1, 2)).numpy()
    got, _ = jax.jit(model.apply)(variables, image)
    assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)


def test_options_that_do_not_go_together_are_one_line(capsys, workdir, tmp_path):
    """Before JAX is imported, let alone a model built."""
    onnx, program, model = ["--to", "onnx"], ["--to", "stablehlo"], ["--model", "resnet20_cifar"]
    triton = ["--to", "triton"]
    (tmp_path / "file").touch()
    (tmp_path / "folder.onnx").mkdir()
    for arguments, message in (
        ([], "give RUN, the workdir of a run, or --model NAME"),
        (["--to", "onx", workdir], "'onx' is none of weights, onnx, tflite, stablehlo, triton; did you mean 'onnx'?"),
        ([workdir], "weights need --out FILE"),
        ([*model, "--out", tmp_path / "x.pth"], "has no weights to write; add --weights FILE"),
        ([workdir, "--to", "onnx", "--dtype", "float16"], "--dtype is for --to weights, not for onnx"),
        ([workdir, *program, "--int8"], "--int8 is for --to onnx and tflite and triton, not for stablehlo"),
        ([workdir, "--out", "x.pth", "--max-drop", 2], "--max-drop is for --to onnx and tflite and triton, not"),
        ([workdir, "--out", "x.pth", "--answers", "logits"], "--answers is for --to onnx and tflite and stablehlo"),
        ([*onnx, "--int8", workdir], "write RUN before --int8"),
        ([workdir, *onnx, "--int8", "statik"], "did you mean 'static'?"),
        ([workdir, *onnx, "--target", "vni", "--int8"], "did you mean 'vnni'?"),
        ([workdir, *onnx, "--target", "vnni"], "--target is for --int8; add that"),
        ([workdir, *onnx, "--calibration", 9], "--calibration is for --int8; add that"),
        ([workdir, *onnx, "--int8", "--calibration", 9, 10], "a number of pictures and a folder, one of each"),
        ([workdir, *onnx, "--int8", "--calibration", 0], "at least one picture"),
        ([workdir, *onnx, "--int8", "--calibration", tmp_path / "no"], "there is no such folder"),
        ([workdir, *onnx, "--max-drop", -1], "-1 is no number of points from 0 to 100"),
        ([workdir, *onnx, "--normalize", "unit"], "--normalize is for a model in place of a run; add --model"),
        ([workdir, *onnx, "--weights", "w.pth"], "--weights is for a model in place of a run"),
        ([*model, *onnx, "--step", 0], "--step is for a run"),
        (
            ["a.pth", *model, *onnx, "--weights", "b.pth"],
            "a.pth and --weights b.pth are two files of weights; give one",
        ),
        ([*model, *onnx, "--int8", "static"], "needs pictures to calibrate on"),
        ([*model, *onnx, "--classes", tmp_path / "no.txt"], "no.txt can't be read"),
        (["--model", "resnet20", *onnx], "there is no model 'resnet20'; did you mean"),
        ([tmp_path / "no", *onnx], "is no folder"),
        ([tmp_path, *program], "holds no folder 'checkpoints': give the workdir of a run"),
        ([workdir, *onnx, "--out", tmp_path / "x.pth"], "must end in .onnx for --to onnx"),
        ([workdir, *onnx, "--out", tmp_path / "folder.onnx"], "is a folder; give the name of a file"),
        ([workdir, *onnx, "--out", tmp_path / "no" / "x.onnx"], "there is no folder"),
        ([workdir, *onnx, "--out", "/proc/x.onnx"], "can't be written"),
        ([workdir, *program, "--out", tmp_path / "x.onnx"], "must end in .stablehlo for --to stablehlo"),
        ([workdir, *onnx, "--device", "gpu"], "--device is for --to triton, not for onnx"),
        ([workdir, *triton, "--device", "tpu"], "'tpu' is none of cpu, gpu"),
        ([workdir, *triton, "--instances", 0], "'0' is no positive whole number"),
        ([workdir, *triton, "--int8", "--float16"], "are two models, and a folder of --to triton holds one"),
        ([workdir, *triton, "--out", tmp_path / "file"], "is a file; give the name of a folder"),
        ([workdir, *triton, "--out", "/proc/x"], "can't be written"),
    ):
        status, error = main(["export", *map(str, arguments)]), capsys.readouterr().err
        assert status == 2 and message in error and error.count("\n") == 1, (arguments, error)


@pytest.mark.parametrize(
    "package, kind", [("onnx", "onnx"), ("onnxruntime", "onnx"), ("flatbuffers", "stablehlo"), ("onnx", "triton")]
)
def test_a_missing_extra_is_told_with_the_line_that_installs_it(capsys, workdir, monkeypatch, package, kind):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == package else there(name, *a))
    assert main(["export", str(workdir), "--to", kind]) == 2
    assert f"needs {package}, which is not installed: pip install " in capsys.readouterr().err


def test_programs_of_a_run(capsys, workdir, tmp_path, monkeypatch):
    """Without --out they are named after the run, in the current folder."""
    pytest.importorskip("flatbuffers")
    from jaxcls.export import stablehlo

    monkeypatch.setattr(stablehlo, "BATCHES", (1,))
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(workdir), "--to", "stablehlo", "--raw", "--answers", "probabilities"]) == 0
    out = capsys.readouterr().out
    assert "not checked: cuda and tpu" in out and out.count("differs by at most") == 2
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"w.stablehlo", "w.cpu.stablehlo", "w.safetensors", "w.json"}
    about = json.loads((tmp_path / "w.json").read_text())
    assert (about["output"], about["averaged"], about["classes"]) == (
        "probabilities",
        False,
        [f"class {i}" for i in range(4)],
    )


def test_a_model_of_a_triton_repository(capsys, workdir, tmp_path, monkeypatch):
    """Without --out it is named after the run, in the repository `triton`."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from jaxcls.export import latency

    monkeypatch.setattr(latency, "SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(workdir), "--to", "triton", "--instances", "3", "--answers", "probabilities"]) == 0
    assert "tritonserver --model-repository=triton" in capsys.readouterr().out
    text = (tmp_path / "triton" / "w" / "config.pbtxt").read_text()
    assert 'name: "w"' in text and "count: 3 kind: KIND_CPU" in text and 'name: "probabilities"' in text
    assert (tmp_path / "triton" / "w" / "labels.txt").read_text() == "class 0\nclass 1\nclass 2\nclass 3\n"
    (entry,) = [e for e in json.loads((workdir / "export.json").read_text()) if "triton" in e["path"]]
    assert entry["path"] == str(tmp_path / "triton" / "w" / "1" / "model.onnx")
