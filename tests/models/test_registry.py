import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError

IMAGENET, CIFAR, MNIST = (224, 224, 3), (32, 32, 3), (28, 28, 1)

# name: parameters, classes, picture. torchvision's counts, those of the papers' CIFAR nets, closed forms for the rest.
GOLDEN = {
    "lenet5": (61_706, 10, MNIST),
    "lenet5_1998": (60_000, 10, MNIST),
    "resnet18": (11_689_512, 1000, IMAGENET),
    "resnet34": (21_797_672, 1000, IMAGENET),
    "resnet50": (25_557_032, 1000, IMAGENET),
    "resnet101": (44_549_160, 1000, IMAGENET),
    "resnet152": (60_192_808, 1000, IMAGENET),
    "resnet20_cifar": (269_722, 10, CIFAR),
    "resnet32_cifar": (464_154, 10, CIFAR),
    "resnet44_cifar": (658_586, 10, CIFAR),
    "resnet56_cifar": (853_018, 10, CIFAR),
    "resnet110_cifar": (1_727_962, 10, CIFAR),
    "resnet20_cifar_b": (272_474, 10, CIFAR),
    "resnet32_cifar_b": (466_906, 10, CIFAR),
    "resnet44_cifar_b": (661_338, 10, CIFAR),
    "resnet56_cifar_b": (855_770, 10, CIFAR),
    "resnet110_cifar_b": (1_730_714, 10, CIFAR),
    "simple_cnn_16_32": (12_851_562, 10, IMAGENET),
    "simple_cnn_32_64": (51_402_442, 10, IMAGENET),
}


def count(variables):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize("name", GOLDEN)
def test_parameter_count(name, abstract):
    parameters, classes, shape = GOLDEN[name]
    assert count(abstract(models.create(name, num_classes=classes), *shape)) == parameters


def test_every_model_has_a_golden_count():
    assert models.list_models() == sorted(GOLDEN)


@pytest.mark.parametrize(
    "name, classes, parameters",
    [
        ("resnet18", 10, 11_173_962),
        ("resnet18", 100, 11_220_132),
        ("resnet34", 10, 21_282_122),
        ("resnet50", 10, 23_520_842),
        ("resnet101", 10, 42_512_970),
        ("resnet152", 10, 58_156_618),
    ],
)
def test_parameter_count_with_the_stem_for_cifar(name, classes, parameters, abstract):
    assert count(abstract(models.create(name, num_classes=classes, stem="cifar"), *CIFAR)) == parameters


@pytest.mark.parametrize("name", GOLDEN)
def test_every_model_takes_the_common_fields(name, abstract):
    _, classes, shape = GOLDEN[name]
    fields = {"dtype": "bfloat16", "param_dtype": "float32", "axis_name": None, "remat": True}
    model = models.create(name, num_classes=classes, **fields)
    variables = abstract(model, *shape)
    image = jax.ShapeDtypeStruct((3, *shape), jnp.float32)
    logits, out = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, image)
    assert (logits.shape, logits.dtype) == ((3, classes), jnp.float32)
    assert out.keys() >= {"stem", "stage1", "stage2", "pre_logits"}
    assert out["stem"].dtype == out["stage2"].dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_list_models_by_pattern():
    assert models.list_models("resnet?0_cifar") == ["resnet20_cifar"]
    assert models.list_models("*_cifar_b") == [f"resnet{depth}_cifar_b" for depth in (110, 20, 32, 44, 56)]
    assert models.list_models("nothing*") == []


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("resnet19", {}, "no model 'resnet19'; did you mean .*resnet18"),
        ("zzz", {}, "there are: .*lenet5"),
        ("resnet18", {"stemm": "cifar"}, "no field 'stemm'; did you mean stem"),
        ("lenet5", {"parent": None}, "no field 'parent'"),
        ("resnet18", {"stem": "mnist"}, "stem must be one of imagenet, cifar"),
        ("resnet18", {"num_classes": -1}, "num_classes .* not -1"),
        ("resnet18", {"num_classes": 2.5}, "num_classes .* not 2.5"),
        ("resnet18", {"dtype": "int8"}, "dtype must be a floating type .* not 'int8'"),
        ("resnet18", {"param_dtype": "float33"}, "param_dtype must be a floating type"),
        ("resnet20_cifar", {"depth": 21}, "6n \\+ 2 layers .* not 21"),
        ("resnet20_cifar", {"shortcut": "C"}, "shortcut must be one of A, B"),
        ("lenet5_1998", {"num_classes": 11}, "num_classes=10, not 11"),
    ],
)
def test_what_cannot_be_built_says_what_could(name, fields, message):
    with pytest.raises(UserError, match=message):
        models.create(name, **fields)


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="two models are called 'lenet5'"):
        models.register(lambda **fields: None, "lenet5")


def test_importing_the_models_loads_no_more_than_flax():
    program = "import flax.linen, sys; a = set(sys.modules); import jaxcls.models; print(*(set(sys.modules) - a))"
    new = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert {name.split(".")[0] for name in new} <= {"jaxcls", "fnmatch", "difflib"} | set(sys.stdlib_module_names)
