"""Runs on clips: what does not go together in a line, batches of any step, and one from the folder to the ONNX file."""

import re

import clip_files_made as made
import jax
import numpy as np
import pytest

from jaxcls.data import pipeline
from jaxcls.errors import UserError
from jaxcls.settings import config_file, shipped
from jaxcls.training import build, preflight


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made.folder(tmp_path_factory.mktemp("clips"), each=10, frames=9)


def config(folder, **changes):
    found = config_file.load(f"{shipped.find('clips')}:tiny")
    found.data.name = f"clips/{folder}"
    found.parallel.devices = 1
    found.update_from_flattened_dict(changes)
    return found


def test_a_run_is_built_of_clips(folder):
    run = build.build(config(folder))
    lines = []
    preflight.check(run, folder / "none", lines.append)
    assert run.data.batch_shape == (12, 16, 16, 3) and run.data.picture == (4, 16, 16, 3)
    assert "lengths of clips: from 9 to 9 frames, median 9" in lines
    assert run.answer.views == ("clips(3)",)
    short = config(folder, **{"data.augment": ("random_frames(4, stride=5)", "resize(16, 16)")})
    preflight.check(build.build(short), folder / "none", lines.append)
    assert any("all of them are shorter than the 16 frames of a clip" in line for line in lines)


@pytest.mark.parametrize("changes, message", [
    ({"model.name": "resnet18", "model.fields": {"width": 4}}, "resnet18 takes single pictures, and these are clips"),
    ({"data.augment": ("resize(16, 16)",)}, "config.data.augment: .* so the list begins with 'random_frames"),
    ({"data.eval_transform": ("resize(16, 16)",)}, "config.data.eval_transform: .* so the list begins with 'frames"),
    ({"eval.tta": ()}, r"takes 3 clip\(s\) of each video, and config.eval.tta averages 1; set config.eval.tta"),
    ({"data.eval_transform": ("frames(4)", "resize(16, 16)")}, r"takes 1 clip\(s\) .* write frames\(LENGTH, clips=3"),
    ({"data.pack": 32}, "config.data.pack=32 takes single pictures, and these are clips"),
    ({"data.name": "synthetic/64x16x3x2", "eval.tta": ()}, "takes frames of clips, and synthetic.* has still pictures"),
    ({"data.name": "synthetic/64x16x3x2", "eval.tta": (), "data.augment": (), "data.eval_transform": ()},
     "r3d_18 takes clips, and the pictures are still"),
    ({"data.eval_transform": ("frames(4, short='refuse', stride=9, clips=3)", "resize(16, 16)")}, "9 frames, and 4 at"),
])  # fmt: skip
def test_what_does_not_go_together_is_one_line(folder, changes, message):
    known = config(folder)
    fields = changes.pop("model.fields", None)
    known.update_from_flattened_dict(changes)
    if fields:
        known.model.fields = fields
    with pytest.raises(UserError, match=message) as caught:
        preflight.check_model(build.build(known))
    assert "\n" not in str(caught.value)


def test_a_batch_is_that_of_its_step_whatever_was_read_before(folder):
    """So a run that is resumed sees the same frames; another epoch sees others."""
    data = build.build(config(folder)).data
    n = len(data.sources["train"])

    def stream():
        rows = lambda step: pipeline.train_rows(step, n=n, batch_size=7, seed=0)  # noqa: E731
        return pipeline.Stream(data.sources["train"], data.augmentation.host, rows, seed=0)

    whole, later = stream(), stream()
    read = [whole(step)["image"] for step in range(4)]
    np.testing.assert_array_equal(later(3)["image"], read[3])
    assert read[0].shape == (7, 4, 16, 16, 3)


@pytest.mark.slow
def test_a_run_of_clips_from_the_folder_to_the_onnx_file(folder, tmp_path, capsys):
    """Evaluation, prediction of files, folders of frames and arrays, the report, and the file agree."""
    from jaxcls.cli import command
    from jaxcls.predict.predictor import Predictor
    from jaxcls.runtime.predictor import FilePredictor

    workdir = tmp_path / "run"
    options = ["--config=clips:tiny", f"--config.data.name=clips/{folder}", f"--workdir={workdir}"]
    assert command.main(["train", *options]) == 0
    assert command.main(["report", str(workdir)]) == 0
    page = (workdir / "report.html").read_text()
    assert "Clip" in page and "Grad-CAM" in page and len(re.findall("<img", page)) >= 2
    predictor = Predictor.load(workdir)
    assert predictor.picture == (12, 16, 16, 3) and predictor.clips
    stored = np.load(next(workdir.glob("eval/test-*.npz")))
    source = build.build(config(folder)).data.sources["test"]
    images = np.stack([predictor.prepare(source[row]["image"]) for row in range(len(source))])
    np.testing.assert_allclose(predictor.logits(images), stored["logits"], rtol=1e-4, atol=1e-5)
    paths = [str(folder / "left" / name) for name in ("0.gif", "1.webp", "2.png", "4")]
    rows = predictor(paths)
    same = made.clip(9, seed=0)
    assert predictor(same)["probability"] == pytest.approx(rows[0]["probability"], abs=1e-6)
    assert command.main(["export", str(workdir), "--to", "onnx", "--out", str(tmp_path / "net.onnx")]) == 0
    of_file = FilePredictor.load(tmp_path / "net.onnx")
    np.testing.assert_allclose(of_file.logits(images), predictor.logits(images), rtol=1e-3, atol=1e-4)
    assert [row["class"] for row in of_file(paths)] == [row["class"] for row in rows]
    capsys.readouterr()
    assert command.main(["predict", str(workdir), str(folder / "right"), "--heatmaps", str(tmp_path / "maps")]) == 0
    assert "10 predicted" in capsys.readouterr().err and len(list((tmp_path / "maps").glob("*.png"))) == 10
    assert jax.tree.all(jax.tree.map(np.isfinite, [row["probability"] for row in rows]))
