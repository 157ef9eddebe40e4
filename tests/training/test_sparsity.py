"""config.sparsity: what it makes of runs, and what it refuses."""

import re

import numpy as np
import pytest
import runs
from fixtures.toys import ConvNet, registered

from jaxcls import pytree
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.tasks.frozen import Frozen
from jaxcls.tasks.sparse import Sparse
from jaxcls.tasks.wrappers import Ema
from jaxcls.training import build, loop, preflight

pytestmark = pytest.mark.usefixtures("bare_end")

MAGNITUDE = {"magnitude": 0.7, "begin": "2 steps", "end": "6 steps", "every": "3 steps"}


def make_run(changes=(), **sparsity):
    """A run of 8 steps; `sparsity`: keys of the section."""
    config = default_config()
    config.data.name, config.data.validation, config.model.name = "synthetic/64x8x4x4", 0.0, "sparse_toy"
    config.batch_size, config.duration, config.log_every = 16, "8 steps", "4 steps"
    config.eval.every = config.checkpoint.every = "4 steps"
    config.schedule.name, config.schedule.peak, config.parallel.devices = "constant", 0.05, 1
    config.optim.weight_decay = 1e-3
    config.update_from_flattened_dict({f"sparsity.{key}": value for key, value in sparsity.items()})
    config.update_from_flattened_dict(dict(changes))
    with registered(sparse_toy=ConvNet):
        return build.build(config)


def test_a_run_that_is_stopped_ends_with_the_same_bits_and_the_share_that_was_asked(tmp_path):
    """Stopped between two masks; with an average, and penalties besides."""
    settings = {**MAGNITUDE, "scope": "global", "bn": 1e-3, "group": 1e-3, "weights": 1e-4}
    run = make_run({"ema_decay": 0.9}, **settings)
    figures = loop.fit(run, tmp_path / "whole")["test"]
    for steps in (4, 8):
        loop.fit(runs.changed(run, total_steps=steps), tmp_path / "stopped")
    left, right = (runs.final_arrays(tmp_path / name) for name in ("whole", "stopped"))
    assert left.keys() == right.keys()
    assert not [name for name in left if left[name].tobytes() != right[name].tobytes()]
    kernels = [left[f"extra/ema/params/{name}/kernel"] for name in ("conv1", "fc")]
    size = sum(kernel.size for kernel in kernels)
    assert sum((kernel == 0).sum() for kernel in kernels) == round(0.7 * size)
    assert figures["zeros"] == pytest.approx(0.7, abs=1 / size)
    assert left["extra/masks/conv1/kernel"].dtype == bool
    assert "zeros" not in np.load(next((tmp_path / "whole" / "eval").glob("test-*.npz"))).files


def test_it_lies_around_the_average_and_within_what_is_frozen():
    task = make_run({"ema_decay": 0.9, "optim.freeze": ("^fc/",)}, **MAGNITUDE).task
    assert isinstance(task, Frozen) and isinstance(task.inner, Sparse) and isinstance(task.inner.inner, Ema)
    assert task.inner.masks.names == ("conv1/kernel",)  # what is frozen is left alone
    assert task.inner.masks.target == pytest.approx(0.7, abs=0.01)
    assert not isinstance(make_run().task, Sparse)


def test_states_with_too_few_zeros_are_not_ranked_and_not_followed():
    changes = {"data.validation": 0.25, "early_stopping.figure": "accuracy", "early_stopping.patience": 0}
    run = make_run({**changes, "batch_size": 8}, **MAGNITUDE)
    early, late = {"accuracy": 1.0, "zeros": 0.5}, {"accuracy": 0.4, "zeros": float(np.float32(run.task.masks.target))}
    assert run.score(early) is None and run.score(late) == 0.4
    memory = {}
    for _ in range(3):
        run.training.control(memory, early)
    assert memory == {}
    for _ in range(3):
        run.training.control(memory, late)
    assert memory["stop"]


