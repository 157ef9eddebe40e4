"""Prediction from a checkpoint gives what the run's own evaluation gives; the command survives what users feed it."""

import csv
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import jaxcls
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.cli.command import main
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.measure import decision, outliers
from jaxcls.predict import reading
from jaxcls.predict.predictor import Predictor
from jaxcls.report import page
from jaxcls.settings.config_file import load
from jaxcls.training import build, evaluate, loop, predictions

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("cat", "dog", "owl")


def make_folder(root, each=4, seed=0):
    """Pictures of several sizes and kinds in class folders."""
    rng = np.random.default_rng(seed)
    for i, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for k in range(each):
            height, width = rng.integers(20, 60, 2)
            picture = rng.integers(0, 200, (height, width, 3)) + [20 * i, 0, 50 - 20 * i]
            kind = ("jpg", "png", "webp", "bmp")[k % 4]
            Image.fromarray(picture.astype(np.uint8)).save(root / name / f"{k}.{kind}")
    return root


def make_config(**settings):
    config = default_config()
    config.model.name, config.batch_size, config.duration = "simple_cnn_16_32", 2, "1 step"
    config.parallel.devices = 1
    for key, value in settings.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config


def make_run(workdir, config):
    """The job and the workdir of a run that was saved before its first step, with the logits of its test split."""
    job = build.build(config)
    state = job.init_state()
    if config.ema_decay:  # averages that differ from the weights
        state = state.replace(extra={"ema": jax.tree.map(lambda x: 1.3 * x, state.extra["ema"])})
    checkpoints = Checkpoints(workdir)
    checkpoints.save(job.parallel.replicate(state), loop.meta_of(job, 0, {}, {}))
    checkpoints.close()
    _, stored = evaluate.Measure(job, "test")(job.parallel.replicate(state))
    predictions.save(workdir, "test", 0, stored)
    return job, stored


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder of pictures, workdir, job, stored predictions): averaged weights, two views of each picture."""
    root = tmp_path_factory.mktemp("predict")
    pictures = make_folder(root / "pictures")
    config = make_config(
        data__name=f"folder/{pictures}", data__split_ratios=(0.5, 0.0, 0.5), ema_decay=0.9, data__normalize="imagenet",
        data__augment=("random_resized_crop(16)",), data__eval_transform=("resize(20)", "center_crop(16)"),
        eval__tta=("flip",),
    )  # fmt: skip
    job, predictions = make_run(root / "run", config)
    return pictures, root / "run", job, predictions


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor.load(run[1], sizes=(1, 4))


def softmax(logits, temperature=1.0):
    z = np.exp((logits - logits.max(axis=1, keepdims=True)).astype(np.float64) / temperature)
    return z / z.sum(axis=1, keepdims=True)


def files(run):
    """Paths of the test pictures in the order of the stored logits."""
    pictures, _, job, predictions = run
    return [pictures / job.data.sources["test"][int(row)]["id"] for row in predictions["index"]]


def json_rows(capsys, *arguments, status=0):
    assert main(["predict", *map(str, arguments), "--format", "jsonl"]) == status
    out, err = capsys.readouterr()
    return [json.loads(line) for line in out.splitlines()], err


def test_pictures_of_the_test_split_get_the_logits_that_the_evaluation_stored(run, predictor):
    images = np.stack([predictor.prepare(path.read_bytes(), path.name) for path in files(run)])
    assert predictor.averaged and predictor.classes == CLASSES and predictor.picture == (16, 16, 3)
    expected = run[3]["logits"]
    assert np.allclose(predictor.logits(images), expected, rtol=1e-5, atol=1e-5)
    assert np.ptp(expected, axis=0).min() > 1e-3  # pictures differ in them, so do the wrong ones


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_the_size_of_the_batch_does_not_matter(run, predictor, n):
    images = np.stack([predictor.prepare(path.read_bytes(), path.name) for path in files(run)])
    found = predictor.logits(images[:n])
    assert found.shape == (n, 3)
    assert np.allclose(found, run[3]["logits"][:n], rtol=1e-5, atol=1e-5)


def test_the_command_gives_their_probabilities_in_the_order_of_the_input(run, capsys):
    rows, err = json_rows(capsys, run[1], *files(run), "--batch", 4, "--top", 2)
    assert [row["path"] for row in rows] == list(map(str, files(run)))
    expected = softmax(run[3]["logits"])
    for row, p in zip(rows, expected, strict=True):
        assert row["class"] == row["top"][0]["class"] == CLASSES[p.argmax()]
        assert np.allclose([t["probability"] for t in row["top"]], np.sort(p)[:0:-1], atol=1e-6)
    assert "not calibrated" in err and f"{len(rows)} predicted" in err


@pytest.mark.slow
def test_a_run_of_the_configs_is_predicted_as_it_was_evaluated(tmp_path, capsys):
    from jaxcls.training import loop

    pictures = make_folder(tmp_path / "pictures", each=16)
    config = load(f"{ROOT}/configs/folder.py:tiny")
    config.data.name = f"folder/{pictures}"
    loop.run(config, tmp_path / "run")
    capsys.readouterr()
    split = build.build(config).data.sources["test"]
    step = json.loads((tmp_path / "run/results.json").read_text())["test"]["step"]
    stored = np.load(tmp_path / f"run/eval/test-{step}.npz")
    rows, _ = json_rows(capsys, tmp_path / "run", *(pictures / split[int(i)]["id"] for i in stored["index"]))
    calibration = json.loads((tmp_path / f"run/calibration/{step}.json").read_text())
    expected = softmax(stored["logits"], calibration["temperature"])
    assert np.allclose([row["probability"] for row in rows], expected.max(axis=1), atol=1e-5)


def test_a_stored_calibration_and_its_thresholds_are_used(run, capsys, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(run[1], workdir)
    expected = softmax(run[3]["logits"], 2.5)
    rarest = int(expected.max(axis=0).argmin())
    limit = float(np.sort(expected[:, rarest])[len(expected) // 2])
    stored = {
        "classes": list(CLASSES), "temperature": 2.5, "costs": None,
        "thresholds": [{"class": CLASSES[rarest], "index": rarest, "kind": "recall", "wanted": 1, "threshold": limit}],
    }  # fmt: skip
    (workdir / "calibration").mkdir()
    (workdir / "calibration/0.json").write_text(json.dumps(stored))
    rows, err = json_rows(capsys, workdir, *files(run))
    others = np.where(np.arange(3) == rarest, -1, expected).argmax(axis=1)
    answers = np.where(expected[:, rarest] >= limit - 1e-9, rarest, others)
    safe = np.abs(expected[:, rarest] - limit) > 1e-6
    assert [row["class"] for row, ok in zip(rows, safe, strict=True) if ok] == [CLASSES[a] for a in answers[safe]]
    assert len(set(answers)) > 1
    assert np.allclose([row["top"][0]["probability"] for row in rows], expected.max(axis=1), atol=1e-6)
    assert "temperature 2.5" in err and "thresholds decide" in err
    stored["classes"] = ["a", "b", "c"]
    (workdir / "calibration/0.json").write_text(json.dumps(stored))
    assert main(["predict", str(workdir), str(files(run)[0])]) == 2
    assert "of other classes" in capsys.readouterr().err


@pytest.fixture(scope="module")
def doubting(run, tmp_path_factory):
    """A copy of the run with abstention, sets and both kinds of outliers, and what is stored."""
    workdir = tmp_path_factory.mktemp("doubt") / "run"
    shutil.copytree(run[1], workdir)
    logits, label = run[3]["logits"], run[3]["label"]
    decided = decision.fit(logits, label, CLASSES, coverage=0.6, accepted=0.5)
    decided["abstention"] = {"risk": 0.1, "sureness": 0.95, "threshold": float(np.median(softmax(logits).max(1)))}
    predictor = Predictor.load(run[1], sizes=(4,))
    images = np.stack([predictor.prepare(path.read_bytes(), path.name) for path in files(run)])
    bank = outliers.bank(predictor.features(images[:2]))
    outliers.save(workdir, 0, bank)
    decided["outliers"]["distance"] = {"threshold": 1e-3, "k": 1, "count": 2, "sha256": outliers.digest(bank)}
    return workdir, decision.save(workdir, 0, decided)


def test_what_is_in_doubt_is_told_for_every_picture(run, doubting, capsys, tmp_path):
    workdir, decided = doubting
    rows, _ = json_rows(capsys, workdir, *files(run))
    p, logits = softmax(run[3]["logits"]), run[3]["logits"].astype(np.float64)
    sure = np.abs(p.max(1) - decided["abstention"]["threshold"]) > 1e-6
    expected = p.max(1) < decided["abstention"]["threshold"]
    assert [row["abstained"] for row, ok in zip(rows, sure, strict=True) if ok] == expected[sure].tolist()
    assert any(expected[sure]) and [row["class"] for row in rows] == [CLASSES[k] for k in p.argmax(1)]
    for row, chances in zip(rows, p, strict=True):
        inside = {name for name, q in zip(CLASSES, chances, strict=True) if q >= decided["sets"]["threshold"] + 1e-6}
        assert inside <= set(row["set"]) and row["set"][0] == row["class"]
    assert np.allclose([row["energy"] for row in rows], -np.log(np.exp(logits).sum(1)), atol=1e-5)
    assert [row["outlier"] for row in rows] == [row["distance"] > 1e-3 for row in rows]
    assert max(row["distance"] for row in rows[:2]) < 1e-3 < max(row["distance"] for row in rows)
    out = tmp_path / "answers.csv"
    assert main(["predict", str(workdir), *map(str, files(run)), "--out", str(out), "--top", "1"]) == 0
    lines = list(csv.DictReader(out.open(newline="")))
    assert list(lines[0]) == ["path", "class", "probability", "class_1", "probability_1", "abstained", "set", "energy",
                              "distance", "outlier", "error"]  # fmt: skip
    for line, row in zip(lines, rows, strict=True):
        assert line["abstained"] == str(row["abstained"]).lower() and line["set"].split("|") == row["set"]
    capsys.readouterr()
    assert main(["predict", str(workdir), *map(str, files(run))]) == 0
    header, *table = capsys.readouterr().out.splitlines()
    assert "in doubt" in header and all(("abstained" in t) == r["abstained"] for t, r in zip(table, rows, strict=True))


def test_a_predictor_that_is_called_says_what_is_in_doubt(run, doubting):
    workdir, _ = doubting
    predictor = jaxcls.load(workdir)
    images = np.stack([predictor.prepare(path.read_bytes(), path.name) for path in files(run)[:3]])
    assert list(predictor(images, top=1)[0]) == [
        "class", "probability", "top", "abstained", "set", "energy", "distance", "outlier"]  # fmt: skip
    assert "distance" not in predictor.answers(predictor.logits(images))[0]
    outliers.path(workdir, 0).rename(workdir / "aside")
    with pytest.raises(UserError, match="0.npz is missing, damaged or of another calibration"):
        jaxcls.load(workdir)
    (workdir / "aside").rename(outliers.path(workdir, 0))


def test_the_headline_of_the_report_is_of_what_is_predicted(run, capsys, tmp_path):
    """With a threshold that changes answers: the page's accuracy is that of `jaxcls predict` on the same pictures."""
    workdir = tmp_path / "run"
    shutil.copytree(run[1], workdir)
    logits, label = run[3]["logits"], run[3]["label"]
    p = softmax(logits)
    rarest = int(p.max(axis=0).argmin())
    entry = {"class": CLASSES[rarest], "index": rarest, "kind": "recall", "wanted": 1,
             "threshold": float(np.sort(p[:, rarest])[1:3].mean())}  # fmt: skip
    decision.save(workdir, 0, {**decision.fit(logits, label, CLASSES), "thresholds": [entry], "temperature": 1.0})
    rows, _ = json_rows(capsys, workdir, *files(run))
    right = sum(row["class"] == CLASSES[y] for row, y in zip(rows, label, strict=True))
    largest = int((logits.argmax(axis=1) == label).sum())
    assert right != largest
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", page.write_report(workdir).read_text()))
    assert re.search(rf"Of 6 test pictures[^.]* it named {right} \(", text)
    assert f"the class with the largest logit is right in {largest} (" in text
    assert re.search(rf"Accuracy of the answers {100 * right / 6:.1f}", text)
    assert re.search(rf"Accuracy, largest logit {100 * largest / 6:.1f}", text)


