from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import layers, pretrained
from jaxcls.models.layers.window import WindowAttention, log_offsets, resize_table
from jaxcls.models.swin import Swin

TINY = {"depths": (1, 2), "width": 4, "heads": (1, 2), "window_size": 4, "num_classes": 3}
KINDS = {"dtype": jnp.float32, "param_dtype": jnp.float32}


def picture(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def attention(version=1, shift=0, heads=2, window=4):
    dense = partial(layers.dense, bias_init=jax.nn.initializers.zeros, **KINDS)
    return WindowAttention(heads, window, shift, version, window, dense, KINDS)


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def one_window(x, p, score):
    """Attention among the places of `x` `[h, w, c]` with two heads, place by place; `score(head, q, k, offset)`."""
    h, w, c = x.shape
    q, k, v = np.split((x @ p["qkv"]["kernel"] + p["qkv"]["bias"]).reshape(h * w, 3 * c), 3, axis=-1)
    out = np.zeros((h * w, c))
    for head in (0, 1):
        part = slice(head * c // 2, (head + 1) * c // 2)
        for i in range(h * w):
            scores = [score(head, q[i, part], k[j, part], (i // w - j // w, i % w - j % w)) for j in range(h * w)]
            out[i, part] = softmax(np.array(scores)) @ v[:, part]
    return (out @ p["proj"]["kernel"] + p["proj"]["bias"]).reshape(h, w, c)


def test_scores_of_version_1_are_scaled_products_and_a_bias_by_offset():
    model, x = attention(), picture(1, 4, 4, 6)
    variables = drawn_attention(model, x)
    p = variables["params"]
    table = p["relative_position_bias_table"].reshape(7, 7, 2)  # query minus key from -3 to 3, down and right

    def score(head, q, k, offset):
        return q @ k / np.sqrt(3) + table[offset[0] + 3, offset[1] + 3, head]

    np.testing.assert_allclose(model.apply(variables, x)[0], one_window(x[0], p, score), rtol=1e-4, atol=1e-5)


def test_scores_of_version_2_are_scaled_cosines_and_a_bias_computed_from_the_offset():
    model, x = attention(version=2), picture(1, 4, 4, 6)
    variables = drawn_attention(model, x)
    p = variables["params"]
    keys = slice(6, 12)
    assert np.abs(p["qkv"]["bias"][keys]).max() > 0.05
    without = p | {"qkv": {**p["qkv"], "bias": np.where(np.arange(18) // 6 == 1, 0, p["qkv"]["bias"])}}

    def score(head, q, k, offset):
        coordinates = [np.sign(o) * np.log2(1 + abs(o) * 8 / 3) / np.log2(8) for o in offset]
        hidden = np.maximum(coordinates @ p["cpb_mlp.0"]["kernel"] + p["cpb_mlp.0"]["bias"], 0)
        bias = 16 / (1 + np.exp(-hidden @ p["cpb_mlp.2"]["kernel"][:, head]))
        return q @ k / np.linalg.norm(q) / np.linalg.norm(k) * np.exp(p["logit_scale"][head, 0, 0]) + bias

    np.testing.assert_allclose(model.apply(variables, x)[0], one_window(x[0], without, score), rtol=1e-4, atol=1e-5)


def drawn_attention(model, x):
    rng = np.random.default_rng(2)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32) / 2, shapes)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "size, shift, place, rows, columns",
    [
        ((8, 8), 0, (0, 0), (0, 4), (0, 4)),
        ((8, 8), 0, (5, 1), (4, 8), (0, 4)),
        ((8, 12), 2, (3, 3), (2, 6), (2, 6)),  # windows over the borders of the others
        ((8, 12), 2, (0, 0), (0, 2), (0, 2)),  # what is left at the edges: the mask parts four such pieces
        ((8, 12), 2, (7, 11), (6, 8), (10, 12)),
        ((8, 12), 2, (0, 5), (0, 2), (2, 6)),
        ((4, 8), 2, (0, 0), (0, 4), (0, 2)),  # one window covers the height: no shift down, but one to the side
        ((3, 5), 2, (0, 4), (0, 3), (2, 5)),  # filled up to 4x8; the shifted window ends with the picture
        ((2, 3), 2, (0, 0), (0, 2), (0, 3)),
    ],
)
def test_a_place_sees_its_window(version, size, shift, place, rows, columns):
    model = attention(version, shift)
    x = picture(1, *size, 6)
    variables, weights = drawn_attention(model, x), np.arange(6)
    seen = jax.jit(jax.grad(lambda x: (model.apply(variables, x)[0, *place] * weights).sum()))(x)  # [1, h, w, c]
    seen = np.abs(seen).max((0, 3)) > 1e-12
    want = np.zeros(size, bool)
    want[slice(*rows), slice(*columns)] = True
    np.testing.assert_array_equal(seen, want)


def test_every_second_block_shifts_by_half_a_window(drawn):
    """A pixel at the border of the first windows: after two blocks of a stage it is seen beyond."""
    model = Swin(depths=(2,), width=4, heads=(1,), window_size=2, num_classes=0)
    x = picture(1, 24, 24, 1)
    variables = drawn(model, 24, 24, 1)

    @jax.jit
    def seen(places, x):
        stage = lambda x: (model.apply(variables, x)[1]["stage1"][0] * places[..., None]).sum(-1).sum()  # noqa: E731
        return jnp.abs(jax.grad(stage)(x)).reshape(6, 4, 6, 4).max((1, 3)) > 0

    for place, patches in (((0, 0), 2), ((1, 1), 4)):
        want = np.zeros((6, 6), bool)
        want[:patches, :patches] = True
        np.testing.assert_array_equal(seen(jnp.zeros((6, 6)).at[place].set(1), x), want)


@pytest.mark.parametrize("version", [1, 2])
def test_merging_puts_squares_side_by_side_columns_first(version):
    """The order of the four places is part of the published weights: down, then right."""
    model = Swin(**TINY | {"depths": (0, 0), "version": version})
    x = picture(1, 12, 20, 3)  # a map of 3x5, filled up to 4x6
    variables = jax.jit(model.init)(jax.random.key(0), x)
    _, out = model.apply(variables, x)
    p = variables["params"]["features.2"]
    stem = np.pad(np.asarray(out["stage1"]), ((0, 0), (0, 1), (0, 1), (0, 0)))
    parts = [stem[:, 0::2, 0::2], stem[:, 1::2, 0::2], stem[:, 0::2, 1::2], stem[:, 1::2, 1::2]]
    y = np.concatenate(parts, -1)

    def norm(x):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)

    y = norm(y) @ p["reduction"]["kernel"] if version == 1 else norm(y @ p["reduction"]["kernel"])
    np.testing.assert_allclose(out["stage2"], norm(y), rtol=1e-3, atol=1e-4)  # `stage2` ends with the last norm
    assert p["norm"]["scale"].shape == ((16,) if version == 1 else (8,))


@pytest.mark.parametrize(
    "name, width, depths, window, rate",
    [
        ("swin_t", 96, (2, 2, 6, 2), 7, 0.2),
        ("swin_s", 96, (2, 2, 18, 2), 7, 0.3),
        ("swin_b", 128, (2, 2, 18, 2), 7, 0.5),
        ("swin_v2_t", 96, (2, 2, 6, 2), 8, 0.2),
        ("swin_v2_s", 96, (2, 2, 18, 2), 8, 0.3),
        ("swin_v2_b", 128, (2, 2, 18, 2), 8, 0.5),
    ],
)
def test_variants(name, width, depths, window, rate):
    model = models.create(name)
    assert (model.width, model.depths, model.window_size, model.stochastic_depth) == (width, depths, window, rate)
    assert [width * 2**i // heads for i, heads in enumerate(model.heads)] == [32] * 4  # features of a head
    assert model.version == 1 + ("v2" in name)


@pytest.mark.parametrize("name", ["swin_t", "swin_v2_t"])
def test_out_has_a_map_for_each_resolution_of_any_picture(name, shapes):
    assert shapes(models.create(name, num_classes=10), 75, 231, 2, train=True) == {
        "stem": (18, 57, 96), "stage1": (18, 57, 96), "stage2": (9, 29, 192), "stage3": (5, 15, 384),
        "stage4": (3, 8, 768), "pre_logits": (768,), "logits": (10,)}  # fmt: skip


def test_without_classes_the_logits_are_the_mean_of_the_last_stage(drawn):
    model = Swin(**TINY | {"num_classes": 0})
    variables = drawn(model, 20, 24, 3)
    assert "head" not in variables["params"]
    logits, out = jax.jit(partial(model.apply, train=False))(variables, picture(2, 20, 24, 3))
    np.testing.assert_allclose(logits, np.asarray(out["stage2"]).mean((1, 2)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("version", [1, 2])
def test_stochastic_depth_acts_in_training_only(version, drawn):
    """With a rate of 1 the last block passes its input on; in evaluation it does not."""
    model = Swin(**TINY | {"depths": (1, 1), "version": version}, stochastic_depth=1.0)
    shallow = Swin(**TINY | {"depths": (1, 0), "version": version})
    variables, image = drawn(model, 20, 24, 3), picture(1, 20, 24, 3)
    fewer = {"params": {key: value for key, value in variables["params"].items() if key != "features.3.0"}}
    got = model.apply(variables, image, train=True, rngs={"dropout": jax.random.key(0)})[0]
    want = shallow.apply(fewer, image, train=False)[0]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert np.abs(model.apply(variables, image, train=False)[0] - want).max() > 1e-3


def test_gradients_of_version_2_are_finite_in_half_precision():
    """The keys of the padding are zero: their length has no derivative."""
    model = Swin(**TINY | {"version": 2}, dtype=jnp.float16)
    x = picture(1, 20, 20, 3)  # maps of 5x5 and 3x3
    variables = jax.jit(model.init)(jax.random.key(0), x)
    grads = jax.jit(jax.grad(lambda v: model.apply(v, x, train=False)[0].sum()))(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("fields", [{"window_size": 1}, {"window_size": 8, "trained_window": 1}])
def test_windows_below_2_are_refused(fields):
    with pytest.raises(UserError, match="2 or more"):
        models.create("swin_v2_t", **fields)


def test_pictures_below_4x4_are_refused(abstract):
    with pytest.raises(UserError, match="Swin takes pictures of 4x4 or larger, not 8x3"):
        abstract(models.create("swin_t"), 8, 3, 3)


def test_initialisation_is_torchvisions(check_init):
    model = Swin(depths=(2, 1), width=96, heads=(3, 6))
    assert check_init("swin_t", model, 32, 32, 3) == 4 + 3 * 13 + 3 + 1


def test_version_2_begins_with_a_scale_of_10_and_no_key_biases():
    model = Swin(**TINY | {"version": 2})
    variables = jax.jit(model.init)(jax.random.key(0), picture(1, 8, 8, 3))
    p = variables["params"]["features.1.0"]["attn"]
    np.testing.assert_allclose(np.exp(p["logit_scale"]), np.full((1, 1, 1), 10), rtol=1e-6)
    assert not p["qkv"]["bias"].any() and not p["cpb_mlp.0"]["bias"].any()
    assert p["cpb_mlp.2"].keys() == {"kernel"}


def test_tables_are_resized_as_pictures_of_offsets():
    """Bicubic interpolation keeps a slope; the far ends of both tables stand for the border of a picture."""
    slope = np.arange(7.0)[:, None, None] * [1, 0] + np.arange(7.0)[:, None] * [0, 10]
    got = resize_table(slope.reshape(49, 2).astype(np.float32), (15**2, 2)).reshape(15, 15, 2)
    centres = (np.arange(15) + 0.5) * 7 / 15 - 0.5
    np.testing.assert_allclose(got[5:10, 0, 0], centres[5:10], rtol=1e-5)
    np.testing.assert_allclose(got[0, 5:10, 1], 10 * centres[5:10], rtol=1e-5)
    table = picture(49, 2)
    np.testing.assert_allclose(resize_table(table, (49, 2)), table, atol=1e-6)
    assert resize_table(table, (169, 3)).shape == (49, 2)


def test_log_offsets_of_a_larger_window_continue_those_of_the_trained_one():
    small, large = (log_offsets(w, 4).reshape(2 * w - 1, -1, 2) for w in (4, 6))
    np.testing.assert_allclose(large[2:-2, 2:-2], small, rtol=1e-6)
    assert large[-1, 0].tolist() == pytest.approx([np.log2(1 + 8 * 5 / 3) / 3, -np.log2(1 + 8 * 5 / 3) / 3])


@pytest.mark.parametrize("version", [1, 2])
def test_weights_for_another_window_load(version, drawn):
    small = Swin(**TINY | {"version": version})
    large = Swin(**TINY | {"version": version, "window_size": 6})
    variables = drawn(small, 24, 24, 3)
    loaded, report = pretrained.load(large, drawn(large, 24, 24, 3), pretrained.to_state_dict(variables))
    assert not report.kept and not report.skipped
    assert set(report.resized) == ({f"features.{block}.attn.relative_position_bias_table"
                                    for block in ("1.0", "3.0", "3.1")} if version == 1 else set())  # fmt: skip
    assert np.isfinite(jax.jit(large.apply)(loaded, picture(1, 24, 24, 3))[0]).all()


# timm's names of a net with a block in the first stage and two in the second.
TIMM = {
    "features.0.0": "patch_embed.proj",
    "features.0.2": "patch_embed.norm",
    "features.2.norm": "layers.1.downsample.norm",
    "features.2.reduction": "layers.1.downsample.reduction",
    "norm": "norm",
    "head": "head.fc",
}
for ours, theirs in (("1.0", "0.blocks.0"), ("3.0", "1.blocks.0"), ("3.1", "1.blocks.1")):
    for inner, their_inner in (("mlp.0", "mlp.fc1"), ("mlp.3", "mlp.fc2"), ("norm1", "norm1"), ("norm2", "norm2"),
                               ("attn.qkv", "attn.qkv"), ("attn.proj", "attn.proj"), ("attn", "attn")):  # fmt: skip
        TIMM[f"features.{ours}.{inner}"] = f"layers.{theirs}.{their_inner}"


def test_weights_with_timms_names_and_the_tables_of_older_files_load(drawn):
    model = Swin(**TINY)
    variables = drawn(model, 24, 24, 3)
    state = {}
    for key, value in pretrained.to_state_dict(variables).items():
        layer, _, leaf = key.rpartition(".")
        state[f"{TIMM[layer]}.{leaf}"] = value
    state["layers.0.blocks.0.attn.relative_position_index"] = np.zeros((16, 16), np.int64)
    state["layers.1.blocks.1.attn_mask"] = np.zeros((4, 16, 16), np.float32)
    loaded, report = pretrained.load(model, drawn(model, 24, 24, 3), state)
    assert not report.kept and len(report.skipped) == 2
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)
