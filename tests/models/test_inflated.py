"""Nets of pictures as nets of clips: weights repeated over time, or the mean of what frames get."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import draw

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import pretrained
from jaxcls.models.state_dict import to_state_dict

SMALL = {"stage_sizes": (1, 1), "width": 4}
PICTURES = np.random.default_rng(0).normal(size=(2, 18, 15, 3)).astype(np.float32)


def of_pictures(name, **fields):
    """(state dict, logits of the pictures, the stages) of a small net with drawn weights."""
    model = models.create(name, num_classes=5, **fields)
    variables = draw(jax.eval_shape(model.init, jax.random.key(0), PICTURES), seed=1)
    logits, out = jax.jit(model.apply)(variables, PICTURES)
    return to_state_dict(variables), logits, out


def of_clips(model, state, clips):
    """(logits and stages of clips, the report) of weights of the net of pictures."""
    variables, report = pretrained.load(model, jax.eval_shape(model.init, jax.random.key(0), clips), state)
    return jax.jit(model.apply)(variables, clips), report


@pytest.mark.parametrize(
    "name, fields",
    [
        ("resnet18", {"stem": "cifar", "attention": "eca"}),
        ("seresnet50", {"stem": "deep", "avg_down": True}),
        pytest.param("resnext50_32x4d", {"width": 64}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("frames, taps", [(4, 3), (1, 5)])
def test_a_clip_of_one_frame_again_and_again_has_the_pictures_logits(name, fields, frames, taps):
    state, want, stages = of_pictures(name, **SMALL | fields)
    model = models.create(name, num_classes=5, taps=taps, **SMALL | fields)
    (got, out), report = of_clips(model, state, np.repeat(PICTURES[:, None], frames, axis=1))
    assert np.linalg.norm(got - want) <= 2e-6 * np.linalg.norm(want)
    assert out["stage2"].shape == (2, (frames + 1) // 2, *stages["stage2"].shape[1:])
    np.testing.assert_allclose(out["stage2"][:, -1], stages["stage2"], rtol=1e-4, atol=1e-5)
    assert not report.kept and not report.skipped


def test_weights_are_repeated_over_time_and_the_report_says_so():
    state, _, _ = of_pictures("resnet18", **SMALL)
    model = models.create("resnet18", num_classes=7, taps=3, **SMALL)
    clips = np.zeros((1, 2, 16, 16, 1), np.float32)  # grey ones: the weights are of colours
    weights, report = pretrained.match(model, jax.eval_shape(model.init, jax.random.key(0), clips), state)
    kernel = weights["params"]["layer1.0"]["conv1"]["kernel"]
    assert kernel.shape == (3, 3, 3, 4, 4)
    for tap in kernel:
        np.testing.assert_allclose(tap.transpose(3, 2, 0, 1), state["layer1.0.conv1.weight"] / 3, rtol=1e-6)
    first = weights["params"]["conv1"]["kernel"]
    np.testing.assert_allclose(first[1, :, :, 0], state["conv1.weight"].sum(1).transpose(1, 2, 0) / 3, rtol=1e-5)
    assert report.resized["layer1.0.conv1.weight"]["how"] == "repeated over time"
    assert sorted(report.kept) == ["fc.bias", "fc.weight"]


def test_motion_changes_an_inflated_net_and_not_the_mean_of_frames():
    state, _, _ = of_pictures("resnet18", **SMALL)
    clips = np.random.default_rng(1).normal(size=(2, 4, 18, 15, 3)).astype(np.float32)
    inflated = models.create("resnet18", num_classes=5, taps=3, **SMALL)
    forward, backward = (of_clips(inflated, state, x)[0][0] for x in (clips, clips[:, [0, 2, 1, 3]]))
    assert np.linalg.norm(forward - backward) > 1e-3 * np.linalg.norm(forward)
    averaged = models.create("resnet18", num_classes=5, neck="frames", **SMALL)
    forward, backward = (of_clips(averaged, state, x)[0][0] for x in (clips, clips[:, [0, 2, 1, 3]]))
    np.testing.assert_allclose(forward, backward, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name, fields", [("resnet18", SMALL), ("vit_tiny_patch16_224", {"depth": 1, "patch": 3})])
def test_frames_are_pictures_and_their_answers_are_averaged(name, fields):
    state, want, stages = of_pictures(name, **fields)
    model = models.create(name, num_classes=5, neck="frames", **fields)
    assert model.clips and not model.backbone.clips
    (got, out), report = of_clips(model, state, PICTURES[None])
    np.testing.assert_allclose(got, want.mean(0, keepdims=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out["pre_logits"], stages["pre_logits"].mean(0, keepdims=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out["stage1"][0], stages["stage1"], rtol=1e-4, atol=1e-5)
    assert not report.kept and not report.skipped


def test_another_number_of_classes_leaves_the_last_layer_of_the_mean_as_it_starts():
    state, _, _ = of_pictures("resnet18", **SMALL)
    for classes, kept in ((7, ["backbone.fc.bias", "backbone.fc.weight"]), (0, [])):
        model = models.create("resnet18", num_classes=classes, neck="frames", **SMALL)
        abstract = jax.eval_shape(model.init, jax.random.key(0), PICTURES[None])
        _, report = pretrained.match(model, abstract, state)
        assert sorted(report.kept) == kept and len(report.skipped) == (0 if classes else 2)


def test_training_takes_statistics_of_all_frames():
    model = models.create("resnet18", num_classes=5, taps=3, stem="cifar", **SMALL)
    clips = np.random.default_rng(2).normal(3.0, 2.0, (2, 3, 6, 6, 1)).astype(np.float32)
    variables = draw(jax.eval_shape(model.init, jax.random.key(0), clips))
    statistics = variables["batch_stats"]["bn1"]["mean"] * 0
    variables["batch_stats"]["bn1"]["mean"] = statistics
    apply = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"])[1])
    got = apply(variables, clips)["batch_stats"]["bn1"]["mean"]
    ends = np.concatenate([clips[:, :1], clips, clips[:, -1:]], axis=1)
    kernel = variables["params"]["conv1"]["kernel"]
    padded = np.pad(ends, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
    want = sum(
        np.tensordot(padded[:, t : t + 3, i : i + 6, j : j + 6].mean((0, 1, 2, 3)), kernel[t, i, j], 1)
        for t in range(3) for i in range(3) for j in range(3)
    )  # fmt: skip
    np.testing.assert_allclose(got, 0.1 * want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("resnet18", {"taps": 2}, "taps=2: kernels over time need an odd number"),
        ("resnet18", {"taps": 3, "attention": "cbam"}, "attention='cbam' is for pictures"),
        ("r3d_18", {"neck": "frames"}, "VideoResNet takes clips itself"),
        ("resnet18", {"taps": 3, "neck": "frames"}, "ResNet takes clips itself"),
    ],
)
def test_what_does_not_go_together(name, fields, message):
    with pytest.raises(UserError, match=message):
        models.create(name, **fields)


@pytest.mark.parametrize("fields, who", [({"taps": 3}, "ResNet with taps"), ({"neck": "frames"}, "Frames")])
def test_pictures_are_refused(fields, who):
    model = models.create("resnet18", num_classes=5, **SMALL | fields)
    with pytest.raises(UserError, match=f"{who} takes clips .* not an array of 4 axes"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))


def test_what_is_loaded_says_which_frames_it_wants():
    loaded = models.load("resnet18", pretrained=False, num_classes=2, taps=3, stage_sizes=(1,), width=4)
    assert loaded.preprocessing.transforms == ("frames(16)", "resize(256)", "center_crop(224)")
    assert loaded.variables["params"]["conv1"]["kernel"].shape == (3, 7, 7, 3, 4)
