"""Pictures and heat maps of a run's rows, the rows' names, and the command that writes the report again."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from jaxcls.checkpoints import view
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.cli.command import main
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.models import explain
from jaxcls.report import evidence, gallery, of_run
from jaxcls.report.page import write_report
from jaxcls.report.pictures import Pictures
from jaxcls.tasks import networks
from jaxcls.training import build, evaluate, loop


def config_of(folder):
    """LeNet-5 on 28-pixel pictures of a folder, for 2 steps."""
    config = default_config()
    config.data.name, config.data.channels, config.data.workers = f"folder/{folder}", 1, 0
    config.data.augment = config.data.eval_transform = ("resize(28)", "center_crop(28)")
    config.duration, config.batch_size, config.schedule.peak = "2 steps", 8, 0.01
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(workdir, folder of the pictures) of a run on two classes, with pictures of two sites below each."""
    folder, rng = tmp_path_factory.mktemp("data") / "pictures", np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        for name, level in (("dark", 60), ("light", 190)):
            for i in range(count):
                path = folder / split / name / ("north" if i % 2 else "south") / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(level - 50, level + 50, (28, 28), np.uint8)).save(path)
    workdir = tmp_path_factory.mktemp("run")
    loop.run(config_of(folder), workdir)
    return workdir, folder


def test_a_run_ends_with_a_report_that_has_its_pictures(finished):
    workdir, _ = finished
    page = (workdir / "report.html").read_text()
    assert page.count("data:image/") == 16 and "Grad-CAM" in page and "Multiply-adds a picture" in page
    assert json.loads((workdir / "calibration" / "2.json").read_text())["split"] == "validation"


def test_the_rows_have_names_and_the_folders_below_the_class(finished):
    workdir, folder = finished
    rows = json.loads((workdir / "eval" / "test-rows.json").read_text())
    assert rows["id"][:2] == ["test/dark/north/1.png", "test/dark/north/3.png"]
    assert rows["columns"] == {"folder": ["north", "north", "south", "south"] * 2}
    assert all((folder / name).is_file() for name in rows["id"])
    assert "<h3>folder</h3>" in (workdir / "report.html").read_text()


def test_pictures_are_those_that_the_model_saw(finished):
    workdir, folder = finished
    run = build.build(config_of(folder))
    seen = Pictures(run.data.sources, networks.from_run(workdir, 2), run.data.picture)
    looks = seen.look("test", [3, 6], [0, 1])
    for look, row in zip(looks, (3, 6), strict=True):
        name = run.data.sources["test"][row]["id"]
        np.testing.assert_array_equal(look.picture[..., 0], np.asarray(Image.open(folder / name)))
        if not look.why_not:
            assert look.heat.shape == (28, 28) and look.heat.min() >= 0 and look.heat.max() <= 1
    labels = np.asarray(run.data.sources["test"].labels)
    assert seen.fits("test", labels, np.arange(8))
    assert not seen.fits("test", 1 - labels, np.arange(8))
    assert not seen.fits("test", np.r_[labels, 0], np.arange(9))
    assert not seen.fits("other", labels, np.arange(8))


def test_an_evaluation_writes_the_report_again(finished, capsys):
    workdir, folder = finished
    (workdir / "report.html").unlink()
    evaluate.run(config_of(folder), workdir)
    assert (workdir / "report.html").is_file()
    assert f"report: {workdir / 'report.html'}" in capsys.readouterr().out


def test_a_report_that_fails_is_a_warning_and_no_more(finished, monkeypatch):
    workdir, folder = finished
    monkeypatch.setattr("jaxcls.report.page.write_report", lambda *_, **__: 1 / 0)
    lines = []
    run = build.build(config_of(folder))
    assert of_run.write(run.data, run.network(run.init_state()), workdir, 2, warn=lines.append) is None
    assert lines == ["no report was written: ZeroDivisionError: division by zero"]


def test_the_command_writes_the_same_page_and_says_what_is_missing(finished, capsys, tmp_path):
    workdir, folder = finished
    copy = shutil.copytree(workdir, tmp_path / "run")
    assert main(["report", str(copy)]) == 0
    assert capsys.readouterr().out.strip() == str(copy / "report.html")
    same = (copy / "report.html").read_text().replace(str(copy), str(workdir))
    assert same == write_pictures(workdir, folder).read_text()
    moved = folder.rename(folder.with_name("moved"))
    try:
        assert main(["report", str(copy)]) == 0
    finally:
        moved.rename(folder)
    assert "the pictures are left out" in capsys.readouterr().err
    page = (copy / "report.html").read_text()
    assert "data:image/" not in page and "The pictures themselves are not shown" in page and "does not exist" in page
    assert main(["report", str(copy), "--no-pictures"]) == 0
    assert "they were not asked for" in (copy / "report.html").read_text()
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "holds no run" in capsys.readouterr().err


def write_pictures(workdir, folder):
    run = build.build(config_of(folder))
    return write_report(workdir, pictures=Pictures(run.data.sources, networks.from_run(workdir, 2), run.data.picture))


