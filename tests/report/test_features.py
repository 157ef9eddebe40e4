"""The section on features: what it shows of a run that has some, and that other runs have none."""

import json
import types

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from fake_runs import make_run
from html_page import Page
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.data.base import ArraySource
from jaxcls.errors import UserError
from jaxcls.report import features, projection
from jaxcls.report.page import write_report
from jaxcls.report.pictures import Pictures
from jaxcls.tasks.networks import Network


@pytest.mark.parametrize("shape", [(40, 7), (9, 30), (2, 5)])
def test_principal_axes_are_those_of_scikit_learn(shape):
    x = np.random.default_rng(0).normal(size=shape) * np.linspace(3, 1, shape[1])
    found, expected = projection.principal(x), PCA(2, svd_solver="full").fit(x)
    np.testing.assert_allclose(found.shares, expected.explained_variance_ratio_, atol=1e-12)
    points = expected.transform(x)
    np.testing.assert_allclose(np.abs(found.points), np.abs(points), atol=1e-9)
    axes = np.linalg.lstsq(found.points, x - x.mean(0), rcond=None)[0]
    assert (axes[0, np.abs(axes[0]).argmax()]) > 0


def test_points_that_do_not_vary_have_no_axes():
    found = projection.principal(np.full((5, 3), 0.1))
    assert not found.points.any() and not found.shares.any()
    line = projection.principal(np.arange(4.0)[:, None])
    np.testing.assert_allclose(line.points[:, 0], np.arange(4) - 1.5)
    assert not line.points[:, 1].any() and line.shares.tolist() == [1, 0]


def test_neighbours_are_the_most_alike_others():
    x = np.random.default_rng(1).normal(size=(50, 4))
    rows, cosine = projection.nearest(x, 5)
    brute = NearestNeighbors(n_neighbors=6, metric="cosine", algorithm="brute").fit(x)
    distance, expected = brute.kneighbors(x)
    np.testing.assert_array_equal(rows, expected[:, 1:])
    np.testing.assert_allclose(cosine, 1 - distance[:, 1:], atol=1e-6)
    assert projection.nearest(x[:3], 5)[0].shape == (3, 2)
    same, one = projection.nearest(np.ones((4, 2)), 2)
    assert same.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]] and (np.abs(one - 1) < 1e-6).all()


def test_queries_are_of_as_many_classes_as_there_are():
    assert features.queries(np.array([2, 2, 0, -1, 1, 0])).tolist()[:3] == [2, 4, 0]
    assert features.queries(np.full(30, -1)).tolist() == [0, 4, 8, 12, 17, 21, 25, 29]
    assert features.by_chance(np.array([0, 0, 1, 1])) == pytest.approx(1 / 3)


class Corner(nn.Module):
    """An encoder without parameters: its features are four pixels of a picture."""

    @nn.compact
    def __call__(self, images, *, train=False):
        return None, {"pre_logits": images[:, :2, :2, 0].reshape(-1, 4)}


def pictures(split, n=24, names=("dark", "light")):
    """(Pictures of a network of `Corner`, their pixels)."""
    images = np.random.default_rng(2).integers(0, 256, (n, 6, 6, 1), dtype=np.uint8)
    labels = np.arange(n) % len(names) if names else np.full(n, -1)
    source = ArraySource(images, labels, names, [str(i) for i in range(n)])
    preprocessing = Preprocessing(transforms=(), mean=(0.0,), std=(1.0,), channels=1, picture=(6, 6, 1))
    network = Network("corner", "corner", Corner(), {}, names, preprocessing, output="features")
    made = Pictures.__new__(Pictures)  # the model has no heat maps
    made.sources, made.network, made.picture, made.method = {split: source}, network, (6, 6, 1), None
    made.costs = lambda: (_ for _ in ()).throw(UserError("no model to count"))
    return made, images


