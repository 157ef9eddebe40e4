"""Tables of pictures: what is read, by hand and against the csv module, and each mistake in one line."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxcls.data import (
    dealing,
    groups,
    metadata,
    overview,
    query,
    sources,
    stored_splits,
    table,
    table_file,
    table_labels,
)
from jaxcls.data.base import Subset, multilabel, subset
from jaxcls.errors import UserError

NAMES = ("a/1.jpg", "a/2.jpg", "b/3.png", "b/4.png", "b/5 x.png", "6.jpg")


@pytest.fixture
def place(tmp_path):
    """Six empty files: none is opened to open a table."""
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def write(place, text, name="t.csv"):
    (place / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return f"table/{place}/{name}"


def rows(*columns, header="path,label", names=NAMES):
    """A text of the names and columns of cells."""
    lines = [",".join(cells) for cells in zip(names, *columns, strict=True)]
    return "\n".join([header, *lines]) + "\n"


CATS = ("cat", "dog", "cat", "dog", "dog", "cat")


def test_a_table_is_a_source(place):
    source = sources.find(write(place, rows(CATS, "uvuvuv", header="path,label,site")))["all"]
    assert source.classes == ("cat", "dog") and source.labels.tolist() == [0, 1, 0, 1, 1, 0]
    assert source.labels.dtype == np.int32 and source.ids == NAMES
    assert source[4] == {"image": b"b/5 x.png", "label": 1, "id": "b/5 x.png", "site": "u"}
    assert metadata.rows(source)[1] == {"site": list("uvuvuv")}
    assert metadata.rows(subset(source, [5, 0]))[1] == {"site": ["v", "u"]}
    assert any("path=path, label=label" in line for line in overview.lines({"train": source}))
    assert pickle.loads(pickle.dumps(source))[0] == source[0]
    assert source.ends(0) == (b"a/1.jpg", b"a/1.jpg")


@pytest.mark.parametrize(
    "kind", ["csv", "bom", "tsv", "semicolon", "pipe", "blanks", "jsonl", "parquet", "crlf", "index"]
)
def test_all_kinds_of_files_say_the_same(place, kind):
    text, name = rows(CATS, "uvuvuv", header="path,label,site"), "t.csv"
    if kind == "bom":
        text = "\ufeff" + text
    elif kind == "tsv":
        text, name = text.replace(",", "\t"), "t.tsv"
    elif kind == "semicolon":
        text = text.replace(",", ";").replace("dog", '"dog"')
    elif kind == "pipe":
        text = text.replace(",", "|")
    elif kind == "blanks":
        text = text.replace(",", " ,  ").replace("\n", " \n\n")
    elif kind == "crlf":
        text = text.replace("\n", "\r\n") + "\r\n , ,\r\n"
    elif kind == "index":  # as pandas writes it
        text = "\n".join(("" if not i else str(i - 1)) + f",{line}" for i, line in enumerate(text.splitlines()))
    elif kind == "jsonl":
        made = zip(NAMES, CATS, "uvuvuv", strict=True)
        text = "\n".join(json.dumps(dict(zip(("path", "label", "site"), row, strict=True))) for row in made)
        name = "t.jsonl"
    elif kind == "parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = {"path": list(NAMES), "label": pyarrow.array(CATS).dictionary_encode(), "site": list("uvuvuv")}
        parquet.write_table(pyarrow.table(columns), place / "t.parquet")
        text, name = (place / "t.parquet").read_bytes(), "t.parquet"
    source = sources.find(write(place, text, name))["all"]
    assert source.ids == NAMES and [source.classes[i] for i in source.labels] == list(CATS)
    assert metadata.rows(source)[1] == {"site": list("uvuvuv")}


cells = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.sampled_from(' ,;|"\t'), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=30), st.sampled_from(",;\t|"))
def test_cells_are_those_that_csv_writes(tmp_path, content, separator):
    """Whatever stands in them, cells come back as Python's own writer was given them, less blanks around them."""
    import csv

    with open(tmp_path / "x.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([("one", "two"), *content])
    wanted = [(a.strip(), b.strip()) for a, b in content if a.strip() or b.strip()]
    if not wanted:
        with pytest.raises(UserError, match="no rows"):
            table_file.read(tmp_path / "x.csv")
        return
    found = table_file.read(tmp_path / "x.csv")
    assert list(zip(found.columns["one"].cells(), found.columns["two"].cells(), strict=True)) == wanted


@pytest.mark.parametrize(
    ("column", "label", "wanted", "classes"),
    [
        ("tags", ("cat|dog", "cat", "", "dog |sea", "sea", "cat|cat"), "c d|c||d s|s|c", "cat dog sea"),
        ("label", ("cat;dog", "cat", "", "dog;sea", "sea", "sea"), "c d|c||d s|s|s", "cat dog sea"),
        ("tags", ("cat dog", "cat", "", "dog sea", "sea", "cat sea"), "c d|c||d s|s|c s", "cat dog sea"),
        ("x?label=x&separator=space", ("cat dog", "cat", "", "dog sea", "sea", "sea"), "c d|c||d s|s|s", "cat dog sea"),
        ("labels", ('"cat, dog"', "cat", "", '"dog,sea"', "sea", "sea"), "c d|c||d s|s|s", "cat dog sea"),
        ("y?label=y&separator=/", ("cat/dog", "cat", "", "dog/sea", "sea", "sea"), "c d|c||d s|s|s", "cat dog sea"),
        ("label", ('"[""cat"", ""dog""]"', "[]", "", "\"['sea']\"", '"[""sea""]"', ""), "c d|||s|s|", "cat dog sea"),
    ],
)
def test_sets_of_labels(place, column, label, wanted, classes):
    column, _, options = column.partition("?")
    name = write(place, rows(label, header=f"path,{column}")) + (f"?{options}" if options else "")
    source = sources.find(name)["all"]
    assert multilabel(source) and source.labels.dtype == np.uint8
    assert " ".join(source.classes) == classes
    sets = ["".join(source.classes[i][0] for i in np.flatnonzero(row)) for row in source.labels]
    assert sets == [x.replace(" ", "") for x in wanted.split("|")]
    assert source.leaves["label"].shape == (3,) and source[0]["label"].tolist() == source.labels[0].tolist()


def test_sets_of_json_and_of_columns(place):
    lists = [["dog", "cat"], [], ["sea"], None, ["cat"], ["sea", "cat"]]
    lines = "\n".join(json.dumps({"file": n, "tags": x}) for n, x in zip(NAMES, lists, strict=True))
    by_json = sources.find(write(place, lines, "t.jsonl"))["all"]
    columns = [[str(int(name in (x or []))) for x in lists] for name in ("sea", "cat", "dog")]
    by_bits = sources.find(write(place, rows(*columns, header="file,sea,cat,dog")) + "?labels=cat,dog,sea")["all"]
    assert by_json.classes == by_bits.classes == ("cat", "dog", "sea")
    assert by_json.labels.tolist() == by_bits.labels.tolist() and by_json.fingerprint == by_bits.fingerprint
    assert by_json.labels.sum(axis=1).tolist() == [2, 0, 1, 0, 1, 2]


def test_single_labels_that_look_like_sets(place):
    label = ("golden retriever", "pug", "pug", "red setter", "pug", "pug")
    single = sources.find(write(place, rows(label)))["all"]
    assert single.classes == ("golden retriever", "pug", "red setter")
    label = ("a|b", "c", "c", "a|b", "c", "c")
    assert sources.find(write(place, rows(label)) + "?separator=none")["all"].classes == ("a|b", "c")


def test_numbers_are_sorted_as_numbers(place):
    assert sources.find(write(place, rows(("10", "9", "2", "10", "9", "2"))))["all"].classes == ("2", "9", "10")
    assert sources.find(write(place, rows(("1.0", "3.0", "1.0", "3.0", "3.0", "1.0"))))["all"].classes == ("1", "3")


def test_splits_weights_and_groups(place):
    text = rows(CATS, "ppqqrr", ("1", "0.5", "2", "1", "1", "1"), ("Train", "Train", "val", "val", "test", "test"),
                header="path,label,group,weight,split")  # fmt: skip
    found = sources.find(write(place, text))
    assert {k: list(v.ids) for k, v in found.items()} == {
        "train": [*NAMES[:2]], "validation": [*NAMES[2:4]], "test": [*NAMES[4:]]
    }  # fmt: skip
    train = found["train"]
    assert train.leaves["weight"] == ((), np.float32) and train[1]["weight"] == np.float32(0.5)
    assert groups.names_of(found["validation"]) == ["q", "q"]
    fold = sources.find(write(place, text) + "?split=split&group=group&weight=weight&label=label&path=path")
    assert fold["test"].fingerprint == found["test"].fingerprint


def test_groups_stay_together_and_new_rows_join_theirs(place):
    names = [f"n/{i}.jpg" for i in range(60)]
    (place / "n").mkdir()
    for name in names:
        (place / name).touch()
    group = [f"g{i % 20}" for i in range(60)]
    name = write(place, rows([CATS[i % 6] for i in range(60)], group, names=names, header="path,label,group"))
    found = sources.load(name)
    sets = [set(groups.names_of(source)) for source in found.values()]
    assert sum(map(len, sets)) == 20 == len(set.union(*sets)) and sum(map(len, found.values())) == 60
    whole, rule = sources.find(name)["all"], dealing.Rule()
    placed = dealing.deal({"all": subset(whole, range(40))}, rule)
    joined = dealing.deal_new(placed, {"all": np.arange(40, 60)}, {"all": whole}, rule)
    for split, (_, part) in placed.items():
        assert {group[i] for i in joined[split][1]} == {group[i] for i in part}
    assert groups.numbers_of(Subset(whole, np.array([0, 20, 1]))).tolist() == [0, 0, 1]


def test_columns_are_found(place):
    """A picture's name without its suffix, in a column called as many are; other separators of folders; a root."""
    stems = [name.rpartition(".")[0] for name in NAMES]
    text = rows(CATS, "123456", header="ID,Class,age", names=stems)
    source = sources.find(write(place, text))["all"]
    assert source.ids == NAMES and source.classes == ("cat", "dog") and list(source.columns) == ["age"]
    assert any("6 path(s)" in note for note in source.notes)
    windows = rows(CATS, names=[name.replace("/", "\\") for name in NAMES])
    assert sources.find(write(place, windows))["all"].ids == NAMES
    (place / "tables").mkdir()
    below = write(place, rows(CATS, names=[f"./{name}" for name in NAMES]), "tables/t.csv")
    assert sources.find(f"{below}?root=..")["all"].ids == NAMES
    assert sources.find(f"{below}?root={place}")["all"].ids == NAMES


def test_tables_without_labels(place):
    for text in (rows(header="image"), rows([""] * 6), rows([""] * 6, ["train"] * 6, header="path,label,split")):
        found = sources.find(write(place, text))
        assert list(found) == ["train"] and found["train"].classes == () and set(found["train"].labels) == {-1}
    with pytest.raises(UserError, match="has no labels"):
        sources.find(write(place, text), trains=False)


def test_test_rows_may_lack_a_label(place):
    split = ["train"] * 3 + ["val", "test", "test"]
    found = sources.find(write(place, rows((*CATS[:5], ""), split, header="path,label,split")))
    assert {k: len(v) for k, v in found.items()} == {"train": 3, "validation": 1, "test": 1}
    assert any("1 row(s) of test" in note for note in found["train"].notes)
    found = sources.find(write(place, rows((*CATS[:4], "", ""), split, header="path,label,split")))
    assert list(found) == ["train", "validation"]


def test_all_rows_are_predicted_in_order(place):
    names = [*NAMES[::-1], "gone.jpg"]
    split = ["test", "train"] * 3 + ["val"]
    write(place, rows([""] * 7, split, names=names, header="path,label,split"))
    found = list(table.paths(place / "t.csv", {}))
    assert [path for path, _ in found] == [str(place / name) for name in names]
    assert [problem for _, problem in found] == [None] * 6 + ["there is no such file or folder"]


def test_the_fingerprint_tells_changes(place):
    prints = [
        sources.find(write(place, text) + options)["all"].fingerprint
        for text, options in (
            (rows(CATS), ""),
            (rows(("dog", *CATS[1:])), ""),
            (rows([name.upper() for name in CATS]), ""),
            (rows(CATS, "123456", header="path,label,site"), ""),
            (rows(CATS, "123456", header="path,label,weight"), ""),
            (rows(CATS, "aabbcc", header="path,label,group"), ""),
        )
    ]
    assert len(set(prints)) == len(prints)


MISTAKES = {
    "column": (rows(CATS), "?label=lable", "no column 'lable'.*did you mean 'label'"),
    "option": (rows(CATS), "?lable=x", "no option 'lable'; did you mean 'label'"),
    "bare option": (rows(CATS), "?label", "'label' is no option"),
    "twice": (rows(CATS), "?label=label&label=path", "given twice"),
    "one column for two": (rows(CATS), "?label=path&path=path", "named for two things"),
    "label and labels": (rows(CATS), "?label=label&labels=a,b", "give one of them"),
    "missing files": (rows(CATS, names=("x.jpg", "y.jpg", *NAMES[2:])), "",
                      "2 of 6 paths.*'x.jpg': there is no such file"),
    "all missing": (rows(CATS, names=[x.rpartition("/")[2] for x in NAMES]), "", "5 of 6 paths.*root=.*/a"),
    "an address": (rows(CATS, names=("http://x/1.jpg", *NAMES[1:])), "", "1 of 6 paths.*an address"),
    "an empty path": (rows(CATS, names=("", *NAMES[1:])), "", "1 of 6 paths.*the cell is empty"),
    "doubled": (rows(CATS, names=(*NAMES[:3], "./a/1.jpg", NAMES[2], "6.jpg")), "",
                r"2 row\(s\) name a file.*'a/1.jpg'"),
    "ragged": (rows(CATS) + "1,2,3\n4\n", "", r"2 line\(s\) have not the 2 cells.*line 8 has 3"),
    "mixed columns": ("path,label\na/1.jpg;cat\na/2.jpg,dog\n", "", r"1 line\(s\).*';' stands in it, too"),
    "mixed sets": (rows(("a|b", "a;b", "a", "a", "b", "b")), "", "'|' and ';' between labels, e.g. 'a|b', 'a;b'"),
    "both kinds": (rows(('"[""a"",""b""]"', "a", "b", "b", "a", "")), "",
                   r"1 list\(s\) and 4 plain name\(s\), e.g. 'a'"),
    "unnamed": (rows(CATS, "abcdef", header="path,label,"), "", "column 3 has no name"),
    "same names": (rows(CATS, CATS, header="path,label, label"), "", "two columns are called 'label'"),
    "no header": (rows(CATS, header="a/1.jpg,cat"), "", "the first line has a file"),
    "no paths": (rows(CATS, header="x,label", names="abcdef"), "", "no column is called path"),
    "empty": ("", "", "is empty"),
    "no rows": ("path,label\n", "", "no rows"),
    "no text": (b"path,label\n\xff\xfe,cat\n", "", "no text in UTF-8"),
    "alike": (rows(("cat", "Cat", *CATS[2:])), "", "'Cat' and 'cat' differ by case alone"),
    "one class": (rows(["cat"] * 6), "", "all rows have one label, 'cat'"),
    "some without": (rows((*CATS[:4], "", "")), "", r"2 row\(s\) have no label, the first is row 5"),
    "split": (rows(CATS, "012012", header="path,label,split"), "", r"6 row\(s\) have no split.*'0'"),
    "no train": (rows(CATS, ["val"] * 6, header="path,label,split"), "", "validation but no train"),
    "two of a split": (rows(CATS, ("train", "train", "train", "val", "dev", "dev"), header="path,label,split"), "",
                       "'dev' and 'val', both validation"),
    "class of test": (rows((*CATS[:5], "owl"), ["train"] * 4 + ["test"] * 2, header="path,label,split"), "",
                      r"1 class\(es\) have no row in train, e.g. 'owl'"),
    "leak": (rows(CATS, "ppqqpq", ["train"] * 4 + ["test"] * 2, header="path,label,group,split"), "",
             r"2 group\(s\) of column 'group' are in several splits, e.g. 'p' in train and test"),
    "no group": (rows(CATS, ("", "p", "p", "", "p", "p"), header="path,label,group"), "", r"2 row\(s\) have no group"),
    "weights": (rows(CATS, ("1", "-1", "x", "1", "nan", "1"), header="path,label,weight"), "",
                r"3 cell\(s\) of column 'weight' are no weights, e.g. '-1'"),
    "no weight": (rows(CATS, "000000", header="path,label,weight"), "", "all weights in column 'weight' are 0"),
    "bits": (rows("010101", ("1", "0", "0.3", "1", "", "1"), header="path,a,b"), "?labels=a,b",
             r"2 cell\(s\) of column 'b' are neither 0 nor 1, e.g. '0.3'"),
    "one column of bits": (rows("010101", header="path,a"), "?labels=a", "two columns or more"),
    "root": (rows(CATS), "?root=gone", "root=gone is no folder"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(place, mistake):
    text, options, message = MISTAKES[mistake]
    with pytest.raises(UserError, match=message) as error:
        sources.find(write(place, text) + options)
    assert "\n" not in str(error.value) and str(error.value).count("..") == str(error.value).count("/..")


def test_other_files_are_refused(place):
    for name, content, message in (
        ("t.jsonl", '{"path": "6.jpg"}\n[1]\n', "line 2 is no JSON object"),
        ("t.parquet", "PAR1", "no whole Parquet file"),
    ):
        if name == "t.parquet":
            pytest.importorskip("pyarrow")
        with pytest.raises(UserError, match=message):
            sources.find(write(place, content, name))
    with pytest.raises(UserError, match="there is no table .*did you mean 't.jsonl'"):
        sources.find(f"table/{place}/t.jsnl")
    with pytest.raises(UserError, match="is no file; name the table itself"):
        sources.find(f"table/{place}")


def test_pictures_inside_of_parquet_are_another_kind(place):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    held = pyarrow.table({"image": [{"bytes": b"x", "path": "1.jpg"}], "label": [0]})
    parquet.write_table(held, place / "t.parquet")
    with pytest.raises(UserError, match="'image' holds bytes.*hf/"):
        sources.find(f"table/{place}/t.parquet")


def test_numbers_that_are_no_classes_are_refused(tmp_path):
    names = [f"{i}.jpg" for i in range(100)]
    for name in names:
        (tmp_path / name).touch()
    for label in ([f"{i / 7:.3f}" for i in range(100)], list(map(str, range(100)))):
        with pytest.raises(UserError, match="100 different values in 100 rows: they look like .*not classes"):
            sources.find(write(tmp_path, rows(label, names=names)))
    grades = [str(i % 5 / 2) for i in range(100)]
    found = sources.find(write(tmp_path, rows(grades, names=names)))["all"]
    assert found.classes == ("0.0", "0.5", "1.0", "1.5", "2.0")
    write(tmp_path, rows(list(map(str, range(21_000))), names=["x"] * 21_000))
    with pytest.raises(UserError, match="21,000 different values, more than 20,000"):
        table_labels.of_column(table_file.read(tmp_path / "t.csv"), "label")


def test_names_keep_their_options():
    for options in ({"label": "a&b%", "split": "x=y+z?"}, {"path": "ä b"}, {}):
        name = query.joined("table/x.csv", options)
        assert query.split(name) == ("table/x.csv", options)
    assert query.split("folder/what?x=1") == ("folder/what?x=1", {})
    assert query.path("table/a/b.csv?label=x/y") == "a/b.csv" and query.path("digits") is None


def test_a_run_knows_when_a_label_was_changed(place):
    """By the stored splits: the files are the same, and so are their marks."""
    name = write(place, rows(CATS))
    stored = stored_splits.store(found := sources.load(name, split_ratios=(0.6, 0.4, 0)))
    assert not stored_splits.changes(stored, found, (), tuple(found)).differs
    name = write(place, rows((*CATS[:2], "dog", *CATS[3:])))
    placed, new = stored_splits.place(stored, bases := sources.find(name))
    change = stored_splits.changes(stored, dealing.sources(placed, bases, stored.classes), (), tuple(found))
    assert not new["all"].size and sum(change.altered.values(), ()) == ("b/3.png",) and change.differs
