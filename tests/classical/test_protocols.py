"""Linear classification on frozen features as the papers do it, against a loop in NumPy."""

import dataclasses

import numpy as np
import pytest

from jaxcls.classical import protocols
from jaxcls.classical.protocols import PROTOCOLS


def blobs(n, d=8, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(n) % classes).astype(np.int32)
    centres = 2 * np.eye(classes, d)
    return (centres[label] + 0.2 * rng.normal(size=(n, d))).astype(np.float32), label


def test_the_rates_are_those_of_the_papers():
    """SimCLR: 0.1 * batch / 256 on half a cosine by steps; MoCo: 30, times 0.1 at 60 and 80; lightly: to 0."""
    simclr, moco, lightly = (protocols.rates(PROTOCOLS[name], 256, 4) for name in ("simclr", "moco", "lightly"))
    assert simclr.shape == moco.shape == (100, 4) and lightly.shape == (90, 4)
    np.testing.assert_allclose(simclr.ravel()[[0, 200, 399]], [0.1, 0.05, 0.05 * (1 + np.cos(np.pi * 399 / 400))])
    np.testing.assert_allclose(moco[[0, 59, 60, 79, 80, 99], 0], [30, 30, 3, 3, 0.3, 0.3])
    assert lightly[0, 0] == 0.1 and lightly[-1, -1] == 0
    assert PROTOCOLS["simclr"].batch == 512 and protocols.record(PROTOCOLS["simclr"], 50_000)["rate"] == 0.2
    assert protocols.record(PROTOCOLS["moco"], 64)["rate"] == 30 / 4  # fewer pictures than a batch


@pytest.mark.parametrize("name", ["simclr", "moco"])
def test_the_steps_are_those_of_sgd_by_hand(name):
    """v = 0.9 v + g; w -= rate * v, or rate * (0.9 v + g) with Nesterov's momentum."""
    features, labels = blobs(24)
    rows, rate = np.arange(24, dtype=np.int32).reshape(4, 6), np.float32([0.5, 0.4, 0.3, 0.2])
    start = protocols.started(dataclasses.replace(PROTOCOLS["moco"]), 8, 3, np.random.default_rng(1))
    zeros = tuple(np.zeros_like(x) for x in start)
    (ours, _) = protocols.epoch(PROTOCOLS[name], (start, zeros), features, labels, rows, rate)
    w, b = (x.astype(np.float64) for x in start)
    vw, vb = np.zeros_like(w), np.zeros_like(b)
    for row, lr in zip(rows, rate, strict=True):
        x, y = features[row], np.eye(3)[labels[row]]
        logits = x @ w + b
        p = np.exp(logits - logits.max(1, keepdims=True))
        error = (p / p.sum(1, keepdims=True) - y) / len(row)
        gw, gb = x.T @ error, error.sum(0)
        vw, vb = 0.9 * vw + gw, 0.9 * vb + gb
        again = name == "simclr"
        w, b = w - lr * (0.9 * vw + gw if again else vw), b - lr * (0.9 * vb + gb if again else vb)
    np.testing.assert_allclose(ours[0], w, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours[1], b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_separable_blobs_are_told_apart(name):
    model, seen = protocols.fit(PROTOCOLS[name], blobs(96), classes=3, watched=blobs(60, seed=1), note=lambda _: None)
    features, labels = blobs(90, seed=2)
    assert (model.logits(features).argmax(axis=1) == labels).all()
    assert len(seen) == PROTOCOLS[name].epochs and seen[-1] == 1
