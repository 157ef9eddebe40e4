import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models.layers import convolve

IMAGENET, CIFAR, MNIST, KINETICS = (224, 224, 3), (32, 32, 3), (28, 28, 1), (16, 112, 112, 3)

# name: parameters, classes, picture. torchvision's counts, those of the papers' CIFAR nets, closed forms for the rest.
GOLDEN = {
    "r3d_18": (33_371_472, 400, KINETICS),
    "mc3_18": (11_695_440, 400, KINETICS),
    "r2plus1d_18": (31_505_325, 400, KINETICS),
    "s3d": (8_320_048, 400, (16, 224, 224, 3)),
    "lenet5": (61_706, 10, MNIST),
    "lenet5_1998": (60_000, 10, MNIST),
    "gcn": (89_216, 10, MNIST),
    "gin": (105_504, 10, MNIST),
    "gat": (97_746, 10, MNIST),
    "resnet18": (11_689_512, 1000, IMAGENET),
    "resnet34": (21_797_672, 1000, IMAGENET),
    "resnet50": (25_557_032, 1000, IMAGENET),
    "resnet101": (44_549_160, 1000, IMAGENET),
    "resnet152": (60_192_808, 1000, IMAGENET),
    "resnet18d": (11_708_744, 1000, IMAGENET),
    "resnet34d": (21_816_904, 1000, IMAGENET),
    "resnet50d": (25_576_264, 1000, IMAGENET),
    "resnet101d": (44_568_392, 1000, IMAGENET),
    "resnet152d": (60_212_040, 1000, IMAGENET),
    "seresnet18": (11_779_624, 1000, IMAGENET),
    "seresnet34": (21_960_416, 1000, IMAGENET),
    "seresnet50": (28_088_024, 1000, IMAGENET),
    "seresnet101": (49_326_872, 1000, IMAGENET),
    "seresnet152": (66_821_848, 1000, IMAGENET),
    "resnext50_32x4d": (25_028_904, 1000, IMAGENET),
    "resnext101_32x8d": (88_791_336, 1000, IMAGENET),
    "resnext101_64x4d": (83_455_272, 1000, IMAGENET),
    "seresnext50_32x4d": (27_559_896, 1000, IMAGENET),
    "seresnext101_32x8d": (93_569_048, 1000, IMAGENET),
    "wide_resnet50_2": (68_883_240, 1000, IMAGENET),
    "wide_resnet101_2": (126_886_696, 1000, IMAGENET),
    "densenet121": (7_978_856, 1000, IMAGENET),
    "densenet161": (28_681_000, 1000, IMAGENET),
    "densenet169": (14_149_480, 1000, IMAGENET),
    "densenet201": (20_013_928, 1000, IMAGENET),
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
    "airbench94": (1_971_640, 10, CIFAR),
    "alexnet": (61_100_840, 1000, IMAGENET),
    "alexnet_2012": (60_965_224, 1000, IMAGENET),
    "googlenet": (6_624_904, 1000, IMAGENET),
    "inception_v3": (23_834_568, 1000, (299, 299, 3)),
    "shufflenet_v2_x0_5": (1_366_792, 1000, IMAGENET),
    "shufflenet_v2_x1_0": (2_278_604, 1000, IMAGENET),
    "shufflenet_v2_x1_5": (3_503_624, 1000, IMAGENET),
    "shufflenet_v2_x2_0": (7_393_996, 1000, IMAGENET),
    "squeezenet1_0": (1_248_424, 1000, IMAGENET),
    "squeezenet1_1": (1_235_496, 1000, IMAGENET),
    "vgg11": (132_863_336, 1000, IMAGENET),
    "vgg13": (133_047_848, 1000, IMAGENET),
    "vgg16": (138_357_544, 1000, IMAGENET),
    "vgg19": (143_667_240, 1000, IMAGENET),
    "vgg11_bn": (132_868_840, 1000, IMAGENET),
    "vgg13_bn": (133_053_736, 1000, IMAGENET),
    "vgg16_bn": (138_365_992, 1000, IMAGENET),
    "vgg19_bn": (143_678_248, 1000, IMAGENET),
    "simple_cnn_16_32": (12_851_562, 10, IMAGENET),
    "simple_cnn_32_64": (51_402_442, 10, IMAGENET),
    "convnext_tiny": (28_589_128, 1000, IMAGENET),
    "convnext_small": (50_223_688, 1000, IMAGENET),
    "convnext_base": (88_591_464, 1000, IMAGENET),
    "convnext_large": (197_767_336, 1000, IMAGENET),
    "swin_t": (28_288_354, 1000, IMAGENET),
    "swin_s": (49_606_258, 1000, IMAGENET),
    "swin_b": (87_768_224, 1000, IMAGENET),
    "swin_v2_t": (28_351_570, 1000, (256, 256, 3)),
    "swin_v2_s": (49_737_442, 1000, (256, 256, 3)),
    "swin_v2_b": (87_930_848, 1000, (256, 256, 3)),
    "efficientnet_b0": (5_288_548, 1000, IMAGENET),
    "efficientnet_b1": (7_794_184, 1000, IMAGENET),
    "efficientnet_b2": (9_109_994, 1000, IMAGENET),
    "efficientnet_b3": (12_233_232, 1000, IMAGENET),
    "efficientnet_b4": (19_341_616, 1000, IMAGENET),
    "efficientnet_b5": (30_389_784, 1000, IMAGENET),
    "efficientnet_b6": (43_040_704, 1000, IMAGENET),
    "efficientnet_b7": (66_347_960, 1000, IMAGENET),
    "efficientnet_v2_s": (21_458_488, 1000, IMAGENET),
    "efficientnet_v2_m": (54_139_356, 1000, IMAGENET),
    "efficientnet_v2_l": (118_515_272, 1000, IMAGENET),
    "mnasnet0_5": (2_218_512, 1000, IMAGENET),
    "mnasnet0_75": (3_170_208, 1000, IMAGENET),
    "mnasnet1_0": (4_383_312, 1000, IMAGENET),
    "mnasnet1_3": (6_282_256, 1000, IMAGENET),
    "mobilenet_v2": (3_504_872, 1000, IMAGENET),
    "mbconv_net": (3_504_872, 1000, IMAGENET),
    "mobilenet_v3_small": (2_542_856, 1000, IMAGENET),
    "mobilenet_v3_large": (5_483_032, 1000, IMAGENET),
    "regnet_x_400mf": (5_495_976, 1000, IMAGENET),
    "regnet_x_800mf": (7_259_656, 1000, IMAGENET),
    "regnet_x_1_6gf": (9_190_136, 1000, IMAGENET),
    "regnet_x_3_2gf": (15_296_552, 1000, IMAGENET),
    "regnet_x_8gf": (39_572_648, 1000, IMAGENET),
    "regnet_x_16gf": (54_278_536, 1000, IMAGENET),
    "regnet_x_32gf": (107_811_560, 1000, IMAGENET),
    "regnet_y_400mf": (4_344_144, 1000, IMAGENET),
    "regnet_y_800mf": (6_432_512, 1000, IMAGENET),
    "regnet_y_1_6gf": (11_202_430, 1000, IMAGENET),
    "regnet_y_3_2gf": (19_436_338, 1000, IMAGENET),
    "regnet_y_8gf": (39_381_472, 1000, IMAGENET),
    "regnet_y_16gf": (83_590_140, 1000, IMAGENET),
    "regnet_y_32gf": (145_046_770, 1000, IMAGENET),
    "regnet_y_128gf": (644_812_894, 1000, IMAGENET),
    "vit_b_16": (86_567_656, 1000, IMAGENET),
    "vit_b_32": (88_224_232, 1000, IMAGENET),
    "vit_l_16": (304_326_632, 1000, IMAGENET),
    "vit_l_32": (306_535_400, 1000, IMAGENET),
    "vit_tiny_patch16_224": (5_717_416, 1000, IMAGENET),
    "vit_small_patch16_224": (22_050_664, 1000, IMAGENET),
    "vit_base_patch16_224": (86_567_656, 1000, IMAGENET),
    "vit_large_patch16_224": (304_326_632, 1000, IMAGENET),
    "vit_small_patch32_224": (22_878_952, 1000, IMAGENET),
    "vit_base_patch32_224": (88_224_232, 1000, IMAGENET),
    "deit_tiny_patch16_224": (5_717_416, 1000, IMAGENET),
    "deit_small_patch16_224": (22_050_664, 1000, IMAGENET),
    "deit_base_patch16_224": (86_567_656, 1000, IMAGENET),
    "deit_tiny_distilled_patch16_224": (5_910_800, 1000, IMAGENET),
    "deit_small_distilled_patch16_224": (22_436_432, 1000, IMAGENET),
    "deit_base_distilled_patch16_224": (87_338_192, 1000, IMAGENET),
    "vit_small_patch14_dinov2": (22_056_192, 0, (518, 518, 3)),
    "vit_base_patch14_dinov2": (86_579_712, 0, (518, 518, 3)),
    "vit_large_patch14_dinov2": (304_367_616, 0, (518, 518, 3)),
    "vit_small_patch14_reg4_dinov2": (22_057_344, 0, (518, 518, 3)),
    "vit_base_patch14_reg4_dinov2": (86_582_016, 0, (518, 518, 3)),
    "vit_large_patch14_reg4_dinov2": (304_370_688, 0, (518, 518, 3)),
    "vit_base_patch32_clip_224": (88_225_000, 1000, IMAGENET),
    "vit_base_patch16_clip_224": (86_568_424, 1000, IMAGENET),
    "vit_large_patch14_clip_224": (304_204_776, 1000, IMAGENET),
    "vit_base_patch32_clip_quickgelu_224": (87_849_728, 512, IMAGENET),
    "vit_base_patch16_clip_quickgelu_224": (86_193_152, 512, IMAGENET),
    "vit_large_patch14_clip_quickgelu_224": (303_966_976, 768, IMAGENET),
    "vit_base_patch16_siglip_224": (92_884_224, 0, IMAGENET),
    "vit_small_patch16_dinov3": (21_586_944, 0, (256, 256, 3)),
    "vit_base_patch16_dinov3": (85_641_216, 0, (256, 256, 3)),
    "vit_small_patch16_dinov3_qkvb": (21_596_160, 0, (256, 256, 3)),
    "vit_base_patch16_dinov3_qkvb": (85_659_648, 0, (256, 256, 3)),
    "eva02_tiny_patch14_224": (5_502_144, 0, IMAGENET),
    "eva02_small_patch14_224": (21_621_120, 0, IMAGENET),
    "eva02_base_patch14_224": (85_758_720, 0, IMAGENET),
    "maxvit_tiny_tf_224": (30_916_528, 1000, IMAGENET),
    "mixer_s32_224": (19_104_624, 1000, IMAGENET),
    "mixer_s16_224": (18_528_264, 1000, IMAGENET),
    "mixer_b32_224": (60_293_428, 1000, IMAGENET),
    "mixer_b16_224": (59_880_472, 1000, IMAGENET),
    "mixer_l32_224": (206_939_264, 1000, IMAGENET),
    "mixer_l16_224": (208_196_168, 1000, IMAGENET),
    "resnetv2_50": (25_549_352, 1000, IMAGENET),
    "resnetv2_101": (44_541_480, 1000, IMAGENET),
    "resnetv2_152": (60_185_128, 1000, IMAGENET),
    "tf_efficientnet_b0": (5_288_548, 1000, IMAGENET),
    "tf_efficientnet_b1": (7_794_184, 1000, (240, 240, 3)),
    "tf_efficientnet_b2": (9_109_994, 1000, (260, 260, 3)),
    "tf_efficientnet_b3": (12_233_232, 1000, (300, 300, 3)),
    "tf_efficientnet_b4": (19_341_616, 1000, (380, 380, 3)),
    "tf_efficientnetv2_s": (21_458_488, 1000, (300, 300, 3)),
    "tf_efficientnetv2_m": (54_139_356, 1000, (384, 384, 3)),
    "tf_mobilenetv3_large_100": (5_483_032, 1000, IMAGENET),
    "tf_mobilenetv3_small_100": (2_542_856, 1000, IMAGENET),
    "mobilenetv2_100": (3_504_872, 1000, IMAGENET),
    "mobilenetv2_110d": (4_516_520, 1000, IMAGENET),
    "mobilenetv2_120d": (5_831_144, 1000, IMAGENET),
    "mobilenetv2_140": (6_108_776, 1000, IMAGENET),
    "mobilenetv2_050": (1_968_680, 1000, IMAGENET),
    "convnextv2_atto": (3_708_400, 1000, IMAGENET),
    "convnextv2_femto": (5_233_240, 1000, IMAGENET),
    "convnextv2_pico": (9_066_280, 1000, IMAGENET),
    "convnextv2_nano": (15_623_800, 1000, IMAGENET),
    "convnextv2_tiny": (28_635_496, 1000, IMAGENET),
    "convnextv2_base": (88_717_800, 1000, IMAGENET),
    "mobilenetv4_conv_small": (3_774_024, 1000, IMAGENET),
    "mobilenetv4_conv_medium": (9_715_512, 1000, (256, 256, 3)),
    "mobilenetv4_conv_large": (32_590_864, 1000, (384, 384, 3)),
    "repvgg_a0": (9_108_968, 1000, IMAGENET),
    "repvgg_a1": (14_092_264, 1000, IMAGENET),
    "repvgg_a2": (28_210_600, 1000, IMAGENET),
    "repvgg_b0": (15_817_960, 1000, IMAGENET),
    "resnetv2_50x1_bit": (25_549_352, 1000, IMAGENET),
    "resnetv2_101x1_bit": (44_541_480, 1000, (448, 448, 3)),
    "pyramidnet101_a360": (42_455_070, 1000, IMAGENET),
    "preact_resnet18": (11_171_146, 10, CIFAR),
    "preact_resnet34": (21_279_306, 10, CIFAR),
    "preact_resnet50": (23_509_066, 10, CIFAR),
    "preact_resnet110_cifar": (1_730_522, 10, CIFAR),
    "preact_resnet164_cifar": (1_703_258, 10, CIFAR),
    "wrn_16_8": (10_961_370, 10, CIFAR),
    "wrn_28_10": (36_479_194, 10, CIFAR),
    "wrn_40_4": (8_949_210, 10, CIFAR),
    "pyramidnet110_a48_cifar": (1_772_706, 10, CIFAR),
    "pyramidnet110_a84_cifar": (3_904_446, 10, CIFAR),
    "pyramidnet110_a270_cifar": (28_485_477, 10, CIFAR),
    "pyramidnet272_a200_cifar": (26_210_842, 10, CIFAR),
}


