"""Streams of picture files end to end: the same batches however they are read, every kind of file, and flat memory."""

import contextlib
import ctypes
import gc
import os

import numpy as np
import psutil
import pytest
from fixtures.streams import Alternating, Failing, Joined, Rows
from PIL import Image

from jaxcls import augment
from jaxcls.data import folder, packing, pipeline
from jaxcls.errors import UserError

MIB = 2**20


def jpegs(path, n=22, size=(96, 72)):
    """A FolderSource of small JPEGs."""
    for i in range(n):
        place = path / "ab"[i % 2] / f"{i}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(i).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((size[0] + i, size[1]), Image.BICUBIC).save(place, quality=90)
    return folder.scan(path)["all"]


def stream(source, crop="random_resized_crop(32)", batch_size=8, **options):
    transform = augment.host_transform([augment.parse(crop)], channels=3)
    return pipeline.Stream(source, transform, Rows(len(source), batch_size), seed=3, **options)


def take(source, start, stop, **options):
    batches = list(stream(source, **options).batches(start, stop))
    return {k: np.concatenate([b[k] for b in batches]) for k in batches[0]}


def test_batches_are_the_same_by_any_threads_processes_restarts_and_shares(tmp_path):
    """Of files and of a packed file."""
    files = jpegs(tmp_path / "pictures", n=11)
    shrink = augment.smaller(48, channels=3)
    source = Joined(files, packing.pack(files, tmp_path / "cache", shrink, 48, note=lambda _: None))
    one = take(source, 0, 6, threads=1)
    assert one["image"].shape == (48, 32, 32, 3)
    ways = {
        "8 threads": take(source, 0, 6, threads=8),
        "2 processes": take(source, 0, 6, workers=2, threads=1),
        "resumed": {k: np.concatenate([v, take(source, 4, 6, threads=2)[k]]) for k, v in take(source, 0, 4).items()},
    }
    halves = [take(source, 0, 6, threads=2, share=share) for share in (slice(0, 4), slice(4, 8))]
    halves = [{k: v.reshape(6, 4, *v.shape[1:]) for k, v in half.items()} for half in halves]
    joined = {k: np.concatenate([half[k] for half in halves], axis=1) for k in one}
    ways["two shares"] = {k: v.reshape(48, *v.shape[2:]) for k, v in joined.items()}
    for name, way in ways.items():
        assert sorted(way) == sorted(one)
        for key in one:
            np.testing.assert_array_equal(way[key], one[key], err_msg=f"{name}: {key}")


KINDS = [StopIteration, ValueError, KeyError, RecursionError, MemoryError, AssertionError]


@pytest.mark.parametrize("kind, options", [*((k, {"threads": 3}) for k in KINDS), (StopIteration, {"workers": 1})])
def test_whatever_goes_wrong_with_one_picture_is_that_pictures_line(tmp_path, kind, options):
    source = jpegs(tmp_path, n=16)
    reading = pipeline.Stream(source, Failing(kind, "5.jpg"), Rows(len(source), 8), seed=3, **options)
    with pytest.raises(UserError, match=r"b/1?5\.jpg: .*(StopIteration|Error|memory)") as caught:
        list(reading.batches(0, 2))
    assert "\n" not in str(caught.value)


def test_a_crop_from_a_large_jpeg_is_the_same_by_threads_and_processes(tmp_path):
    pytest.importorskip("cv2")
    source = jpegs(tmp_path, n=16, size=(800, 600))
    transform = Alternating(*(f"random_resized_crop(64, resample='{how}')" for how in ("bilinear", "fast")))

    def images(**options):
        batches = pipeline.Stream(source, transform, Rows(16, 4), seed=3, **options).batches(0, 4)
        return np.concatenate([batch["image"] for batch in batches])

    one = images(threads=1)
    for options in ({"threads": 8}, {"workers": 1, "threads": 1}):
        np.testing.assert_array_equal(images(**options), one)


KINDS = {
    "jpg": {"quality": 95},
    "png": {},
    "webp": {"quality": 95},
    "bmp": {},
    "gif": {"save_all": True},
    "tiff": {},
    "JPEG": {"quality": 95, "progressive": True},
}


def test_every_kind_of_picture_file_comes_through(tmp_path):
    """A class for each kind and another colour: what arrives has that colour, whatever the name's case."""
    colours = {kind: tuple(np.random.default_rng(i).integers(30, 226, 3).tolist()) for i, kind in enumerate(KINDS)}
    for kind, options in KINDS.items():
        (tmp_path / kind).mkdir()
        for i in range(2):
            picture = Image.new("RGB", (50 + 7 * i, 40), colours[kind])
            if kind == "gif":  # a second frame, which must not be seen
                options = {**options, "append_images": [Image.new("RGB", picture.size, "white")]}
            picture.save(tmp_path / kind / f"{i}.{kind}", **options)
    found = folder.scan(tmp_path)["all"]
    assert len(found) == 2 * len(KINDS)
    transform = augment.host_transform([augment.parse("resize(24)"), augment.parse("center_crop(24)")], channels=3)

    def rows(step):
        return pipeline.eval_rows(step, n=len(found), batch_size=5)

    seen = 0
    for batch in pipeline.Stream(found, transform, rows).batches(0, 3):
        for image, label, mask in zip(batch["image"], batch["label"], batch["mask"], strict=True):
            assert np.abs(image.astype(int) - colours[found.classes[label]]).max() <= 3
            seen += int(mask)
    assert seen == len(found)


def memory():
    """Bytes of this process and its children that are in memory."""
    gc.collect()
    me = psutil.Process()
    return sum(process.memory_info().rss for process in [me, *me.children(recursive=True)])


def growth(batches, keep, warm_up=30, measured=150):
    """How many bytes the memory grows by while batches are read, after a warm-up; `keep` sees every batch."""
    for _ in range(warm_up):
        keep(next(batches))
    memory()
    with contextlib.suppress(AttributeError, OSError):  # what earlier tests left free would hide what is kept
        ctypes.CDLL(None).malloc_trim(0)
    before = memory()
    for _ in range(measured):
        keep(next(batches))
    return memory() - before


# 150 batches of 2 crops of 256 x 256 are 56 MiB. A stream may have some more batches on their way than before, and the
# allocator its fragments: a few MiB. So 16 tells a stream that keeps a third of its batches, and one that keeps none.
BOUND = 16 * MIB


@pytest.mark.parametrize("options", [{"threads": 2}, {"workers": 1, "threads": 1}], ids=["threads", "a process"])
def test_memory_stays_flat_over_many_epochs(tmp_path, options):
    batches = stream(jpegs(tmp_path, n=4), "random_resized_crop(256)", 2, **options).batches(0, 2**31 - 1)
    try:
        assert growth(batches, keep=lambda _: None) < BOUND  # 75 epochs
    finally:
        batches.close()


def test_the_bound_on_memory_notices_who_keeps_batches(tmp_path):
    kept = []
    batches = stream(jpegs(tmp_path, n=4), "random_resized_crop(256)", 2, threads=2).batches(0, 2**31 - 1)
    try:
        assert growth(batches, keep=kept.append) > BOUND
    finally:
        batches.close()


def test_memory_of_the_packed_file_is_not_copied(tmp_path):
    found = jpegs(tmp_path / "pictures", n=4)
    made = packing.pack(found, tmp_path / "cache", augment.smaller(48, channels=3), 48, note=lambda _: None)
    images = [made[row]["image"] for row in range(4)]
    assert all(np.shares_memory(image, made[row]["image"]) for row, image in enumerate(images))
    assert os.path.getsize(made.path) > sum(image.nbytes for image in images)
