"""Tables and other sets as what is predicted."""

import numpy as np
import pytest
from PIL import Image

from jaxcls.errors import UserError
from jaxcls.predict import named, reading
from jaxcls.predict.sharding import Shard, numbered


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(6):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 40 * i, np.uint8)).save(tmp_path / f"pictures/{'ab'[i % 2]}.{i}.png")
    lines = [f"pictures/{'ab'[i % 2]}.{i}.png,{split}" for i, split in ((3, "test"), (0, "train"), (5, "val"))]
    (tmp_path / "t.csv").write_text("\n".join(["path,split", *lines, "pictures/gone.png,test"]))
    np.savez(tmp_path / "x.npz", images=np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(3, -1))
    return tmp_path


def read(argument):
    """(path, problem, grey of the first pixel) of what an argument means."""

    def prepare(image, name):
        from jaxcls.data import decode

        return image if isinstance(image, np.ndarray) else decode.decode(image, name=name)

    found = [reading.read(prepare, *entry) for entry in reading.paths(named.opened([argument]))]
    return [(x.path, x.problem, None if x.image is None else int(x.image[0, 0, 0])) for x in found]


def test_a_table_in_its_order(place):
    wanted = [
        ("pictures/b.3.png", 120),
        ("pictures/a.0.png", 0),
        ("pictures/b.5.png", 200),
        ("pictures/gone.png", None),
    ]
    for argument in ("table/t.csv", "t.csv", "table/t.csv?path=path"):
        assert [(path, grey) for path, _, grey in read(argument)] == wanted
    assert [problem for _, problem, _ in read("t.csv")] == [None, None, None, "there is no such file or folder"]


def test_shards_of_a_table_are_disjoint(place):
    parts = [list(numbered(reading.paths(named.opened(["t.csv"])), Shard(i, 2))) for i in (1, 2)]
    assert sorted(sum(parts, [])) == list(numbered(reading.paths(named.opened(["table/t.csv"]))))


def test_names_and_arrays(place):
    found = read("names/pictures?label=^(.)")
    assert sorted(found) == sorted((f"pictures/{'ab'[i % 2]}.{i}.png", None, 40 * i) for i in range(6))
    assert [grey for _, _, grey in read("arrays/x.npz")] == [0, 1, 2]


def test_what_is_there_is_itself(place):
    (place / "table").mkdir()
    Image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(place / "table/1.png")
    assert read("table/1.png") == [("table/1.png", None, 7)] == read("table")
    with pytest.raises(UserError, match="there is no table"):
        named.opened(["table/gone.csv"])
    with pytest.raises(UserError, match="no column 'x'"):
        named.opened(["t.csv?path=x"])
