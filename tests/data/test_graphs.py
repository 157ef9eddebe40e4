"""Sets with a graph beside each picture: written, opened, padded, one's own."""

import pickle

import numpy as np
import pytest

from jaxcls.cli.command import main
from jaxcls.data import graph_files, query, ragged, sources, superpixels
from jaxcls.data.base import ArraySource, leaves, subset
from jaxcls.errors import UserError

N = 9


def read(image, name, random):
    return image


@pytest.fixture(scope="module")
def digits():
    return subset(sources.find("digits")["all"], np.arange(N))


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    where = tmp_path_factory.mktemp("graphs") / "digits"
    graph_files.write({"all": digits}, where, read, 20, note=lambda line: None)
    return where


def test_each_picture_has_the_graph_of_its_superpixels_padded_to_the_largest(digits, folder):
    source = sources.find(f"graphs/{folder}")["all"]
    assert isinstance(source, ArraySource) and source.classes == digits.classes
    made = [superpixels.graph(image, 20) for image in digits.images]
    size = max(len(nodes) for nodes, _ in made)
    assert leaves(source)["edges"] == ((size, size), np.uint8)
    for row, (nodes, edges) in enumerate(made):
        item, k = source[row], len(nodes)
        np.testing.assert_array_equal(item["image"], digits[row]["image"])
        assert (item["label"], item["id"]) == (digits[row]["label"], digits[row]["id"])
        np.testing.assert_array_equal(item["nodes"], np.pad(nodes, [(0, size - k), (0, 0)]))
        np.testing.assert_array_equal(item["node_mask"], np.arange(size) < k)
        np.testing.assert_array_equal(item["positions"][:k], nodes[:, 1:3])
        dense = np.zeros((size, size))
        for start, end in edges.tolist():
            dense[end, start] = 1
        np.testing.assert_array_equal(item["edges"], dense)


def test_streamed_graphs_are_the_same_and_can_be_sent_to_workers(folder, monkeypatch):
    whole = sources.find(f"graphs/{folder}?nodes=30")["all"]
    monkeypatch.setattr(ragged, "IN_MEMORY", 0)
    found = sources.find(f"graphs/{folder}?nodes=30")["all"]
    assert isinstance(found, ragged.Graphs) and not hasattr(found, "arrays")
    sent = pickle.loads(pickle.dumps(found))
    assert len(pickle.dumps(found.opened)) < 2000  # the files are mapped, not copied
    for row in (0, N - 1):
        for item in (found[row], sent[row]):
            assert item.keys() == whole[row].keys()
            for name, value in whole[row].items():
                np.testing.assert_array_equal(item[name], value)
    assert found.fingerprint == sent.fingerprint != sources.find(f"graphs/{folder}?nodes=31")["all"].fingerprint


def test_other_edges_keep_nodes_and_shuffled_ones_keep_degrees(folder):
    own, none, shuffled = (sources.find(f"graphs/{folder}?edges={how}")["all"] for how in ragged.EDGES)
    assert not none.more["edges"].any()
    np.testing.assert_array_equal(shuffled.more["nodes"], own.more["nodes"])
    assert (shuffled.more["edges"] != own.more["edges"]).any(axis=(1, 2)).all()
    for axis in (1, 2):
        degrees = [np.sort(source.more["edges"].sum(axis), axis=1) for source in (own, shuffled)]
        np.testing.assert_array_equal(*degrees)
    again = sources.find(f"graphs/{folder}?edges=shuffled")["all"]
    assert again.fingerprint == shuffled.fingerprint != own.fingerprint


def test_what_is_damaged_or_no_such_thing_is_one_line(folder, tmp_path):
    import shutil

    with pytest.raises(UserError, match=r"no graphs\.json; make it with: jaxcls prepare SOURCE --superpixels 75"):
        sources.find(f"graphs/{tmp_path}")
    with pytest.raises(UserError, match=r"nodes=3 must be at least \d+, those of the largest graph"):
        sources.find(f"graphs/{folder}?nodes=3")
    with pytest.raises(UserError, match="edges=all can be own, none, shuffled"):
        sources.find(f"graphs/{folder}?edges=all")
    for damage, said in (("cut", "in place of"), ("changed", "has changed"), ("gone", "No such file")):
        copy = tmp_path / damage
        shutil.copytree(folder, copy)
        data = bytearray((copy / "all.nodes").read_bytes())
        data[5] ^= 1
        (copy / "all.nodes").write_bytes(data[:-4] if damage == "cut" else data)
        if damage == "gone":
            (copy / "all.nodes").unlink()
        with pytest.raises(UserError, match=f"{said}.*; make the folder anew") as error:
            sources.find(f"graphs/{copy}")
        assert "\n" not in str(error.value)


def test_a_preparation_that_stops_leaves_nothing_and_begins_again(digits, folder, tmp_path, monkeypatch):
    where, made = tmp_path / "digits", []

    def stops(image, *args, **options):
        made.append(1)
        if len(made) == 5:
            raise KeyboardInterrupt
        return superpixels.nodes(image, np.zeros(image.shape[:2], int)), np.zeros((0, 2), np.uint16)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(superpixels, "graph", stops)
        graph_files.write({"all": digits}, where, read, 20, note=lambda line: None)
    assert list(tmp_path.iterdir()) == []
    graph_files.write({"all": digits}, where, read, 20, note=lambda line: None)
    for file in sorted(folder.iterdir()):
        if file.suffix in (".nodes", ".edges", ".json"):
            assert file.read_bytes() == (where / file.name).read_bytes()
    with pytest.raises(UserError, match="is there already"):
        graph_files.write({"all": digits}, where, read, 20, note=lambda line: None)


