"""Test-time augmentation against closed forms, and through whole runs."""

import jax
import numpy as np
import pytest
from fixtures.toys import ConvNet, Linear, make_batch

from jaxcls import optim
from jaxcls import state as train_state
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.optim import schedules
from jaxcls.settings import config_file
from jaxcls.tasks import tta
from jaxcls.tasks.base import Task
from jaxcls.tasks.supervised import Supervised
from jaxcls.training import build

RNG = np.array([0, 11], np.uint32)


def made(task, batch):
    return jax.jit(lambda batch: train_state.create(task, optim.sgd(schedules.constant(0.1)), RNG, batch))(batch)


def pictures(n=2, height=6, width=5, channels=2):
    return np.random.default_rng(0).normal(size=(n, height, width, channels)).astype(np.float32)


def cut(specs, images):
    weights, make = tta.views(specs)
    return weights, np.asarray(jax.jit(make)(images))


def test_the_mean_of_a_linear_models_predictions_is_its_prediction_of_the_mean_view():
    batch = make_batch(6)
    specs = ("shift(1)", "flip", "scales(0.75)")
    task = tta.Tta(Supervised(Linear()), specs)
    state = made(task, batch)
    weights, seen = cut(specs, batch["image"])
    assert seen.shape[0] == 12
    mean = np.tensordot(weights, seen, 1)
    expected = task.inner.predict(state, {**batch, "image": mean})["logits"]
    np.testing.assert_allclose(jax.jit(task.predict)(state, batch)["logits"], expected, atol=1e-5)


def test_the_mean_of_probabilities_is_what_the_softmax_of_the_logits_gives():
    batch = make_batch(6)
    task = tta.Tta(Supervised(Linear()), ("flip", "vflip"), "probabilities")
    state = made(task, batch)
    _, seen = cut(("flip", "vflip"), batch["image"])
    each = [jax.nn.softmax(jax.jit(task.inner.predict)(state, {"image": view})["logits"]) for view in seen]
    found = jax.nn.softmax(jax.jit(task.predict)(state, batch)["logits"])
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-6)


def test_a_net_that_does_not_see_the_difference_predicts_the_same():
    """The mean over a picture knows nothing of quarter turns and mirrors, once the convolution does not either."""
    batch = make_batch(4, size=5)
    task = tta.Tta(Supervised(ConvNet()), ("turns", "flip"))
    state = made(task, batch)
    kernel = state.params["conv1"]["kernel"]
    even = sum(np.rot90(k, i) for k in (np.array(kernel), np.array(kernel)[::-1]) for i in range(4)) / 8
    state = state.replace(params={**state.params, "conv1": {**state.params["conv1"], "kernel": even}})
    plain = jax.jit(task.inner.predict)(state, batch)["logits"]
    np.testing.assert_allclose(jax.jit(task.predict)(state, batch)["logits"], plain, atol=1e-5)


@pytest.mark.parametrize("mirror, axis", [("flip", 2), ("vflip", 1)])
def test_a_mirror_image_mirrored_is_the_picture(mirror, axis):
    images = pictures()
    weights, seen = cut((mirror, mirror), images)
    np.testing.assert_array_equal(weights, [0.25] * 4)
    for view, expected in zip(seen, [images, np.flip(images, axis), np.flip(images, axis), images], strict=True):
        np.testing.assert_array_equal(view, expected)


def test_shift_and_flip_are_the_six_views_of_airbench():
    """Half for the picture, a quarter for each move, and the mean of each and its mirror image."""
    images = pictures()
    weights, seen = cut(("shift(1)", "flip"), images)
    np.testing.assert_array_equal(weights, [1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 8, 1 / 8])
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    moved = [images, padded[:, 2:, 2:], padded[:, :-2, :-2]]
    expected = [view for x in moved for view in (x, x[:, :, ::-1])]
    np.testing.assert_array_equal(seen, expected)


def test_five_crops_are_the_centre_and_the_corners():
    images = pictures(height=8, width=6)
    weights, seen = cut(("crops(5, size=4)",), images)
    np.testing.assert_allclose(weights, [0.2] * 5)
    corners = [images[:, 2:6, 1:5], images[:, :4, :4], images[:, :4, 2:], images[:, 4:, :4], images[:, 4:, 2:]]
    np.testing.assert_array_equal(seen, corners)


def test_crops_without_a_size_are_seven_eighths_at_the_size_of_the_picture():
    row = np.linspace(0, 1, 16, dtype=np.float32)
    images = np.broadcast_to(row[:, None], (16, 16))[None, ..., None]
    _, seen = cut(("crops",), images)
    assert seen.shape == (5, 1, 16, 16, 1)
    slopes = np.diff(seen[:, 0, 3:-3, 5, 0], axis=1)
    np.testing.assert_allclose(slopes, 7 / 8 / 15, rtol=1e-3)
    np.testing.assert_allclose(seen[:, 0, :, 5, 0].mean(1), np.array([7.5, 6.5, 6.5, 8.5, 8.5]) / 15, rtol=1e-3)


@pytest.mark.parametrize("factor", [0.75, 1.25])
def test_scales_enlarge_about_the_centre(factor):
    """Of a ramp the slope becomes 1 / factor and the middle stays."""
    images = np.broadcast_to(np.arange(16, dtype=np.float32)[:, None], (16, 16))[None, ..., None]
    weights, seen = cut((f"scales({factor})",), images)
    np.testing.assert_array_equal(weights, [0.5, 0.5])
    np.testing.assert_array_equal(seen[0], images)
    column = seen[1, 0, 4:12, 7, 0]
    np.testing.assert_allclose(np.diff(column), 1 / factor, rtol=0.03)  # the filter is a sampled triangle
    np.testing.assert_allclose(column.mean(), 7.5, rtol=1e-3)


