from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import layers, pretrained
from jaxcls.models.vit import ViT

TINY = {"patch": 4, "width": 8, "depth": 4, "heads": 2, "num_classes": 3}


def picture(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def logits_of(model, variables, images, **kwargs):
    return jax.jit(partial(model.apply, train=False, **kwargs))(variables, images)[0]


def layer_norm(x, p):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def dense(x, p):
    return x @ p["kernel"] + p["bias"]


def test_a_block_is_what_the_paper_writes(drawn):
    """Equations 2 and 3, with the scores of one head at a time."""
    model = ViT(**TINY | {"depth": 1}, return_attention=True)
    variables = drawn(model, 8, 12, 3)
    _, out = jax.jit(partial(model.apply, train=False))(variables, picture(2, 8, 12, 3))
    x, p = np.asarray(out["stem"], np.float64), variables["params"]["blocks.0"]
    qkv = dense(layer_norm(x, p["norm1"]), p["attn.qkv"])
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        q, k, v = (part[..., head] for part in np.split(qkv, 3, axis=-1))
        scores = np.exp(q @ k.swapaxes(1, 2) / 2)  # the root of a head's 4 features
        weights = scores / scores.sum(-1, keepdims=True)
        np.testing.assert_allclose(out["attention"][0][:, head.start // 4], weights, rtol=1e-4, atol=1e-6)
        heads.append(weights @ v)
    x = x + dense(np.concatenate(heads, -1), p["attn.proj"])
    hidden = np.asarray(jax.nn.gelu(dense(layer_norm(x, p["norm2"]), p["mlp.fc1"]), approximate=False))
    x = x + dense(hidden, p["mlp.fc2"])
    np.testing.assert_allclose(out["stage4"], layer_norm(x, variables["params"]["norm"]), rtol=1e-3, atol=1e-4)


def test_out_holds_tokens_of_a_depth_cut_in_four():
    model = models.create("vit_tiny_patch16_224", num_classes=10)
    assert not model.return_attention
    images = jax.ShapeDtypeStruct((2, 96, 160, 1), np.float32)
    (_, out), variables = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x), images)
    assert {key: x.shape[1:] for key, x in out.items()} == {
        "stem": (61, 192), "stage1": (61, 192), "stage2": (61, 192), "stage3": (61, 192), "stage4": (61, 192),
        "pre_logits": (192,)}  # fmt: skip
    assert variables["params"]["pos_embed"].shape == (1, 61, 192)
    assert len([name for name in variables["params"] if name.startswith("blocks.")]) == 12


# A block and the ends in both libraries' names; of a checkpoint of either.
NAMES = {
    "cls_token": "class_token",
    "pos_embed": "encoder.pos_embedding",
    "patch_embed.proj.weight": "conv_proj.weight",
    "blocks.1.norm1.weight": "encoder.layers.encoder_layer_1.ln_1.weight",
    "blocks.1.attn.qkv.weight": "encoder.layers.encoder_layer_1.self_attention.in_proj_weight",
    "blocks.1.attn.qkv.bias": "encoder.layers.encoder_layer_1.self_attention.in_proj_bias",
    "blocks.1.attn.proj.bias": "encoder.layers.encoder_layer_1.self_attention.out_proj.bias",
    "blocks.1.norm2.bias": "encoder.layers.encoder_layer_1.ln_2.bias",
    "blocks.1.mlp.fc1.weight": "encoder.layers.encoder_layer_1.mlp.0.weight",
    "blocks.1.mlp.fc2.weight": "encoder.layers.encoder_layer_1.mlp.3.weight",
    "norm.weight": "encoder.ln.weight",
    "head.weight": "heads.head.weight",
}


@pytest.mark.parametrize("ours", ["timm", "torchvision"])
def test_weights_of_the_other_library_load_and_give_the_same_logits(ours, drawn):
    theirs = {"timm": "torchvision", "torchvision": "timm"}[ours]
    image = picture(1, 8, 8, 3)
    published, model = ViT(**TINY, spelling=theirs), ViT(**TINY, spelling=ours)
    variables = drawn(published, 8, 8, 3)
    state = pretrained.to_state_dict(variables)
    assert set(NAMES.values() if theirs == "torchvision" else NAMES) <= state.keys()
    loaded, report = pretrained.load(model, drawn(model, 8, 8, 3), state)
    assert set(NAMES if ours == "timm" else NAMES.values()) <= set(report.loaded)
    assert not report.kept and not report.skipped
    want = logits_of(published, variables, image)
    np.testing.assert_allclose(logits_of(model, loaded, image), want, rtol=1e-4, atol=1e-6)


def test_the_older_names_in_torchvisions_files_load(drawn):
    model = ViT(**TINY, spelling="torchvision")
    variables = drawn(model, 8, 8, 3)
    state = {key.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): value
             for key, value in pretrained.to_state_dict(variables).items()}  # fmt: skip
    loaded, _ = pretrained.load(model, drawn(model, 8, 8, 3), state)
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_another_size_of_picture_resizes_the_positions(drawn):
    """A table whose patches all have the same row is that table at every size; one that differs counts."""
    model = ViT(**TINY)
    variables, image = drawn(model, 8, 8, 3), picture(1, 12, 16, 3)
    row = variables["params"]["pos_embed"][:, 1:2]
    small = np.concatenate([variables["params"]["pos_embed"][:, :1], np.repeat(row, 4, 1)], 1)
    large = np.concatenate([small[:, :1], np.repeat(row, 12, 1)], 1)
    with_table = lambda table: {"params": variables["params"] | {"pos_embed": table}}  # noqa: E731
    want = logits_of(model, with_table(large), image)
    np.testing.assert_allclose(logits_of(model, with_table(small), image), want, rtol=1e-4, atol=1e-5)
    assert np.abs(logits_of(model, variables, image) - want).max() > 1e-3


