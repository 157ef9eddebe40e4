"""Answers of several labels a picture, or none: what is named, how it is written, and that the rest works alike."""

import csv
import io
import json
import re

import numpy as np
import pytest
from fake_predictor import predict
from fake_sets import BIAS, CLASSES, DECISION, SCALE, SmallSets, save_step
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.special import expit

import jaxcls
from jaxcls.cli.command import main
from jaxcls.predict import answering
from jaxcls.predict.output import FORMATS
from jaxcls.predict.set_output import FORMATS as SET_FORMATS


def answers(logits, decision=None, top=5):
    predictor = SmallSets()
    predictor.decision = decision
    return predictor.answers(np.asarray(logits, np.float32), top)


@given(st.lists(st.lists(st.floats(-50, 50, width=32), min_size=4, max_size=4), min_size=1, max_size=5), st.booleans())
def test_the_classes_that_are_named_are_those_whose_own_probability_reaches_their_own_threshold(logits, calibrated):
    rows = answers(logits, DECISION if calibrated else None, top=0)
    scale, bias, limits = (SCALE, BIAS, (0.3, 0.5, 0.8, 0.5)) if calibrated else (1, 0, (0.5,) * 4)
    for row, z in zip(rows, logits, strict=True):
        p = expit(np.array(z, np.float32).astype(float) * scale + bias)
        named = {name for name, x, limit in zip(CLASSES, p, limits, strict=True) if x >= limit}
        doubtful = {name for name, x, limit in zip(CLASSES, p, limits, strict=True) if abs(x - limit) < 1e-15}
        assert set(row["labels"]) - doubtful == named - doubtful  # the two sigmoids differ in the last bit
        stated = {each["class"]: each for each in row["top"]}
        assert [stated[name]["probability"] for name in row["labels"]] == row["probabilities"]
        assert row["probabilities"] == sorted(row["probabilities"], reverse=True)
        np.testing.assert_allclose([stated[name]["probability"] for name in CLASSES], p, rtol=1e-12)
        assert tuple(stated[name]["threshold"] for name in CLASSES) == limits


def test_an_empty_set_is_an_answer_and_what_is_not_finite_is_none():
    none, broken, one = answers([[-5, -5, -5, -5], [np.nan, 5, 5, 5], [5, -5, -5, -5]], top=2)
    assert none["labels"] == none["probabilities"] == [] and len(none["top"]) == 2
    assert broken == {"error": "the model's answer to this picture is not finite"}
    assert one["labels"] == ["cat"]


def rows_of(form, rows, top=2, **options):
    made = SET_FORMATS[form](classes=CLASSES, top=top, heatmap=options.pop("heatmap", False), **options)
    return made.header() + "".join(made.text({"path": f"{i}.png", **row}) for i, row in enumerate(rows))


def test_the_three_forms_say_the_same():
    rows = answers([[3, 2, -4, 1], [-3, -2, -4, -1]], top=2)
    lines = [json.loads(line) for line in rows_of("jsonl", rows).splitlines()]
    assert [line["labels"] for line in lines] == [["cat", "dog", "=sum"], []]
    table = list(csv.DictReader(io.StringIO(rows_of("csv", rows))))
    assert list(table[0]) == ["path", "labels", "probabilities", "class_1", "probability_1", "class_2",
                              "probability_2", "error"]  # fmt: skip
    assert [row["labels"] for row in table] == ["cat|dog|=sum", ""] and table[1]["error"] == ""
    stated = [float(x) for x in table[0]["probabilities"].split("|")]
    assert stated == lines[0]["probabilities"]
    text = rows_of("table", rows).splitlines()
    assert "cat 95.3%, dog 88.1%, =sum 73.1%" in text[1] and re.search(r"1\.png +none +=sum 26\.9%, dog", text[2])


