"""Policies against Pillow on what they drew, their draws against the tables, the tables against torchvision's."""

import collections
import functools
import json
from pathlib import Path

import jax
import numpy as np
import pillow_ops
import pytest
from scipy import stats

from jaxcls.augment import policies
from jaxcls.augment.policy_layer import apply
from jaxcls.augment.policy_tables import AUTO_AUGMENT, INDEX, OPS, SIGNED, SPACES, magnitudes
from jaxcls.errors import UserError

REFERENCE = json.loads((Path(__file__).parents[1] / "fixtures" / "policies.json").read_text())
TABLES = [
    ("randaugment_bins31_224", "rand_augment", 31, 224),
    ("randaugment_bins31_32", "rand_augment", 31, 32),
    ("trivialaugment_bins31", "trivial_augment_wide", 31, 32),
    ("autoaugment_bins10_224", "auto_augment", 10, 224),
    ("augmix_bins10_32", "augmix", 10, 32),
]


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


compiled = functools.cache(jax.jit)


def pictures(height, width, channels=3):
    """Uint8 [16, h, w, c]: parts of a photograph, noise, and pictures with one level, two levels and few levels."""
    from sklearn.datasets import load_sample_image

    random, photograph = np.random.default_rng(0), load_sample_image("china.jpg")[..., :channels]
    cuts = zip(random.integers(0, 380, 8), random.integers(0, 560, 8), strict=True)
    noise = random.integers(0, 256, (2, height, width, channels))
    flat = [np.full((height, width, channels), level) for level in (0, 255, 77)]
    two = np.where(noise[0] < 128, 10, 11)
    few = [random.integers(low, high, (height, width, channels)) for low, high in ((100, 140), (3, 238))]
    return np.stack([*(photograph[r : r + height, c : c + width] for r, c in cuts), *noise, *flat, two, *few]).astype(
        np.uint8
    )


def every_magnitude(height, width):
    """(op [k], magnitude [k]): each operation with each magnitude of each policy, both ways where it has two."""
    found = set()
    for policy, bins in (("rand_augment", 31), ("trivial_augment_wide", 31), ("auto_augment", 10), ("augmix", 10)):
        for op, row in enumerate(magnitudes(policy, bins, height, width)):
            found |= {(op, sign * m) for m in row.tolist() for sign in ((1, -1) if SIGNED[op] else (1,))}
    op, magnitude = zip(*sorted(found), strict=True)
    return np.array(op, np.int32), np.array(magnitude, np.float32)


@pytest.mark.parametrize("shape", [(40, 56, 3), (12, 9, 1), (5, 2, 3), (1, 1, 3)])
def test_each_operation_at_each_magnitude_is_pillows(shape):
    op, magnitude = every_magnitude(*shape[:2])
    images = np.resize(pictures(*shape), (len(op), *shape))  # repeats them
    if shape[0] > 12:  # operations without a magnitude see all the pictures
        plain = np.repeat([INDEX[n] for n in ("AutoContrast", "Equalize", "Invert", "Identity")], 16).astype(np.int32)
        op, magnitude = np.append(op, plain), np.append(magnitude, np.zeros(len(plain), np.float32))
        images = np.concatenate([images, np.resize(pictures(*shape), (len(plain), *shape))])
    out = np.asarray(jax.jit(apply)(images, op, magnitude))
    assert out.dtype == np.uint8
    moved = []
    for image, o, m, got in zip(images, op, magnitude, out, strict=True):
        expected = pillow_ops.apply(image, OPS[o], m)
        if OPS[o] in pillow_ops.SPATIAL:
            moved.append(np.mean(np.any(got != expected, axis=-1)))
        else:
            np.testing.assert_array_equal(got, expected, err_msg=f"{OPS[o]} {m}")
    assert max(moved) == 0