def count(variables):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables["params"]))


# Those that take longest to trace; smaller ones of the families are quick.
LARGE = {"efficientnet_b5", "efficientnet_b6", "efficientnet_b7", "efficientnet_v2_l", "pyramidnet272_a200_cifar"}
LARGE |= {"pyramidnet110_a48_cifar", "pyramidnet110_a84_cifar", "pyramidnet110_a270_cifar", "pyramidnet101_a360"}
LARGE |= {"densenet161", "densenet169", "densenet201", "resnet152", "seresnet152", "preact_resnet164_cifar"}
LARGE |= {"tf_efficientnet_b2", "tf_efficientnet_b3", "tf_efficientnet_b4", "tf_efficientnetv2_m", "convnextv2_base"}
LARGE |= {"mobilenetv4_conv_large", "mobilenetv2_120d", "resnetv2_101x1_bit"}
LARGE |= {"regnet_y_1_6gf", "regnet_y_8gf", "regnet_y_16gf", "regnet_y_128gf"}  # smaller ones of each family are quick
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in GOLDEN]


@pytest.mark.parametrize("name", NAMES)
def test_parameter_count_and_contract(name):
    parameters, classes, shape = GOLDEN[name]
    fields = {"dtype": "bfloat16", "param_dtype": "float32", "axis_name": None, "remat": True, "dropout": 0.1}
    model = models.create(name, num_classes=classes, **fields)
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    init = lambda key, x: model.init_with_output(key, x, train=False)  # noqa: E731
    with convolve.plain():  # one operation each; test_contract has the forms that the CPU gets
        (logits, out), variables = jax.eval_shape(init, jax.random.key(0), images)
    assert count(variables) == parameters
    assert model.clips == (len(shape) == 4)
    assert (logits.shape, logits.dtype) == ((1, classes) if classes else out["pre_logits"].shape, jnp.float32)
    assert out.keys() >= {"stem", "stage1", "stage2", "pre_logits"}
    assert out["stem"].dtype == out["stage2"].dtype == jnp.bfloat16
    assert out["pre_logits"].dtype == jnp.float32 and out["pre_logits"].ndim == 2
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_every_parameter_of_every_model_reaches_the_logits(name, abstract):
    """In training, by the graph alone; test_contract computes the gradients of one model a family."""
    _, classes, shape = GOLDEN[name]
    model = models.create(name, num_classes=classes)
    variables = abstract(model, *shape)

    def logits(params, images):
        rest = {**variables, "params": params, "batch_stats": statistics}
        return model.apply(rest, images, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)})[0][0]

    statistics = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables.get("batch_stats", {}))
    params, _ = jax.tree_util.tree_flatten_with_path(variables["params"])
    graph = jax.make_jaxpr(logits)(variables["params"], jax.ShapeDtypeStruct((2, *shape), jnp.float32)).jaxpr
    used = {graph.outvars[0]}
    for equation in reversed(graph.eqns):
        if used & set(equation.outvars):
            used |= {x for x in equation.invars if not hasattr(x, "val")}  # less the literals
    assert [path for (path, _), x in zip(params, graph.invars[:-1], strict=True) if x not in used] == []


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