def test_without_a_calibration_the_heads_are_what_they_were(run, capsys, tmp_path):
    out = tmp_path / "answers.csv"
    assert main(["predict", str(run[1]), str(files(run)[0]), "--out", str(out), "--top", "1"]) == 0
    assert out.read_text().splitlines()[0] == "path,class,probability,class_1,probability_1,error"
    rows, err = json_rows(capsys, run[1], files(run)[0])
    assert list(rows[0]) == ["path", "class", "probability", "top"]


def test_a_temperature_of_one_is_not_called_calibrated(run, capsys, tmp_path):
    shutil.copytree(run[1], tmp_path / "run")
    logits, label = run[3]["logits"], run[3]["label"]
    decision.save(tmp_path / "run", 0, {**decision.fit(logits, label, CLASSES), "temperature": 1.0})
    _, err = json_rows(capsys, tmp_path / "run", files(run)[0])
    assert "calibrated (" not in err and "probabilities are as the model states them: 6 pictures" in err


def test_a_set_in_memory_takes_files_of_its_pictures_and_says_what_becomes_of_others(tmp_path):
    config = make_config(data__name="synthetic/24x12x1x3", data__eval_transform=("resize(10)",))
    job, predictions = make_run(tmp_path / "run", config)
    predictor = Predictor.load(tmp_path / "run", sizes=(6,))
    assert predictor.picture == (12, 12, 1)
    assert "squeezed to 12x12 pixels (grey)" in predictor.notes[0]
    encoded = []
    for picture in job.data.sources["test"].images:
        out = io.BytesIO()
        Image.fromarray(picture[..., 0]).save(out, "png")
        encoded.append(out.getvalue())
    images = np.stack([predictor.prepare(data) for data in encoded])
    assert np.array_equal(images, job.data.sources["test"].images)
    assert np.allclose(predictor.logits(images), predictions["logits"], rtol=1e-5, atol=1e-5)
    large = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    out = io.BytesIO()
    large.save(out, "png")
    expected = np.asarray(large.convert("L").resize((12, 12), Image.Resampling.BILINEAR))[..., None]
    assert np.array_equal(predictor.prepare(out.getvalue()), expected)


