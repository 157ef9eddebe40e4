"""Labels in file names: dogs-vs-cats and Oxford pets as they are downloaded."""

import pytest

from jaxcls.data import sources
from jaxcls.errors import UserError


def touch(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


@pytest.fixture
def place(tmp_path):
    touch(tmp_path / "dogs", [f"train/{kind}.{i}.jpg" for kind in ("dog", "cat") for i in range(3)])
    touch(tmp_path / "dogs", ["test/cat.9.jpg", "train/words.txt", "train/.hidden.jpg"])
    touch(tmp_path / "pets", ["great_pyrenees_12.jpg", "Abyssinian_1.jpg", "Abyssinian_10.jpg", "pug_7.jpg"])
    return tmp_path


def test_classes_are_what_the_expression_finds(place):
    source = sources.find(f"names/{place}/dogs?label=(cat|dog)\\.\\d")["all"]
    assert source.classes == ("cat", "dog") and source.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert source.ids[0] == "test/cat.9.jpg" and source[6] == {
        "image": b"train/dog.2.jpg", "label": 1, "id": "train/dog.2.jpg"
    }  # fmt: skip
    assert sum(count for count, _ in source.left_out.values()) == 2
    pets = sources.find(r"names/pets?label=^(.+)_\d+\.jpg$", data_dir=place)["all"]
    assert pets.classes == ("Abyssinian", "great_pyrenees", "pug") and pets.labels.tolist() == [0, 0, 1, 2]


def test_a_group_that_is_called_label_and_splits(place):
    found = sources.find(f"names/{place}/dogs?label=(?P<place>\\w+)/(?P<label>[a-z]+)&split=^(\\w+)/")
    assert {k: (len(v), v.classes) for k, v in found.items()} == {
        "train": (6, ("cat", "dog")), "test": (1, ("cat", "dog"))
    }  # fmt: skip
    assert found["test"].labels.tolist() == [0]


def test_the_fingerprint_has_the_labels(place):
    one, other = (sources.find(f"names/{place}/dogs?label={x}")["all"] for x in (r"(cat|dog)\.", r"\.(\d)\."))
    assert one.ids == other.ids and one.fingerprint != other.fingerprint
    assert other.classes == ("0", "1", "2", "9")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "needs label=REGEX"),
        ("?label=(", "no regular expression"),
        ("?label=cat", "has no group"),
        ("?label=(dog)", r"finds nothing in 4 of 7 pictures, e.g. 'test/cat.9.jpg'"),
        ("?label=(owl)?", "finds nothing in 7 of 7"),
        ("?label=(\\.jpg)", "all pictures have the label '.jpg'"),
        ("?label=(cat|dog)&split=(\\d)", "finds '9' in 'test/cat.9.jpg' and no split in 7 pictures"),
        ("?label=(cat|dog)&split=^(test)", "finds nothing in 6 of 7"),
        ("?lable=(cat|dog)", "no option 'lable'; did you mean 'label'"),
    ],
)
def test_mistakes_are_one_line(place, options, message):
    with pytest.raises(UserError, match=message) as error:
        sources.find(f"names/{place}/dogs{options}")
    assert "\n" not in str(error.value)


def test_folders_that_are_none_are_refused(place):
    with pytest.raises(UserError, match="does not exist"):
        sources.find(f"names/{place}/dgs?label=(x)")
    (place / "empty").mkdir()
    with pytest.raises(UserError, match="has no pictures"):
        sources.find(f"names/{place}/empty?label=(x)")
    touch(place / "only", ["test/cat1.jpg", "test/dog1.jpg"])
    with pytest.raises(UserError, match="finds test but no train"):
        sources.find(f"names/{place}/only?label=(cat|dog)&split=^(\\w+)/")
    assert len(sources.find(f"names/{place}/only?label=(cat|dog)&split=^(\\w+)/", trains=False)["test"]) == 2
