"""The contact sheet: that it shows what a run sees, how pictures are chosen, and its messages."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxcls.cli import command
from jaxcls.data import pipeline
from jaxcls.data.sampling import Sampler
from jaxcls.defaults import default_config
from jaxcls.settings.reader import Reader, resolve
from jaxcls.tasks.wrappers import example_keys
from jaxcls.training import augmented, build
from jaxcls.training import data as training_data


def show(*arguments):
    return command.main(["show-augment", *map(str, arguments)])


def config_of(**data):
    config = default_config()
    config.batch_size, config.seed = 10, 3
    for key, value in data.items():
        config.data[key] = value
    return Reader(resolve(config))


@pytest.fixture
def folder(tmp_path):
    """Pictures of several sizes and three classes."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("cat", "dog", "a horse with a long name")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(8):
            image = rng.integers(60 * label, 60 * label + 100, (20 + i, 30, 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("repeats", [1, 2])
def test_it_shows_what_a_run_sees(repeats):
    """Against every batch of the first epochs of a run, transformed as a whole."""
    data = {"name": "synthetic/46x8x3x4", "validation": 0.0, "augment": ("crop(8, pad=1)", "flip", "mixup(1.0)")}
    config = config_of(**data, repeats=repeats)
    sheet = augmented.sheet_rows(config, 5, 3)
    data = training_data.read(config)
    source, train = data.sources["train"], data.augmentation.device(None)
    sampler = build.sampler(config, source)
    transform = jax.jit(lambda batch: train(example_keys(3, batch), batch))
    seen = {}
    images = np.stack([source[i]["image"] for i in range(46)])
    for step in range(40 * repeats):
        rows = pipeline.train_rows(step, n=46, batch_size=10, seed=3, order=sampler)
        batch = jax.device_get(transform(pipeline.lookup({"image": images, "label": source.labels}, rows)))
        for i, row in enumerate(batch["index"]):
            seen.setdefault(int(row), []).append((batch["image"][i], batch["label"][i], batch["epoch"][i]))
    rows = augmented.spread(source.labels, 5)
    assert len(sheet) == 5
    for line, row in zip(sheet, rows, strict=True):
        np.testing.assert_array_equal(line[0][0], images[row])
        assert line[0][1] == [f"class {source.labels[row]}"]
        for (picture, text), (image, label, epoch) in zip(line[1:], seen[row][:3], strict=True):
            assert np.abs(picture - image * 255).max() <= 0.51
            assert text == [f"epoch {epoch}", augmented.shares(label, source.classes)]


@given(st.integers(1, 9), st.integers(10, 40), st.data())
def test_partners_are_those_of_the_training_batch(batch_size, n, data):
    chosen = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=4, unique=True)))
    config = config_of()
    config.config.batch_size = batch_size
    sampler = Sampler(np.zeros(n, np.int32), batch_size=batch_size)
    for rows in augmented.draws(config, sampler, chosen, 2):
        np.testing.assert_array_equal(rows["index"][rows["own"]], chosen)
        for i in range(len(chosen)):
            pair = {key: rows[key][2 * i : 2 * i + 2] for key in rows}
            step = pair["draw"][0] // batch_size + pair["epoch"][0] * (n // batch_size)
            batch = pipeline.train_rows(step, n=n, batch_size=batch_size, seed=3)
            positions = pair["draw"] % batch_size
            np.testing.assert_array_equal(batch["index"][positions], pair["index"])
            lone = batch_size % 2 and positions[0] == batch_size - 1
            assert positions[0] % 2 == 0 and positions[1] == positions[0] + (not lone)
            assert pair["own"].sum() == 1


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 30))
def test_pictures_are_spread_over_the_classes(labels, count):
    labels = np.array(labels)
    rows = augmented.spread(labels, count)
    assert len(set(rows.tolist())) == len(rows) == min(count, len(labels))
    sizes, picked = (np.bincount(x, minlength=7) for x in (labels, labels[rows]))
    assert np.sum(picked > 0) == min(np.sum(sizes > 0), count)
    left = picked[picked < sizes]  # of classes that have more
    assert left.size == 0 or count < np.sum(sizes > 0) or picked.max() - left.min() <= 1


def test_shares_of_a_label():
    classes = ("cat", "dog", "cow")
    assert augmented.shares(np.array([0.3, 0.0, 0.7]), classes) == "cow .70 cat .30"
    assert augmented.shares(np.array([0.0, 1.0, 0.0]), classes) == "dog"


def test_a_sheet_of_a_folder(folder, tmp_path, capsys):
    output = tmp_path / "sheet.png"
    arguments = ["--data", folder, "--augment", "random_resized_crop(12), flip, cutmix(1.0)"]
    arguments += ["--rows", "3", "--columns", "2", "--size", "40", "--out", output]
    for _ in range(2):  # its own file may be overwritten
        assert show(*arguments) == 0
    assert "3 pictures" in capsys.readouterr().out
    with Image.open(output) as sheet:
        assert sheet.size == (3 * 46 + 6, 14 + 12 + 3 * (40 + 28 + 6))
        pixels = np.asarray(sheet)
    assert np.all(pixels[:, :6] == 255) and pixels[30, 80].min() < 250


def test_a_config_with_settings(tmp_path):
    output = tmp_path / "sheet.png"
    arguments = ["--config=lenet5_digits", "--config.data.augment=vflip(1.0)", "--rows=2", "--columns=1", "--size=32"]
    assert show(*arguments, "--out", output) == 0
    pixels = np.asarray(Image.open(output))
    first, turned = pixels[20:52, 6:38], pixels[20:52, 44:76]
    np.testing.assert_array_equal(turned, first[::-1])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--data", "folder/none", "--augment", "flip"], "none"),
        (["--data", "digits", "--augment", "flop"], "no transform 'flop'; did you mean 'flip'"),
        (["--data", "digits", "--augment", "flip", "--out", "x.jpg"], "must end in .png"),
        (["--data", "digits", "--augment", "flip", "--out", "no/x.png"], "there is no folder no"),
        (["--data", "digits", "--augment", "flip", "--config.batch_size=5000"], "is more than the 1259 training"),
        (["--data", "digits", "--augment", "flip", "--config.batch=5"], "batch"),
        (["--config", "configs/none.py"], "configs/none.py"),
    ],
)
def test_what_is_wrong_is_said(arguments, message, capsys):
    assert show(*arguments) == 2
    assert message in capsys.readouterr().err


def test_files_of_others_stay(tmp_path, capsys):
    output = tmp_path / "holiday.png"
    Image.new("RGB", (4, 4)).save(output)
    before = output.read_bytes()
    assert show("--data", "digits", "--augment", "flip", "--out", output) == 2
    assert "is no contact sheet of this command" in capsys.readouterr().err and output.read_bytes() == before