def test_the_pictures_of_a_packed_run_are_made_small_first_as_they_were_for_it(run, predictor, tmp_path):
    pictures, _, _, _ = run
    config = make_config(
        data__name=f"folder/{pictures}", data__split_ratios=(0.5, 0.0, 0.5), data__pack=18,
        data__pack_dir=str(tmp_path), data__augment=("random_resized_crop(16)",),
        data__eval_transform=("resize(20)", "center_crop(16)"),
    )  # fmt: skip
    job = build.build(config)
    packed = Predictor(dataclasses.replace(predictor.network, preprocessing=job.data.evaluation))
    for row in range(3):
        item = job.data.sources["test"][row]
        expected = job.data.evaluation.host(item["image"], "", None)
        encoded = (pictures / item["id"]).read_bytes()
        assert np.array_equal(packed.prepare(encoded), expected)
        assert not np.array_equal(predictor.prepare(encoded), expected)


def test_what_is_not_finite_is_an_error_of_that_picture_alone(predictor):
    bad, good = predictor.answers(np.array([[np.nan, 0, 1], [3, 0, 1]], np.float32), top=1)
    assert list(bad) == ["error"] and good["class"] == "cat" and len(good["top"]) == 1


@pytest.fixture
def mixed(run, tmp_path):
    """A folder with good, broken, hidden and other files, and how its pictures come in order."""
    root = tmp_path / "mixed"
    (root / "b/deep").mkdir(parents=True)
    (root / ".hidden").mkdir()
    good = files(run)[0]
    for name in ("a.jpg", "b/2.png", "b/deep/3.webp", ".hidden/x.jpg", ".y.jpg"):
        shutil.copy(good, root / name)  # the content decides about the kind
    (root / "b/1.png").write_bytes(b"")
    (root / "c.jpg").write_bytes(good.read_bytes()[:40])
    (root / "notes.txt").write_text("no picture")
    return root, ["a.jpg", "c.jpg", "b/1.png", "b/2.png", "b/deep/3.webp"]


