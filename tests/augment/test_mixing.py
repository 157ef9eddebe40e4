"""MixUp and CutMix against torchvision's outputs (fixtures/mix.npz: torchvision 0.28) and the law of Beta."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from scipy import stats

from jaxcls.augment import mixing
from jaxcls.augment.base import Context
from jaxcls.tasks.wrappers import example_keys
from jaxcls.training.step import split_batch

REFERENCE = np.load(Path(__file__).parents[1] / "fixtures" / "mix.npz")
CONTEXT = Context(classes=5, seed=3, batch_size=16)
MAKERS = {"mixup": mixing.mixup, "cutmix": mixing.cutmix}


def with_partners(x):
    """torchvision's partner of example i is i - 1; here the rows 2i and 2i + 1 are these two."""
    return np.stack([x, np.roll(x, 1, axis=0)], axis=1).reshape(-1, *x.shape[1:])


def reference(name):
    """Stored pictures as [n, h, w, c], or stored labels."""
    x = REFERENCE[name]
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def make_batch(n, *, size=(6, 8), epoch=2, seed=0):
    """Pictures that are constant and differ, so that a pixel tells whence it comes: 10 * draw."""
    rng = np.random.default_rng(seed)
    image = np.broadcast_to((10 * np.arange(n))[:, None, None, None], (n, *size, 1)).astype(np.uint8)
    label = np.eye(5, dtype=np.float32)[rng.integers(0, 5, n)]
    draw = np.arange(n, dtype=np.int32)
    return {"image": image, "label": label, "epoch": np.full(n, epoch, np.int32), "draw": draw}


def keys(batch):
    return example_keys(CONTEXT.seed, batch)


@functools.cache
def mixed(name, mode="pair"):
    """batch -> batch with alpha 1, compiled once for each shape."""
    operation = MAKERS[name](1.0, mode=mode, context=CONTEXT)
    return jax.jit(lambda batch: operation(keys(batch), batch))


@pytest.mark.parametrize("lam", [0.3, 0.75])
def test_mixed_examples_equal_torchvision(lam):
    images, labels = (with_partners(reference(k)) for k in ("x", "y"))
    image, label = mixing.mix(images, labels, jnp.full(4, lam, jnp.float32))
    np.testing.assert_allclose(label[::2], reference(f"mixup_{lam}.y"), atol=1e-6)
    if lam == 0.3:
        np.testing.assert_allclose(image[::2], reference("mixup_0.3.x"), atol=1e-6)


@pytest.mark.parametrize("lam", [0.3, 0.75])
@pytest.mark.parametrize("x, y", [(10, 8), (1, 15), (19, 0)])
def test_cut_examples_and_boxes_equal_torchvision(lam, x, y):
    name = f"cutmix_{lam}_cx{x}_cy{y}"
    box = mixing.cutmix_box(jnp.full(4, lam, jnp.float32), jnp.full((4, 2), jnp.array([y, x])), 16, 20)
    left, top, right, bottom = reference(f"{name}.box")
    np.testing.assert_array_equal(box, [[top, left, bottom, right]] * 4)
    images, labels = (with_partners(reference(k)) for k in ("x", "y"))
    image, label = mixing.cut(images, labels, box)
    np.testing.assert_allclose(label[::2], reference(f"{name}.y"), atol=1e-6)
    if name == "cutmix_0.3_cx1_cy15":
        np.testing.assert_array_equal(image[::2], reference(f"{name}.x"))


@settings(max_examples=60)
@given(st.floats(0, 1, width=32), st.integers(1, 40), st.integers(1, 40), st.data())
def test_a_box_is_the_clipped_one_of_the_paper(lam, height, width, data):
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    got = mixing.cutmix_box(np.array([lam], np.float32), np.array([[y, x]]), height, width)[0]
    half = 0.5 * np.sqrt(np.float32(1) - np.float32(lam))
    h, w = (int(np.float32(half * side)) for side in (np.float32(height), np.float32(width)))
    expected = [max(y - h, 0), max(x - w, 0), min(y + h, height), min(x + w, width)]
    assert np.abs(np.asarray(got) - expected).max() <= (
        1 if any(abs(half * s - round(half * s)) < 1e-4 for s in (height, width)) else 0
    )


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("mode", ["pair", "batch"])
def test_partners_get_of_each_other_what_they_give(name, mode):
    batch = make_batch(16)
    assert MAKERS[name](1.0, mode=mode, context=CONTEXT).mixes == mode
    out = mixed(name, mode)(batch)
    assert out["image"].dtype == jnp.float32 and out["label"].dtype == jnp.float32
    image, label = (np.asarray(out[k], np.float64) for k in ("image", "label"))
    np.testing.assert_allclose(label.sum(1), 1, atol=1e-6)
    # Pictures are 10 * draw throughout, so their mean over all pixels gives the other's share.
    share = np.abs(image.mean((1, 2, 3)) - 10 * np.arange(16)) / 10
    np.testing.assert_allclose(share[::2], share[1::2], atol=1e-5)
    total = np.broadcast_to(10 * (np.arange(0, 32, 4) + 1)[:, None, None, None], (8, 6, 8, 1))
    np.testing.assert_allclose(image[::2] + image[1::2], total, atol=1e-4)
    swapped = batch["label"].reshape(8, 2, 5)[:, ::-1].reshape(16, 5)
    np.testing.assert_allclose(label, (1 - share)[:, None] * batch["label"] + share[:, None] * swapped, atol=1e-5)
    assert len(np.unique(np.round(share, 4))) == 1 if mode == "batch" else len(np.unique(np.round(share, 4))) >= 5


