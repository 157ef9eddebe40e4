"""A run of ours as the source of another run's weights, and its encoder as a file."""

import copy

import jax
import numpy as np
import pytest

from jaxcls.checkpoints.store import Checkpoints
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.models import weight_files
from jaxcls.models.pretrained import to_state_dict
from jaxcls.tasks import networks
from jaxcls.training import build, loop, preflight, run_weights

FIELDS = {"channels": (3, 4), "hidden": 5}
HEAD = {"fc2.weight", "fc2.bias"}


def make_config(**settings):
    config = default_config()
    config.data.name = "synthetic/64x8x1x4"
    config.model.name, config.model.fields = "simple_cnn_16_32", FIELDS
    config.batch_size, config.duration, config.parallel.devices = 16, "4 steps", 1
    for key, value in settings.items():
        section, _, name = key.rpartition("__")
        (config[section] if section else config)[name] = value
    return config


def stored(workdir, config, step=3):
    """A workdir with one checkpoint of drawn numbers, as a run of this config leaves it: nothing is compiled."""
    run, rng = build.build(copy.deepcopy(config)), np.random.default_rng(0)
    draw = lambda x: rng.normal(0.5, 0.1, x.shape).astype(x.dtype) if x.dtype == np.float32 else x  # noqa: E731
    state = jax.tree.map(draw, run.blank_state()).replace(step=np.asarray(step))
    checkpoints = Checkpoints(workdir)
    checkpoints.save(state, loop.meta_of(run, step, {}, {}))
    checkpoints.close()
    return workdir


@pytest.fixture(scope="module")
def ssl(tmp_path_factory):
    """A run of SimCLR with its probe for four classes."""
    config = make_config(ssl__method="simclr", ssl__projector=(8, 6), monitor__knn="")
    config.data.augment = ("crop(8, pad=2)",)
    return stored(tmp_path_factory.mktemp("ssl") / "run", config)


@pytest.fixture(scope="module")
def supervised(tmp_path_factory):
    """A run with an average of its weights."""
    return stored(tmp_path_factory.mktemp("supervised") / "run", make_config(ema_decay=0.9))


def started(workdir, **settings):
    """(what a run takes of another's weights by the reference's names, report)."""
    weights, report = build.build(make_config(model__pretrained=str(workdir), **settings)).pretrained
    return to_state_dict(weights), report


def test_the_encoder_of_a_run_without_labels_is_taken_without_heads_and_probe(ssl):
    taken, report = started(ssl)
    own = to_state_dict(networks.from_run(ssl).variables)
    assert own.keys() - taken.keys() == HEAD == report.kept.keys()
    assert not any("projector" in name for name in own)
    for name, value in taken.items():
        np.testing.assert_array_equal(value, own[name])
    text = str(report)
    assert "the file has no last layer" in text and "its last layer, a probe, is left out" in text
    assert "as its checkpoint says: architecture simple_cnn_16_32" in text and "mean 0" in text
    assert report.sha256 == networks.from_run(ssl).source["sha256"]
    again, _ = started(ssl / "checkpoints" / "3", data__name="synthetic/64x8x1x7")
    assert again.keys() == taken.keys()
    other, _ = started(ssl, ssl__method="byol", monitor__knn="", data__augment=("crop(8, pad=2)",))
    assert other.keys() == taken.keys()  # a fresh run without labels


def test_averaged_weights_and_the_last_layer_of_a_supervised_run(supervised):
    taken, report = started(supervised)
    own = to_state_dict(networks.from_run(supervised).variables)
    raw = to_state_dict(networks.from_run(supervised, raw=True).variables)
    assert not report.kept and "of step 3, averaged" in str(report)
    for name, value in taken.items():
        np.testing.assert_array_equal(value, own[name])
        assert (value != raw[name]).any()
    _, report = started(supervised, data__name="synthetic/64x8x1x7")
    assert report.kept.keys() == HEAD and "the file has 4 classes, the model 7" in str(report)


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"model__name": "lenet5", "model__fields": {}, "data__name": "synthetic/64x28x1x4"},
            "its checkpoint says that it is a simple_cnn_16_32, not lenet5",
        ),
        (
            {"data__normalize": "symmetric"},
            "its checkpoint says mean 0 and std 1, which is not what is set; add --config",
        ),
        (
            {"model__fields": {**FIELDS, "hidden": 6}},
            "says hidden 5, which is not what is set; add --config.model.fields",
        ),
    ],
)
def test_what_the_run_was_otherwise_is_refused_in_one_line(ssl, settings, message, tmp_path):
    run = build.build(make_config(model__pretrained=str(ssl), **settings))
    with pytest.raises(UserError, match=message) as error:
        preflight.check_weights(run, tmp_path)
    assert "\n" not in str(error.value) and str(ssl) in str(error.value)


def test_a_folder_that_is_no_run_and_a_run_without_a_checkpoint(tmp_path):
    for name in ("checkpoints", "pictures/cats"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(UserError, match="config.model.pretrained .* holds no finished checkpoint"):
        run_weights.read(tmp_path)
    with pytest.raises(UserError, match="is a folder without .* and no workdir of a run; give a file"):
        run_weights.read(tmp_path / "pictures")


def test_the_file_of_a_run_without_labels_is_its_encoder_and_starts_a_run_too(ssl, tmp_path):
    export = pytest.importorskip("jaxcls.export.weights")
    lines = []
    export.write(export.of_run(ssl), tmp_path / "encoder.safetensors", note=lines.append)
    own = to_state_dict(networks.from_run(ssl).variables)
    assert weight_files.read(tmp_path / "encoder.safetensors").tensors.keys() == own.keys() - HEAD
    assert "the encoder alone: its library loads it with strict=False, fc2 then stays as it was" in lines[0]
    taken, report = started(tmp_path / "encoder.safetensors")
    assert report.kept.keys() == HEAD and taken.keys() == own.keys() - HEAD
