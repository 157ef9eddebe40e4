"""Programs of jax.export: the same answers, in the forms they are for, without jaxcls."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export
from scipy.special import softmax

pytest.importorskip("flatbuffers")

from draws import draw
from models.test_contract import TINY, build

from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.errors import UserError
from jaxcls.export import stablehlo
from jaxcls.models import safetensors_files
from jaxcls.tasks.networks import Network

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("preact_resnet",)  # beside mobilenet_v3, with depthwise convolutions and squeeze-excite, in `written`


def network(name):
    """A tiny network of a family, and eight pictures."""
    model, variables, images = build(name)
    shape = images.shape[1:]
    found = Network(f"a tiny {name}", name, model, jax.tree.map(np.asarray, variables), ("a", "b", "c"),
                    Preprocessing(picture=shape, channels=shape[-1], mean=(0.4,), std=(0.3,)))  # fmt: skip
    return found, np.random.default_rng(1).integers(0, 256, (8, *shape)).astype(np.uint8)


def expected(network, pictures):
    """The model's own answer, the normalisation in NumPy."""
    x = (pictures / 255 - 0.4).astype(np.float32) / np.float32(0.3)
    return np.asarray(jax.jit(lambda v, x: network.model.apply(v, x, train=False)[0])(network.variables, x))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(the network, pictures, the folder) of digits.stablehlo and what belongs to it."""
    folder = tmp_path_factory.mktemp("stablehlo")
    found, pictures = network("mobilenet_v3")
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stablehlo, "BATCHES", (3,))  # each size is compiled three times
        stablehlo.write(found, pictures, folder / "digits.stablehlo", note=lines.append)
    assert "not checked: cuda and tpu" in lines[-1]
    return found, pictures, folder


def read(folder, name):
    return export.deserialize(bytearray((folder / name).read_bytes()))


@pytest.mark.parametrize("suffix", [".stablehlo", ".cpu.stablehlo"])
def test_what_is_written_answers_like_the_model_with_weights_of_any_file(written, suffix):
    found, pictures, folder = written
    program = read(folder, f"digits{suffix}")
    with open(folder / "digits.safetensors", "rb") as file:
        weights = safetensors_files.read(file)[0]
    got = np.asarray(program.call(weights, pictures[:5]))
    np.testing.assert_allclose(got, expected(found, pictures[:5]), rtol=1e-4, atol=1e-5)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), found.variables)
    other = dataclasses.replace(found, variables=draw(shapes, seed=5))
    got = np.asarray(program.call(stablehlo.weights(other), pictures[:5]))
    np.testing.assert_allclose(got, expected(other, pictures[:5]), rtol=1e-4, atol=1e-5)
    assert np.abs(got - expected(found, pictures[:5])).max() > 0.01


def test_each_has_the_forms_it_is_for_and_says_so(written):
    """In `F.stablehlo` depthwise convolutions are convolutions, though the same net was traced for the CPU before."""
    found, pictures, folder = written
    about = json.loads((folder / "digits.json").read_text())
    assert about["picture"] == list(pictures.shape[1:]) and about["classes"] == ["a", "b", "c"]
    assert about["weights"] == "digits.safetensors" and about["output"] == "logits"
    grouped = re.compile(r"feature_group_count = (?!1\b)\d+")
    for name, platforms, depthwise in (
        ("digits.stablehlo", ["cpu", "cuda", "tpu"], True),
        ("digits.cpu.stablehlo", ["cpu"], False),
    ):
        program, told = read(folder, name), about["artefacts"][name]
        text = program.mlir_module()
        assert bool(grouped.search(text)) is depthwise
        assert list(program.platforms) == told["platforms"] == platforms
        assert told["unchecked"] == [p for p in platforms if p != "cpu"]
        assert told["calling_convention"] == program.calling_convention_version
        (main,) = re.findall(r"func.func public @main\((.*)\) -> ", text)
        shapes = re.findall(r"%arg\d+: tensor<([^>]*)>", main)
        mine = stablehlo.weights(found)
        letters = {"float32": "f32"}
        wanted = ["i32"] * (len(platforms) > 1)
        wanted += ["x".join([*map(str, mine[n].shape), letters[str(mine[n].dtype)]]) for n in mine]
        assert shapes == [*wanted, "x".join(["?", *map(str, pictures.shape[1:]), "ui8"])]
        assert told["arguments"] == ["_platform_index"] * (len(platforms) > 1) + [*mine, "image"]
    many = np.resize(pictures, (64, *pictures.shape[1:]))
    weights = stablehlo.weights(found)
    assert read(folder, "digits.stablehlo").call(weights, many).shape == (64, 3)
    with pytest.raises(ValueError):  # JAX says no more than that shapes can't be refined
        read(folder, "digits.cpu.stablehlo").call(weights, many)


def test_the_page_s_snippet_needs_no_jaxcls(written):
    found, pictures, folder = written
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.S)
    (snippet,) = [block for block in blocks if "export.deserialize" in block]
    np.save(folder / "pictures.npy", pictures[:3])
    blocked = "import sys\nsys.modules['jaxcls'] = None\n"
    program = f'{blocked}{snippet}\nnp.save("got.npy", logits)\n'
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(folder / "got.npy"), expected(found, pictures[:3]), rtol=1e-4, atol=1e-5)


def test_probabilities_are_calibrated():
    found, pictures = network("lenet5")
    decision = {"temperature": 2.0, "thresholds": [], "costs": None, "classes": ["a", "b", "c"]}
    calibrated = dataclasses.replace(found, calibration=decision)
    got = jax.jit(stablehlo.program(calibrated, "probabilities"))(stablehlo.weights(found), pictures)
    np.testing.assert_allclose(got, softmax(expected(found, pictures) / 2, axis=1), rtol=1e-4)
    features = dataclasses.replace(found, output="features")
    shape = jax.eval_shape(stablehlo.program(features, "probabilities"), stablehlo.weights(found), pictures).shape
    assert shape == (8, 84)  # what LeNet's last layer sees


def test_nothing_is_left_of_what_can_t_be_written(written, tmp_path, monkeypatch):
    found, pictures, _ = written
    (tmp_path / "a.safetensors").write_bytes(b"weights")
    with pytest.raises(UserError, match="a.safetensors is there already and belongs to no a.stablehlo"):
        stablehlo.write(found, pictures, tmp_path / "a.stablehlo")
    lenet, pictures = network("lenet5")
    monkeypatch.setattr(stablehlo, "TOLERANCE", {"float32": -1.0})
    monkeypatch.setattr(stablehlo, "BATCHES", (1,))
    with pytest.raises(UserError, match="answers otherwise than the network"):
        stablehlo.write(lenet, pictures, tmp_path / "b.stablehlo")
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TINY]
)
def test_every_family_with_any_number_of_pictures(name):
    """`artefacts` compares both forms at 1, 3 and 8 pictures with the network, and raises where one differs."""
    found, pictures = network(name)
    made = stablehlo.artefacts(found, pictures)
    assert all(
        artefact.difference <= 1e-4 * max(1, np.abs(expected(found, pictures)).max()) for artefact in made.values()
    )