def test_changed_data_is_not_shown_as_if_it_were_that_of_the_evaluation(finished):
    found = evidence.read(finished[0])

    class Other:
        method = "Grad-CAM"

        def fits(self, *_):
            return False

    assert "the data is not that of the evaluation any more" in gallery.gallery(found, Other()).body


@pytest.mark.parametrize("error", [UserError("a.png: cannot be read"), RuntimeError("RESOURCE_EXHAUSTED: a.png")])
def test_where_pictures_cannot_be_had_the_reason_stands_in_their_place(finished, error):
    class Broken:
        method = "Grad-CAM"

        def fits(self, *_):
            return True

        def look(self, *_):
            raise error

    assert f"not shown: {error}." in gallery.gallery(evidence.read(finished[0]), Broken()).body


@pytest.mark.parametrize("side, channels", [(8, 1), (28, 3), (300, 3)])
def test_a_heat_map_covers_its_own_place(side, channels):
    heat = np.zeros((side, side), np.float32)
    heat[: side // 2, : side // 2] = 1
    picture = np.full((side, side, channels), 90, np.uint8)
    laid = gallery.laid_over(picture, heat).astype(int)
    quarter = len(laid) // 4
    assert (laid[-quarter:, -quarter:] == 90).all()  # where nothing spoke for it the picture is as it is
    assert np.abs(laid[:quarter, :quarter] - 90).sum(-1).min() > 60
    shown = gallery.image(picture, "what")
    assert ("image/png" in shown) == (side <= 64) and 'alt="what"' in shown


def unmoved(network):
    """The network with a last layer of zeros: its score does not depend on the picture."""
    params = dict(network.variables["params"])
    head = list(params)[-1]
    params[head] = jax.tree.map(np.zeros_like, params[head])
    return dataclasses.replace(network, variables={**network.variables, "params": params})


@pytest.mark.parametrize("weight, ends", [(0.0, "0 to 0"), (-0.5, "-2 to -0.5")])
def test_an_empty_heat_map_says_so_and_what_was_cut_off(finished, monkeypatch, weight, ends):
    workdir, folder = finished
    run, network = build.build(config_of(folder)), unmoved(networks.from_run(workdir, 2))

    def parts(model, variables, images, classes):
        values = jax.numpy.stack([jax.numpy.array([[1.0, 2.0], [3.0, 4.0]])] * len(images))[..., None]
        return values, jax.numpy.full_like(values, weight)

    monkeypatch.setattr(explain, "map_and_gradient", parts)
    pictures = Pictures(run.data.sources, network, run.data.picture)
    monkeypatch.setattr(explain, "heatmaps", lambda model, variables, images, classes: np.zeros(images.shape[:3]))
    (look,) = pictures.look("test", [0], np.array([1]))
    assert look.heat is None
    assert look.why_not == f"The heat map is empty: no place speaks for this answer (scores before the ReLU: {ends})."
    page = write_report(workdir, pictures=pictures).read_text()
    assert "The heat map is empty" in page and "Where the model looked" not in page


def test_a_score_that_no_picture_changes_has_an_empty_heat_map(finished):
    workdir, folder = finished
    run, network = build.build(config_of(folder)), unmoved(networks.from_run(workdir, 2))
    (look,) = Pictures(run.data.sources, network, run.data.picture).look("test", [0], np.array([1]))
    assert look.heat is None and "(scores before the ReLU: 0 to 0)" in look.why_not


def test_a_heat_map_that_is_no_number_is_not_drawn(finished):
    workdir, folder = finished
    run, network = build.build(config_of(folder)), networks.from_run(workdir, 2)
    spoilt = jax.tree.map(lambda x: np.full_like(x, np.nan), network.variables)
    pictures = Pictures(run.data.sources, dataclasses.replace(network, variables=spoilt), run.data.picture)
    (look,) = pictures.look("test", [0], np.array([1]))
    assert look.heat is None and "not finite" in look.why_not


def test_the_weights_of_a_state_are_those_of_its_checkpoint(finished):
    run = build.build(config_of(finished[1]))
    state, _ = Checkpoints(finished[0], transient=run.task.transient).restore(run.init_state(), note=print)
    stored, averaged = view.read_variables(view.find_step(finished[0]))
    assert not averaged
    jax.tree.map(np.testing.assert_array_equal, stored, run.network(state).variables)


def test_the_averaged_weights_of_a_state_are_those_of_its_checkpoint(finished, tmp_path):
    config = config_of(finished[1])
    config.ema_decay = 0.9
    run = build.build(config)
    state = run.init_state()
    state = state.replace(extra={"ema": jax.tree.map(lambda x: x + 1.5, state.extra["ema"])})  # not the weights
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(run.parallel.replicate(state), loop.meta_of(run, 0, {}, {}))
    checkpoints.close()
    stored, averaged = view.read_variables(view.find_step(tmp_path))
    assert averaged
    jax.tree.map(np.testing.assert_array_equal, stored, run.network(state).variables)
    assert not np.array_equal(*(jax.tree.leaves(tree)[0] for tree in (stored["params"], state.params)))
