"""Reading as a config asks for it: a packed file, and workers chosen by a measurement."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcls.data import packed, packing, pipeline, workers
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.training import build, preflight


@pytest.fixture
def config(tmp_path):
    """A ResNet-18 of an eighth of the width on 24 JPEGs in two class folders."""
    for i in range(24):
        path = tmp_path / "pictures" / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (48, 40 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    made = default_config()
    made.data.name, made.batch_size, made.duration = f"folder/{tmp_path}/pictures", 4, "2 epochs"
    made.data.augment, made.data.eval_transform = ("random_resized_crop(32)",), ("resize(36)", "center_crop(32)")
    made.data.pack_dir = str(tmp_path / "packed")
    made.model.name, made.model.fields = "resnet18", {"width": 8}
    made.parallel.devices = 1
    return made


def first_batch(run):
    """The first batch of training as host arrays."""
    with contextlib.closing(run.train_feed()) as feed:
        return feed.stream(0)


def test_a_packed_set_has_the_same_splits_and_crops_of_its_own_pictures(config, capsys):
    config.data.pack = 36
    run = build.build(config)
    output = capsys.readouterr().out
    assert output.startswith("packing 24 pictures with 36 pixels on the short side into ") and "packed: " in output
    (path,) = Path(config.data.pack_dir).glob("*.pack")
    base = run.data.sources["train"].source
    assert isinstance(base, packed.PackedSource) and base.path == str(path)
    assert base is run.data.sources["test"].source
    assert sum(map(len, run.data.sources.values())) == 24
    batch = first_batch(run)
    for image, row, draw in zip(batch["image"], batch["index"], batch["draw"], strict=True):
        item, random = run.data.sources["train"][int(row)], pipeline.generator(config.seed, 0, int(draw))
        np.testing.assert_array_equal(image, run.data.augmentation.host(item["image"], item["id"], random))
        assert min(item["image"].shape[:2]) == 36
    assert build.build(config).data.sources["train"].fingerprint == run.data.sources["train"].fingerprint
    assert capsys.readouterr().out == ""  # the file is there
    with config.unlocked():
        config.data.pack, config.data.pack_dir = 0, ""
    plain = build.build(config)
    assert plain.data.sources["train"].fingerprint != run.data.sources["train"].fingerprint
    np.testing.assert_array_equal(plain.data.sources["train"].labels, run.data.sources["train"].labels)


def test_a_full_check_reads_all_of_a_packed_file(config, tmp_path, monkeypatch):
    for module in (packed, packing):
        monkeypatch.setattr(module, "CHUNK", 4096)
    config.data.pack = 36
    run = build.build(config)
    notes = []
    preflight.check(run, tmp_path / "run", notes.append, seconds=10)
    path = run.data.sources["train"].source.path
    data = bytearray(Path(path).read_bytes())
    data[packed.HEADER + 4096 + 5] ^= 1  # the second chunk, at which opening does not look
    Path(path).write_bytes(data)
    run = build.build(config)
    preflight.check(run, tmp_path / "run", notes.append)
    with pytest.raises(UserError, match="pixels 4,096 to 8,192 have changed; delete the file"):
        preflight.check(run, tmp_path / "run", notes.append, seconds=10)


def test_packing_a_set_in_memory_is_refused():
    config = default_config()
    config.data.pack = 8
    with pytest.raises(UserError, match="this set lies in memory"):
        build.build(config)


def test_a_measured_choice_is_told_and_changes_no_batch(config, capsys, monkeypatch):
    with config.unlocked():
        config.data.pack_dir = ""
    monkeypatch.setattr(workers, "SMALL", 1)
    monkeypatch.setattr(workers, "SECONDS", 0.05)
    assert config.data.workers == -1
    measured = first_batch(build.build(config))
    if pipeline.default_threads() > 1:
        assert capsys.readouterr().out.startswith("reading: ")
    config.data.workers = 0
    plain = first_batch(build.build(config))
    assert capsys.readouterr().out == ""
    for key, value in plain.items():
        np.testing.assert_array_equal(measured[key], value)
