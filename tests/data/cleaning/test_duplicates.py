import collections
import io

import numpy as np
import pytest
import scipy.fft
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxcls.data import sources
from jaxcls.data.cleaning import duplicates
from jaxcls.data.cleaning.duplicates import Link
from jaxcls.data.cleaning.survey import Collection, collect, survey


def smooth(rng, side=96):
    """A picture with large shapes and some texture, about as compressible as a photograph."""
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    return Image.fromarray(
        (np.asarray(coarse, np.int16) + rng.integers(-12, 13, (side, side, 3))).clip(0, 255).astype(np.uint8)
    )


def reencoded(image, quality=60):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def of_images(images):
    """A survey of pictures of any sizes, through PNG bytes."""
    items = []
    for image in images:
        file = io.BytesIO()
        image.save(file, "PNG")
        items.append({"image": file.getvalue(), "label": 0, "id": str(len(items))})

    class Listed(list):
        classes, labels, ids = ("a",), np.zeros(len(items), np.int32), [x["id"] for x in items]

    return survey(Collection({"all": Listed(items)}))


def test_hashes_are_the_signs_of_a_cosine_transform():
    rng = np.random.default_rng(0)
    greys = rng.integers(0, 256, (20, 32, 32), dtype=np.uint8)
    greys[3] = 77
    hashes = duplicates.perceptual_hashes(greys)
    lowest = sorted(((u, v) for u in range(32) for v in range(32)), key=lambda x: (x[0] + x[1], x[0]))[1:65]
    for grey, found in zip(greys, hashes, strict=True):
        transformed = scipy.fft.dctn(grey.astype(float) - grey.mean(), norm=None)
        values = np.array([transformed[u, v] for u, v in lowest])
        assert int(found).bit_count() == (values > np.median(values)).sum()
        places = np.arange(64).reshape(16, 4).T.ravel()  # bit i holds the frequency places[i]
        expected = sum(1 << i for i, place in enumerate(places) if values[place] > np.median(values))
        assert int(found) == expected
    assert hashes[3] == 0


@given(st.integers(0, 2**32), st.integers(0, 11), st.integers(2, 60))
def test_near_pairs_are_all_pairs_within_the_radius(seed, radius, n):
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**64, 4, dtype=np.uint64)
    masks = np.array(
        [sum(1 << int(b) for b in rng.choice(64, rng.integers(0, 9), replace=False)) for _ in range(n)], np.uint64
    )
    hashes = centres[rng.integers(0, 4, n)] ^ masks
    a, b = duplicates.near_pairs(hashes, hashes, radius)
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    assert set(zip(a.tolist(), b.tolist(), strict=True)) == {
        (i, j) for i in range(n) for j in range(i + 1, n) if distance[i, j] <= radius
    }


def test_long_lists_are_looked_at_in_portions(monkeypatch):
    hashes = np.zeros(40, np.uint64)
    monkeypatch.setattr(duplicates, "_CANDIDATES", 64)
    a, _ = duplicates.near_pairs(hashes, hashes, 3)
    assert len(a) == 40 * 39 // 2


def test_copies_are_found_and_strangers_are_not():
    rng = np.random.default_rng(1)
    images = [smooth(rng) for _ in range(30)]
    first = images[0]
    copies = {
        "pixels": first.copy(),
        "jpeg": reencoded(first),
        "small": first.resize((60, 60)),
        "mirrored": first.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "grey": first.convert("L").convert("RGB"),
        "cut": first.crop((1, 1, 95, 95)),
    }
    links = duplicates.find(of_images([*images, *copies.values()]))
    found = {link.b: link for link in links if link.a == 0}
    assert set(found) == set(range(30, 36))  # each with the original
    assert {name: found[30 + i].mirrored for i, name in enumerate(copies)} == {
        name: name == "mirrored" for name in copies
    }
    assert found[30].how == "same file" and found[30].score == 1  # PNG of the same pixels
    assert all(0 in (link.a, link.b) or min(link.a, link.b) >= 30 for link in links)  # no other picture


