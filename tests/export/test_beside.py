"""`--features`: files that make heat maps, measure distances of outliers and say what their check found."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import draw
from tiny_models import TINY

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.errors import UserError
from jaxcls.export import beside, float_file, half, quantise
from jaxcls.measure import decision, outliers
from jaxcls.models import explain
from jaxcls.models.resnet import BasicBlock, ResNet
from jaxcls.predict.predictor import Predictor
from jaxcls.runtime.predictor import FilePredictor
from jaxcls.tasks.networks import Network

CLASSES, PICTURE = ("a", "b", "c"), (48, 64, 3)


def network(name="", shape=PICTURE, **changes):
    kind, fields, shape = (
        TINY[name] if name else (ResNet, {"stage_sizes": (1, 1), "block": BasicBlock, "width": 8}, shape)
    )
    model = kind(num_classes=3, **fields)
    image = jnp.zeros((1, *shape))
    variables = draw(jax.eval_shape(lambda k: model.init(k, image, train=False), jax.random.key(0)), seed=1)
    mean, std = (0.4,) * shape[2], (0.3,) * shape[2]
    told = {"preprocessing": Preprocessing((), mean, std, shape[2], tuple(shape)), **changes}
    return Network("a net", name or "tiny", model, jax.tree.map(np.asarray, variables), CLASSES, **told)


def images(n=4, shape=PICTURE):
    return np.random.default_rng(2).integers(0, 256, (n, *shape), dtype=np.uint8)


def calibrated(**changes):
    """A network whose decision measures distances to twenty pictures."""
    plain = network(**changes)
    predictor = Predictor(plain, sizes=(4,))
    bank = outliers.bank(predictor.features(images(20)))
    logits = predictor.logits(images(20))
    chosen = decision.fit(logits, logits.argmax(axis=1), CLASSES, accepted=0.9)
    far = {"threshold": 0.1, "k": bank.k, "count": 20, "validation": 20, "sha256": outliers.digest(bank)}
    chosen["outliers"]["distance"] = far
    return dataclasses.replace(plain, calibration={"step": 1, "split": "validation", **chosen}, bank=bank)


@pytest.fixture(scope="module")
def net():
    return calibrated()


@pytest.fixture(scope="module")
def made(net):
    """(model, lines)."""
    lines = []
    return float_file.float_model(net, features=True, note=lines.append), lines


def opened(model, path, **options):
    path.write_bytes(model.SerializeToString())
    return FilePredictor.load(path, **options)


@pytest.fixture(scope="module")
def file(made, tmp_path_factory):
    return opened(made[0], tmp_path_factory.mktemp("beside") / "net.onnx", batch=3)


def test_maps_are_those_of_grad_cam(net, file, made):
    """The gradient of a logit by the map is kernel / (rows * columns) at every place, so both maps are one."""
    assert file.explains == "CAM" and not made[1]
    run, pictures, numbers = Predictor(net, sizes=(4,)), images(), [0, 1, 2, 1]
    seen, maps = file.heatmaps(pictures, numbers)
    assert (seen == pictures).all() and maps.dtype == np.float32 and maps.shape == (4, *PICTURE[:2])
    assert maps.max(axis=(1, 2)).max() == 1 and len(np.unique(maps)) > 100
    np.testing.assert_allclose(maps, run.heatmaps(pictures, numbers)[1], atol=2e-5)
    names = [CLASSES[k] for k in file.logits(pictures).argmax(axis=1)]
    np.testing.assert_array_equal(file.heatmaps(pictures)[1], file.heatmaps(pictures, names)[1])
    values, gradient = explain.map_and_gradient(
        net.model, net.variables, jnp.asarray(run._normalised(pictures)), jnp.asarray(numbers)
    )
    weights = file._head[:, numbers].T / np.prod(values.shape[1:3])
    np.testing.assert_allclose(gradient, np.broadcast_to(weights[:, None, None], gradient.shape), atol=1e-6)


def test_distances_are_those_of_the_run(net, file):
    run, pictures = Predictor(net, sizes=(4,)), images()
    np.testing.assert_allclose(file.features(pictures), run.features(pictures), rtol=1e-4, atol=1e-5)
    for found, wanted in zip(file(pictures), run(pictures), strict=True):
        assert found.keys() == wanted.keys() and "distance" in found and found["outlier"] == wanted["outlier"]
        assert found["distance"] == pytest.approx(wanted["distance"], abs=1e-3)
    assert file.distances(pictures) == pytest.approx([row["distance"] for row in file(pictures)])
    assert not any("energy alone" in note for note in file.notes)


@pytest.mark.parametrize("kind", ["int8", "float16"])
def test_other_precisions_carry_them(net, file, made, tmp_path, kind):
    pictures = images(16)
    model = half.half(made[0]) if kind == "float16" else quantise.static(made[0], [pictures])
    other = opened(model, tmp_path / "other.onnx")
    assert other.precision == kind and other.explains == "CAM"
    near = {"int8": 0.2, "float16": 0.02}[kind]
    ours, theirs = (each.heatmaps(pictures, [0] * 16)[1] for each in (file, other))
    assert np.abs(ours - theirs).mean() < near
    assert np.abs(file.distances(pictures) - other.distances(pictures)).max() < near


def test_views_and_probabilities_leave_maps_alone(net, file, tmp_path):
    """The map is of one view, and the answer stays that of all."""
    turned = dataclasses.replace(net, views=("flip",))
    other = opened(
        float_file.float_model(turned, output="probabilities", features=True, note=lambda line: None),
        tmp_path / "views.onnx",
    )
    assert [x.name for x in other.session.outputs] == ["probabilities", "last_map", "pre_logits"]
    np.testing.assert_allclose(other.heatmaps(images(), [0] * 4)[1], file.heatmaps(images(), [0] * 4)[1], atol=1e-4)
    mean = (file.logits(images()) + file.logits(images()[:, :, ::-1])) / 2
    wanted = decision.probabilities(net.calibration, mean)
    np.testing.assert_allclose(other.probabilities(other.logits(images())), wanted, atol=1e-5)


@pytest.mark.parametrize(
    "name, words",
    [
        ("vit", "the last features of vit are no map"),
        ("squeezenet", "the head of squeezenet is more than"),
        pytest.param("convnext", "the head of convnext is more than", marks=pytest.mark.slow),
        ("", "is a single place"),
    ],
)
def test_other_heads_have_features_alone(name, words, tmp_path):
    lines, shape = [], TINY[name][2] if name else (8, 8, 3)
    model = float_file.float_model(network(name, shape), features=True, note=lines.append)
    assert [line.startswith("no heat maps: ") and words in line for line in lines] == [True]
    predictor = opened(model, tmp_path / "x.onnx")
    assert predictor.explains is None and words in predictor.unexplained
    assert predictor.features(np.zeros((2, *shape), np.uint8)).shape[0] == 2
    with pytest.raises(UserError, match=words):
        predictor.heatmaps(np.zeros((1, *shape), np.uint8))


def test_every_other_head_is_found():
    """A mean and a linear layer, by the names that models give their heads."""
    for name in ("swin", "googlenet"):  # a last norm; heads of auxiliary classifiers
        assert beside.of(network(name)).stage, name


@pytest.mark.parametrize("spec, stage", [("resize(96, 128)", "stage2"), ("center_crop(40)", "")])
def test_what_is_cut_on_the_device_has_no_map(spec, stage):
    found = beside.of(network(preprocessing=Preprocessing((spec,), (0.4,) * 3, (0.3,) * 3, 3, PICTURE)))
    assert found.stage == stage and bool(stage) != ("cut its pictures" in found.why)


def test_a_bank_that_is_too_large_is_told(net, monkeypatch):
    monkeypatch.setattr(beside, "LARGEST", 10)
    lines = []
    found = beside.metadata(net, beside.of(net), lines.append)
    assert "bank" not in found and len(lines) == 1 and "energy alone" in lines[0] and "--most" in lines[0]


def test_damage_is_one_line(made, tmp_path):
    model = type(made[0])()
    model.CopyFrom(made[0])
    for entry in model.metadata_props:
        if entry.key == "bank":
            entry.value = "AAAA" + entry.value[4:]
    with pytest.raises(UserError, match="damaged 'bank'; export it again"):
        opened(model, tmp_path / "x.onnx")


def test_features_that_are_the_answer_already():
    with pytest.raises(UserError, match="answers with features already"):
        beside.of(network(output="features"))


def test_the_file_says_what_the_check_found(made, tmp_path):
    model = type(made[0])()
    model.CopyFrom(made[0])
    check = {"on": "5 of 5 validation pictures", "pictures": 5, "file": {"accuracy": 0.8, "interval": [0.4, 0.9]}}
    model.metadata_props.add(key="check", value=json.dumps(check))
    assert opened(model, tmp_path / "x.onnx").checked == check