def test_a_net_is_made_for_the_size_of_the_crops():
    batch = make_batch(4, size=8)
    task = tta.Tta(Supervised(Linear()), ("crops(5, size=4)",))
    state = made(task, batch)
    assert state.params["fc"]["kernel"].shape == (16, 3)
    assert task.predict(state, batch)["logits"].shape == (4, 3)


@pytest.mark.parametrize(
    "spec, message",
    [
        ("flap", "did you mean 'flip'"),
        ("rotate(3)", "there is no view 'rotate'; there are clips, crops, flip"),
        ("flip(", "can't be read"),
        ("flip + 1", "can't be read"),
        ("shift(x)", "can't be read"),
        ("shift(0)", "arguments of 'shift' don't fit: shift must be a whole number of at least 1"),
        ("scales", "scales are numbers from 0.5 to 2, not none"),
        ("scales(3)", "not \\[3\\]"),
        ("crops(10)", "ten are 'crops\\(5\\)' and 'flip'"),
    ],
)
def test_a_wrong_setting_is_told_in_a_line(spec, message):
    with pytest.raises(UserError, match=f"config.eval.tta.*{message}"):
        tta.views((spec,))


@pytest.mark.parametrize("spec, message", [("shift(5)", "too far"), ("turns", "square"), ("crops(5, 7)", "do not fit")])
def test_pictures_that_do_not_fit_a_view_are_told(spec, message):
    with pytest.raises(UserError, match=message):
        tta.views((spec,))[1](pictures())


def test_a_task_without_logits_has_no_use_for_views():
    class Silent(Task):
        def predict(self, state, batch):
            return {"features": batch["image"]}

    with pytest.raises(UserError, match="predicts no classes"):
        tta.Tta(Silent(), ("flip",)).predict(None, {"image": pictures()})


def test_predictions_of_another_setting_get_a_name_of_their_own():
    assert tta.suffix(("flip",), ["flip"]) == tta.suffix((), ()) == ""
    assert (tta.suffix(("flip",), ()), tta.suffix((), ("flip",))) == ("-tta", "-plain")


def make_run(setting="shift(1), flip", **more):
    config = default_config()
    config.data.name, config.data.workers = "synthetic/64x8x1x4", 0
    config.model.name, config.batch_size, config.duration = "simple_cnn_16_32", 16, "4 steps"
    config_file.override(config, [("eval.tta", setting), *more.items()])
    return build.build(config, task=lambda data, model: Supervised(ConvNet(num_classes=4)))


def test_a_setting_of_the_config_reaches_every_evaluation_on_any_number_of_devices():
    found = {}
    for devices, mode in ((1, "jit"), (8, "jit"), (2, "pmap")):
        run = make_run(**{"parallel.devices": str(devices), "parallel.mode": mode})
        state = run.init_state()
        feed = run.eval_feed("validation")
        found[devices, mode] = feed(run.parallel.replicate(state))["logits"]
    one, *others = found.values()
    for other in others:
        np.testing.assert_allclose(one, other, atol=1e-5)
    images = run.data.evaluation.device(run.data.sources["validation"].images)
    weights, seen = cut(("shift(1)", "flip"), images)
    predict = jax.jit(Supervised(ConvNet(num_classes=4)).predict)
    plain = [predict(state, {"image": view})["logits"] for view in seen]
    np.testing.assert_allclose(one, np.tensordot(weights, np.array(plain), 1), atol=1e-5)


def test_a_mean_without_views_has_no_effect_and_a_wrong_one_is_named():
    with pytest.raises(UserError, match="config.eval.tta_mean='probabilities' has no effect"):
        make_run("()", **{"eval.tta_mean": "probabilities"})
    with pytest.raises(UserError, match="it can be logits or probabilities"):
        make_run("flip", **{"eval.tta_mean": "softmax"})


@pytest.mark.parametrize(
    "used, own, means, expected",
    [
        (("flip",), ["flip"], ("logits", "logits"), ""),
        (("flip",), [], ("logits", "logits"), "-tta"),
        ((), ["flip"], ("logits", "logits"), "-plain"),
        (("flip",), ["flip"], ("probabilities", "logits"), "-tta"),
        ((), [], ("probabilities", "logits"), ""),
    ],
)
def test_predictions_of_another_setting_have_a_name_of_their_own(used, own, means, expected):
    assert tta.suffix(used, own, *means) == expected


def test_views_of_clips_are_those_of_their_frames_and_parts_of_their_time():
    clips = np.random.default_rng(0).normal(size=(2, 6, 4, 4, 3)).astype(np.float32)
    weights, cut = tta.views(("clips(3)", "flip"))
    assert weights.tolist() == pytest.approx([1 / 6] * 6) and tta.clips_of(("clips(3)", "flip")) == 3
    for i, view in enumerate(cut(clips)):
        part = clips[:, 2 * (i // 2) : 2 * (i // 2) + 2]
        np.testing.assert_array_equal(view, part[:, :, :, ::-1] if i % 2 else part)
    for images in (clips[:, :5], clips[:, 0]):
        with pytest.raises(UserError, match="clips\\(3\\) takes clips of 3 x t frames"):
            cut(images)