def test_tables_are_resized_as_timm_resizes_them():
    """The numbers are timm's resample_abs_pos_embed of i^2 / 10 on 3x3 places."""
    table = np.concatenate([[7.0, 8.0], np.arange(9.0) ** 2 / 10]).astype(np.float32).reshape(1, 11, 1)
    larger = [-0.0506015, -0.0228328, 0.1267338, 0.3043328, 0.3519798, 0.6021557, 1.0756741, 1.4756804,
              1.9204423, 2.4945700, 3.4399481, 4.1639061, 3.6714969, 4.4680314, 5.7373619, 6.6837273]  # fmt: skip
    smaller = [0.2871166, 0.8197849, 3.0284526, 4.7044525]
    for want, side in ((larger, 4), (smaller, 2)):
        got = layers.table_for(jnp.asarray(table), (side, side), 2)
        np.testing.assert_allclose(got[0, :, 0], [7, 8, *want], rtol=1e-5)
        np.testing.assert_allclose(layers.loaded_table(table, got.shape, 2)[0, :, 0], [7, 8, *want], rtol=1e-5)
    assert layers.table_for(table, (3, 3), 2) is table


def test_tables_that_are_not_square_are_of_the_pictures_proportions():
    table = np.tile(np.arange(3.0, dtype=np.float32), 2).reshape(1, 6, 1)  # 2x3: the value is the column
    got = np.asarray(layers.table_for(table, (4, 6), 0)).reshape(4, 6)
    np.testing.assert_allclose(got, np.tile(got[:1], (4, 1)), atol=1e-6)
    assert (np.diff(got[0]) > 0).all()
    with pytest.raises(UserError, match="position embedding of 6 patches cannot be resized to 4x4"):
        layers.table_for(table, (4, 4), 0)


@pytest.mark.parametrize("stored", [0, 1, 2])
@pytest.mark.parametrize("extra", [1, 2])
@pytest.mark.parametrize("side", [3, 4])
def test_published_tables_may_have_other_rows_before_the_patches(stored, extra, side):
    patches = np.random.default_rng(0).normal(size=(1, 9, 5)).astype(np.float32)
    table = np.concatenate([np.full((1, stored, 5), 2.0, np.float32), patches], 1)
    got = layers.loaded_table(table, (1, extra + side**2, 5), extra)
    first = [2.0] * min(stored, extra) + [0.0] * (extra - min(stored, extra))
    np.testing.assert_array_equal(got[0, :extra, 0], first)
    np.testing.assert_allclose(got[:, extra:], layers.table_for(patches, (side, side), 0), atol=1e-6)


def test_a_checkpoint_of_another_size_loads(drawn):
    model = ViT(**TINY, distilled=True)
    state = pretrained.to_state_dict(drawn(model, 12, 12, 3))
    loaded, report = pretrained.load(model, drawn(model, 8, 8, 3), state)
    assert list(report.resized) == ["pos_embed"]
    np.testing.assert_array_equal(loaded["params"]["pos_embed"][:, :2], state["pos_embed"][:, :2])
    with pytest.raises(UserError, match="pos_embed .*1x11x8"):
        pretrained.load(model, drawn(model, 8, 12, 3), state)


@pytest.mark.parametrize("fields, extra", [({"registers": 2}, 3), ({"registers": 2, "embed_prefix": False}, 0)])
def test_registers_have_rows_in_the_table_or_none_and_the_mean_is_of_the_patches(fields, extra, drawn):
    model = ViT(**TINY, **fields, pool="mean")
    variables = drawn(model, 8, 8, 3)
    assert variables["params"]["pos_embed"].shape == (1, extra + 4, 8)
    _, out = jax.jit(partial(model.apply, train=False))(variables, picture(2, 8, 8, 3))
    np.testing.assert_allclose(out["pre_logits"], np.asarray(out["stage4"])[:, 3:].mean(1), rtol=1e-4, atol=1e-5)
    larger = pretrained.to_state_dict(drawn(model, 12, 12, 3))
    loaded, report = pretrained.load(model, variables, larger)
    assert list(report.resized) == ["pos_embed"]
    np.testing.assert_array_equal(loaded["params"]["pos_embed"][:, :extra], larger["pos_embed"][:, :extra])


