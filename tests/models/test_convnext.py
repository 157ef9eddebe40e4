from functools import partial

import jax
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import pretrained
from jaxcls.models.convnext import ConvNeXt

TINY = {"depths": (1, 2), "widths": (4, 6), "num_classes": 3}


def picture(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def layer_norm(x, p):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def dense(x, p):
    return x @ p["kernel"] + p["bias"]


def test_a_block_is_what_the_paper_draws(drawn):
    """Figure 4: a depthwise 7x7, LayerNorm, four times the features, GELU, back, each channel scaled."""
    model = ConvNeXt(depths=(1,), widths=(4,), num_classes=3)
    variables, image = drawn(model, 36, 40, 3), picture(2, 36, 40, 3)
    logits, out = jax.jit(partial(model.apply, train=False))(variables, image)
    x, p = np.asarray(out["stem"], np.float64), variables["params"]["features.1.0"]
    padded, kernel = np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0))), p["block.0"]["kernel"][:, :, 0]
    y = sum(padded[:, i : i + 9, j : j + 10] * kernel[i, j] for i in range(7) for j in range(7)) + p["block.0"]["bias"]
    hidden = np.asarray(jax.nn.gelu(dense(layer_norm(y, p["block.2"]), p["block.3"]), approximate=False))
    x = x + dense(hidden, p["block.5"]) * p["layer_scale"][:, 0, 0]
    np.testing.assert_allclose(out["stage1"], x, rtol=1e-4, atol=1e-5)
    params = variables["params"]
    features = layer_norm(x.mean((1, 2)), params["classifier.0"])
    np.testing.assert_allclose(out["pre_logits"], features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, dense(features, params["classifier.2"]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name, depths, widths, rate",
    [
        ("convnext_tiny", (3, 3, 9, 3), (96, 192, 384, 768), 0.1),
        ("convnext_small", (3, 3, 27, 3), (96, 192, 384, 768), 0.4),
        ("convnext_base", (3, 3, 27, 3), (128, 256, 512, 1024), 0.5),
        ("convnext_large", (3, 3, 27, 3), (192, 384, 768, 1536), 0.5),
    ],
)
def test_blocks_and_widths_of_the_stages(name, depths, widths, rate, abstract):
    model = models.create(name)
    assert model.stochastic_depth == rate
    params = abstract(model, 32, 32, 3)["params"]
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        blocks = [key for key in params if key.startswith(f"features.{2 * stage + 1}.")]
        assert set(blocks) == {f"features.{2 * stage + 1}.{i}" for i in range(depth)}
        assert {params[block]["block.0"]["kernel"].shape for block in blocks} == {(7, 7, 1, width)}


def test_out_has_a_map_for_each_resolution(shapes):
    model = models.create("convnext_tiny", num_classes=10)
    assert shapes(model, 75, 110, 2) == {  # what is over at the far edge sees no window
        "stem": (18, 27, 96), "stage1": (18, 27, 96), "stage2": (9, 13, 192), "stage3": (4, 6, 384),
        "stage4": (2, 3, 768), "pre_logits": (768,), "logits": (10,)}  # fmt: skip
    assert shapes(models.create("convnext_tiny", num_classes=0), 64, 64, 3)["logits"] == (768,)


def test_pictures_below_32x32_are_refused(abstract):
    with pytest.raises(UserError, match="ConvNeXt takes pictures of 32x32 or larger, not 31x64"):
        abstract(models.create("convnext_tiny"), 31, 64, 3)


def test_without_classes_the_features_are_the_mean_of_the_last_stage(drawn):
    """Without the last LayerNorm, which is the classifier's; weights that hold it load all the same."""
    model, whole = ConvNeXt(**TINY | {"num_classes": 0}), ConvNeXt(**TINY)
    state = pretrained.to_state_dict(drawn(whole, 32, 32, 3))
    variables, report = pretrained.load(model, drawn(model, 32, 32, 3), state)
    assert set(report.skipped) == {f"classifier.{i}.{leaf}" for i in (0, 2) for leaf in ("weight", "bias")}
    logits, out = jax.jit(partial(model.apply, train=False))(variables, picture(1, 32, 32, 3))
    np.testing.assert_allclose(logits, np.asarray(out["stage2"]).mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_stochastic_depth_rises_to_its_rate_and_acts_in_training_only(drawn):
    """Of three blocks with a rate of 1, the first is always there, the last never, the second half the time."""
    model = ConvNeXt(**TINY, stochastic_depth=1.0)
    variables, image = drawn(model, 32, 32, 3), np.repeat(picture(1, 32, 32, 3), 64, 0)
    plain = ConvNeXt(**TINY)
    evaluate = jax.jit(lambda variables, image: plain.apply(variables, image, train=False)[1])
    rngs = {"dropout": jax.random.key(0)}
    _, out = jax.jit(partial(model.apply, train=True, rngs=rngs))(variables, image)
    whole = evaluate(variables, image)
    np.testing.assert_array_equal(out["stage1"], whole["stage1"])

    def without(*blocks):
        """The last stage where these blocks are their shortcuts."""
        params = {**variables["params"]}
        for block in blocks:
            params[block] = params[block] | {"layer_scale": 0 * params[block]["layer_scale"]}
        return evaluate({"params": params}, image[:1])["stage2"][0]

    none = np.asarray(without("features.3.0", "features.3.1"))
    once = np.asarray(without("features.3.1"))
    kept = np.array([np.abs(x - none).max() > 1e-4 for x in np.asarray(out["stage2"])])
    assert 20 <= kept.sum() <= 44  # of 64, by chance
    twice = none + 2 * (once - none)  # what is kept counts double, so that the mean is right
    np.testing.assert_allclose(out["stage2"][kept], np.repeat(twice[None], kept.sum(), 0), rtol=1e-4, atol=1e-5)
    evaluated = jax.jit(partial(model.apply, train=False))(variables, image)[1]
    np.testing.assert_array_equal(evaluated["stage2"], whole["stage2"])


def test_initialisation_is_torchvisions(check_init):
    assert check_init("convnext_tiny", ConvNeXt(depths=(1, 1), widths=(96, 192)), 32, 32, 3) == 27


# Names of a net with a block in the first stage and two in the second: ours, timm's, the authors'.
NAMES = [
    ("features.0.0", "stem.0", "downsample_layers.0.0"),
    ("features.0.1", "stem.1", "downsample_layers.0.1"),
    ("features.2.0", "stages.1.downsample.0", "downsample_layers.1.0"),
    ("features.2.1", "stages.1.downsample.1", "downsample_layers.1.1"),
    ("classifier.0", "head.norm", "norm"),
    ("classifier.2", "head.fc", "head"),
]
for ours, timms, authors in (
    ("features.1.0", "stages.0.blocks.0", "stages.0.0"),
    ("features.3.0", "stages.1.blocks.0", "stages.1.0"),
    ("features.3.1", "stages.1.blocks.1", "stages.1.1"),
):
    NAMES += [
        (f"{ours}.layer_scale", f"{timms}.gamma", f"{authors}.gamma"),
        (f"{ours}.block.0", f"{timms}.conv_dw", f"{authors}.dwconv"),
        (f"{ours}.block.2", f"{timms}.norm", f"{authors}.norm"),
        (f"{ours}.block.3", f"{timms}.mlp.fc1", f"{authors}.pwconv1"),
        (f"{ours}.block.5", f"{timms}.mlp.fc2", f"{authors}.pwconv2"),
    ]


@pytest.mark.parametrize("library", [1, 2])
def test_weights_with_timms_and_the_authors_names_load(library, drawn):
    model = ConvNeXt(**TINY)
    variables = drawn(model, 32, 32, 3)
    names = {row[0]: row[library] for row in NAMES}
    state = {}
    for key, value in pretrained.to_state_dict(variables).items():
        if key.endswith(".layer_scale"):
            state[names[key]] = value[:, 0, 0]
        else:
            layer, _, leaf = key.rpartition(".")
            state[f"{names[layer]}.{leaf}"] = value
    loaded, report = pretrained.load(model, drawn(model, 32, 32, 3), state)
    assert not report.kept and not report.skipped
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)
