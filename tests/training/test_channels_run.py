"""From folders of 5-band pictures of 16 bits to the same answers by the run, its predictor and its ONNX file."""

import json

import numpy as np
import pytest

import jaxcls
from jaxcls.errors import UserError
from jaxcls.predict.predictor import Predictor

pytestmark = pytest.mark.slow
WINDOW = (100.0, 3000.0)


def test_a_run_of_5_channels_through_a_window(tmp_path):
    from jaxcls.cli import command

    rng = np.random.default_rng(0)
    for row in range(40):
        name = f"{'ab'[row % 2]}/{row}.npy"
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        values = rng.integers(0, 3500, (20, 18, 5)) + 1500 * (row % 2)
        np.save(tmp_path / "in" / name, values.astype(np.uint16))
    settings = {
        "duration": "2 steps", "batch_size": 8, "data.channels": 5, "data.window": WINDOW, "data.normalize": "unit",
        "data.augment": ("random_resized_crop(28)", "flip"), "data.eval_transform": ("resize(28, 28)",),
        "model.name": "lenet5", "schedule.warmup": "0 steps",
    }  # fmt: skip
    workdir = tmp_path / "run"
    figures = jaxcls.train("folder", data=str(tmp_path / "in"), workdir=workdir, **settings)
    assert command.main(["report", str(workdir)]) in (0, None)
    assert (workdir / "report.html").stat().st_size > 10_000
    predictor = Predictor.load(workdir)
    assert predictor.picture == (28, 28, 5) and predictor.network.preprocessing.window == WINDOW
    stored = np.load(next((workdir / "eval").glob("test-*.npz")))
    assert figures["test"]["count"] == len(stored["label"])
    rows = json.loads((workdir / "eval" / "test-rows.json").read_text())
    paths = [tmp_path / "in" / rows["id"][row] for row in stored["index"]]
    images = np.stack([predictor.prepare(path.read_bytes(), path.name) for path in paths])
    same = np.stack([predictor.prepare(np.load(path), path.name) for path in paths])  # pixels in place of files
    assert (images == same).all()
    logits = predictor.logits(images)
    np.testing.assert_allclose(logits, stored["logits"], atol=1e-5)
    with pytest.raises(UserError, match="it has 3 channels, not the 5"):
        predictor.prepare(np.zeros((9, 9, 3), np.uint8), "x")
    pytest.importorskip("onnx")
    command.main(["export", str(workdir), "--to", "onnx", "--out", str(tmp_path / "m.onnx"), "--check", "0"])
    file = jaxcls.load(tmp_path / "m.onnx")
    assert (np.stack([file.prepare(path.read_bytes()) for path in paths]) == images).all()
    np.testing.assert_allclose(file.logits(images), logits, atol=1e-5)
