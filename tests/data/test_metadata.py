import json

import numpy as np
import pytest
from PIL import Image

from jaxcls.data import metadata, sources
from jaxcls.data.base import subset
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.training import build, predictions


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.new("L", (8, 8), i).save(tmp_path / name / f"{i}.png")
    lines = [f"{name}/{i}.png,{'north' if i % 2 else 'south'},{40 + i}" for name in ("cat", "dog") for i in range(9)]
    (tmp_path / "sites.csv").write_text("\n".join(["path,site,age", *lines]) + "\n")
    return tmp_path


def config_of(folder, table):
    config = default_config()
    config.data.name, config.data.metadata = f"folder/{folder}", table
    config.data.augment = config.data.eval_transform = ("resize(28)", "center_crop(28)")
    config.batch_size, config.parallel.devices = 4, 1
    return config


def save_rows(workdir, split, data):
    return predictions.save_rows(workdir, split, data.sources[split], data.metadata, data.group_by)


def test_rows_of_any_source_have_names():
    whole = sources.Synthetic(5, (4, 4, 1), 2, 0)
    assert metadata.rows(whole) == ([f"synthetic_{i}" for i in range(5)], {})
    assert metadata.rows(subset(whole, [3, 1])) == (["synthetic_3", "synthetic_1"], {})
    arrays = sources.ArraySource(np.zeros((3, 2, 2, 1), np.uint8), [0, 1, 0], ["a", "b"], ["x", "y", "z"])
    assert metadata.rows(subset(arrays, [2, 0])) == (["z", "x"], {})


def test_what_rows_hold_besides_becomes_columns():
    class Patients(list):
        classes, labels, fingerprint = ("a", "b"), np.array([0, 1]), "f"

    rows = [{"image": b"", "label": i, "id": f"{i}", "age": np.int64(40 + i), "sex": "f"} for i in range(2)]
    assert metadata.rows(Patients(rows)) == (["0", "1"], {"age": [40, 41], "sex": ["f", "f"]})


@pytest.mark.parametrize(
    "names, classes, folders",
    [
        (["cat/a/1.png", "dog/2.png"], ["cat", "dog"], ["a", ""]),
        (["test/cat/a/b/1.png", "test/dog/2.png"], ["cat", "dog"], ["a/b", ""]),
        (["digits_0001", "digits_0002"], ["0", "1"], ["", ""]),
        (["x/1.png", "y/2.png"], ["cat", "dog"], ["", ""]),
    ],
)
def test_sub_folders_are_those_below_the_class(names, classes, folders):
    assert metadata.sub_folders(names, classes) == folders


def test_the_columns_of_a_table_stand_beside_the_logits(folder, tmp_path):
    run = build.build(config_of(folder, "sites.csv"))  # relative to the folder of pictures
    for split in ("test", "validation"):
        found = json.loads(save_rows(tmp_path / "run", split, run.data).read_text())
        for name, site, age in zip(found["id"], *(found["columns"][key] for key in ("site", "age")), strict=True):
            number = int(name[4])
            assert (site, age) == ("", "") if number == 9 else (("north", "south")[1 - number % 2], str(40 + number))


def test_what_belongs_together_stands_beside_the_logits_where_it_is_known(folder, tmp_path):
    """A test split that came with the set needs no groups: the split that was made of the rest has them."""
    for name in ("cat", "dog"):
        (folder / "train" / name).mkdir(parents=True)
        for path in sorted((folder / name).iterdir()):
            path.rename(folder / "train" / name / path.name)
        (folder / "test" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(folder / "test" / name / "other.png")
        (folder / name).rmdir()
    config = config_of(folder, "")
    config.data.group_by, config.data.validation = r"(\d)\.png", 0.3
    run = build.build(config)
    files = {s: save_rows(tmp_path / "run", s, run.data) for s in ("validation", "test")}
    found = {split: json.loads(path.read_text()) for split, path in files.items()}
    assert "group" not in found["test"]["columns"]
    assert found["validation"]["columns"]["group"] == [name[-5] for name in found["validation"]["id"]]


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "sites2.csv cannot be read"),
        ("file,site\na,b\n", "lacks the columns path"),
        ("path,site\n", "has no line below the first"),
        ("path,site\n0.png,b\n", "no line for any picture; paths must be like 'cat/"),
    ],
)
def test_a_table_of_no_use_is_told_before_training(folder, text, message):
    if text:
        (folder / "sites2.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        build.build(config_of(folder, "sites2.csv"))