def test_the_same_pixels_in_another_file_are_identical(tmp_path):
    image = smooth(np.random.default_rng(2))
    for name in ("a/1.png", "a/2.bmp", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        image.save(tmp_path / name)
    Image.new("RGB", (9, 9), "red").save(tmp_path / "b/4.png")
    links = duplicates.find(survey(collect(f"folder/{tmp_path}")))
    assert links == [Link(0, 1, 1.0, False, "same pixels"), Link(0, 2, 1.0, False, "same file")]


def test_of_identical_pictures_the_most_preferred_stays():
    """Three of the same pixels and a smaller copy; the test picture, found last, takes the place of the first."""
    image = smooth(np.random.default_rng(4))
    seen = of_images([image, image, image.resize((70, 70)), image])
    links = duplicates.find(seen)
    assert [link[:2] for link in links] == [(0, 1), (0, 2), (0, 3)]
    prefer = {0: (1,), 1: (1,), 2: (0,), 3: (2,)}
    own = duplicates.centred(seen, links, prefer)
    assert [(*link[:2], link.how) for link in own] == [(0, 3, "same file"), (1, 3, "same file"), (2, 3, "similar")]
    assert set(duplicates.kept([0, 1, 2, 3], own, prefer)) == {0, 1, 2}


def test_the_scores_are_correlations():
    rng = np.random.default_rng(3)
    greys = rng.integers(0, 256, (4, 32, 32), dtype=np.uint8)
    greys[3] = 5
    a, b = np.array([0, 1, 0]), np.array([1, 2, 3])
    for mirrored in (False, True):
        found = duplicates.correlations(greys, a, b, mirrored)
        for i, j, score in zip(a[:2], b[:2], found, strict=False):
            other = greys[j][:, ::-1] if mirrored else greys[j]
            assert score == pytest.approx(np.corrcoef(greys[i].ravel(), other.ravel())[0, 1], abs=1e-5)
        assert found[2] == 0  # one grey has no correlation


def link(a, b, score=1.0):
    return Link(min(a, b), max(a, b), score, False, "similar")


@given(st.integers(1, 30), st.data())
def test_what_goes_has_a_direct_copy_that_stays(n, data):
    pairs = data.draw(st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda x: x[0] < x[1])))
    links = [link(*pair) for pair in pairs]
    groups = duplicates.components(n, links)
    reached = {row: {row} for row in range(n)}  # by flooding, slowly
    for _ in range(n):
        for a, b in pairs:
            reached[a] |= reached[b]
            reached[b] |= reached[a]
    assert groups.tolist() == [min(reached[row]) for row in range(n)]
    prefer = {row: (data.draw(st.integers(0, 3)), -row) for row in range(n)}
    gone = duplicates.kept(list(range(n)), links, prefer)
    for row, through in gone.items():
        other = through.a if through.b == row else through.b
        assert row in (through.a, through.b) and other not in gone and prefer[other] > prefer[row]
    for a, b in pairs:
        assert a in gone or b in gone


@pytest.mark.slow
def test_cifar100_has_26_groups_of_identical_pictures(shared):
    """What the README of the data says of them; ten have members in both splits."""
    imagecodecs = pytest.importorskip("imagecodecs", reason="the packed pictures are JPEG XL")
    found = {}
    for split in ("train", "test"):
        sheets = sorted((shared / "data/cifar100").glob(f"{split}-[0-9]*.jxl"))
        sheets = [imagecodecs.jpegxl_decode(sheet.read_bytes()) for sheet in sheets]
        images = np.concatenate([x.reshape(-1, 32, 25, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3) for x in sheets])
        found[split] = sources.ArraySource(
            images, np.zeros(len(images)), ("any",), [f"{split}{i}" for i in range(len(images))]
        )
    collection = Collection(found)
    links = [x for x in duplicates.find(survey(collection), radius=0) if x.how != "similar"]
    groups = collections.defaultdict(set)
    for x in links:
        groups[x.a] |= {x.a, x.b}
    assert len(groups) == 26
    assert sum(len({collection.splits[row] for row in rows}) == 2 for rows in groups.values()) == 10
