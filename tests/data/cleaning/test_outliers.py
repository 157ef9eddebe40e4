import numpy as np
import pytest
from sklearn.cluster import DBSCAN

from jaxcls.data.cleaning import features, outliers


def blobs(rng, n=200, d=20):
    y = np.repeat([0, 1], n)
    return rng.normal(size=(2 * n, d)) + 4 * y[:, None], y


def test_planted_outliers_are_found():
    x, y = blobs(np.random.default_rng(0))
    x[[5, 250]] += 12 * np.sign(np.random.default_rng(1).normal(size=(2, 20)))
    found = outliers.outliers(x, y)
    assert found.rows[:2].tolist() in ([5, 250], [250, 5])
    assert len(found.rows) <= 12  # 3 %
    assert (found.scores[found.rows[:2]] > 1.5).all() and set(found.eps) == {0, 1}


def test_a_picture_of_the_other_class_is_an_outlier_of_its_own():
    x, y = blobs(np.random.default_rng(2))
    y[7] = 1  # lies among those of class 0
    assert 7 in outliers.outliers(x, y).rows[:3]


def test_noise_is_what_dbscan_says():
    x, y = blobs(np.random.default_rng(3), n=60)
    found = outliers.outliers(x, y)
    points = outliers.components(x)
    for label in (0, 1):
        rows = np.flatnonzero(y == label)
        noise = DBSCAN(eps=found.eps[label], min_samples=5).fit(points[rows]).labels_ == -1
        assert set(rows[noise]) == set(found.rows) & set(rows)
        away = np.linalg.norm(points[rows][:, None] - points[rows][None], axis=-1)
        assert found.scores[rows] * found.eps[label] == pytest.approx(np.sort(away, axis=1)[:, 4])


def test_small_classes_are_left_alone_and_large_ones_are_cut(monkeypatch):
    x, y = blobs(np.random.default_rng(4))
    y[:10] = 2
    monkeypatch.setattr(outliers, "LARGEST", 64)
    found = outliers.outliers(x, y)
    assert 2 not in found.eps and (found.scores[:10] == 0).all() and (found.scores[10:] > 0).all()


def test_the_radius_is_the_knee_of_the_curve_or_the_fence():
    tail = np.concatenate([np.linspace(1, 1.1, 95), [3, 4, 5, 6, 7]])
    # Farthest below the line from 1 to 7 over 100 points is the last one before the jump.
    assert outliers.radius(np.random.default_rng(0).permutation(tail)) == pytest.approx(1.1 + 0.05, abs=0.05)
    even = np.linspace(1, 2, 101)  # no knee: the fence of 1.75 + 1.5 x 0.5
    assert outliers.radius(even) == pytest.approx(2.5)
    assert outliers.radius(np.zeros(5)) > 0  # DBSCAN asks for that


def test_handmade_features_see_shape_and_colour():
    base = np.full((64, 64, 3), 128, np.uint8)
    upright, lying, red = base.copy(), base.copy(), base.copy()
    upright[:, 28:36] = 255
    lying[28:36] = 255
    red[..., 0] = 200
    plain, a, b, c = features.handmade(np.stack([base, upright, lying, red]))
    assert a.shape == (608,) and a.dtype == np.float32 and np.isfinite(a).all()
    assert not plain[:512].any() and np.allclose(c[:512], 0)  # no edges
    assert np.abs(a[:512] - b[:512]).max() > 0.3
    cells = a[:512].reshape(8, 8, 8)  # an upright edge has a horizontal gradient: orientation 0
    assert cells.sum((0, 1)).argmax() == 0 and b[:512].reshape(8, 8, 8).sum((0, 1)).argmax() == 4
    assert c[512 : 512 + 48].reshape(16, 3)[:, 0] == pytest.approx(200 / 255, abs=1e-4)
    with pytest.raises(ValueError, match="multiples of 8"):
        features.handmade(np.zeros((1, 60, 64, 3), np.uint8))
