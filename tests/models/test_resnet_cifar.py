import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.models import layers, pretrained, weight_files
from jaxcls.models.resnet_cifar import CifarBlock


def test_only_option_b_projects_and_only_where_the_shape_changes(abstract):
    a = abstract(models.create("resnet20_cifar", num_classes=10), 32, 32, 3)["params"]
    b = abstract(models.create("resnet20_cifar_b", num_classes=10), 32, 32, 3)["params"]
    assert not [block for block in a if "shortcut.0" in a[block]]
    assert {block for block in b if "shortcut.0" in b[block]} == {"layer2.0", "layer3.0"}
    assert b["layer2.0"]["shortcut.0"]["kernel"].shape == (1, 1, 16, 32)
    assert len([block for block in a if block.startswith("layer")]) == 9


def test_option_a_takes_every_second_pixel_between_zeros():
    norm = layers.batch_norm(train=False, dtype=jnp.float32, param_dtype=jnp.float32)
    block = CifarBlock(8, 2, "A", layers.conv, norm, zero_init=True)  # the branch is zero: the shortcut is left
    x = jax.random.uniform(jax.random.key(0), (2, 6, 6, 4))
    got = np.asarray(block.apply(block.init(jax.random.key(1), x), x))
    np.testing.assert_array_equal(got[..., 2:6], np.asarray(x)[:, ::2, ::2])
    assert not got[..., :2].any() and not got[..., 6:].any()


def test_published_weights_classify_cifar10(shared, abstract):
    """akamaster's ResNet-20: right on 9,173 of the 10,000 test pictures, as published, 915 of the first thousand."""
    images, labels = first_thousand(shared / "data/cifar10")
    model = models.create("resnet20_cifar", num_classes=10)
    file = weight_files.read(shared / "data/weights/resnet20_cifar10.th")
    variables, _ = pretrained.load(model, abstract(model, 32, 32, 3), file)
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    logits, _ = jax.jit(model.apply)(variables, (images / np.float32(255) - mean) / std)
    assert abs((np.argmax(logits, -1) == labels).sum() - 915) <= 2


def first_thousand(folder):
    imagecodecs = pytest.importorskip("imagecodecs")
    sheet = imagecodecs.jpegxl_decode((folder / "test-00.jxl").read_bytes())  # 25 pictures a row
    images = sheet.reshape(-1, 32, 25, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
    with np.load(folder / "test-labels.npz") as labels:
        return images, labels["label"][: len(images)]