def test_broken_pictures_are_reported_and_passed_over(run, mixed, capsys):
    root, order = mixed
    rows, err = json_rows(capsys, run[1], root, root / "gone.jpg", root / "notes.txt", "--batch", 2)
    assert [row["path"] for row in rows] == [*(f"{root}/{x}" for x in order), f"{root}/gone.jpg", f"{root}/notes.txt"]
    assert ["error" in row for row in rows] == [False, True, True, False, False, True, True]
    assert rows[0]["probability"] == pytest.approx(rows[3]["probability"], abs=1e-6)
    assert "no such file" in rows[5]["error"] and rows[2]["error"].startswith("empty file")
    assert "3 predicted, 4 could not be read" in err and f"skipped {root}/gone.jpg: there is no such file" in err


def test_csv_has_a_column_for_everything_and_goes_to_a_file(run, mixed, capsys, tmp_path):
    root, order = mixed
    out = tmp_path / "new/answers.csv"
    arguments = [str(run[1]), str(root), "--out", str(out), "--top", "9", "--heatmaps", str(tmp_path / "maps")]
    assert main(["predict", *arguments]) == 0
    assert not capsys.readouterr().out
    rows = list(csv.DictReader(out.open(newline="")))
    assert [os.path.relpath(row["path"], root) for row in rows] == order
    assert [bool(row["error"]) for row in rows] == [False, True, True, False, False]
    assert sum(float(rows[0][f"probability_{i}"]) for i in (1, 2, 3)) == pytest.approx(1)
    assert "class_4" not in rows[0] and rows[0]["class"] == rows[0]["class_1"] and not rows[1]["class"]
    for place, row in enumerate(rows, 1):
        if not row["error"]:
            name = Path(row["heatmap"]).name
            assert name == f"{place:06d}-{Path(row['path']).stem}-{row['class']}.png"
            assert Image.open(row["heatmap"]).size == (448, 224)  # 14 x 16 pixels, twice


