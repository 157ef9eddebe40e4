"""Pictures of any number of channels: bands as they were written, transforms, what is shown, what doesn't fit."""

import io
import itertools
import os
import pickle
import struct

import numpy as np
import pytest
from pictures import encode, noise
from PIL import Image

from jaxcls import augment, heatmaps
from jaxcls.augment import contact_sheet, opencv
from jaxcls.augment.device import COLOURS, DEVICE
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.data import decode, ends, folder, resample, sources, tiff_bands, unreadable
from jaxcls.data.base import ArraySource
from jaxcls.data.cleaning import survey
from jaxcls.errors import UserError

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
FIVE = RNG.integers(0, 256, (37, 45, 5)).astype(np.uint8)
WAYS = [  # compression, predictor, tile
    (None, False, None), ("zlib", False, None), ("zlib", True, None), (None, False, (16, 32)), ("zlib", True, (16, 32)),
]  # fmt: skip


def tiff(values, apart=False, **options):
    file = io.BytesIO()
    options = {"photometric": "minisblack", "rowsperstrip": None if options.get("tile") else 8, **options}
    layout = {"planarconfig": "separate" if apart else "contig"} if values.shape[-1] > 1 else {}
    values = np.moveaxis(values, -1, 0) if apart else values[..., 0] if values.shape[-1] == 1 else values
    tifffile.imwrite(file, values, metadata=None, **layout, **options)
    return file.getvalue()


def npy(values, **options):
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


def problem(encoded, channels, **options):
    with pytest.raises(UserError) as error:
        decode.decode(encoded, channels=channels, name="x", **options)
    assert str(error.value).startswith("x: ") and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
@pytest.mark.parametrize("bands", [1, 2, 5])
def test_bands_of_tiff_are_what_another_library_wrote(dtype, bands):
    values = RNG.integers(-30_000 if dtype == "i2" else 0, 32_000, (37, 45, bands)).astype(dtype)
    for order, apart, big, (compression, predictor, tile) in itertools.product(
        "<>", (False, True), (dtype == "u2",), WAYS
    ):
        if (predictor and dtype[0] == "f") or (apart and bands == 1):
            continue
        how = {"byteorder": order, "bigtiff": big, "compression": compression, "predictor": predictor, "tile": tile}
        found = tiff_bands.read(tiff(values, apart, **how), 10**6, "x")
        assert (found.values == values).all(), how


def test_other_bits_and_orientations():
    values = RNG.integers(0, 4096, (7, 6)).astype(np.uint16)
    flags = (values[..., None] >> np.arange(11, -1, -1) & 1).astype(np.uint8).reshape(7, -1)
    packed = np.packbits(flags, axis=1)
    # the same bytes, told to be 6 numbers of 12 bits a row
    changed = bytearray(tiff(packed[..., None]))
    start = int.from_bytes(changed[4:8], "little")
    for i in range(int.from_bytes(changed[start : start + 2], "little")):
        at = start + 2 + 12 * i
        tag = int.from_bytes(changed[at : at + 2], "little")
        if tag in (256, 258):
            changed[at + 8 : at + 10] = {256: 6, 258: 12}[tag].to_bytes(2, "little")
    assert (tiff_bands.read(bytes(changed), 10**6, "x").values[..., 0] == values).all()
    for turned in range(1, 9):
        encoded = tiff(FIVE[..., :3], photometric="rgb", extratags=[(274, "H", 1, turned, True)])
        by_pillow = decode.decode(encoded)
        assert (tiff_bands.read(encoded, 10**6, "x").values == by_pillow).all()
        assert decode.upright_size(encoded) == by_pillow.shape[:2]


@pytest.mark.parametrize("bands", [2, 4, 5, 64])
def test_any_number_of_channels(bands):
    values = RNG.integers(0, 256, (8, 9, bands)).astype(np.uint8)
    wide = values.astype(np.uint16) * 257
    for encoded in (
        tiff(values),
        tiff(values, apart=True),
        npy(values),
        tiff(wide),
        npy(wide),
        npy(np.asfortranarray(values)),
    ):
        assert (decode.decode(encoded, channels=bands) == values).all()
        assert decode.size(encoded) == (8, 9)
        assert f"it has {bands} channels, not the 7 that are wanted" in problem(encoded, 7)
    assert f"set config.data.channels={bands}" in problem(npy(values), 3)


