"""Random boxes: inside the picture, of the asked area and shape, the same in numpy and jax.numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcls.augment.boxes import TRIES, crop_box

UNIFORM = st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).random((TRIES, 4)))
SIDES = st.integers(1, 600)


@settings(max_examples=300)
@given(UNIFORM, SIDES, SIDES, st.sampled_from([(0.08, 1.0), (0.9, 1.0), (0.001, 0.01)]))
def test_a_box_lies_inside_and_has_the_asked_area_and_ratio_up_to_rounding(uniform, height, width, scale):
    top, left, h, w = crop_box(uniform, height, width, scale=scale)
    assert top >= 0 and h >= 1 and top + h <= height
    assert left >= 0 and w >= 1 and left + w <= width
    candidates_fit = _first_fit(uniform, height, width, scale)
    if candidates_fit is None:  # the largest central box of an allowed ratio
        assert abs((height - h) / 2 - top) <= 0.5 and abs((width - w) / 2 - left) <= 0.5
        assert h == height or w == width
    else:
        area, ratio = candidates_fit
        assert (w - 0.5) * (h - 0.5) <= area <= (w + 0.5) * (h + 0.5)
        assert (w - 0.5) / (h + 0.5) <= ratio <= (w + 0.5) / (h - 0.5)
        assert scale[0] * height * width - 1e-9 <= area <= scale[1] * height * width + 1e-9
        assert 3 / 4 - 1e-9 <= ratio <= 4 / 3 + 1e-9


def _first_fit(uniform, height, width, scale):
    """torchvision's loop, one candidate after the other: (area, ratio) of the first that fits, or None."""
    for u, v, *_ in uniform:
        area = height * width * (scale[0] + (scale[1] - scale[0]) * u)
        ratio = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * v)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return area, ratio
    return None


def test_where_nothing_fits_the_box_is_torchvisions():
    """No box of 90 % of the area and a ratio of at most 4/3 fits into 10 x 100: the height whole, 13 wide."""
    uniform = np.full((TRIES, 4), 0.9)
    assert crop_box(uniform, 10, 100, scale=(0.9, 1.0)).tolist() == [0, 43, 10, 13]
    assert crop_box(uniform, 100, 10, scale=(0.9, 1.0)).tolist() == [43, 0, 13, 10]


def test_boxes_are_spread_evenly():
    boxes = np.array([crop_box(np.random.default_rng(i).random((TRIES, 4)), 400, 400) for i in range(3000)])
    share = boxes[:, 2] * boxes[:, 3] / 400**2
    log_ratio = np.log(boxes[:, 3] / boxes[:, 2])
    assert abs(log_ratio.mean()) < 0.02
    assert abs(np.quantile(log_ratio, 0.75) - math.log(4 / 3) / 2) < 0.03
    assert abs(np.quantile(share, 0.25) - (0.08 + 0.92 * 0.25)) < 0.03
    place = boxes[:, 0] / np.maximum(400 - boxes[:, 2], 1)
    assert abs(place.mean() - 0.5) < 0.03


def test_numpy_and_jax_draw_the_same_boxes_from_the_same_numbers():
    uniform = np.random.default_rng(0).random((2000, TRIES, 4)).astype(np.float32)
    on_device = jax.jit(jax.vmap(lambda u: crop_box(u, 375, 500, xp=jnp)))(uniform)
    on_host = np.stack([crop_box(u, 375, 500) for u in uniform])
    # an exponential that differs in its last bit may fall on the other side of a half: one pixel
    assert np.abs(np.asarray(on_device) - on_host).max() <= 1
    assert np.mean(np.any(on_device != on_host, axis=1)) < 2e-3
