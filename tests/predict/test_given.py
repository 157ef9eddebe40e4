"""A predictor takes pictures as they are at hand: however one is given, the answer is that of its prepared bytes."""

import io
from pathlib import Path

import digit_files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import jaxcls
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.errors import UserError
from jaxcls.predict import given as forms
from jaxcls.predict.base import BasePredictor


class Mean(BasePredictor):
    """Answers by the mean of a picture of 8x8 pixels."""

    name, classes, step, averaged, output, decision, data, notes = "mean", ("a", "b"), 1, False, "softmax", None, "", []

    def __init__(self, channels=3, window=()):
        self.picture = (8, 8, channels)
        self._prepares = Preprocessing(("resize(8, 8)",), channels=channels, window=window)

    def logits(self, images):
        value = images.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32)[:, None] / 64
        return np.concatenate([value, -value], axis=1)


def encoded(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def noise(height, width, *channels, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, *channels), np.uint8)


def reference(predictor, content):
    return predictor.answers(predictor.logits(predictor.prepare(content)[None]))[0]


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(["RGB", "L", "RGBA", "LA", "P", "CMYK", "1"]), st.sampled_from([1, 3]), st.integers(1, 8),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
)  # fmt: skip
def test_a_picture_of_pillow_is_that_of_its_file(mode, channels, orientation, size):
    """Opened from a file, whose turning is still to do, as well as made in memory."""
    predictor = Mean(channels)
    made = Image.fromarray(noise(*size, 3)).convert(mode)
    exif = Image.Exif()
    exif[274] = orientation
    kind = "TIFF" if mode == "CMYK" else "PNG"
    content = encoded(made, kind, exif=exif)
    assert predictor(Image.open(io.BytesIO(content))) == reference(predictor, content) == predictor(content)
    assert predictor(made) == reference(predictor, encoded(made, kind))


def test_paths_bytes_arrays_and_lists(tmp_path):
    predictor, pixels = Mean(), noise(9, 12, 3)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(pixels)))
    row = reference(predictor, pixels)
    for form in (path, str(path), path.read_bytes(), pixels, Image.open(path), memoryview(path.read_bytes())):
        assert predictor(form) == row
        assert predictor([form, form]) == predictor((form, form)) == [row, row]
    assert predictor([]) == [] and predictor(path, top=1)["top"] == row["top"][:1]
    assert predictor(np.stack([pixels] * 3)) == [row] * 3
    prepared = predictor.prepare(pixels)
    assert predictor(prepared[None]) == predictor.rows(prepared[None]) == [row]
    grey = noise(9, 12)
    assert Mean(1)(grey) == Mean(1)(Image.fromarray(grey)) == reference(Mean(1), grey[..., None])


def test_many_are_answered_in_their_order_a_few_at_a_time():
    pictures = [np.full((3, 4, 3), value, np.uint8) for value in range(2 * forms.CHUNK + 5)]
    found = Mean()(pictures)
    assert found == [reference(Mean(), picture) for picture in pictures]


def test_deep_pictures_go_through_the_window():
    predictor = Mean(1, (0, 1000))
    pixels = (noise(9, 12).astype(np.uint16) * 4)[..., None]
    wanted = reference(predictor, pixels)
    assert predictor(pixels) == predictor(Image.fromarray(pixels[..., 0])) == wanted


@pytest.mark.parametrize(
    "what, message",
    [
        ("nowhere.jpg", "nowhere.jpg: cannot be read"),
        (Path("."), "a folder"),
        (b"text", "picture: not a picture"),
        (b"", "empty file"),
        (3, "int is no picture; give a path"),
        (None, "NoneType is no picture"),
        ([noise(4, 4, 3), 3, "nowhere.jpg"], r"picture 1: int is no picture.*\(and 1 more of 3 pictures\)"),
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3)), "uint8, not float64"),
        (noise(4, 4, 2), "2 channels"),
        ([["a.jpg"]], "list is no picture"),
        ({"a": 1}, "dict is no picture"),
    ],
)
def test_what_is_no_picture_is_one_line(what, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        Mean()(what)
    assert "\n" not in str(error.value)


def test_a_file_answers_the_same_way(tmp_path):
    predictor = jaxcls.load(digit_files.write(tmp_path / "digits.onnx"))
    (tmp_path / "3.png").write_bytes(digit_files.png(3))
    found = predictor(tmp_path / "3.png")
    assert found["class"] == "3" and predictor([digit_files.png(3), digit_files.png(5)])[0] == found