def test_a_bilinear_warp_and_its_fill_are_pillows_to_a_level():
    names = [name for name in pillow_ops.SPATIAL for _ in range(8)]
    op = np.array([INDEX[name] for name in names], np.int32)
    magnitude = np.array([5.3 if name[0] in "TR" else 0.21 for name in names], np.float32)
    magnitude *= np.where(np.arange(len(op)) % 2, 1, -1)
    images, fill = np.resize(pictures(30, 34)[:8], (len(op), 30, 34, 3)), (10, 200, 90)
    layer = jax.jit(lambda *args: apply(*args, names=SPACES["augmix"], interpolation="bilinear", fill=fill))
    out = np.asarray(layer(images, op, magnitude)).astype(int)
    expected = [
        pillow_ops.apply(x, name, m, "bilinear", fill) for x, name, m in zip(images, names, magnitude, strict=True)
    ]
    assert np.mean(np.abs(out - np.array(expected)) <= 1) >= 0.995


@functools.cache
def drawing(draw, size, settings):
    return jax.jit(lambda own: draw(own, *size, **dict(settings)))


def drawn(draw, examples, size, own=None, **settings):
    """(op, magnitude) as numpy arrays, of pictures of this height and width.

    Of fewer keys `own`, too, `examples` are computed: a program serves for both.
    """
    padded = keys(examples) if own is None else own[np.arange(examples) % len(own)]
    number = examples if own is None else len(own)
    return [np.asarray(x)[:number] for x in drawing(draw, size, tuple(settings.items()))(padded)]


def in_turn(image, op, magnitude, **options):
    for o, m in zip(np.asarray(op), np.asarray(magnitude), strict=True):
        image = pillow_ops.apply(image, OPS[o], m, **options)
    return image


SIZE, EXAMPLES = (32, 36), 200
POLICIES = {
    "rand_augment": (policies.rand_augment(2, 9), policies.draw_rand_augment, dict(n=2, magnitude=9, bins=31)),
    "trivial": (policies.trivial_augment_wide(), policies.draw_trivial_augment_wide, dict(bins=31)),
    "auto_imagenet": (policies.auto_augment(), policies.draw_auto_augment, dict(policy="imagenet")),
    "auto_svhn": (policies.auto_augment("svhn"), policies.draw_auto_augment, dict(policy="svhn")),
}


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_pillows_operations_one_after_another(name):
    operation, draw, settings = POLICIES[name]
    images = np.resize(pictures(*SIZE)[:10], (EXAMPLES, *SIZE, 3))
    out = np.asarray(compiled(operation)(keys(EXAMPLES), {"image": images})["image"])
    ops, sizes = drawn(draw, 20000, SIZE, keys(EXAMPLES), **settings)
    changed, differ = 0, []
    for image, op, magnitude, got in zip(images, ops, sizes, out, strict=True):
        expected = in_turn(image, op, magnitude)
        if any(OPS[o] in pillow_ops.SPATIAL for o in np.asarray(op)):
            differ.append(np.mean(np.abs(got.astype(int) - expected) > 2))
        else:
            np.testing.assert_array_equal(got, expected)
        changed += np.any(got != image)
    assert changed > 100
    assert max(differ, default=0) == 0


MIX = dict(severity=5, width=2, depth=-1)
AUGMIX, THREE = policies.augmix(**MIX), policies.three_augment()


def test_augmix_mixes_chains_of_pillows_operations():
    images, settings = np.resize(pictures(24, 20)[:8], (32, 24, 20, 3)), MIX
    own = keys(32)
    out = np.asarray(compiled(AUGMIX)(own, {"image": images})["image"])
    chain_keys, weight_keys = policies.split(own, 2)
    ops, sizes = jax.jit(lambda own: policies.draw_augmix(own, 24, 20, **settings))(chain_keys)
    weights = np.asarray(jax.jit(jax.vmap(lambda key: policies.mixing_weights(key, 2, 1.0)))(weight_keys))
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    for image, op, magnitude, weight, got in zip(images, ops, sizes, weights, out, strict=True):
        chains = [in_turn(image, op[i], magnitude[i], interpolation="bilinear") for i in range(2)]
        expected = sum(w * x for w, x in zip(weight, [image, *chains], strict=True))
        assert np.mean(np.abs(got - expected) <= 1.6) > 0.97  # the warps are to a level, and the mix is rounded