def learnt(folder, *, splits=(), **options):
    """A run of `make_run` whose records are those of SimCLR with a probe; without splits, of no labels at all."""
    make_run(folder, splits=splits, **options)
    config = json.loads((folder / "config.json").read_text())
    config["ssl"]["method"], config["monitor"]["knn"] = "simclr", "simsiam"
    (folder / "config.json").write_text(json.dumps(config))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if line["split"] == "train":
            line |= {"positives": 0.75, "negatives": 0.125, "found": 0.5, "spread": 0.9, "chance": 4.2}
        else:
            line["knn"] = 0.625
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def test_a_run_without_labels_has_a_page(tmp_path):
    run = learnt(tmp_path / "run")
    shown, images = pictures("train", names=())
    page = Page(write_report(run, pictures=shown, note=lambda _: None).read_text())
    assert "Nothing was measured" in page.text and "The encoder learnt without labels (simclr)" in page.text
    assert "online probe" not in page.text and "of the same class" not in page.text
    assert "of one picture 0.75" in page.text and "of different ones 0.125" in page.text and "guessing 4.2" in page.text
    assert len(page.all("img")) == 8 * 6
    flat = projection.principal(projection.unit(images[:, :2, :2, 0].reshape(-1, 4) / np.float32(255)))
    assert f"{100 * flat.shares.sum():.1f} % of their variance" in page.text.replace("\xa0", " ")
    cloud = next(attributes["d"] for attributes in page.all("path") if attributes.get("class") == "cloud round s0")
    assert cloud.count("M") == 24


def test_a_run_with_a_probe_says_whose_accuracy_it_is(tmp_path):
    run = learnt(tmp_path / "run", splits=("test", "validation"), classes=2)
    figures = [{"name": n, "best": "max", "share": True} for n in ("accuracy", "knn")]
    for meta in run.glob("checkpoints/*/meta/metadata"):
        meta.write_text(json.dumps({**json.loads(meta.read_text()), "version": 2, "figures": figures}))
    (run / "eval" / "test-20.json").write_text(json.dumps({"split": "test", "step": 20, "knn": 0.6875}))
    shown, _ = pictures("test")
    for _ in range(2):  # the figures of the task's own outlive the page
        page = Page(write_report(run, pictures=shown, note=lambda _: None).read_text())
        text = page.text.replace("\xa0", " ")
        assert "linear classifier on its features that learnt beside it" in text
        assert "config.monitor.knn = “simsiam”" in text and "k-NN 68.8 %" in text and "k-NN 68.75 %" in text
    assert json.loads((run / "eval" / "test-20.json").read_text())["knn"] == 0.6875
    assert "neighbours' vote 62.5 %" in text and "are of the same class (✓)" in text
    told = [svg.get("aria-label", "") for svg in page.all("svg")]
    loss = next(text for text in told if text.startswith("Loss. train ends"))
    assert "validation" not in loss  # which is that of the probe


def test_a_supervised_run_has_no_such_section(tmp_path):
    make_run(tmp_path / "run")
    text = write_report(tmp_path / "run").read_text()
    assert 'id="features"' not in text and "encoder learnt" not in text


def test_why_there_are_no_neighbours(tmp_path):
    run = learnt(tmp_path / "run", splits=("test",))
    assert "are not shown: not today." in write_report(run, why_not="not today").read_text()

    def spoilt(split, rows):
        return rows, np.full((len(rows), 4), np.nan)

    found = types.SimpleNamespace(config={}, split="test", measured=True, lines=[{"step": 1, "knn": 0.5}])
    broken, _ = pictures("test")
    broken.features = spoilt
    assert "The features are not finite" in features.features(found, broken).body
    other, _ = pictures("validation")
    assert "other pictures than the run" in features.features(found, other).body


def test_pictures_that_cannot_be_read_are_left_out():
    made, images = pictures("test", n=5)
    prepared = made._prepared

    bad = [made.sources["test"][row]["image"].tobytes() for row in (0, 3)]

    def some(item):
        if item["image"].tobytes() in bad:
            raise UserError(f"{3 * bad.index(item['image'].tobytes())}.png: can't be read")
        return prepared(item)

    made._prepared = some
    rows, found = made.features("test", np.arange(5))
    assert rows.tolist() == [1, 2, 4]
    np.testing.assert_allclose(found, jnp.asarray(images[rows, :2, :2, 0].reshape(3, 4)) / 255, atol=1e-6)
    with pytest.raises(UserError, match="3.png"):
        made.features("test", np.array([0, 3]))