def test_the_left_half_of_a_heat_map_is_the_picture_as_the_model_sees_it(run, predictor):
    images = np.stack([predictor.prepare(path.read_bytes()) for path in files(run)[:2]])
    seen, maps = predictor.heatmaps(images, ["owl", "cat"])
    assert np.array_equal(seen, images)
    assert maps.shape == (2, 16, 16) and maps.min() >= 0 and maps.max() <= 1
    assert predictor.explains == "Grad-CAM"


def test_the_table_has_a_line_for_each_picture(run, mixed, capsys):
    root, order = mixed
    assert main(["predict", str(run[1]), f"{root}/b/*.png", str(root / "a.jpg")]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["class", "probability", "picture"]
    assert [line.split()[2] for line in lines] == [f"{root}/b/1.png", f"{root}/b/2.png", f"{root}/a.jpg"]
    assert lines[0].endswith("could not be read") and lines[1].split()[0] in CLASSES


def test_paths_come_from_stdin_and_need_not_be_utf8(run, mixed, capsys, monkeypatch, tmp_path):
    root, _ = mixed
    strange = os.fsdecode(os.fsencode(root) + b"/\xff,\n.jpg")
    shutil.copy(root / "a.jpg", strange)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{root}/a.jpg\n\n{root}/b\n"))
    rows, _ = json_rows(capsys, run[1], "-", strange)
    assert [row["path"] for row in rows][-1] == strange and len(rows) == 5
    out = tmp_path / "out.csv"
    assert main(["predict", str(run[1]), strange, "--out", str(out)]) == 0
    with open(out, newline="", errors="surrogateescape") as file:
        assert next(csv.DictReader(file))["path"] == strange
    assert main(["predict", str(run[1]), strange]) == 0
    assert r"/\udcff,\n.jpg" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["{run}", "{empty}"], 1, "there are no pictures in this folder"),
        (["{run}", "{empty}/*.jpg"], 1, "nothing that matches"),
        (["{empty}", "x.jpg"], 2, "no folder 'checkpoints'"),
        (["{run}", "x.jpg", "--step", "7"], 2, "holds no step 7; it holds 0"),
        (["{run}", "x.jpg", "--out", "{empty}"], 2, "--out {empty} can't be written"),
    ],
)
def test_what_cannot_be_done_ends_with_a_line_and_a_status(run, capsys, tmp_path, arguments, status, message):
    (tmp_path / "empty").mkdir()
    names = {"run": run[1], "empty": tmp_path / "empty"}
    assert main(["predict", *(a.format(**names) for a in arguments)]) == status
    err = capsys.readouterr().err
    assert message.format(**names) in err and "Traceback" not in err


