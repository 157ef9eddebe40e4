"""`jaxcls serve` of ONNX files from elsewhere: what has to be told of them, and where that has no effect."""

import numpy as np
import onnx_files
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httptools")
httpx = pytest.importorskip("httpx")

from serve_http import Process, net, picture  # noqa: E402

from jaxcls.cli.command import main  # noqa: E402
from jaxcls.runtime.foreign import Given  # noqa: E402
from jaxcls.runtime.predictor import FilePredictor  # noqa: E402

TOLD = ["--mean", "0.4,0.5,0.6", "--std", "0.2,0.25,0.3"]


def test_what_was_told_goes_to_the_files_that_need_it(tmp_path):
    """One of ours beside it says itself; all answers are the predictor's."""
    shape = ("batch", 3, 16, 16)
    theirs = onnx_files.model(tmp_path / "theirs.onnx", shape=shape, dtype="float32", inside=False)
    (tmp_path / "names").write_text("ant\nbee\nfly\n")
    given = Given(str(tmp_path / "names"), onnx_files.MEAN, onnx_files.STD, ("resize(20)", "center_crop(16)"))
    expected = []
    for predictor in (FilePredictor.load(theirs, foreign=given), FilePredictor.load(net(tmp_path))):
        expected.append(predictor(np.stack([predictor.prepare(picture())]), 3)[0])
    transforms = ["--eval-transform", "resize(20)", "--eval-transform", "center_crop(16)"]
    words = [theirs, tmp_path / "net.onnx", *TOLD, "--classes", tmp_path / "names", *transforms]
    with Process(tmp_path, *words) as service:
        service.until_ready()
        for name, row in zip(("theirs", "net"), expected, strict=True):
            (answer,) = httpx.post(f"{service.url}/predict?model={name}", content=picture()).json()["answers"]
            assert answer["class"] == row["class"]
            assert answer["probability"] == pytest.approx(row["probability"], abs=1e-6)


def test_where_it_is_missing_wrong_or_of_no_use(tmp_path, capfd):
    theirs = onnx_files.model(tmp_path / "theirs.onnx", shape=("batch", 3, 16, 16), dtype="float32", inside=False)
    (tmp_path / "run").mkdir()
    for words, text in (
        ([theirs], "with --mean and --std"), ([theirs, "--mean", "1,2", "--std", "1"], "--mean: it takes one or 3"),
        ([net(tmp_path), *TOLD], "net.onnx says itself: leave it out"),
        ([tmp_path / "run", "--classes", "names"], "--classes is for an ONNX file that jaxcls did not write"),
        ([net(tmp_path), f"b={net(tmp_path)}", *TOLD], "there is none: leave it out"),
    ):  # fmt: skip
        assert main(["serve", *map(str, words), "--port", "0"]) == 2
        output = capfd.readouterr()
        (line,) = output.err.splitlines()
        assert text in line and "is open" not in output.out
