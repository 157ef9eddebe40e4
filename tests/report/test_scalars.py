"""A task without logits has a page that says what was measured, whatever its figures are called."""

import html
import json
import re

import numpy as np
import pytest
import workdirs
from fake_runs import make_run
from PIL import Image

from jaxcls import criteria
from jaxcls.errors import UserError
from jaxcls.measure import stored
from jaxcls.report import evidence
from jaxcls.report.curves import write_curves
from jaxcls.report.page import write_report
from jaxcls.report.scalars import written

KNN = [{"name": "knn_accuracy", "best": "max", "share": True}, {"name": "uniformity", "best": "min", "share": False}]
VALUES = {"knn_accuracy": 0.7125, "uniformity": -3.14159, "alignment": 0.25, "count": 40}
CLASSIFICATION = [
    {"name": "accuracy", "best": "max", "share": True},
    {"name": "balanced_accuracy", "best": "max", "share": True},
    {"name": "loss", "best": "min", "share": False},
]


def make(folder, figures, values, *, splits=("validation", "test"), step=20, best=None, json_too=True):
    """A workdir as a self-supervised run leaves it: features, no logits. `figures` None: an older checkpoint."""
    config = {"model": {"name": "resnet18"}, "data": {"name": "digits"}, "eval": {"best": best}}
    meta = {"step": step, "classes": ["a", "b"], "config": config, "parameters": 1234, "data": {"name": "digits"}}
    meta |= {"versions": {"jax": "0.10.2"}} | ({} if figures is None else {"figures": figures, "version": 2})
    workdirs.put(folder / "checkpoints" / str(step) / "meta" / "metadata", meta)
    workdirs.put(folder / "manifests" / f"{step}.json", {"files": {}})
    workdirs.put(folder / "config.json", config)
    workdirs.put(folder / "results.json", {splits[-1]: {**values, "step": step}})
    lines = [{"step": s, "split": "train", "epoch": s / 5, "loss": 2 / s, "learning_rate": 0.1} for s in range(2, 21)]
    for split in splits:
        (folder / "eval").mkdir(exist_ok=True)
        features = {"features": np.ones((40, 8)), "label": np.arange(40) % 2, "index": np.arange(40)}
        np.savez(folder / "eval" / f"{split}-{step}.npz", **features)
        if json_too:
            workdirs.put(folder / "eval" / f"{split}-{step}.json", {"split": split, "step": step, **values})
        if split == "validation":
            lines += [{"step": s, "split": split, "epoch": s / 5, **values} for s in (10, 20)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def words(content):
    """The text of a page, between whose elements there are spaces."""
    body = content.partition("<body>")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def write(run, **options):
    return write_report(run, **options).read_text(encoding="utf-8")


def test_the_page_says_what_was_measured(tmp_path):
    run = make(tmp_path / "run", KNN, VALUES)
    before = (run / "eval/test-20.json").read_bytes()
    path = write_report(run)
    assert path == run / "report.html" and (run / "eval/test-20.json").read_bytes() == before
    page = path.read_text()
    text = words(page)
    assert "On 40 test pictures that played no part in training its knn accuracy is 71.2 %; higher is better." in text
    assert "40 test pictures, each counted once." in text
    assert (
        "step 20 of 20, chosen by the highest knn accuracy on the validation split; the test pictures had no part"
    ) in text
    assert "Knn accuracy 71.25 % higher Uniformity -3.142 lower Alignment 0.25 Count 40" in text
    assert "Loss of training is a mean over the pictures as augmented" in text and "validation 71.2 %" in text
    assert re.findall(r'<a href="#(\w+)">', page) == ["measured", "training", "speed", "config", "environment"]
    assert "Parameters 1,234" in text and "eval/test-20.json" in text
    assert not re.search("Confusion|taken for|calibrat|Brier|correctly", text.partition("Config ")[0], re.IGNORECASE)
    tags = re.findall(r"<(/?)(\w+)", page)
    assert all(tags.count(("", name)) == tags.count(("/", name)) for end, name in tags if end)


def test_a_figure_to_be_minimised(tmp_path):
    run = make(tmp_path / "run", KNN[::-1], VALUES)
    text = words(write(run))
    assert "its uniformity is -3.142; lower is better." in text
    assert "chosen by the lowest uniformity on the validation split" in text
    run = make(tmp_path / "other", KNN[::-1], VALUES, best="knn_accuracy")
    text = words(write(run))  # config.eval.best names the one that chose, the verdict is made of the first
    assert "its uniformity is -3.142" in text and "chosen by the highest knn accuracy" in text


def test_the_validation_split_says_that_it_chose(tmp_path):
    run = make(tmp_path / "run", KNN, VALUES, splits=("validation",))
    text = words(write(run))
    assert "On 40 validation pictures its knn accuracy is 71.2 %" in text
    assert "step 20 of 20, is the one with the highest knn accuracy on these very pictures: optimistic" in text


def test_figures_alone_are_an_evaluation(tmp_path):
    run = make(tmp_path / "run", KNN, VALUES)
    (run / "eval/test-20.npz").unlink()
    assert "On 40 test pictures" in words(write(run))
    workdirs.put(run / "eval/test-10.json", {"split": "test", "step": 10, **VALUES, "knn_accuracy": 0.5})
    assert "its knn accuracy is 50.0 %" in words(write(run, step=10)) and (run / "report-10.html").is_file()
    with pytest.raises(UserError, match="test-7.npz does not exist"):
        write_report(run, step=7)


@pytest.mark.parametrize("figures", [None, []])
def test_a_run_that_recorded_no_figure_says_so(tmp_path, figures):
    """An older one without logits: its checkpoint names no figures, its results have only the count."""
    run = make(tmp_path / "run", figures, {"count": 40}, json_too=False)
    text = words(write(run))
    assert "The model was run on 40 test pictures that played no part in training, but no figure was recorded" in text
    assert "step 20 of 20, the last state: there was nothing to select it by" in text
    assert "Count 40" in text and "accuracy" not in text.partition("Config ")[0].lower()
    (run / "results.json").unlink()
    assert "No figure was recorded." in words(write(run, step=20))


def test_odd_values_are_written():
    share = criteria.CLASSIFICATION[0]
    assert written(float("nan"), share) == written(float("-inf"), None) == "not finite"
    assert written(0.99999, share) == ">99.99\N{NO-BREAK SPACE}%"
    assert [written(x, None) for x in (12345678, 12345.6, 0.000012345)] == ["12,345,678", "12,346", "1.234e-05"]


def test_curves_have_the_figure_of_the_checkpoint(tmp_path):
    png, svg = write_curves(make(tmp_path / "run", KNN, VALUES))
    three = Image.open(png).size
    (tmp_path / "run/checkpoints/20/meta/metadata").unlink()  # then accuracy is looked for, and not found
    write_curves(tmp_path / "run")
    two = Image.open(png).size
    assert svg.is_file() and three[0] == pytest.approx(1.5 * two[0], abs=2) and three[1] == two[1]


def test_a_checkpoint_that_names_the_figures_of_classification_has_the_page_of_one_that_does_not(tmp_path):
    make_run(tmp_path / "run")
    old = write_report(tmp_path / "run").read_bytes()
    path = tmp_path / "run/checkpoints/20/meta/metadata"
    workdirs.put(path, json.loads(path.read_text()) | {"figures": CLASSIFICATION})
    for split in ("test", "validation"):
        workdirs.put(tmp_path / "run/eval" / f"{split}-20.json", {"split": split, "step": 20, "accuracy": 0.0})
    assert write_report(tmp_path / "run").read_bytes() == old
    assert json.loads((tmp_path / "run/eval/test-20.json").read_text())["accuracy"] > 0.5  # all figures of the logits


def test_evidence_tells_the_three_kinds_apart(tmp_path):
    make_run(tmp_path / "nothing", splits=())
    make_run(tmp_path / "logits")
    make(tmp_path / "features", KNN, VALUES)
    kinds = {path.name: evidence.read(path) for path in tmp_path.iterdir()}
    assert {name: (e.measured, e.with_logits) for name, e in kinds.items()} == {
        "nothing": (False, False),
        "features": (True, False),
        "logits": (True, True),
    }
    assert [f.name for f in kinds["features"].choosing] == ["knn_accuracy", "uniformity"]
    assert [f._asdict() for f in kinds["logits"].choosing] == CLASSIFICATION
    with pytest.raises(UserError, match="holds no logits and labels: its task predicts no classes"):
        stored.read_logits(tmp_path / "features", "test", 20)
    (tmp_path / "features/eval/test-20.npz").write_bytes(b"PK nothing")
    with pytest.raises(UserError, match="test-20.npz is damaged"):
        evidence.read(tmp_path / "features")
