"""`jaxcls calibrate --outliers` on a run whose data and model are opened again."""

import numpy as np
import pytest
from PIL import Image

from jaxcls import files
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.cli.command import main
from jaxcls.defaults import default_config
from jaxcls.measure import decision, outliers
from jaxcls.predict.predictor import Predictor
from jaxcls.training import build, evaluate, loop, predictions


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(workdir, job) of a run before its first step, with the logits of validation and test."""
    root = tmp_path_factory.mktemp("outliers")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / "pictures" / name).mkdir(parents=True)
        for k in range(16):
            picture = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / "pictures" / name / f"{k}.png")
    config = default_config()
    config.data.name, config.model.name, config.batch_size = f"folder/{root}/pictures", "simple_cnn_16_32", 2
    config.data.augment, config.data.eval_transform = ("random_resized_crop(16)",), ("resize(16)", "center_crop(16)")
    config.data.split_ratios, config.duration, config.parallel.devices = (0.5, 0.25, 0.25), "1 step", 1
    job = build.build(config)
    state, workdir = job.init_state(), root / "run"
    checkpoints = Checkpoints(workdir)
    checkpoints.save(job.parallel.replicate(state), loop.meta_of(job, 0, {}, {}))
    checkpoints.close()
    files.write_json(workdir / "config.json", config.to_dict())
    for split in ("validation", "test"):
        _, stored = evaluate.Measure(job, split)(job.parallel.replicate(state))
        predictions.save(workdir, split, 0, stored)
    return workdir, job


def features(predictor, source):
    host = predictor.network.preprocessing.host
    items = [source[i] for i in range(len(source))]
    return predictor.features(np.stack([host(item["image"], item["id"], None) for item in items]))


def test_distances_are_those_to_the_training_features(run, capsys):
    workdir, job = run
    assert main(["calibrate", str(workdir), "--outliers", "--accept", "75%"]) == 0
    assert "nothing was written" in capsys.readouterr().out and not (workdir / "calibration").exists()
    assert main(["calibrate", str(workdir), "--outliers", "--accept", "75%", "--apply"]) == 0
    far = decision.read(workdir, 0)["outliers"]["distance"]
    predictor = Predictor.load(workdir)
    train, validation, test = (features(predictor, job.data.sources[s]) for s in ("train", "validation", "test"))
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, validation, test)]
    nearest = [np.linalg.norm(x[:, None] - units[0][None], axis=2).min(axis=1) for x in units[1:]]
    assert (far["count"], far["validation"], far["k"]) == (len(train), len(validation), 1)
    assert (nearest[0] <= far["threshold"] + 2e-3).mean() >= 0.75 and far["threshold"] <= nearest[0].max() + 2e-3
    assert far["test"]["count"] == len(test)
    assert abs(far["test"]["accepted"] - (nearest[1] <= far["threshold"]).sum()) <= 1
    np.testing.assert_allclose(outliers.distance(predictor.network.bank, test), nearest[1], atol=5e-3)


def test_no_more_training_pictures_than_asked_for(run, capsys):
    workdir, _ = run
    assert main(["calibrate", str(workdir), "--outliers", "--most", "5", "--apply"]) == 0
    assert decision.read(workdir, 0)["outliers"]["distance"]["count"] == 5
    first = outliers.path(workdir, 0).read_bytes()
    assert main(["calibrate", str(workdir), "--outliers", "--most", "5", "--apply"]) == 0
    assert outliers.path(workdir, 0).read_bytes() == first  # drawn by a seed
    assert "features of 5 pictures of train" in capsys.readouterr().err


def test_a_picture_that_went_bad_is_left_out_and_told(run, capsys):
    workdir, job = run
    source = job.data.sources["train"]
    bad = workdir.parent / "pictures" / source[0]["id"]
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    status = main(["calibrate", str(workdir), "--outliers", "--apply"])
    bad.write_bytes(whole)
    out, err = capsys.readouterr()
    if status == 0:
        assert "1 pictures of train are left out" in err
    else:  # the data is checked before: one line as well
        assert status == 2 and out == "" and err.splitlines()[-1].startswith("error: ")