def test_the_command_cuts_pictures_of_a_folder(tmp_path, capsys):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for i in range(2):
            noise = np.random.default_rng(i).integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "in" / name / f"{i}.png")
    out = tmp_path / "out"
    assert main(["prepare", f"{tmp_path}/in", "--superpixels", "12", "--edges", "touching", "--out", str(out)]) == 0
    assert "all: 4 pictures of 2 classes, each with a graph" in capsys.readouterr().out
    source = sources.find(f"graphs/{out}")["all"]
    item = source[0]
    assert isinstance(item["image"], bytes) and item["nodes"].shape[1] == 3 + 3
    np.testing.assert_array_equal(item["edges"], item["edges"].T)
    assert main(["prepare", "digits", "--superpixels", "12", "--to", "array_record", "--out", "x"]) == 2
    assert main(["prepare", "digits", "--superpixels", "9999", "--out", "x"]) == 2
    assert "at most 1,024" in capsys.readouterr().err


OWN = {
    "nodes": np.arange(10, dtype=np.float32).reshape(5, 2),
    "node_counts": np.array([2, 3]),
    "edges": np.array([[0, 1], [2, 0], [1, 1]]),
    "edge_counts": np.array([1, 2]),
    "labels": np.array(["sun", "moon"]),
}
DENSE = np.zeros((2, 3, 3), np.float32)
DENSE[0, 1, 0] = DENSE[1, 0, 2] = DENSE[1, 1, 1] = 1
PADDED = np.zeros((2, 3, 2), np.float32)
PADDED[0, :2], PADDED[1] = OWN["nodes"][:2], OWN["nodes"][2:]


def own(path, **changed):
    np.savez(path / "own.npz", **{k: v for k, v in {**OWN, **changed}.items() if v is not None})
    return sources.find(f"graphs/{path}/own.npz")["all"]


def test_graphs_of_ones_own_as_lists_and_dense(tmp_path):
    lists, weights = own(tmp_path), np.array([0.5, 2, 3], np.float32)
    dense = own(tmp_path, nodes=PADDED, edges=DENSE, edge_counts=None)
    mask = np.array([[1, 1, 0], [1, 1, 1]])
    masked = own(tmp_path, nodes=PADDED, node_counts=None, node_mask=mask, edges=DENSE, edge_counts=None)
    for source in (lists, dense, masked):
        np.testing.assert_array_equal(source.more["nodes"], PADDED)
        np.testing.assert_array_equal(source.more["edges"], DENSE)
        np.testing.assert_array_equal(source.more["node_mask"], mask)
        assert [source.classes[label] for label in source.labels] == ["sun", "moon"]
        assert source.more["edges"].dtype == np.uint8 and "positions" not in source.more
    weighed = own(tmp_path, edge_weights=weights, positions=np.full((5, 2), 0.5, np.float32))
    assert weighed.more["edges"][1].tolist() == [[0, 0, 2], [0, 3, 0], [0, 0, 0]]
    assert weighed.more["positions"].shape == (2, 3, 2)
    np.savez(tmp_path / "split.npz", **{f"{s}_{k}": v for s in ("train", "test") for k, v in OWN.items()})
    assert sorted(sources.find(f"graphs/{tmp_path}/split.npz")) == ["test", "train"]


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"edges": None}, "needs arrays called nodes and edges"),
        ({"node_counts": None}, r"give \[all nodes, f\] with node_counts"),
        ({"node_counts": np.array([2, 4])}, "node_counts add up to 6 for 5 nodes"),
        ({"node_counts": np.array([5, 0])}, "or one is 0"),
        ({"edges": OWN["edges"].T}, "turn them: edges.T"),
        ({"edge_counts": np.array([2, 2])}, "do not fit 3 edges of 2 graphs"),
        ({"edges": np.array([[0, 2], [2, 0], [1, 1]])}, r"graph 0 of 2 nodes has the edge \[0, 2\]"),
        ({"edges": OWN["edges"] * 1.5}, "edges are float64 .*; give whole numbers"),
        ({"nodes": OWN["nodes"] * np.nan}, "nodes have values that are not finite"),
        ({"labels": np.array([0])}, "2 images and 1 labels"),
        ({"nodes": PADDED, "node_counts": None, "node_mask": np.ones(3)}, r"node_mask is \(3,\)"),
        ({"nodes": PADDED, "node_counts": None, "node_mask": np.array([[0, 1, 1]] * 2)}, "real ones come first"),
        ({"positions": np.ones((4, 2))}, "two numbers for each node"),
    ],
)
def test_arrays_that_do_not_fit_are_one_line(tmp_path, changed, message):
    with pytest.raises(UserError, match=message) as error:
        own(tmp_path, **changed)
    assert "\n" not in str(error.value)


def test_the_options_are_known():
    assert query.split("graphs/x?nodes=80&edges=none") == ("graphs/x", {"nodes": "80", "edges": "none"})
    with pytest.raises(UserError, match="has no option 'node'"):
        query.split("graphs/x?node=80")
