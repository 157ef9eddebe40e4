"""What is exported: networks and pictures of runs, models with weights of a file or with drawn ones."""

import shutil

import jax
import numpy as np
import pytest
from draws import draw

from jaxcls import models
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.models import weight_files
from jaxcls.models.state_dict import to_state_dict
from jaxcls.predict.predictor import Predictor
from jaxcls.training import build, loop

subject = pytest.importorskip("jaxcls.export.subject")
pytestmark = pytest.mark.usefixtures("bare_end")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of eight pictures a class."""
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        for i in range(8):
            Image.fromarray(rng.integers(0, 256, (12, 14, 3)).astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, pictures):
    """A run of two steps on that folder, in bfloat16."""
    config = default_config()
    config.data.name, config.batch_size, config.duration = f"folder/{pictures}", 8, "2 steps"
    config.data.augment, config.data.eval_transform = ("random_resized_crop(28)",), ("resize(32)", "center_crop(28)")
    config.model.name, config.precision = "lenet5", "bfloat16"
    config.parallel.devices = 1
    path = tmp_path_factory.mktemp("run") / "pets"
    loop.fit(build.build(config), path)
    return path


def test_a_run_has_its_own_pictures_and_computes_in_float32(workdir):
    found = subject.of_run(workdir)
    assert (found.name, found.folder, found.why_no_data) == ("pets", workdir, "")
    assert found.title == f"{workdir}, step {found.network.step}" and found.network.classes == ("cat", "dog")
    assert found.network.model.dtype == np.float32 and found.data.sources.keys() >= {"train", "validation"}
    predictor = Predictor.load(workdir)
    source = found.data.sources["validation"]
    own = {predictor.prepare(source[i]["image"]).tobytes() for i in range(len(source))}
    assert {image.tobytes() for image in subject.samples(found)} == own  # all of so few
    assert subject.of_run(workdir, dtype=None).network.model.dtype == jax.numpy.bfloat16
    step = subject.of_run(workdir / "checkpoints" / "2")
    assert (step.name, step.folder, step.network.step) == ("pets", workdir, 2) and step.data is not None
    with pytest.raises(UserError, match="holds no step 3; it holds 1, 2"):
        subject.of_run(workdir, 3)


def test_a_run_without_its_pictures_says_why(workdir, pictures, tmp_path):
    moved = tmp_path / "moved"
    shutil.move(pictures, moved)
    try:
        found = subject.of_run(workdir)
    finally:
        shutil.move(moved, pictures)
    assert found.data is None and str(pictures) in found.why_no_data and "\n" not in found.why_no_data
    assert subject.samples(found).shape == (8, 28, 28, 3)
    changed = pictures / "cat" / "0.png"
    content = changed.read_bytes()
    changed.write_bytes((pictures / "cat" / "1.png").read_bytes())
    try:
        found = subject.of_run(workdir)
    finally:
        changed.write_bytes(content)
    assert found.data is None and "are not those of the run" in found.why_no_data


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """(a file of a short ResNet-20, its variables)."""
    model = models.create("resnet20_cifar", num_classes=4, depth=8)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32))
    variables = draw(shapes)
    path = tmp_path_factory.mktemp("weights") / "w.pth"
    weight_files.write(path, to_state_dict(variables), {})
    return path, variables


def test_weights_of_a_file_answer_as_the_model_does(weights, tmp_path):
    path, variables = weights
    lines = []
    found = subject.of_model(
        "resnet20_cifar", str(path), classes=4, normalize="cifar10", fields=["depth=8"], note=lines.append
    )
    assert (found.name, found.folder, found.data) == ("resnet20_cifar", None, None)
    assert found.network.classes == ("class_0", "class_1", "class_2", "class_3") and "w.pth" in lines[0]
    assert found.network.preprocessing.picture == (32, 32, 3) and not found.network.preprocessing.transforms
    images = subject.samples(found)
    mean, std = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2470, 0.2435, 0.2616])
    model = models.create("resnet20_cifar", num_classes=4, depth=8)
    x = ((images / 255 - mean) / std).astype(np.float32)
    expected = jax.jit(lambda v, x: model.apply(v, x, train=False)[0])(variables, x)
    got = jax.jit(lambda x: found.network.function()(x))(images)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    given = {"classes": str(tmp_path / "names.txt"), "fields": ["depth=8"]}
    named = subject.of_model("resnet20_cifar", str(path), **given, note=lines.append)
    assert named.network.classes == ("a", "b", "c", "d")


def test_drawn_weights_and_the_published_pictures():
    lines = []
    found = subject.of_model("squeezenet1_1", size=64 + 32, fields=["dropout=0.0"], note=lines.append)
    assert "drawn weights: it knows nothing" in lines[0] and len(found.network.classes) == 1000
    assert found.network.preprocessing.transforms == ("resize(109)", "center_crop(96)")  # 8/7
    assert found.network.preprocessing.mean == (0.485, 0.456, 0.406) and found.network.model.dropout == 0
    assert subject.samples(found).shape == (8, 96, 96, 3)
    again = subject.of_model("squeezenet1_1", size=96, note=lines.append)
    jax.tree.map(np.testing.assert_array_equal, found.network.variables, again.network.variables)
    grey = subject.of_model("lenet5", note=lines.append).network.preprocessing
    assert (grey.picture, grey.mean, grey.std) == ((32, 32, 1), (0.0,), (1.0,))


def test_mistakes_are_one_line(weights, tmp_path):
    path = str(weights[0])
    for arguments, options, message in (
        (("resnet20",), {}, "there is no model 'resnet20'; did you mean"),
        (("resnet20_cifar", str(tmp_path / "no.pth")), {}, "there is no such file"),
        (("resnet20_cifar", path), {"fields": ["depth=8"]}, "for 10 classes"),
        (("resnet20_cifar", path), {"classes": str(tmp_path / "no.txt")}, "--classes="),
        (("resnet18", path), {}, "w.pth"),
        (("resnet20_cifar",), {"normalize": "cifar"}, "did you mean 'cifar10'?"),
        (("resnet20_cifar",), {"fields": ["shortcut"]}, "--field takes NAME=VALUE"),
        (("lenet5",), {"normalize": "imagenet"}, "--normalize unit"),
        (("r3d_18",), {}, "r3d_18 takes clips"),
    ):
        with pytest.raises(UserError) as error:
            subject.of_model(*arguments, **options, note=lambda line: None)
        assert message in str(error.value) and "\n" not in str(error.value), error.value
    with pytest.raises(UserError, match="is no folder"):
        subject.of_run(tmp_path / "no")


def test_a_repvgg_is_exported_with_one_convolution_a_block():
    """That the answers are the same: models/test_repvgg."""
    lines = []
    network = subject.of_model("repvgg_a0", classes=3, size=64, note=lines.append).network
    assert network.model.fused and set(network.variables) == {"params"}
    names = set(to_state_dict(network.variables))
    assert "stages.2.13.reparam_conv.bias" in names and not any("conv_kxk" in name for name in names)
