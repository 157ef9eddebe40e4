from jaxcls import models


def test_widths_are_rounded_to_multiples_of_8_and_the_last_is_not_scaled(abstract):
    params = abstract(models.create("mnasnet0_5"), 32, 32, 3)["params"]
    assert params["layers.0"]["kernel"].shape == (3, 3, 3, 16)
    assert [params[f"layers.{n}.0"]["layers.6"]["kernel"].shape[-1] for n in range(8, 14)] == [16, 24, 40, 48, 96, 160]
    assert params["layers.14"]["kernel"].shape == (1, 1, 160, 1280)
    assert abstract(models.create("mnasnet1_3"), 32, 32, 3)["params"]["layers.14"]["kernel"].shape == (1, 1, 416, 1280)


def test_blocks_of_a_row(abstract):
    params = abstract(models.create("mnasnet1_0"), 32, 32, 3)["params"]
    assert [sum(name.startswith(f"layers.{n}.") for name in params) for n in range(8, 14)] == [3, 3, 3, 2, 4, 1]
    depthwise = [params[f"layers.{n}.0"]["layers.3"]["kernel"].shape for n in range(8, 14)]
    assert depthwise == [(3, 3, 1, 48), (5, 5, 1, 72), (5, 5, 1, 240), (3, 3, 1, 480), (5, 5, 1, 576), (3, 3, 1, 1152)]


def test_stages(shapes):
    got = shapes(models.create("mnasnet1_0"), 97, 224, 1)
    assert [got[key] for key in ("stem", "stage1", "stage2", "stage3", "stage4")] == [
        (49, 112, 16), (25, 56, 24), (13, 28, 40), (7, 14, 96), (4, 7, 1280)
    ]  # fmt: skip
    assert got["pre_logits"] == (1280,) and got["logits"] == (1000,)


def test_without_classes_the_mean_of_the_last_stage_is_left(shapes, abstract):
    model = models.create("mnasnet0_5", num_classes=0)
    assert shapes(model, 1, 1, 3)["logits"] == (1280,)  # any size
    assert "classifier.1" not in abstract(model, 32, 32, 3)["params"]