def test_a_csv_of_all_classes_has_a_column_for_each_of_them_also_where_a_picture_has_one_label():
    rows = answers([[3, 2, -4, 1]], top=0)
    (row,) = csv.DictReader(io.StringIO(rows_of("csv", rows, top=0)))
    assert list(row)[3:-1] == [f"p_{name}" for name in CLASSES]
    np.testing.assert_allclose([float(row[f"p_{name}"]) for name in CLASSES], expit([3, 2, -4, 1]))
    single = FORMATS["csv"](classes=("a", "b"), top=0, heatmap=False)
    best = [{"class": "b", "probability": 0.75}, {"class": "a", "probability": 0.25}]
    text = single.header() + single.text({"path": "x", "class": "b", "probability": 0.75, "top": best})
    assert text == "path,class,probability,p_a,p_b,error\nx,b,0.75,0.25,0.75,\n"


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_shards_and_a_resumed_file_are_the_rows_of_one_go(tmp_path, form):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i:02d}.png").write_bytes(bytes([i]) if i != 5 else b"")
    whole = tmp_path / f"whole.{form}"
    assert predict([str(folder)], whole, predictor=SmallSets()) == 0
    lines = whole.read_text().splitlines(keepends=True)
    assert sum("error" in line or "empty" in line for line in lines[form == "csv" :]) == 1
    torn = tmp_path / f"torn.{form}"
    predict([str(folder)], torn, predictor=SmallSets())
    torn.write_text("".join(lines[:6]) + lines[6][:9])
    predict([str(folder)], torn, predictor=SmallSets())
    assert torn.read_text() == whole.read_text()
    parts = [tmp_path / f"{i}.{form}" for i in (1, 2)]
    for i, part in enumerate(parts, 1):
        predict([str(folder)], part, predictor=SmallSets(), shard=f"{i}/2")
    found = [line for part in parts for line in part.read_text().splitlines(keepends=True)[form == "csv" :]]
    assert sorted(found) == sorted(lines[form == "csv" :])


def test_a_line_tells_what_kind_of_answers_these_are():
    predictor = SmallSets()
    assert answering.title(predictor) == "small, step 1: 4 classes, several a picture"
    predictor.decision = DECISION
    assert answering.title(predictor).endswith(
        "4 classes, several a picture; calibrated (class by class); labels are what the stored thresholds decide"
    )
    predictor.decision = {**DECISION, "scale": [1.0] * 4, "bias": [0.0] * 4, "thresholds": []}
    assert answering.title(predictor) == "small, step 1: 4 classes, several a picture"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(a workdir, a folder of two pictures, a prediction in JSON lines with heat maps)."""
    root = tmp_path_factory.mktemp("sets")
    save_step(root / "run")
    rng = np.random.default_rng(0)
    (root / "pictures").mkdir()
    for i in range(2):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(root / "pictures" / f"{i}.png")
    out = root / "answers.jsonl"
    assert main(["predict", str(root / "run"), str(root / "pictures"), "--out", str(out), "--heatmaps",
                 str(root / "maps")]) == 0  # fmt: skip
    return root / "run", root / "pictures", [json.loads(line) for line in out.read_text().splitlines()]


def test_a_run_answers_what_its_net_says_of_each_class(run):
    workdir, pictures, rows = run
    predictor = jaxcls.load(workdir)
    assert predictor.sets and "not calibrated" in " ".join(predictor.notes)
    images = np.stack([predictor.prepare(path.read_bytes()) for path in sorted(pictures.glob("*"))])
    z = np.asarray(predictor.network.model.apply(
        predictor.network.variables, predictor.network.preprocessing.device(images), train=False)[0])  # fmt: skip
    assert len({tuple(row["labels"]) for row in rows}) and any(row["labels"] for row in rows)
    for row, logits in zip(rows, z, strict=True):
        assert set(row["labels"]) == {name for name, x in zip(predictor.classes, logits, strict=True) if x >= 0}
        stated = {each["class"]: each["probability"] for each in row["top"]}
        np.testing.assert_allclose([stated[name] for name in predictor.classes], expit(logits), atol=1e-5)
    told = [{k: v for k, v in row.items() if k not in ("path", "heatmap")} for row in rows]
    again = predictor(images)
    assert [row["labels"] for row in again] == [row["labels"] for row in told]


def test_each_label_has_a_heat_map_and_an_empty_set_none(run):
    _, _, rows = run
    for row in rows:
        assert len(row["heatmap"]) == len(row["labels"])
        for path, name in zip(row["heatmap"], row["labels"], strict=True):
            assert path.endswith(f"-{name.replace(' ', '_')}.png") and Image.open(path).size[0] > 0


def test_heat_maps_of_names_that_differ_little_do_not_replace_each_other(tmp_path):
    from jaxcls.predict.heatmaps import Heatmaps
    from jaxcls.predict.progress import Interruption

    class Explained(SmallSets):
        classes, explains = ("a/b", "a b", "c", "d"), "CAM"

        def heatmaps(self, images, classes=None):
            return np.repeat(np.repeat(images, 4, 1), 4, 2), np.zeros((len(images), 4, 4), np.float32)

    predictor = Explained()
    images = np.full((2, 1, 1, 1), 0b0111, np.uint8)
    rows = predictor(images)
    with Interruption() as interruption:
        Heatmaps(tmp_path / "maps", predictor, interruption).draw(images, rows, ["x.png", "y.png"], [1, 2])
    assert len({path for row in rows for path in row["heatmap"]}) == len(list((tmp_path / "maps").iterdir())) == 6