def test_the_weights_of_augmix_have_the_distributions_of_the_paper():
    weights = np.asarray(jax.jit(jax.vmap(lambda key: policies.mixing_weights(key, 3, 0.5)))(keys(4000)))
    assert stats.kstest(weights[:, 0], stats.beta(0.5, 0.5).cdf).pvalue > 1e-3
    share = weights[:, 1] / weights[:, 1:].sum(axis=1)
    assert stats.kstest(share, stats.beta(0.5, 1.0).cdf).pvalue > 1e-3  # the marginal of Dirichlet(0.5, 0.5, 0.5)


def test_three_augment_gives_each_example_one_of_three():
    from PIL import ImageOps

    images = np.resize(pictures(20, 24)[:8], (300, 20, 24, 3))
    out = np.asarray(compiled(THREE)(keys(300), {"image": images})["image"])
    kinds = np.zeros(3)
    for image, got in zip(images, out, strict=True):
        picture = pillow_ops.to_pillow(image)
        solarized = np.array_equal(got, np.asarray(ImageOps.solarize(picture)))
        grey = np.array_equal(got, np.asarray(picture.convert("L").convert("RGB")))
        kinds += [grey, solarized, not grey and not solarized]
        if not grey and not solarized:  # a blur keeps the mean, and lessens the differences between neighbours
            assert np.abs(got.mean((0, 1)) - image.mean((0, 1))).max() < 6
            assert np.abs(np.diff(got.astype(int), axis=1)).sum() <= np.abs(np.diff(image.astype(int), axis=1)).sum()
    assert kinds.sum() == 300 and stats.chisquare(kinds).pvalue > 1e-3


def evenly(numbers, values):
    """Whether the values occur equally often, and no others do."""
    counts = np.bincount(numbers.ravel(), minlength=len(OPS))
    assert counts.sum() == counts[list(values)].sum()
    return stats.chisquare(counts[list(values)]).pvalue > 1e-3


def test_rand_augment_and_trivial_augment_draw_evenly():
    op, magnitude = drawn(policies.draw_rand_augment, 20000, SIZE, n=2, magnitude=9, bins=31)
    assert evenly(op, range(14)) and evenly(op[:, 0], range(14)) and abs(np.corrcoef(op.T)[0, 1]) < 0.04
    table = magnitudes("rand_augment", 31, *SIZE)[:, 9]
    np.testing.assert_array_equal(np.abs(magnitude), table[op])
    signed = magnitude[SIGNED[op]]
    assert stats.binomtest(int((signed < 0).sum()), len(signed)).pvalue > 1e-3 and np.all(magnitude[~SIGNED[op]] >= 0)
    op, magnitude = drawn(policies.draw_trivial_augment_wide, 20000, SIZE, bins=31)
    assert evenly(op, range(14))
    turns = np.round(np.abs(magnitude[op == INDEX["Rotate"]]) / 4.5).astype(int)
    assert stats.chisquare(np.bincount(turns, minlength=31)).pvalue > 1e-3


def test_augmix_draws_evenly_and_its_chains_have_one_to_three_operations():
    op, magnitude = drawn(policies.draw_augmix, 3000, (32, 32), severity=3, width=3, depth=-1)
    lengths = np.sum(op != 0, axis=-1)
    assert stats.chisquare(np.bincount(lengths.ravel(), minlength=4)[1:]).pvalue > 1e-3
    assert np.all(np.diff((op != 0).astype(int), axis=-1) <= 0)  # what is left out is at the end
    assert evenly(op[op != 0], range(1, 14))
    table = magnitudes("augmix", 10, 32, 32)
    bits = magnitude[op == INDEX["Posterize"]]
    assert set(bits) == set(table[INDEX["Posterize"], :3])
    fixed, _ = drawn(policies.draw_augmix, 10, (32, 32), severity=3, width=4, depth=2)
    assert fixed.shape == (10, 4, 2) and np.all(fixed != 0)


