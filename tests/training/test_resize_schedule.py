"""Progressive resizing (config.data.resize_schedule): what the net sees at which step, restarts, mistakes, and the name
that the key had before."""

import functools
import json

import jax
import numpy as np
import pytest
import runs
from fixtures.toys import ConvNet
from ml_collections import ConfigDict
from PIL import Image

from jaxcls import augment
from jaxcls.augment.base import Context
from jaxcls.checkpoints import store, view
from jaxcls.defaults import RENAMED, _say_renamed, default_config
from jaxcls.errors import UserError
from jaxcls.settings import config_file
from jaxcls.settings.reader import resolve
from jaxcls.state import Aux
from jaxcls.tasks.supervised import Supervised
from jaxcls.training import build, loop
from jaxcls.training.feed import ChangingFeed


class Watched(Supervised):
    """Records the side of the pictures as a metric and as the order of compilations."""

    def __init__(self, compiled):
        super().__init__(ConvNet(num_classes=4, features=2, batch_norm=False))
        self.compiled = compiled

    def loss(self, params, state, batch, rng):
        side = batch["image"].shape[1]
        self.compiled.append(side)
        loss, aux = super().loss(params, state, batch, rng)
        return loss, Aux(aux.model_state, aux.count, {**aux.metrics, "side": (side * aux.count, aux.count)})


def make_config(sizes, **settings):
    config = default_config()
    config.data.name, config.data.validation, config.data.workers = "synthetic/64x8x1x4", 0.25, 0
    config.data.resize_schedule, config.data.augment = sizes, ("crop(8, pad=1)",)
    config.model.name, config.model.fields = "simple_cnn_16_32", {"channels": (3, 4), "hidden": 5}
    config.batch_size, config.duration, config.parallel.devices = 16, "8 steps", 1
    config.eval.every = config.checkpoint.every = "4 steps"
    config.schedule.name, config.schedule.peak = "constant", 0.1
    for key, value in settings.items():
        config.data[key] = value
    return config


def make_run(sizes, **settings):
    """A run of a task that records the sides it sees, and the list of those that were traced."""
    traced = []
    return build.build(make_config(sizes, **settings), task=lambda data, model: Watched(traced)), traced


@pytest.mark.parametrize("memory", [2**20, 0], ids=["memory", "stream"])
def test_pictures_have_their_size_from_the_right_step_on(memory):
    """And every size is compiled once, when it begins."""
    run, traced = make_run(("25%: 4", "50%: 6"), device_memory=memory)
    feed, state, sides = run.train_feed(), run.parallel.replicate(run.init_state()), []
    assert isinstance(feed, ChangingFeed)
    for step in range(8):
        state, values, _ = feed(state, step, 8)
        sides.append(float(values["side"][0] / values["side"][1]))
        assert len(dict.fromkeys(traced)) == 1 + (step >= 2) + (step >= 4)
    feed.close()
    assert sides == [8, 8, 4, 4, 6, 6, 6, 6]


def test_a_call_of_many_steps_ends_where_the_size_changes():
    told = []

    def feed_of(side):
        return lambda state, step, stop: (state, told.append((side, step, stop)), stop - step)

    feed = ChangingFeed([(0, Closing(feed_of(4))), (3, Closing(feed_of(6))), (7, Closing(feed_of(8)))])
    step = 0
    while step < 9:
        step += feed(None, step, 9)[2]
    assert told == [(4, 0, 3), (6, 3, 7), (8, 7, 9)]
    assert [inner.closed for inner in feed.feeds] == [True, True, False]


class Closing:
    def __init__(self, call):
        self.call, self.closed = call, False

    def __call__(self, *args):
        return self.call(*args)

    def close(self):
        self.closed = True


def test_a_restart_in_any_size_changes_no_bit(tmp_path, monkeypatch):
    run, _ = make_run(("0%: 4", "4 steps: 6"))
    assert len(run.training.phases) == 2 and run.task is run.training.phases[-1][1]
    results = loop.fit(run, tmp_path / "whole")
    for stop in (4, 8):
        loop.fit(runs.changed(run, total_steps=stop), tmp_path / "twice")
        if stop == 4:
            make_older(tmp_path / "twice")
    left, right = (view.read_arrays(view.find_step(tmp_path / name)) for name in ("whole", "twice"))
    assert left.keys() == right.keys()
    assert not [name for name in left if left[name].tobytes() != right[name].tobytes()]
    assert results["test"]["count"] == 16  # evaluated in the size of the evaluation


