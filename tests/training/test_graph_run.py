"""Runs whose net looks at graphs: the class is told by edges alone."""

import json

import numpy as np
import pytest

from jaxcls.cli.command import main
from jaxcls.errors import UserError
from jaxcls.report import graph_view
from jaxcls.settings import config_file
from jaxcls.training import build, result

N, CLASSES = 6, 2


def graphs(count, seed):
    """Rings of six nodes, and pairs of triangles; all nodes are alike, so degrees and sums tell nothing of the class
    but by what two steps reach: nodes carry a mark, one of each ring's or triangle's."""
    rng = np.random.default_rng(seed)
    ring, pair = np.zeros((N, N), np.uint8), np.zeros((N, N), np.uint8)
    for i in range(N):
        ring[i, (i + 1) % N] = ring[(i + 1) % N, i] = 1
        pair[i, i // 3 * 3 + (i + 1) % 3] = pair[i // 3 * 3 + (i + 1) % 3, i] = 1
    labels = np.arange(count) % CLASSES
    nodes, edges = np.zeros((count, N, 1), np.float32), np.zeros((count, N, N), np.uint8)
    for row, label in enumerate(labels):
        order = rng.permutation(N)
        nodes[row, order[0]] = 1
        edges[row] = (ring, pair)[label][np.argsort(order)][:, np.argsort(order)]
    return {"nodes": nodes, "edges": edges, "labels": labels, "positions": rng.random((count, N, 2))}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("graphs") / "rings.npz"
    images = {"images": np.full((64, 9, 9), 90, np.uint8)}
    sets = {"train": {**graphs(64, 0), **images}, "test": {**graphs(32, 1), "images": images["images"][:32]}}
    np.savez(path, **{f"{split}_{name}": value for split, arrays in sets.items() for name, value in arrays.items()})
    return path


def config(place, model="gin", **settings):
    made = config_file.load("gin_mnist:tiny")
    made.data.name, made.data.normalize, made.model.name = f"graphs/{place}", "unit", model
    made.model.fields = {"width": 8, "depth": 2}
    made.batch_size = 16
    for key, value in settings.items():
        section, _, name = key.partition("_")
        setattr(getattr(made, section), name, value)
    return made


def test_a_graph_net_gets_its_leaves_and_its_answer_can_be_built_again(place):
    run = build.build(config(place))
    assert run.model.module.inputs == ("nodes", "edges", "node_mask") and run.answer.problem == ""
    assert run.state_shapes.params["embedding"]["kernel"].shape == (1, 8)
    assert "predict" not in str(result.next_steps(run, "runs/x", True))  # a file has no graph


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"data_name": "digits"},
            "digits: GraphNet takes a graph beside .* do not have; name graphs/FOLDER",
        ),
        ({"data_augment": ("flip",)}, "config.data.augment=.'flip',. does not reach the graph, all that gin sees"),
        ({"eval_tta": ("flip",)}, "config.eval.tta=.* is for nets of pictures, and gin looks at a graph"),
        ({"model_quantize": "int8"}, "config.model.quantize='int8' is for nets of pictures"),
        (
            {"distill_teacher": "init", "distill_model": "lenet5"},
            "config.distill.teacher='init' is for nets of",
        ),
        ({"model_neck": "cosine"}, "a neck is for nets of pictures alone"),
    ],
)
def test_what_does_not_go_with_graphs_is_one_line_before_anything_compiles(place, settings, message):
    with pytest.raises(UserError, match=message) as error:
        build.build(config(place, **settings))
    assert "\n" not in str(error.value)


def test_a_drawn_graph_has_its_nodes_and_edges_where_they_are():
    item = {
        "positions": np.array([[0.25, 0.25], [0.25, 0.75], [0, 0]]),
        "edges": np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]]),
        "node_mask": np.array([1, 1, 0]),
    }
    view = graph_view.drawn(np.zeros((4, 4, 1), np.uint8), item)
    assert view.shape == (256, 256, 3)
    assert tuple(view[64, 64]) == tuple(view[64, 192]) == graph_view.NODE
    assert tuple(view[64, 128]) == graph_view.EDGE
    assert not view[:32].any() and not view[96:].any()  # the third is padding


@pytest.mark.slow
def test_a_run_on_graphs_learns_from_edges_and_commands_that_need_pictures_refuse_it(place, tmp_path, capsys):
    run = tmp_path / "run"
    (tmp_path / "rings.py").write_text(
        "from jaxcls.settings import config_file\n"
        "def get_config(arg=''):\n"
        "    c = config_file.load('gin_mnist')\n"
        f"    c.data.name, c.data.normalize, c.batch_size, c.duration = 'graphs/{place}', 'unit', 16, '150 steps'\n"
        "    c.model.fields, c.eval.every = {'width': 16, 'depth': 3}, '150 steps'\n"
        "    return c\n"
    )
    assert main(["train", f"--config={tmp_path}/rings.py", f"--workdir={run}"]) == 0
    assert json.loads((run / "results.json").read_text())["test"]["accuracy"] == 1.0
    assert main(["report", str(run)]) == 0
    assert "with its graph" in (run / "report.html").read_text()
    assert main(["eval", str(run), "--data", f"graphs/{place}?edges=none", "--split", "test", "--name", "none"]) == 0
    none = json.loads((run / "eval" / "none-150.json").read_text())
    assert none["accuracy"] == 0.5
    assert main(["calibrate", str(run)]) in (0, 2)  # there is no validation split
    capsys.readouterr()
    for verb, *rest in (
        ("predict", "x.png"),
        ("export", "--to", "onnx", "--out", str(tmp_path / "x.onnx")),
        ("robustness",),
        ("prune", "--ratio", "0.5", "--out", str(tmp_path / "p")),
    ):
        words = [verb, str(run), *rest]
        assert main(words) == 2
        err = capsys.readouterr().err
        assert "a graph beside" in err and err.count("\n") == 1, words