@pytest.mark.parametrize("policy", AUTO_AUGMENT)
def test_auto_augment_applies_each_pair_with_its_probabilities(policy):
    """The expected share of each (operation, magnitude) at either place, from the reference's sub-policies."""
    n = 20000
    op, magnitude = drawn(policies.draw_auto_augment, n, SIZE, policy=policy)
    table = magnitudes("auto_augment", 10, *SIZE)
    for place in range(2):
        expected = {}
        for pair in REFERENCE["policies"][f"autoaugment_{policy}"]:
            name, p, step = pair[place]
            what = (name, 0.0 if step is None else round(float(table[INDEX[name], step]), 4))
            expected[what] = expected.get(what, 0) + p / 25
        sizes = np.round(np.abs(magnitude[:, place]).astype(float), 4).tolist()
        found = collections.Counter((OPS[o], m) for o, m in zip(op[:, place], sizes, strict=True))
        idle = sum(count for (name, _), count in found.items() if name == "Identity")
        expected = {what: share for what, share in expected.items() if share}
        counts = [found[what] for what in expected]
        assert sum(counts) + idle == n
        shares = np.array([*expected.values(), 1 - sum(expected.values())])
        assert stats.chisquare([*counts, idle], n * shares).pvalue > 1e-3


def test_the_75_sub_policies_are_torchvisions():
    ours = {name: [[list(step) for step in pair] for pair in pairs] for name, pairs in AUTO_AUGMENT.items()}
    assert ours == {name.removeprefix("autoaugment_"): pairs for name, pairs in REFERENCE["policies"].items()}


@pytest.mark.parametrize("reference, policy, bins, size", TABLES)
def test_magnitudes_signs_and_operations_are_torchvisions_bit_for_bit(reference, policy, bins, size):
    expected, table = REFERENCE["magnitudes"][reference], magnitudes(policy, bins, size, size)
    for name, (values, signed) in expected.items():
        np.testing.assert_array_equal(table[INDEX[name]], np.float32(values), err_msg=name)
        assert SIGNED[INDEX[name]] == signed
    if policy in SPACES:
        assert set(SPACES[policy]) == set(expected)


def test_translations_follow_width_and_height():
    table = magnitudes("auto_augment", 10, 100, 200)
    np.testing.assert_allclose(table[INDEX["TranslateX"], -1], 150 / 331 * 200, rtol=1e-6)
    np.testing.assert_allclose(table[INDEX["TranslateY"], -1], 150 / 331 * 100, rtol=1e-6)


# With shapes as above: a program serves for both.
INDEPENDENT = {
    "rand_augment": (POLICIES["rand_augment"][0], (EXAMPLES, *SIZE, 3)),
    "augmix": (AUGMIX, (32, 24, 20, 3)),
    "three_augment": (THREE, (300, 20, 24, 3)),
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_a_picture_and_its_key_decide_whatever_else_is_in_the_batch(name):
    operation, shape = INDEPENDENT[name]
    images, own = np.resize(pictures(*shape[1:3])[:8], shape), keys(shape[0], 5)
    first = compiled(operation)(own, {"image": images})["image"]
    half = shape[0] // 2
    order = np.concatenate([np.arange(half) * 2, np.arange(half)[::-1]])
    others = images[order]
    others[half:] = 255 - others[half:]
    second = compiled(operation)(own[order], {"image": others})["image"]
    np.testing.assert_array_equal(second[:half], first[order[:half]])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: policies.auto_augment("mnist"), "imagenet, cifar10, svhn, not 'mnist'"),
        (lambda: policies.rand_augment(0), "n must be a whole number from 1 up"),
        (lambda: policies.rand_augment(2, 31), "magnitude must be a whole number from 0 to 30"),
        (lambda: policies.trivial_augment_wide(1), "bins must be a whole number from 2 up"),
        (lambda: policies.augmix(severity=11), "severity must be a whole number from 1 to 10"),
        (lambda: policies.augmix(alpha=0), "alpha must be above 0"),
        (lambda: policies.rand_augment(interpolation="cubic"), "interpolation can be"),
        (lambda: policies.rand_augment(fill=300), "fill must be"),
    ],
)
def test_settings_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_fill_for_three_channels_does_not_fit_grey_pictures():
    with pytest.raises(UserError, match="fill"):
        jax.eval_shape(policies.rand_augment(fill=(1, 2, 3)), keys(1), {"image": np.zeros((1, 4, 4, 1), np.uint8)})
