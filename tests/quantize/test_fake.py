"""Rounding to 8 bits against loops over single numbers and qwix, and its derivatives."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls.quantize import fake


def quantized(x, low, high):
    """QuantizeLinear and DequantizeLinear of one number (onnx.ai's text): round half to even, then saturate."""
    scale = np.float32(high - low) / np.float32(255)
    zero = min(255, max(0, round(float(np.float32(-low) / scale))))
    q = min(255, max(0, round(float(np.float32(x) / scale)) + zero))
    return np.float32(q - zero) * scale, 0 <= round(float(np.float32(x) / scale)) + zero <= 255


@pytest.mark.parametrize("low, high", [(0.0, 25.5), (-1.3, 2.2), (-3.0, 0.0)])
def test_activations(low, high):
    x = np.concatenate([np.random.default_rng(0).normal(0, 2, 40), [0, 0.05, 0.15, 0.25, 99, -99]]).astype(np.float32)
    scale, zero = fake.grid(jnp.array([low, high]))
    want, inside = zip(*[quantized(number, low, high) for number in x], strict=True)
    np.testing.assert_allclose(fake.rounded(x, scale, zero), want, rtol=1e-6, atol=0)
    slope = jax.vmap(jax.grad(fake.rounded), (0, None, None))(x, scale, zero)
    np.testing.assert_array_equal(slope, np.array(inside, np.float32))
    assert fake.rounded(jnp.zeros(1), scale, zero)[0] == 0


def test_an_empty_range_rounds_nothing():
    x = jnp.array([0.3, -1e6])
    ends = fake.grid(jnp.zeros(2))
    np.testing.assert_array_equal(fake.rounded(x, *ends), x)
    np.testing.assert_array_equal(jax.grad(lambda x: fake.rounded(x, *ends).sum())(x), 1)


@pytest.mark.parametrize("levels", [63, 127])
def test_kernels(levels):
    """Each output channel by itself, its largest weight exact, the derivative that of the identity."""
    w = np.random.default_rng(1).normal(0, 1, (3, 2, 4)).astype(np.float32)
    w[..., 3] = 0
    want = np.zeros_like(w)
    for channel in range(3):
        largest = np.abs(w[..., channel]).max()
        for place in np.ndindex(3, 2):
            want[(*place, channel)] = round(float(w[(*place, channel)] / (largest / levels))) * (largest / levels)
    got = fake.kernel(w, (0, 1), levels)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(lambda w: (3 * fake.kernel(w, (0, 1), levels)).sum())(w), 3)


def test_kernels_round_alike_before_and_after_folding():
    """BatchNorm's factor may go into a kernel before or after: the file has it folded, training has not."""
    rng = np.random.default_rng(2)
    w, factor = rng.normal(0, 1, (3, 3, 8, 16)), rng.normal(0, 2, 16)  # of either sign
    with jax.enable_x64(True):
        before = fake.kernel(jnp.array(w), (0, 1, 2), 63) * factor
        np.testing.assert_allclose(before, fake.kernel(jnp.array(w * factor), (0, 1, 2), 63), rtol=1e-12)


def test_ranges_move():
    """By hand: the first batch sets it, 0 is in it, then a hundredth of the way."""
    ends = fake.moved(jnp.zeros(2), jnp.array([2.0, 5.0]))
    np.testing.assert_allclose(ends, [0, 5])
    np.testing.assert_allclose(fake.moved(ends, jnp.array([-1.0, 15.0])), [-0.01, 5.1], rtol=1e-6)
    pair = jax.vmap(lambda x: fake.moved(jnp.zeros(2), x, "devices"), axis_name="devices")(jnp.array([[-3.0], [4.0]]))
    np.testing.assert_allclose(pair, [[-3, 4], [-3, 4]])


def test_as_qwix_rounds():
    """Of the same ranges and scales. Its own scale of a kernel is the largest weight / 127.5, which is cut to 127."""
    stored = json.loads((Path(__file__).parent / "qwix.json").read_text())
    x = np.random.default_rng(7).normal(0, 2, 60).astype(np.float32)
    for each in stored["activations"]:
        got = fake.rounded(x, *fake.grid(jnp.array(each["range"])))
        np.testing.assert_allclose(got, each["values"], rtol=1e-6, atol=1e-6)
    w = np.random.default_rng(8).normal(0, 1, (3, 3, 2, 4)).astype(np.float32)
    steps = np.abs(w).max(axis=(0, 1, 2)) / 127
    got = np.rint(np.asarray(fake.kernel(w, (0, 1, 2), 127)) / steps).astype(int)
    assert got.ravel().tolist() == stored["kernels"]