def make_older(workdir):
    """A workdir as it was written when the key was called data.sizes."""
    folder = view.find_step(workdir)
    for path in (workdir / "config.json", folder / "meta" / "metadata"):
        text = path.read_text()
        assert text.count('"resize_schedule"') == 1
        path.write_text(text.replace('"resize_schedule"', '"sizes"'))
    store.write_manifest(folder)


def test_the_former_name_is_read_wherever_configs_are(tmp_path, capsys):
    """Its line comes once a process. A restart in a workdir of before is above."""
    assert RENAMED["data.sizes"] == "data.resize_schedule"
    _say_renamed.cache_clear()
    config, value = make_config(("0%: 4",)), ("0%: 4", "4 steps: 6")
    config.data.sizes = value  # as in a config file, which starts from the defaults
    assert config.data.resize_schedule == value
    config_file.override(config, [("data.sizes", "0%: 6")])
    assert config.data.resize_schedule == ("0%: 6",)
    stored = json.loads(json.dumps(config.to_dict()))
    stored["data"]["sizes"] = stored["data"].pop("resize_schedule")
    old = ConfigDict(stored)
    assert resolve(old).data == resolve(config).data
    config_file.override(old, [("data.resize_schedule", "50%: 6")])
    assert resolve(old).data.resize_schedule == ("50%: 6",)  # what was set now counts, not what was stored
    notes = capsys.readouterr().err.splitlines()
    assert notes == ["note: config.data.sizes is called config.data.resize_schedule now"]


def test_the_resize_is_pillows_and_comes_before_mixing():
    """With the antialiased bilinear filter; what mixes runs on the small pictures."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 12, 9, 3)).astype(np.uint8)
    batch = {"image": images, "label": np.arange(4, dtype=np.int32)}
    calls = [augment.parse(spec) for spec in ("flip(0)", "mixup(0.4) | cutmix(1.0)", "cutout(2)")]
    assert [call[0] for call in augment.shrunk(calls, 6)] == ["flip", "resize", augment.ONE_OF, "cutout"]
    transform = augment.device_transform(augment.shrunk(calls[:1], 6), random=True, context=Context(4))
    out = jax.jit(functools.partial(transform, jax.random.split(jax.random.key(0), 4)))(batch)["image"]
    expected = [np.asarray(Image.fromarray(x).resize((6, 8), Image.Resampling.BILINEAR)) for x in images]
    np.testing.assert_allclose(np.asarray(out) * 255, np.stack(expected), atol=1.01)


@pytest.mark.parametrize(
    "sizes, words",
    [
        (("224",), "must be 'DURATION: SIDE'"),
        (("50%: big",), "must be 'DURATION: SIDE'"),
        (("50%: 0",), "must be 'DURATION: SIDE'"),
        (("50%: 4", "25%: 6"), "in their order"),
        (("8 steps: 6",), "step 8 of 8"),
        (("soon: 6",), "write it as '500 steps'"),
    ],
)
def test_mistakes_are_named(sizes, words):
    with pytest.raises(UserError, match="config.data.resize_schedule") as raised:
        build.build(make_config(sizes))
    assert words in str(raised.value)


def test_a_size_that_does_not_fit_the_model_is_refused_before_anything_compiles(tmp_path):
    config = make_config(("0%: 28", "50%: 20"), name="synthetic/64x28x1x4", augment=())
    config.model.name, config.model.fields = "lenet5", {}
    with pytest.raises(UserError, match="config.data.resize_schedule .* takes pictures of 28x28 or 32x32, not 20x20"):
        loop.fit(build.build(config), tmp_path)


def test_several_sizes_may_stand_in_one_text_as_on_the_command_line():
    config = make_config(())
    config_file.override(config, [("data.resize_schedule", "0%: 4, 50%: 6")])
    assert [step for step, _ in build.build(config).training.phases] == [0, 4]


def test_without_sizes_there_is_one_task():
    run = build.build(make_config(()))
    assert run.training.phases == () and not isinstance(run.train_feed(), ChangingFeed)