@pytest.mark.parametrize("train", [False, True])
def test_the_distilled_net_averages_two_classifiers(train, drawn):
    model = ViT(**TINY, distilled=True)
    variables, image = drawn(model, 8, 8, 3), picture(2, 8, 8, 3)
    logits, out = jax.jit(partial(model.apply, train=train))(variables, image)
    tokens, params = np.asarray(out["stage4"]), variables["params"]
    for i, (key, layer) in enumerate({"class_logits": "head", "distillation_logits": "head_dist"}.items()):
        np.testing.assert_allclose(out[key], dense(tokens[:, i], params[layer]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, (out["class_logits"] + out["distillation_logits"]) / 2, rtol=1e-6)
    np.testing.assert_allclose(out["pre_logits"], tokens[:, :2].mean(1), rtol=1e-4, atol=1e-6)
    assert model.head == ("head", "head_dist")


@pytest.mark.parametrize("distilled", [False, True])
def test_no_classifier(distilled, drawn):
    model = ViT(**TINY | {"num_classes": 0}, distilled=distilled)
    variables = drawn(model, 8, 8, 3)
    assert not [name for name in variables["params"] if name.startswith("head")]
    logits, out = jax.jit(partial(model.apply, train=False))(variables, picture(2, 8, 8, 3))
    np.testing.assert_array_equal(logits, out["pre_logits"])


@pytest.mark.parametrize("field", ["dropout", "block_dropout", "stochastic_depth"])
def test_what_is_random_acts_in_training_only(field, drawn):
    plain, model = ViT(**TINY), ViT(**TINY, **{field: 0.5})
    variables, image = drawn(model, 8, 8, 3), picture(2, 8, 8, 3)
    want = logits_of(plain, variables, image)
    np.testing.assert_array_equal(logits_of(model, variables, image), want)
    train = jax.jit(lambda key: model.apply(variables, image, train=True, rngs={"dropout": key})[0])
    assert np.abs(train(jax.random.key(0)) - want).max() > 1e-3
    assert np.abs(train(jax.random.key(0)) - train(jax.random.key(1))).max() > 1e-3


@pytest.mark.parametrize(
    "spelling, expected",
    [
        ("torchvision", {"conv_proj": 768**-0.5, "in_proj_weight": (2 / (4 * 96)) ** 0.5, "out_proj": (3 * 96) ** -0.5,
                         "mlp.0": (2 / (5 * 96)) ** 0.5, "mlp.3": (2 / (5 * 96)) ** 0.5, "heads.head": 0.0,
                         "pos_embedding": 0.02}),
        ("timm", {"patch_embed.proj": (3 * 768) ** -0.5, "attn.qkv": 0.02, "attn.proj": 0.02, "mlp.fc1": 0.02,
                  "mlp.fc2": 0.02, "head": 0.02, "head_dist": 0.02, "pos_embed": 0.02}),
    ],
)  # fmt: skip
def test_parameters_start_with_the_references_spread(spelling, expected):
    """Formulas from both libraries' initialisers, which give the standard deviations in their nets."""
    fields = {"patch": 16, "width": 96, "depth": 1, "heads": 3, "num_classes": 40, "distilled": spelling == "timm"}
    model = ViT(**fields, spelling=spelling)
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 96, 96, 3), np.float32))
    state = pretrained.to_state_dict(variables)
    for part, std in expected.items():
        (name,) = (key for key in state if key.removesuffix(".weight").endswith(part) and state[key].ndim > 1)
        np.testing.assert_allclose(state[name].std(), std, rtol=0.06, err_msg=name)


@pytest.mark.parametrize(
    "fields, shape, message",
    [
        ({}, (8, 10, 3), "multiples of 4.*not 8x10"),
        ({}, (2, 8, 3), "multiples of 4.*not 2x8"),
        ({"spelling": "keras"}, (8, 8, 3), "spelling must be one of torchvision, timm"),
        ({"heads": 3}, (8, 8, 3), "width 8 must be a multiple"),
        ({"activation": "relu"}, (8, 8, 3), "activation must be one of gelu, quick_gelu"),
        ({"pool": "max"}, (8, 8, 3), "pool must be one of token, mean, map"),
        ({"class_token": False}, (8, 8, 3), "leaves no token to classify: set pool='mean' or 'map'"),
        ({"distilled": True, "pool": "mean"}, (8, 8, 3), "classifies its two tokens"),
    ],
)
def test_what_cannot_be_built_says_what_could(fields, shape, message, abstract):
    with pytest.raises(UserError, match=message):
        abstract(ViT(**TINY | fields), *shape)