def test_two_of_four_names_what_it_leaves(tmp_path):
    run = make_run({"data.name": "synthetic/64x8x3x4"}, pattern="2:4")
    figures = loop.fit(runs.changed(run, total_steps=1), tmp_path)["test"]
    kernel = runs.final_arrays(tmp_path)["params/fc/kernel"]
    assert np.all((kernel == 0).sum(0) == 2)
    assert figures["zeros"] == pytest.approx(8 / (16 + 3 * 3 * 3 * 4))
    line = run.task.describe(figures)
    left = "(conv1/kernel: inputs are no multiple of 4, left as they are)"
    assert line.endswith(f"of the weights of 2 kernels are zero {left}")


def test_one_program_for_all_numbers():
    def text(**numbers):
        run = make_run(**{**MAGNITUDE, "bn": 1e-3, **numbers})
        feed = run.train_feed()
        return feed.compiled.lower(run.state_shapes, feed.data, feed._put(0)).as_text()

    assert text() == text(magnitude=0.5, bn=1e-4, begin="1 steps", end="7 steps", every="2 steps")


def test_learning_without_labels_has_zeros_in_the_encoder_alone():
    settings = {"ssl.method": "simclr", "ssl.projector": (0, 6), "monitor.knn": "", "data.augment": ("flip",)}
    run = make_run({**settings, "model.name": "simple_cnn_16_32"}, group=1e-3, magnitude=0.5)
    state = preflight.check_model(run)  # traces the loss
    kernels = {name for name in pytree.flatten_names(state.params) if name.endswith("kernel")}
    heads = {name for name in kernels if name.startswith("_projector")}
    assert heads and set(run.task.masks.names) == kernels - heads


MISTAKES = [
    ({"bn": 1e-4, "model.name": "simple_cnn_16_32"}, "sparsity.bn has no effect: simple_cnn_16_32 has no BatchNorm"),
    ({"bn": 1e-4, "keep": ("bn1",)}, "sparsity.bn: optim.freeze and sparsity.keep leave no BatchNorm"),
    ({"group": 1e-4, "keep": ("conv1",)}, "sparsity.group has no effect: no channels of sparse_toy may go"),
    ({"weights": 1e-4, "keep": (".",)}, "leave no kernel"),
    ({"magnitude": 1.0}, "config.sparsity.magnitude is 1.0; it must be at least 0 and below 1"),
    ({"magnitude": -0.1}, "config.sparsity.magnitude is -0.1"),
    ({"bn": -1.0}, "config.sparsity.bn is -1.0; it must be at least 0"),
    ({"magnitude": 0.5, "pattern": "2:4"}, "both choose the zeros; leave one out"),
    ({"magnitude": 0.5, "scope": "globl"}, "config.sparsity.scope is 'globl'; did you mean 'global'"),
    ({"magnitude": 0.5, "begin": "6 steps"}, "sparsity.end is step 4; it must come after config.sparsity.begin (6)"),
    ({"magnitude": 0.5, "end": "9 steps"}, "within the 8 steps of the run"),
    ({"magnitude": 0.5, "every": "often"}, "config.sparsity.every is 'often'"),
    ({"pattern": "1:4"}, "config.sparsity.pattern is '1:4'"),
    ({"pattern": "2:4", "begin": "9 steps"}, "config.sparsity.begin is step 9 of 8; make it earlier"),
    ({"pattern": "2:4", "end": "3 steps"}, "config.sparsity.end='3 steps' has no effect"),
    ({"pattern": "2:4", "keep": ("fc",), "data.name": "synthetic/64x8x3x4"}, "no kernel has a multiple of 4 inputs"),
    ({"magnitude": 0.5, "keep": ("conv7",)}, "config.sparsity.keep 'conv7'"),
    ({"keep": ("fc",)}, "config.sparsity.keep=('fc',) has no effect"),
]  # fmt: skip


@pytest.mark.parametrize("settings, message", MISTAKES, ids=[message[:50] for _, message in MISTAKES])
def test_what_cannot_work_is_one_line(settings, message):
    others = {key: value for key, value in settings.items() if "." in key}
    with pytest.raises(UserError) as found:
        make_run(others, **{key: value for key, value in settings.items() if "." not in key})
    text = str(found.value)
    assert re.search(re.escape(message), text) and "\n" not in text and len(text) < 400
