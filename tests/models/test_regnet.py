import pytest

from jaxcls import models

# Blocks, widths and groups' width of the stages, as torchvision has them.
STAGES = {
    "regnet_x_400mf": ([1, 2, 7, 12], [32, 64, 160, 400], [16] * 4),
    "regnet_x_800mf": ([1, 3, 7, 5], [64, 128, 288, 672], [16] * 4),
    "regnet_x_1_6gf": ([2, 4, 10, 2], [72, 168, 408, 912], [24] * 4),
    "regnet_x_3_2gf": ([2, 6, 15, 2], [96, 192, 432, 1008], [48] * 4),
    "regnet_x_8gf": ([2, 5, 15, 1], [80, 240, 720, 1920], [80, 120, 120, 120]),
    "regnet_x_16gf": ([2, 6, 13, 1], [256, 512, 896, 2048], [128] * 4),
    "regnet_x_32gf": ([2, 7, 13, 1], [336, 672, 1344, 2520], [168] * 4),
    "regnet_y_400mf": ([1, 3, 6, 6], [48, 104, 208, 440], [8] * 4),
    "regnet_y_800mf": ([1, 3, 8, 2], [64, 144, 320, 784], [16] * 4),
    "regnet_y_1_6gf": ([2, 6, 17, 2], [48, 120, 336, 888], [24] * 4),
    "regnet_y_3_2gf": ([2, 5, 13, 1], [72, 216, 576, 1512], [24] * 4),
    "regnet_y_8gf": ([2, 4, 10, 1], [224, 448, 896, 2016], [56] * 4),
    "regnet_y_16gf": ([2, 4, 11, 1], [224, 448, 1232, 3024], [112] * 4),
    "regnet_y_32gf": ([2, 5, 12, 1], [232, 696, 1392, 3712], [232] * 4),
    "regnet_y_128gf": ([2, 7, 17, 1], [528, 1056, 2904, 7392], [264] * 4),
}


@pytest.mark.parametrize("name", STAGES)
def test_the_rule_gives_the_published_stages(name):
    stages = models.create(name).stages
    assert tuple([stage[i] for stage in stages] for i in range(3)) == STAGES[name]
    assert models.create(name).squeeze == (0.25 if "_y_" in name else 0)


def test_kernels(abstract):
    params = abstract(models.create("regnet_y_400mf"), 32, 32, 3)["params"]
    first, second = (params[f"trunk_output.block4.block4-{i}"] for i in (0, 1))
    assert first["f.a.0"]["kernel"].shape == (1, 1, 208, 440)
    assert first["f.b.0"]["kernel"].shape == (3, 3, 8, 440)
    assert first["f.se"]["fc1"]["kernel"].shape == (1, 1, 440, 52)  # a quarter of the input's 208
    assert second["f.se"]["fc1"]["kernel"].shape == (1, 1, 440, 110)
    assert {name for name, tree in params.items() if "proj.0" in tree} == {
        f"trunk_output.block{s}.block{s}-0" for s in (1, 2, 3, 4)
    }
    assert "f.se" not in abstract(models.create("regnet_x_400mf"), 32, 32, 3)["params"]["trunk_output.block1.block1-0"]


def test_stages(shapes):
    got = shapes(models.create("regnet_x_400mf"), 97, 224, 1)
    assert [got[key] for key in ("stem", "stage1", "stage2", "stage3", "stage4")] == [
        (49, 112, 32), (25, 56, 32), (13, 28, 64), (7, 14, 160), (4, 7, 400)
    ]  # fmt: skip
    assert got["pre_logits"] == (400,) and got["logits"] == (1000,)


def test_without_classes_the_mean_of_the_last_stage_is_left(shapes, abstract):
    model = models.create("regnet_y_400mf", num_classes=0)
    assert shapes(model, 1, 1, 3)["logits"] == (440,)  # any size
    assert "fc" not in abstract(model, 32, 32, 3)["params"]
