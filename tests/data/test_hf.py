"""Sets of Hugging Face: what `datasets` has written (fixtures of version 5.2), its documented layouts, and bad ones."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxcls.data import decode, hf_columns, overview, sources
from jaxcls.errors import UserError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
FIXTURES = Path(__file__).parents[1] / "fixtures/hf"
NAMES = ["ant", "bee", "cat"]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": NAMES}}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def table(labels, content=lambda i: f"picture {i}".encode(), named=lambda i: None, features=FEATURES, **more):
    rows = range(len(labels))
    images = pa.array([{"bytes": content(i), "path": named(i)} for i in rows], IMAGE)
    found = pa.table({"image": images, "label": pa.array(labels), **more})
    return found.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})} if features else {}
    )


def parquet(path, *args, rows=2, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(*args, **options), path, row_group_size=rows)
    return path


def saved(folder, found, batch=2):
    folder.mkdir(parents=True)
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file,
        pa.ipc.new_stream(file, found.schema) as out,
    ):
        out.write_table(found, max_chunksize=batch)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))


@pytest.mark.parametrize("form", ["hub", "saved"])
@pytest.mark.parametrize("query", ["", "?label=tags"])
def test_what_datasets_writes(form, query, capsys):
    for _ in range(2):  # the second time what was copied is found
        found = sources.find(f"hf/{FIXTURES}/{form}{query}")
    assert capsys.readouterr().out.count("copied into") == (2 if form == "hub" else 0)
    assert {split: len(x) for split, x in found.items()} == {"train": 5, "test": 2}
    for split, first in (("train", 0), ("test", 5)):
        source = pickle.loads(pickle.dumps(found[split]))
        assert source.classes == tuple(NAMES)
        for row in range(len(source)):
            i, item = first + row, source[row]
            np.testing.assert_array_equal(decode.decode(item["image"]), np.full((3, 4, 3), 40 * i))
            wanted = [(i >> j) & 1 for j in range(3)] if query else i % 3
            assert np.array_equal(item["label"], wanted) and item["id"] == f"{split}/{i}.png"
            assert np.array_equal(source.labels[row], wanted)


@pytest.mark.parametrize(
    "files, splits",
    [
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], {"all": 6}),
        (["train.parquet", "validation.parquet"], {"train": 3, "validation": 3}),
        (["default/train/0000.parquet", "default/test/0000.parquet"], {"train": 3, "test": 3}),
        (["mnist-train.parquet", "mnist-test.parquet"], {"train": 3, "test": 3}),
        (["data/full-00000-of-00001.parquet"], {"all": 3}),
        (["data/train.parquet", "data/test.parquet", "data/extra.parquet"], {"train": 3, "test": 3}),
    ],
)
def test_layouts_of_the_hub(tmp_path, files, splits):
    for i, name in enumerate(files):
        parquet(tmp_path / "set" / name, [0, 1, 2], content=lambda row, i=i: f"{i}, {row}".encode())
    found = sources.find(f"hf/{tmp_path}/set")
    assert {split: len(x) for split, x in found.items()} == splits
    contents = {split: [x[row]["image"].decode() for row in range(len(x))] for split, x in found.items()}
    for split, texts in contents.items():
        numbers = [i for i, name in enumerate(files) if split == "all" or split in name]
        assert texts == [f"{i}, {row}" for i in numbers for row in range(3)]
    if any("extra" in name for name in files):
        assert any("'extra'" in line or "extra of" in line for line in overview.left_out(found))
        assert len(sources.find(f"hf/{tmp_path}/set?split=extra")["all"]) == 3


def test_rows_of_any_number_of_groups_and_batches(tmp_path):
    labels = [i % 3 for i in range(17)]
    content = lambda i: bytes([i]) * (i % 5)  # noqa: E731  empty ones among them
    parquet(tmp_path / "p/train.parquet", labels, content, rows=4)
    saved(tmp_path / "s", table(labels, content), batch=3)
    for name in "ps":
        source = sources.find(f"hf/{tmp_path}/{name}")["all"]
        assert [source[i]["image"] for i in range(17)] == [content(i) for i in range(17)]
        assert source.labels.tolist() == labels


def test_other_labels(tmp_path):
    parquet(tmp_path / "words/train.parquet", ["b", "a", "b"], features=None)
    parquet(tmp_path / "numbers/train.parquet", [7, 3, 7], features=None)
    parquet(tmp_path / "card/train.parquet", [2, 0, 2], features=None)
    (tmp_path / "card/README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    dtype:\n"
        "      class_label:\n        names:\n          '0': ant\n          '1': bee\n          '2': cat\n---\nWords.\n"
    )
    parquet(tmp_path / "bare/train.parquet", [-1, -1, -1])
    for name, classes, labels in (
        ("words", ("a", "b"), [1, 0, 1]),
        ("numbers", ("3", "7"), [1, 0, 1]),
        ("card", ("ant", "bee", "cat"), [2, 0, 2]),
        ("bare", (), [-1, -1, -1]),
    ):
        (source,) = sources.find(f"hf/{tmp_path}/{name}").values()
        assert source.classes == classes and source.labels.tolist() == labels


def test_a_split_without_labels_is_left_out_beside_labelled_ones(tmp_path):
    parquet(tmp_path / "s/train.parquet", [0, 1, 2])
    parquet(tmp_path / "s/test.parquet", [-1, -1])
    found = sources.find(f"hf/{tmp_path}/s")
    assert list(found) == ["train"] and any("test has no labels" in line for line in overview.left_out(found))


def test_lists_of_features_are_read_in_all_their_forms():
    label = {"_type": "ClassLabel", "names": NAMES}
    schema = pa.schema([("image", IMAGE), ("label", pa.list_(pa.int64()))])
    for feature in ([label], {"_type": "Sequence", "feature": label}, {"_type": "List", "feature": label}):
        columns = hf_columns.choose(schema, {"image": {"_type": "Image"}, "label": feature}, {}, "x")
        assert columns == ("image", "label", tuple(NAMES))


def broken(folder):
    """Bad sets of many kinds."""
    parquet(folder / "paths/train.parquet", [0, 1], content=lambda i: None, named=lambda i: f"{i}.jpg")
    parquet(folder / "none/train.parquet", [0, 1], content=lambda i: None)
    parquet(folder / "part/data/train-00001-of-00002.parquet", [0, 1])
    parquet(folder / "two/one/train.parquet", [0, 1])
    parquet(folder / "two/other/train.parquet", [0, 1])
    parquet(folder / "gap/train.parquet", [0, None, 1])
    parquet(folder / "minus/train.parquet", [0, -1, 1])
    parquet(folder / "beyond/train.parquet", [0, 1, 5])
    pair = table([0, 1], features=None, other=table([0, 1]).column("image"))
    (folder / "several").mkdir()
    pq.write_table(pair.rename_columns(["left", "label", "right"]), folder / "several/train.parquet")
    parquet(folder / "same/val.parquet", [0, 1])
    parquet(folder / "same/valid.parquet", [0, 1])
    parquet(folder / "strange/a.parquet", [0, 1])
    parquet(folder / "strange/b.parquet", [0, 1])
    parquet(folder / "empty/train.parquet", [])
    whole = parquet(folder / "cut/train.parquet", [0, 1]).read_bytes()
    (folder / "cut/train.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "nothing").mkdir()
    (folder / "lfs").mkdir()
    (folder / "lfs/train.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    saved(folder / "cut_arrow", table([0, 1] * 50))
    whole = (folder / "cut_arrow/data-00000-of-00001.arrow").read_bytes()
    (folder / "cut_arrow/data-00000-of-00001.arrow").write_bytes(whole[: len(whole) // 2])
    saved(folder / "lost", table([0, 1]))
    (folder / "lost/data-00000-of-00001.arrow").unlink()
    saved(folder / "indices", table([0, 1]))
    state = {
        "_data_files": [{"filename": "data-00000-of-00001.arrow"}],
        "_indices_data_files": [{"filename": "i.arrow"}],
    }
    (folder / "indices/state.json").write_text(json.dumps(state))
    (folder / "dict").mkdir()
    (folder / "dict/dataset_dict.json").write_text('{"splits": ["../x"]}')
    shutil.copytree(folder / "minus", folder / "fine")
    parquet(folder / "fine/train.parquet", [0, 1])


@pytest.mark.parametrize(
    "name, message",
    [
        ("paths", "2 pictures have no content .*only their paths, such as '0.jpg'.*to_parquet"),
        ("none", "2 pictures have no content"),
        ("part", "1 of the 2 files of train are missing, the first is number 00000"),
        ("two", "several sets, in one, other; name one: hf/.*two/other"),
        ("gap", "all_1 has no label"),
        ("minus", "all_1 has the label -1; there are 3 class names"),
        ("beyond", "all_2 has the label 5"),
        ("several", r"several columns hold pictures, left, right; name one: \?image=left"),
        ("same", r"val, valid are both validation; name one: \?split=val"),
        ("strange", "splits a, b, of which none is train"),
        ("empty", "has no rows"),
        ("cut", "cut or damaged"),
        ("cut_arrow", "cut or damaged"),
        ("nothing", "no .parquet file, and is no folder of save_to_disk"),
        ("lfs", "pointer of Git LFS.*git lfs pull"),
        ("lost", "data-00000-of-00001.arrow is missing"),
        ("indices", "flatten_indices"),
        ("dict", "dataset_dict.json is damaged"),
        ("away", "is no folder"),
        ("fine?label=lable", "no column 'lable'.*did you mean 'label'"),
        ("fine?image=label", "holds int64, no encoded pictures"),
        ("fine?split=tran", "no split 'tran'.*did you mean 'train'"),
        ("fine?classes=x", "no option 'classes'"),
    ],
)
def test_bad_sets_are_one_line(tmp_path, name, message):
    broken(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        sources.find(f"hf/{tmp_path}/{name}")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob("*.part"))