def test_opacity_is_a_channel_where_4_or_2_are_wanted():
    rgba = RNG.integers(0, 256, (8, 9, 4)).astype(np.uint8)
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        file = io.BytesIO()
        Image.fromarray(rgba).save(file, kind, **options)
        assert (decode.decode(file.getvalue(), channels=4) == rgba).all()
        assert decode.decode(file.getvalue()).shape == (8, 9, 3)  # laid on white, as ever
    file = io.BytesIO()
    Image.fromarray(rgba[..., :2]).save(file, "PNG")
    assert (decode.decode(file.getvalue(), channels=2) == rgba[..., :2]).all()


@pytest.mark.parametrize("kind, bands", [("JPEG", 3), ("PNG", 3), ("WEBP", 3), ("BMP", 3), ("GIF", 3), ("TIFF", 3)])
@pytest.mark.parametrize("channels", [2, 4, 5])
def test_pictures_of_3_channels_are_of_3_channels(kind, bands, channels):
    text = problem(encode(noise(), kind), channels)
    assert f"it has {bands} channels, not the {channels} that are wanted" in text


def test_what_has_no_bands_of_numbers():
    assert "a TIFF of JPEG" in problem(encode(noise(), "TIFF", compression="jpeg"), 5)
    file = io.BytesIO()
    Image.fromarray(noise()).quantize(16).save(file, "TIFF")
    assert "a TIFF of a palette" in problem(file.getvalue(), 5)
    assert "can have 1 to 1024 channels" in str(pytest.raises(UserError, decode.decode, b"", channels=2000).value)


class Bomb:
    def __reduce__(self):
        return os.system, ("touch /nowhere/at/all",)


def test_numpy_files_that_are_no_pictures():
    objects = npy(np.array([Bomb()], object), allow_pickle=True)
    assert "Python objects, which are not read" in problem(objects, 3)
    assert "not a picture" in problem(pickle.dumps(Bomb()), 3)
    for shape, kind in (((4,), "f8"), ((2, 2, 2, 3), "f8"), ((4, 4), "c16"), ((0, 4), "u1"), ((2, 2), "S3")):
        values = np.zeros(shape, kind)
        assert "a picture is [h, w] or [h, w, c]" in problem(npy(values), 3)
    whole = npy(FIVE)
    assert "truncated NumPy file" in problem(whole[:-1], 5)
    assert "damaged NumPy file" in problem(whole[:40], 5)
    assert "more than 100;" in problem(whole, 5, max_pixels=100)
    absurd = whole.replace(b"(37, 45, 5)", b"(9999, 9, )")
    assert "NumPy file" in problem(absurd, 5)


def test_many_bands_that_would_take_too_much():
    huge = tiff(np.zeros((8, 8, 5), np.uint8), compression="zlib")
    changed = bytearray(huge)
    start = int.from_bytes(changed[4:8], "little")
    for i in range(int.from_bytes(changed[start : start + 2], "little")):
        at = start + 2 + 12 * i
        if int.from_bytes(changed[at : at + 2], "little") in (256, 257):
            changed[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 13_000)
    assert "MiB to decode" in problem(bytes(changed), 5)


@pytest.mark.parametrize("bands", [2, 4, 5])
def test_bands_are_resized_each_by_itself(bands):
    image = FIVE[..., :bands]
    for size in ((11, 13), (60, 50)):
        one = [resample.resized(image[..., i : i + 1], size, resample.FILTERS["bilinear"]) for i in range(bands)]
        found = Preprocessing((f"resize{size}",), channels=bands).prepare(image)
        assert (found == np.concatenate(one, axis=-1)).all()
    if bands == 5:
        pytest.importorskip("cv2")
        parts = [opencv.resized(image[..., i : i + 1], (9, 9), (3, 4, 30, 40)) for i in range(5)]
        assert (opencv.resized(image, (9, 9), (3, 4, 30, 40)) == np.concatenate(parts, axis=-1)).all()


