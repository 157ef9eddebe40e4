"""The readable list: parsing, its errors, and who does what."""

import jax
import numpy as np
import pytest

from jaxcls import augment
from jaxcls.errors import UserError


@pytest.mark.parametrize(
    "spec, expected",
    [
        ("flip", ("flip", (), {})),
        (" flip() ", ("flip", (), {})),
        ("crop(32, pad=4)", ("crop", (32,), {"pad": 4})),
        (
            "random_resized_crop(224, scale=(0.3, 1), ratio=(1, 1.5))",
            ("random_resized_crop", (224,), {"scale": (0.3, 1), "ratio": (1, 1.5)}),
        ),
        ("crop(8, mode='reflect')", ("crop", (8,), {"mode": "reflect"})),
        ("flip | crop(8)", (augment.ONE_OF, (("flip", (), {}), ("crop", (8,), {})), {"weights": (1, 1)})),
        (
            "flip(1) | 2.5 * hsv | 3*flip",
            (augment.ONE_OF, (("flip", (1,), {}), ("hsv", (), {}), ("flip", (), {})), {"weights": (1, 2.5, 3)}),
        ),
    ],
)
def test_a_call_is_read(spec, expected):
    assert augment.parse(spec) == expected


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "crop(32",
        "crop 32",
        "crop(size)",
        "crop(32)(4)",
        "a.b(3)",
        "crop(2+x)",
        "[1]",
        "crop(*x)",
        32,
        None,
        "flip | ",
        "flip | 2",
        "0 * flip | flip",
        "-1 * flip | flip",
        "flip * 2 | flip",
        "True * flip | flip",
    ],
)
def test_what_is_no_call_is_an_error(spec):
    with pytest.raises(UserError, match="config.data.augment: .* can't be read; write it like"):
        augment.parse(spec)


def test_nothing_is_executed(tmp_path):
    with pytest.raises(UserError, match="can't be read"):
        augment.parse(f"crop(open({str(tmp_path / 'x')!r}, 'w'))")
    assert not list(tmp_path.iterdir())


def test_an_unknown_transform_names_the_nearest():
    with pytest.raises(UserError, match="config.data.eval_transform: .* 'center_crp'; did you mean 'center_crop'"):
        augment.parse("center_crp(3)", "config.data.eval_transform")
    with pytest.raises(UserError, match="there are .*center_crop, .*crop, .*flip"):
        augment.parse("xyzzy")


@pytest.mark.parametrize("where", ["host", "device"])
@pytest.mark.parametrize(
    "spec",
    [
        "resize()",
        "resize('a')",
        "resize(0)",
        "resize(8, 8, 8, 8)",
        "center_crop(1.5)",
        "center_crop(size=-1)",
        "random_resized_crop(0)",
        "resize(8, wdth=3)",
    ],
)
def test_arguments_that_do_not_fit_are_an_error(where, spec):
    needs = {"host": {"channels": 3}, "device": {"random": True}}[where]
    with pytest.raises(UserError, match="^config.data.augment: the arguments of '.*' don't fit"):
        getattr(augment, f"{where}_transform")([augment.parse(spec)], **needs)


@pytest.mark.parametrize("spec", ["crop(8, pad=-1)", "crop(8, mode='odd')", "flip(2)", "flip('x')", "grey(2)", "crop"])
def test_arguments_that_do_not_fit_are_found_before_anything_is_compiled(spec):
    with pytest.raises(UserError, match="don't fit"):
        augment.device_transform([augment.parse(spec)], random=True)


def test_a_host_filter_that_does_not_exist_is_named():
    with pytest.raises(UserError, match="resample can be nearest, bilinear, bicubic, bilinear-simd, not 'lanczos'"):
        augment.host_transform([augment.parse("resize(8, resample='lanczos')")], channels=3)


def names(calls):
    return [name for name, *_ in calls]


def test_the_leading_crops_of_encoded_pictures_run_on_the_host():
    specs = ("resize(256)", "center_crop(224)", "flip", "center_crop(200)")
    host, device = augment.split_list(specs, encoded=True)
    assert names(host) == ["resize", "center_crop"] and names(device) == ["flip", "center_crop"]
    host, device = augment.split_list(specs, encoded=False)
    assert names(host) == [] and names(device) == ["resize", "center_crop", "flip", "center_crop"]


@pytest.mark.parametrize(
    "first",
    ["random_resized_crop(8)", "center_crop(8)", "resize(8, 9)", "resize(8, 9, 'bicubic')", "resize(8, width=9)"],
)
def test_encoded_pictures_need_one_size(first):
    assert names(augment.split_list((first, "flip"), encoded=True)[1]) == ["flip"]


@pytest.mark.parametrize(
    "specs", [(), ("flip",), ("resize(8)",), ("flip", "resize(8, 8)"), ("resize(8, resample='nearest')",)]
)
def test_encoded_pictures_without_one_size_are_an_error(specs):
    with pytest.raises(UserError, match="differ in size, so the list must begin with"):
        augment.split_list(specs, encoded=True)


def test_what_is_random_has_no_place_in_evaluation():
    with pytest.raises(UserError, match="config.data.eval_transform: 'flip' is random"):
        augment.device_transform([augment.parse("flip")], random=False, what="config.data.eval_transform")


def test_a_list_runs_in_its_order():
    transform = augment.device_transform([augment.parse(s) for s in ("resize(6)", "crop(4)", "grey")], random=True)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    out = transform(jax.random.split(jax.random.key(0), 2), {"image": images})["image"]
    assert out.shape == (2, 4, 4, 1) and out.min() >= 0 and out.max() <= 1