@pytest.mark.parametrize("name", MAKERS)
def test_an_odd_last_example_mixes_with_nobody(name):
    for n in (1, 5):
        batch = make_batch(n)
        out = mixed(name)(batch)
        for key in ("image", "label"):
            assert out[key].shape == batch[key].shape
            np.testing.assert_array_equal(out[key][-1], batch[key][-1])
        assert np.any(np.asarray(out["label"][: n - 1]) != batch["label"][: n - 1]) == (n > 1)


def other_shares(name, n, side=64, **options):
    """The other's share of n // 2 pairs of pictures that are 0 and 1 throughout."""
    image = np.broadcast_to((np.arange(n) % 2)[:, None, None, None], (n, side, side, 1)).astype(np.uint8)
    batch = {**make_batch(n, size=(1, 1)), "image": image}
    out = jax.jit(MAKERS[name](context=CONTEXT, **options))(keys(batch), batch)
    return np.asarray(out["image"]).mean((1, 2, 3))[::2]


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_the_share_has_the_law_of_beta(alpha):
    share = other_shares("mixup", 4000, 2, alpha=alpha)
    assert stats.kstest(share, stats.beta(alpha, alpha).cdf).pvalue > 0.01
    assert stats.kstest(share, stats.beta(0.5, 0.5).cdf).pvalue < 1e-6  # the test does tell another law


def test_the_area_of_a_box_has_the_law_of_its_definition():
    share, rng = other_shares("cutmix", 2000), np.random.default_rng(0)
    half = (64 * np.sqrt(rng.uniform(size=(20000, 1))) / 2).astype(int)
    centre = rng.integers(0, 64, (20000, 2))
    sides = np.minimum(centre + half, 64) - np.maximum(centre - half, 0)
    assert stats.ks_2samp(share, sides.prod(1) / 64**2).pvalue > 0.01


@pytest.mark.parametrize("name", MAKERS)
def test_a_pair_is_mixed_with_probability_p(name):
    share = np.mean(other_shares(name, 2000, 16, alpha=50.0, p=0.3) > 0.05)
    assert abs(share - 0.3) < 0.05
    batch = make_batch(8)
    never = jax.jit(MAKERS[name](p=0.0, context=CONTEXT))(keys(batch), batch)
    for key in ("image", "label"):
        np.testing.assert_array_equal(never[key], batch[key])


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("mode", ["pair", "batch"])
def test_a_batch_is_the_same_on_any_number_of_devices_and_micro_batches(name, mode):
    batch, both = make_batch(16), mixed(name, mode)
    whole = jax.device_get(both(batch))
    cuts = [[{k: v[i : i + n] for k, v in batch.items()} for i in range(0, 16, n)] for n in (8, 2)]
    micro = split_batch(batch, 2)
    cuts.append([{k: v[i] for k, v in micro.items()} for i in range(2)])
    for parts in cuts:
        results = [jax.device_get(both(part)) for part in parts]
        order = np.concatenate([part["draw"] for part in parts])
        for key in ("image", "label"):
            np.testing.assert_array_equal(np.concatenate([part[key] for part in results]), whole[key][order])
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    sharded = jax.jit(both, in_shardings=sharding, out_shardings=sharding).lower(batch).compile()
    assert not [x for x in ("all-gather", "collective-permute", "all-to-all") if x in sharded.as_text()]
    eight = sharded(jax.device_put(batch, sharding))
    for key in ("image", "label"):
        np.testing.assert_array_equal(eight[key], whole[key])


@pytest.mark.parametrize("name", MAKERS)
def test_batches_and_epochs_have_shares_of_their_own(name):
    drawn = set()
    for epoch in range(3):
        batch = make_batch(32, size=(32, 32), epoch=epoch)
        for start in (0, 16):
            part = {k: v[start : start + 16] for k, v in batch.items()}
            out = jax.device_get(mixed(name, "batch")(part))
            shares = np.abs(out["image"] - part["image"]).mean((1, 2, 3)) / 10
            np.testing.assert_allclose(shares, shares[0], atol=1e-5)
            drawn.add(round(float(shares[0]), 4))
    assert len(drawn) == 6


def test_impossible_arguments_are_refused():
    for make in MAKERS.values():
        for wrong in ({"alpha": 0}, {"alpha": "1"}, {"p": 1.5}, {"mode": "elem"}, {"alpha": float("inf")}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                make(context=CONTEXT, **wrong)
