"""Trees of classes against brute force, and files of trees as people write them."""

import class_trees
import numpy as np
import pytest
from hypothesis import assume, given

from jaxcls.data import class_tree, tree_file
from jaxcls.errors import UserError

ANIMALS = {"cat": "animal", "dog": "animal", "poodle": "dog", "car": "vehicle", "animal": "thing", "vehicle": "thing"}


def built(parents, classes):
    """The tree, or None of one that groups nothing."""
    try:
        return class_tree.build(parents, classes, "tree")
    except UserError as error:
        assert "puts no classes together" in str(error)
        return None


@given(class_trees.pairs())
def test_distances_are_those_of_brute_force(pairs):
    parents, classes = pairs
    tree = built(parents, classes)
    assume(tree is not None)
    every = np.arange(len(classes))
    edges, severity = tree.edges(every[:, None], every), tree.severity(every[:, None], every)
    meeting = tree.meeting(every[:, None], every)
    top = {name for name in classes for name in [class_trees.ancestors(parents, name)[-2]]}
    for i, a in enumerate(classes):
        for j, b in enumerate(classes):
            common = class_trees.meeting(parents, a, b)
            if len(top) == 1:
                assert tree.nodes[meeting[i, j]] == common
            assert edges[i, j] == class_trees.edges(parents, a, b)
            assert severity[i, j] == (i != j and class_trees.height(parents, classes, common))
    assert tree.roots == len(top)


@given(class_trees.pairs())
def test_levels_are_ever_finer_and_end_with_the_classes(pairs):
    parents, classes = pairs
    tree = built(parents, classes)
    assume(tree is not None)
    sizes = [len(tree.groups(level)[0]) for level in tree.levels]
    assert sizes == sorted(set(sizes)) and sizes[0] > 1 and sizes[-1] == len(classes)
    several = tree.roots > 1
    for level in tree.levels:
        names, group = tree.groups(level)
        way = [class_trees.ancestors(parents, name)[-2::-1] for name in classes]  # from the root down to the class
        expected = [names_of[min(level - several, len(names_of) - 1)] for names_of in way]
        assert [names[i] for i in group] == expected
        assert list(dict.fromkeys(group.tolist())) == list(range(len(names)))  # in the order of their first classes


@given(class_trees.pairs())
def test_what_is_written_is_the_same_tree(tmp_path_factory, pairs):
    tree = built(*pairs)
    assume(tree is not None)
    folder = tmp_path_factory.mktemp("tree")
    tree_file.write(folder, tree)
    again = tree_file.of_workdir(folder, pairs[1])
    assert again.nodes == tree.nodes and again.roots == tree.roots and (again.parent == tree.parent).all()


def test_a_tree_by_hand():
    tree = class_tree.build(ANIMALS, ("cat", "dog", "poodle", "car"), "tree")
    assert tree.levels == (1, 2, 3) and tree.roots == 1
    assert [tree.groups(level)[0] for level in tree.levels] == [
        ("animal", "vehicle"),
        ("cat", "dog", "car"),
        ("cat", "dog", "poodle", "car"),
    ]
    named = dict(zip(tree.nodes, tree.height.tolist(), strict=True))
    assert named == {"cat": 0, "dog": 1, "poodle": 0, "car": 0, "animal": 2, "vehicle": 1, "thing": 3}
    assert tree.severity(np.array([0, 1, 0]), np.array([1, 2, 3])).tolist() == [2, 1, 3]
    assert tree.edges(np.array([0, 1, 0]), np.array([1, 2, 3])).tolist() == [2, 1, 4]
    assert tree.lines() == ["class tree: 4 classes in 2 > 3 > 4 groups by level"]


CLASSES = ("a", "b", "c, d")
GOOD = {
    "header": 'child,parent\na,x\nb,x\n"c, d",y\n',
    "no header": 'a,x\nb,x\n"c, d",y\n',
    "a byte-order mark, semicolons, CRLF": "\ufeffchild;parent\r\na;x\r\nb;x\r\nc, d;y\r\n",
    "tabulators, blanks, empty lines": "child\tparent\n\n a\tx \nb\t x\n\t\nc, d\ty\n",
    "other columns, another order": 'parent,id,Child\nx,1,a\nx,2,b\ny,3,"c, d"\n',
    "roots with lines": 'a,x\nb,x\n"c, d",y\nx,\ny,\n',
    "twice the same, and classes of other data": 'a,x\na,x\nb,x\n"c, d",y\nzebra,y\nq,r\n',
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_files_as_people_write_them(tmp_path, text):
    (tmp_path / "tree.csv").write_bytes(text.encode())
    tree = tree_file.read("tree.csv", CLASSES, "config.data.tree", tmp_path)
    assert tree.groups(1)[0] == ("x", "y") and tree.groups(1)[1].tolist() == [0, 0, 1]
    assert tree.roots == 2 and tree.lines()[1] == "class tree: it has 2 roots, which were put below one"


BAD = {
    "": "has no line with a child and a parent",
    "child,parent\n": "has no line with a child and a parent",
    "a,x\nb,x\n": "has no line for 1 of the classes, the first 'c, d'; it has a, b, x",
    "a,x\nb,x\nc;y\n": "line 3 has no child and parent; it needs these two columns",
    'A,x\nB,x\n"c,  D",y\n': "has no line for 3 of the classes, the first 'a'; did you mean 'A'?",
    'a,x\nb,x\n"c,  D",y\n': "has no line for 1 of the classes, the first 'c, d'; did you mean 'c,  D'?",
    'a,x\nb,x\n"c, d",y\nx,y\ny,x\n': "goes in a circle: x > y > x; leave the parent of a root empty",
    'a,a\nb,b\n"c, d",x\n': "goes in a circle: a > a and 1 more; leave the parent of a root empty",
    'a,x\nb,x\n"c, d",y\na,y\nb,y': "'a' has the parents 'x' and, in line 4, 'y' (2 such children); a node has one",
    "a\nb\nc\n": "line 1 has no child and parent (3 such lines)",
    ",x\na,x\n": "line 1 has no child and parent",
    "a,x,1\nb,x,2\n": "line 1 has no child and parent (2 such lines)",
    'a,x\nb,x\n"c, d",x\n': "puts no classes together, so it tells nothing of them",
    "\xff\xfea": "is no text in UTF-8",
    'a,"x\n' + "y" * 200_000: "cannot be read (field larger than field limit",
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:12]))
def test_what_can_not_be_used_is_one_line(tmp_path, text):
    path = tmp_path / "tree.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as caught:
        tree_file.read(path, CLASSES, "config.data.tree")
    assert BAD[text] in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"config.data.tree: {path}")


def test_what_is_no_file_is_one_line(tmp_path):
    for place, why in ((tmp_path, "Is a directory"), (tmp_path / "no.csv", "No such file"), ("a\0b", "null")):
        with pytest.raises(UserError, match=why):
            tree_file.read(place, CLASSES, "config.data.tree")
    assert tree_file.of_workdir(tmp_path, CLASSES) is None
