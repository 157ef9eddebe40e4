"""What a batch is made of: the leaves that sources declare, and what becomes of everything else in an item."""

import numpy as np
import pytest
from fixtures.streams import Encoded, Rows

from jaxcls import augment
from jaxcls.data import metadata, packing, pipeline, sources
from jaxcls.data.base import LEAVES, ArraySource, Leaf, fitted, leaves, subset
from jaxcls.errors import UserError

AS_IS = augment.host_transform([], channels=3)
CROP = augment.host_transform([augment.parse("random_resized_crop(8)")], channels=3)
AGE = np.linspace(20, 70, 11).astype(np.float32)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 200, shape, dtype=np.uint8)


def arrays(*picture, **more):
    ids = [str(i) for i in range(11)]
    return ArraySource(numbers(11, *picture), np.arange(11) % 3, ("a", "b", "c"), ids, more=more)


class Declaring(Encoded):
    """Encoded pictures with two further leaves and metadata each; `change` is put over item 2, None takes away."""

    def __init__(self, declared=None, change=None):
        super().__init__()
        self.leaves = {**LEAVES, "box": Leaf((2, 2), np.int16), "weight": Leaf((), np.float32), **(declared or {})}
        self.change = change or {}

    def __getitem__(self, row):
        item = {**super().__getitem__(row), "box": np.full((2, 2), row, np.int16), "weight": row / 8}
        item |= {"site": f"s{row}", "age": 30 + row, **(self.change if row == 2 else {})}
        return {key: value for key, value in item.items() if value is not None}


def stream(source, transform=CROP, batch_size=11, **options):
    return pipeline.Stream(source, transform, Rows(len(source), batch_size), seed=3, **options)


def test_the_fingerprint_of_pictures_and_labels_is_that_of_old_checkpoints():
    def of(**more):
        images = np.zeros((21, 8, 8, 3), np.uint8)
        return ArraySource(images, np.arange(21) % 3, ("a", "b", "c"), [""] * 21, more=more).fingerprint

    assert of() == "b07f030c90a7edf9"  # computed before there were further leaves
    zeros, ones = np.zeros(21, np.float32), np.ones(21, np.float32)
    others = [of(x=zeros), of(y=zeros), of(x=ones), of(x=zeros.astype(int)), of(x=zeros[:, None]), of(x=zeros, y=ones)]
    assert len({of(), *others}) == 7 and of(y=ones, x=zeros) == others[-1]


def test_further_leaves_go_where_the_pictures_go():
    outline = numbers(11, 5, 4, seed=1)
    source = arrays(5, 4, 3, outline=outline, age=AGE)
    assert list(source.arrays) == list(source.leaves) == ["image", "label", "outline", "age"]
    assert source.leaves["outline"] == Leaf((5, 4), np.dtype(np.uint8)) and source.leaves["age"].dtype == np.float32
    part = subset(subset(source, [5, 3, 8]), [2, 0])
    np.testing.assert_array_equal(part.arrays["outline"], outline[[8, 5]])
    assert part[1]["age"] == AGE[5] and part[1]["id"] == "5"
    grey = sources._with_channels(part, 1)
    assert grey.images.shape == (2, 5, 4, 1)
    np.testing.assert_array_equal(grey.arrays["outline"], outline[[8, 5]])


def test_a_source_that_declares_nothing_has_image_and_label():
    assert leaves(Encoded()) == leaves(subset(Encoded(), [1])) == LEAVES
    assert {"image": Leaf(None, np.dtype(np.uint8)), "label": Leaf((), np.dtype(np.int32))} == LEAVES
    assert subset(Declaring(), [1]).leaves == leaves(Declaring())
    assert sources.Synthetic(4, (8, 6, 1), 2, 0).leaves["image"].shape == (8, 6, 1)


@pytest.mark.parametrize("picture", [(5, 4, 3), (2, 5, 4, 3)], ids=["pictures", "clips"])
def test_a_stream_gives_what_is_looked_up_in_memory(picture):
    source = arrays(*picture, box=numbers(11, 2, 2, seed=1).astype(np.int16), age=AGE, good=AGE > 40)
    streamed = stream(source, AS_IS, 4)(2)
    row = pipeline.train_rows(2, n=11, batch_size=4, seed=3)
    looked_up = pipeline.lookup(source.arrays, row)
    assert sorted(streamed) == sorted(looked_up) == ["age", "box", "draw", "epoch", "good", "image", "index", "label"]
    for key, value in streamed.items():
        np.testing.assert_array_equal(value, looked_up[key])
        assert value.dtype == looked_up[key].dtype
    np.testing.assert_array_equal(streamed["age"], AGE[row["index"]])