def test_a_damaged_checkpoint_is_refused(run, tmp_path):
    shutil.copytree(run[1], tmp_path / "run")
    with open(tmp_path / "run/checkpoints/0/meta/metadata", "a") as file:
        file.write(" ")
    with pytest.raises(UserError, match="is damaged .*choose another step"):
        Predictor.load(tmp_path / "run")


def test_reading_ahead_keeps_the_order_and_never_holds_more_than_it_may():
    held, most, lock = 0, 0, threading.Lock()

    def work(i):
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return i

    found = []
    for i in reading.ahead(work, iter(range(200)), threads=4, most=8):
        found.append(i)
        with lock:
            held -= 1
    assert found == list(range(200)) and most <= 8


def test_batches_have_the_size_in_good_pictures_and_do_not_wait_for_ever_for_them():
    entries = [(i, reading.Picture(str(i), None if 10 <= i < 40 else i, None)) for i in range(50)]
    parts = list(reading.batches(iter(entries), 4))
    assert [entry for batch in parts for entry in batch] == entries
    assert max(len(batch) for batch in parts) == 16
    assert max(sum(picture.image is not None for _, picture in batch) for batch in parts) == 4


def test_a_signal_waits_for_the_end_of_a_write_and_then_ends_the_process(tmp_path):
    program = f"""
import os, signal, sys
from jaxcls.predict.progress import Interruption
with Interruption() as interruption, open({str(tmp_path / "rows")!r}, "w") as file:
    interruption.closing = lambda: print("closed", flush=True)
    with interruption.held_off():
        file.write("half ")
        os.kill(os.getpid(), signal.SIGINT)
        file.write("whole\\n")
        file.flush()
    print("not reached", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stdout) == (130, "closed\n"), done.stderr
    assert (tmp_path / "rows").read_text() == "half whole\n"


def test_parts_of_a_run_and_of_its_file_go_on_after_an_interruption(run, mixed, capsys, tmp_path):
    """Heat maps of parts bear the numbers of the whole input; a file of other weights is told apart."""
    root, order = mixed
    maps, whole = tmp_path / "maps", {}
    for part in ("1/2", "2/2"):
        out = tmp_path / f"{part[0]}.jsonl"
        command = ["predict", str(run[1]), str(root), "--shard", part, "--out", str(out), "--resume"]
        assert (status := main([*command, "--heatmaps", str(maps)])) < 2  # 1 where a part has broken ones alone
        rows = out.read_bytes()
        out.write_bytes(rows[:-9])
        assert main([*command, "--heatmaps", str(maps)]) == status
        again, before = (list(map(json.loads, text.splitlines())) for text in (out.read_bytes(), rows))
        assert [row["path"] for row in again] == [row["path"] for row in before]
        whole |= {row["path"]: row for row in again}
        assert main(command) == 2
        assert "was begun with heatmaps" in capsys.readouterr().err
    assert sorted(whole) == sorted(f"{root}/{name}" for name in order)
    numbers = {path.name[:6]: path for path in maps.iterdir()}
    drawn = {f"{order.index(os.path.relpath(p, root)) + 1:06d}" for p, row in whole.items() if "error" not in row}
    assert set(numbers) == drawn and len(list(maps.iterdir())) == len(drawn)

    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from jaxcls.export.float_file import float_model

    network = Predictor.load(run[1]).network
    file, out = tmp_path / "net.onnx", tmp_path / "file.csv"
    file.write_bytes(float_model(network).SerializeToString())
    command = ["predict", str(file), str(root), "--out", str(out), "--resume"]
    assert main(command) == 0
    rows = out.read_bytes()
    out.write_bytes(rows[: len(rows) // 2])
    assert main(command) == 0 and [r["path"] for r in csv.DictReader(out.open())] == [f"{root}/{x}" for x in order]
    other = dataclasses.replace(network, variables=jax.tree.map(lambda x: x * 2, network.variables))
    file.write_bytes(float_model(other).SerializeToString())
    assert main(command) == 2
    assert "was begun with weights" in capsys.readouterr().err
