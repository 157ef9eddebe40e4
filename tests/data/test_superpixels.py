"""Superpixels and their graphs, by hand and by loops."""

import numpy as np
import pytest

from jaxcls.data import superpixels

LABELS = np.array([[0, 0, 1], [2, 2, 1], [2, 2, 3]])


def test_nodes_by_hand():
    image = np.zeros((3, 3, 2), np.uint8)
    image[..., 0], image[LABELS == 2, 1] = 51, 255
    found = superpixels.nodes(image, LABELS)
    want = [
        [0.2, 0, 0.5 / 3, 1 / 3, 2 * 4 / 9],
        [0.2, 0, 1 / 3, 2.5 / 3, 2 * 4 / 9],
        [0.2, 1, 2 / 3, 1 / 3, 4 * 4 / 9],
        [0.2, 0, 2.5 / 3, 2.5 / 3, 4 / 9],
    ]
    np.testing.assert_allclose(found, want, rtol=1e-6)
    assert found.dtype == np.float32


def test_segments_that_share_a_side_touch():
    found = superpixels.edges(LABELS, np.zeros((4, 2)), "touching")
    pairs = {(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)}
    assert sorted(map(tuple, found.tolist())) == sorted(pairs | {(j, i) for i, j in pairs})
    assert found[:, 1].tolist() == sorted(found[:, 1].tolist()) and found.dtype == np.uint16


@pytest.mark.parametrize("neighbours, count", [(3, 9), (8, 4), (8, 1)])
def test_nearest_by_loops(neighbours, count):
    points = np.random.default_rng(count).random((count, 2))
    found = superpixels.edges(np.zeros((10, 20), int), points, "nearest", neighbours)
    scaled = points * [10, 20]
    distance = lambda i, j: np.hypot(*(scaled[i] - scaled[j]))  # noqa: E731
    others = {i: sorted(distance(i, j) for j in range(count) if j != i)[:neighbours] for i in range(count)}

    def weight(i, j):
        return sum(np.exp(-((distance(i, j) / (np.mean(others[a]) + 1e-8)) ** 2)) for a in (i, j)) / 2

    for i in range(count):
        best = sorted((j for j in range(count) if j != i), key=lambda j: -weight(i, j))[:neighbours]
        assert found[found[:, 1] == i, 0].tolist() == best
    assert len(found) == count * min(neighbours, count - 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_segments_are_about_as_many_as_wanted_follow_colours_and_are_always_the_same(channels):
    image = np.zeros((28, 28, channels), np.uint8)
    image[8:20, 8:20] = 250
    labels = superpixels.segments(image, 40)
    assert 25 <= labels.max() + 1 <= 60 and sorted(np.unique(labels)) == list(range(labels.max() + 1))
    mean = superpixels.nodes(image, labels)[:, 0]
    assert ((mean < 0.05) | (mean > 0.93)).all()  # no segment has both
    np.testing.assert_array_equal(labels, superpixels.segments(image.copy(), 40))
    nodes, edges = superpixels.graph(np.zeros((1, 1, channels), np.uint8), 75)
    assert (len(nodes), len(edges)) == (1, 0)