def test_list_models_by_pattern():
    assert models.list_models("resnet?0_cifar") == ["resnet20_cifar"]
    assert models.list_models("*_cifar_b") == [f"resnet{depth}_cifar_b" for depth in (110, 20, 32, 44, 56)]
    assert models.list_models("nothing*") == []


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("resnet19", {}, "no model 'resnet19'; did you mean .*resnet18"),
        ("zzz", {}, "there are: airbench94, .* more"),
        ("resnet18", {"stemm": "cifar"}, "no field 'stemm'; did you mean 'stem'"),
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


@pytest.mark.parametrize(
    "name, fields",
    [
        ("resnext50_32x4d", {"stage_sizes": (1, 1, 1, 1)}),
        ("mobilenet_v2", {"rows": ((1, 8, 1, 1), (6, 16, 1, 2))}),
        ("efficientnet_b0", {"rows": ((1, 3, 1, 8, 1), (6, 5, 2, 8, 1))}),
    ],
)
def test_fields_of_a_stored_config_are_those_of_the_config(name, fields):
    """JSON has lists where a config has tuples, and a module with a list can't be compiled."""
    made = [models.create(name, neck="fpn(8)", **x) for x in (fields, json.loads(json.dumps(fields)))]
    assert made[0] == made[1] and hash(made[0]) == hash(made[1])