ARGUMENTS = {"crop": "20, pad=2", "random_resized_crop": "20", "resize": "20", "center_crop": "20", "rotate": "20",
             "affine": "10", "perspective": "0.3", "posterize": "4", "solarize": "128", "sharpness": "2",
             "mixup": "0.2", "gaussian_blur": "3", "cutmix": "1.0", "cutout": "8", "color_jitter": "0.4",
             "frames": "3", "random_frames": "3"}  # fmt: skip


@pytest.mark.parametrize("name", DEVICE)
def test_transforms_take_any_number_of_channels_or_are_refused_by_name(name):
    import jax

    from jaxcls.augment.base import Context

    calls = [augment.parse(f"{name}({ARGUMENTS.get(name, '')})")]
    transform = augment.device_transform(calls, random=True, context=Context(classes=3))
    shapes = {
        "image": jax.ShapeDtypeStruct((4, *([6] if "frames" in name else []), 24, 24, 5), np.uint8),
        **{key: jax.ShapeDtypeStruct((4,), np.int32) for key in ("label", "epoch", "draw", "index")},
    }
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 4))
    if name in COLOURS:
        with pytest.raises(UserError, match=f"^'{name}' is for grey and colour pictures, and these have 5 channels"):
            jax.eval_shape(transform, keys, shapes)
    else:
        assert jax.eval_shape(transform, keys, shapes)["image"].shape[-1] == 5


@pytest.mark.parametrize(
    "name", ["solarize", *(pytest.param(x, marks=pytest.mark.slow) for x in ("equalize", "sharpness", "rotate"))]
)
def test_what_is_done_to_5_bands_is_done_to_each(name):
    import jax

    arguments = f"({ARGUMENTS[name]}" if name in ARGUMENTS else "(p=1.0"
    calls = [augment.parse(arguments.join([name, ")"]) if name != "solarize" else "solarize(128, p=1.0)")]
    transform = jax.jit(augment.device_transform(calls, random=True))
    keys = jax.random.split(jax.random.key(0), 2)
    five = RNG.integers(0, 256, (2, 12, 12, 5)).astype(np.uint8)
    whole = transform(keys, {"image": five})["image"]
    each = [transform(keys, {"image": five[..., i : i + 1]})["image"] for i in range(5)]
    np.testing.assert_allclose(whole, np.concatenate(each, axis=-1), atol=1e-6)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5])
def test_what_is_shown(bands):
    image = FIVE[..., :bands]
    wanted = image[..., :3] if bands >= 3 else np.repeat(image[..., :1], 3, axis=-1)
    assert (heatmaps.seen(image) == wanted).all() and (survey.pixels(image) == wanted).all()
    assert (heatmaps.overlay(image, np.full((37, 45), 0.3)) == heatmaps.overlay(wanted, np.full((37, 45), 0.3))).all()
    assert contact_sheet.fitted(image, 45).tobytes() == wanted.tobytes()
    if bands > 4:
        assert (survey.pixels(npy(image)) == wanted).all()


def test_sets_in_memory_and_folders(tmp_path):
    images = RNG.integers(0, 256, (4, 6, 6, 5)).astype(np.uint8)
    source = ArraySource(images, [0, 1, 0, 1], ["a", "b"], list("wxyz"))
    assert sources._with_channels(source, 5) is source
    with pytest.raises(UserError, match=r"config.data.channels=3: the pictures have 5 channels, and only 1 and 3"):
        sources._with_channels(source, 3)
    with pytest.raises(UserError, match=r"config.data.channels=2: the pictures have 1 channel, and"):
        sources.load("digits", channels=2)
    files = {"a/1.npy": npy(FIVE), "a/2.tif": tiff(FIVE), "b/3.jpg": encode(noise(), "JPEG")}
    files["b/4.npy"] = npy(FIVE[..., :4])
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = folder.scan(tmp_path)["all"]
    for full in (True, False):
        problems = dict(unreadable.check(found, full=full, channels=5).problems)
        assert sorted(problems) == ["b/3.jpg", "b/4.npy"] and "it has 4 channels" in problems["b/4.npy"]
        assert len(unreadable.check(found, full=full).problems) == 3  # of 3 channels there is the JPEG alone
    assert ends.look_whole(npy(FIVE), b"", len(npy(FIVE)), channels=5)
    assert not ends.look_whole(npy(FIVE), b"", len(npy(FIVE)) - 1, channels=5)
