import numpy as np
import pytest
from PIL import Image

from jaxcls.data import groups, metadata, sources
from jaxcls.errors import UserError

IDS = ["cat/p1_a.jpg", "cat/p1_b.jpg", "dog/p2_a.jpg", "dog/p10_a.jpg"]


@pytest.mark.parametrize("pattern", [r"p(\d+)_", r"p\d+", r"(?:/)(p\d+)"])
def test_an_expression_names_the_group(pattern):
    found = groups.of_ids(IDS, pattern)
    assert found[0] == found[1] and len(set(found.tolist())) == 3


def test_a_file_names_the_group_from_here_or_from_the_folder_of_pictures(tmp_path):
    groups.write(tmp_path / "groups.csv", IDS, [7, 7, 1, 2])
    for where, root in ((str(tmp_path / "groups.csv"), "."), ("groups.csv", tmp_path)):
        assert groups.of_ids(IDS, where, root).tolist() == [2, 2, 0, 1]


@pytest.mark.parametrize(
    "text, message",
    [
        ("p(", "no regular expression"),
        ("p1_", "is not found in 'dog/p2_a.jpg' and 1 other of 4"),
        ("absent.csv", "cannot be read"),
        ("wrong.csv", "lacks the columns path and group"),
        ("short.csv", "has no line for 'cat/p1_b.jpg' and 2 other"),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path, text, message):
    (tmp_path / "wrong.csv").write_text("file,patient\na,1\n")
    groups.write(tmp_path / "short.csv", IDS[:1], [0])
    with pytest.raises(UserError, match=message):
        groups.of_ids(IDS, text, tmp_path)


@pytest.mark.parametrize("ratios, validation", [((0.5, 0.25, 0.25), None), ((0.7, 0, 0.3), 0.3)])
def test_a_folder_is_split_by_group(tmp_path, ratios, validation):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for patient in range(8):
            for view in range(3):
                Image.new("L", (4, 4), patient).save(tmp_path / name / f"{name}{patient}_{view}.png")
    options = {"split_ratios": ratios, "validation": validation}
    found = sources.load(f"folder/{tmp_path}", group_by=r"(\w+\d)_", **options)
    patients = [{name.rpartition("_")[0] for name in metadata.ids(source)} for source in found.values()]
    assert len(found) == 3 and sum(map(len, patients)) == 16 == len(set().union(*patients))
    apart = sources.load(f"folder/{tmp_path}", **options)
    assert sum(len({n.rpartition("_")[0] for n in metadata.ids(source)}) for source in apart.values()) > 16
    assert np.concatenate([source.labels for source in found.values()]).tolist().count(0) == 24