def test_declared_leaves_are_stacked_and_metadata_stays_out():
    batch = stream(Declaring())(0)
    assert sorted(batch) == ["box", "draw", "epoch", "image", "index", "label", "weight"]
    np.testing.assert_array_equal(batch["box"], np.broadcast_to(batch["index"][:, None, None], (11, 2, 2)))
    np.testing.assert_array_equal(batch["weight"], batch["index"] / 8)
    assert batch["box"].dtype == np.int16 and batch["weight"].dtype == np.float32
    assert metadata.rows(Declaring())[1] == {"site": [f"s{i}" for i in range(11)], "age": [30 + i for i in range(11)]}
    assert metadata.rows(arrays(5, 4, 3, age=AGE))[1] == {}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"box": np.zeros((2, 3), np.int16)}, ["'box'", "int16 (2, 3)", "int16 (2, 2)"]),
        ({"box": np.full((2, 2), 0.5)}, ["'box'", "float64 (2, 2)", "int16 (2, 2)"]),
        ({"box": np.full((2, 2), 40_000)}, ["'box'", "int64 (2, 2)", "int16 (2, 2)"]),
        ({"box": [[1, 2], [3]]}, ["'box'", "int16 (2, 2)"]),
        ({"weight": "heavy"}, ["'weight'", "float32 ()"]),
        ({"weight": None}, ["'weight'", "missing", "`leaves`"]),
        ({"marks": np.zeros(3)}, ["'marks'", "(3,)", "declare it in the source's `leaves`"]),
    ],
)
def test_an_item_that_is_not_as_declared_is_one_line_that_names_it(change, words):
    with pytest.raises(UserError) as caught:
        stream(Declaring(change=change))(0)
    assert all(word in str(caught.value) for word in ["cat/2.png", *words]) and "\n" not in str(caught.value)


def test_what_can_be_put_without_loss_fits():
    for value, leaf in [
        (3, Leaf((), np.dtype(np.int32))),
        (np.int64(3), Leaf((), np.dtype(np.uint8))),
        (2.0, Leaf((), np.dtype(np.int16))),
        (0.1, Leaf((), np.dtype(np.float32))),
        (True, Leaf((), np.dtype(np.float32))),
        ([[1, 2], [3, 4]], Leaf((2, 2), np.dtype(np.float32))),
    ]:
        np.testing.assert_allclose(fitted(value, "x", "v", leaf), value, rtol=1e-7)


def test_a_picture_that_is_not_uint8_is_refused():
    class Floats(Encoded):
        def __getitem__(self, row):
            return {**super().__getitem__(row), "image": np.zeros((4, 4, 3))}

    with pytest.raises(UserError, match="'image' is float64, but pictures must be uint8"):
        stream(Floats(), AS_IS)(0)


@pytest.mark.parametrize("name", ["id", "index", "epoch", "draw", "mask", "views"])
def test_names_that_a_batch_needs_are_refused(name):
    with pytest.raises(UserError, match=f"can't be called '{name}'"):
        arrays(5, 4, 3, **{name: AGE})
    with pytest.raises(UserError, match=f"can't be called '{name}'"):
        stream(Declaring({name: Leaf((), np.int32)}))


def test_what_can_not_be_a_leaf_is_refused():
    with pytest.raises(UserError, match="'outline' of Declaring has no shape"):
        stream(Declaring({"outline": Leaf(None, np.float32)}))
    with pytest.raises(UserError, match="can't be called 'image'"):
        arrays(5, 4, 3, image=AGE)
    with pytest.raises(ValueError, match="11 images and age float32 \\(10,\\) do not match"):
        arrays(5, 4, 3, age=AGE[:10])
    with pytest.raises(ValueError, match="11 images and name <U1"):
        arrays(5, 4, 3, name=np.array(["a"] * 11))


def test_a_packed_file_has_no_place_for_further_leaves(tmp_path):
    source = Declaring()
    source.fingerprint = "f"
    with pytest.raises(UserError, match="config.data.pack must be 0: .* not 'box', 'weight' of the source"):
        packing.pack(source, tmp_path / "packed", CROP, 8)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("training", [True, False])
def test_shapes_are_those_of_a_streams_batch(training):
    rows = Rows(11, 4) if training else lambda step: pipeline.eval_rows(step, n=11, batch_size=4)
    transform = CROP if training else augment.host_transform([augment.parse("resize(6, 7)")], channels=1)
    for views in (0, 2)[: 1 + training]:
        batch = pipeline.Stream(Declaring(), transform, rows, views=views)(0)
        shapes = pipeline.shapes(Declaring(), transform, in_memory=False, training=training, views=views)
        assert shapes.keys() == batch.keys() - {"index", "epoch", "draw", "mask"}
        assert shapes == {name: (batch[name].shape[1:], batch[name].dtype) for name in shapes}


def test_shapes_of_a_set_in_memory_read_no_picture():
    source = arrays(5, 4, 3, box=numbers(11, 2, 2))
    shapes = pipeline.shapes(source, None, in_memory=True, training=True, views=2)
    batch = pipeline.lookup(source.arrays, {"index": np.arange(3)})
    assert shapes == {name: (batch[name].shape[1:], batch[name].dtype) for name in ("image", "label", "box")}


@pytest.mark.parametrize("change, word", [({"marks": np.zeros(3)}, "marks"), ({"box": np.zeros(3)}, "box")])
def test_shapes_refuse_what_a_stream_would(change, word):
    class First(Declaring):
        def __getitem__(self, row):
            return super().__getitem__(row) | change

    with pytest.raises(UserError, match=word):
        pipeline.shapes(First(), CROP, in_memory=False, training=True)
