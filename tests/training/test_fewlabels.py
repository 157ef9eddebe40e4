"""Runs with few labels: which rows teach, what a batch is made of, resuming, devices, two sets, bad input."""

import jax
import numpy as np
import pytest
import runs
from fixtures import toys
from flax import linen as nn
from PIL import Image

from jaxcls.classical import few_labels
from jaxcls.classical.probe import Options
from jaxcls.data import few, metadata, row_lists, stored_splits
from jaxcls.data.sampling import TwoParts
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.models.base import Classifier
from jaxcls.settings.reader import Reader, resolve
from jaxcls.training import augmented, begin, build, data, loop, preflight, same_run


class Flat(Classifier):
    """Logits that are a linear function of the pixels."""

    head = ("fc",)

    @nn.compact
    def __call__(self, images, *, train):
        x = images.reshape(images.shape[0], -1)
        return nn.Dense(self.num_classes, name="fc")(x), {"pre_logits": x}


@pytest.fixture(scope="module", autouse=True)
def flat():
    with toys.registered(toy_flat=Flat):
        yield


def config_of(**changes):
    """96 pictures of 8x8 in 4 classes, 8 with a label; batches of 4 with one and 8 without."""
    config = default_config()
    settings = {
        "data.name": "synthetic/96x8x1x4",
        "data.validation": 0.0,
        "data.augment": ("crop(8, pad=1)",),
        "data.augment_second": ("crop(8, pad=1)", "solarize(128)", "cutout(3)"),
        "data.workers": 0,
        "model.name": "toy_flat",
        "batch_size": 12,
        "duration": "6 steps",
        "log_every": "1 step",
        "eval.every": "2 steps",
        "checkpoint.every": "2 steps",
        "schedule.name": "constant",
        "schedule.peak": 0.01,
        "parallel.devices": 1,
        "few.method": "fixmatch",
        "few.labels": "8",
        "few.ratio": 2,
        "few.threshold": 0.3,
        **changes,
    }
    config.update_from_flattened_dict(settings)
    return config


def opened(config, **how):
    return data.read(Reader(resolve(config)), views=data.views_of(config), **how)


# Which pictures teach


@pytest.mark.parametrize("draw", [0, 2])
def test_labels_are_those_of_the_draw_of_the_probe(tmp_path, draw):
    """`jaxcls probe --labels 8 --draws 3` of the same data and seed counts the same pictures."""
    plain = config_of(**{"few.method": "", "data.validation": 0.25, "seed": 3})
    source = data.open_sources(plain)["train"]
    rows = np.arange(len(source))
    lists = few_labels.lists(Options(labels="8", draws=3), source, source.labels, rows, tmp_path, 3)
    own = {"data.validation": 0.25, "seed": 3}
    train = opened(config_of(**{"few.draw": draw, **own})).sources["train"]
    np.testing.assert_array_equal(np.flatnonzero(train.labels >= 0), lists[f"draw{draw}"])
    listed = opened(
        config_of(**{"few.labels": f"{tmp_path}/labels-8-draw{draw}.csv", "data.validation": 0.25, "seed": 3})
    )
    np.testing.assert_array_equal(listed.sources["train"].labels, train.labels)
    np.testing.assert_array_equal(few.truth(train), source.labels)
    assert np.bincount(few.given(train)).tolist() == [2, 2, 2, 2]


def test_only_what_data_rows_leaves_is_learnt_from(tmp_path):
    names = metadata.ids(data.open_sources(config_of(**{"few.method": ""}))["train"])
    row_lists.write(tmp_path / "rows.csv", names[:40])
    train = opened(config_of(**{"data.rows": str(tmp_path / "rows.csv")})).sources["train"]
    assert list(train.ids) == names[:40] and len(few.given(train)) == 8


# Batches


@pytest.mark.parametrize("parts, shares", [(1, 1), (2, 1), (1, 3), (2, 3)])
def test_every_share_and_micro_batch_has_as_many_of_both(parts, shares):
    labels = np.where(np.arange(200) % 9 == 0, 1, -1)
    batch = 2 * parts * 3 * shares * 2
    sampler = TwoParts(labels, 2, batch_size=batch, parts=parts)
    orders = [sampler(5, epoch, len(sampler)) for epoch in (0, 1)]
    assert (
        len(sampler) == len(orders[0]) == 177 // (batch // 3 * 2) * batch and orders[0].tolist() != orders[1].tolist()
    )
    np.testing.assert_array_equal(orders[0], TwoParts(labels, 2, batch_size=batch, parts=parts)(5, 0, 0))
    bare = orders[0][labels[orders[0]] < 0]
    assert len(set(bare.tolist())) == len(bare) == len(orders[0]) // 3 * 2
    times = np.bincount(orders[0], minlength=200)[labels >= 0]
    assert times.max() - times.min() <= 1
    for rows in orders[0].reshape(-1, shares, batch // shares):
        for share in rows:
            pairs = labels[share].reshape(-1, 2)
            for part in range(parts):
                mine = pairs[part::parts].reshape(-1, 6)
                assert np.all((mine < 0) == [False, False, True, True, True, True])


# Runs


def six_steps(**changes):
    """(losses, parameters)."""
    run = build.build(config_of(**changes))
    feed, state, told = run.train_feed(), run.parallel.replicate(run.init_state()), []
    for step in range(6):
        state, metrics, _ = feed(state, step, 6)
        told.append([float(metrics[name][0] / metrics[name][1]) for name in ("loss", "confident")])
    return np.array(told), jax.device_get(state.params)


def test_a_run_is_the_same_on_two_devices():
    """Sums with counts: 24 pictures on one device, and on two in both modes."""
    wide = {"batch_size": 24}
    told, params = six_steps(**wide)
    assert np.ptp(told[:, 0]) > 1e-3 and np.all(told[:, 1] > 0)
    for mode in ("jit", "pmap"):
        there, others = six_steps(**wide, **{"parallel.devices": 2, "parallel.mode": mode})
        np.testing.assert_allclose(there, told, rtol=1e-5, err_msg=mode)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), others, params)


@pytest.mark.slow
def test_a_run_that_is_stopped_ends_with_the_same_bits(tmp_path, bare_end):
    loop.fit(build.build(config_of()), tmp_path / "whole")
    run = build.build(config_of())
    for steps in (2, 5, 6):
        loop.fit(runs.changed(run, total_steps=steps), tmp_path / "stopped")
    left, right = (runs.final_arrays(tmp_path / name) for name in ("whole", "stopped"))
    assert left.keys() == right.keys()
    assert not [name for name in left if left[name].tobytes() != right[name].tobytes()]


def test_hidden_labels_teach_nothing(monkeypatch):
    """Other labels of the pictures without one change no bit of what is learnt."""
    params = six_steps(**{"few.method": "pseudo", "data.augment_second": ()})[1]
    honest = few.hidden

    def lying(source, rows):
        made = honest(source, rows)
        made.more[few.TRUTH] = (made.more[few.TRUTH] + (made.labels < 0)) % 4
        return made

    monkeypatch.setattr(few, "hidden", lying)
    again = six_steps(**{"few.method": "pseudo", "data.augment_second": ()})[1]
    jax.tree.map(np.testing.assert_array_equal, params, again)


# Files


def draw(folder, names, seed=0):
    rng = np.random.default_rng(seed)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def pictures(tmp_path):
    draw(tmp_path / "known", [f"{name}/{i}.png" for name in ("ant", "bee") for i in range(10)])
    draw(tmp_path / "bare", [f"{i}.png" for i in range(30)], 1)
    return tmp_path


def of_files(pictures, **changes):
    crop = "random_resized_crop(8)"
    settings = {
        "data.name": f"folder/{pictures}/known",
        "few.data": f"unlabelled/{pictures}/bare",
        "few.labels": "",
        "data.split_ratios": (0.6, 0.2, 0.2),
        "data.augment": (crop, "flip"),
        "data.augment_second": (crop, "flip", "solarize(128)"),
        "data.eval_transform": ("resize(8, 8)",),
    }
    return config_of(**{**settings, **changes})


def test_a_folder_with_labels_and_one_without(pictures, capsys):
    """Their pictures stand in one batch with two views each, and both sets are stored and found again."""
    run, notes = build.build(of_files(pictures)), []
    train = run.data.sources["train"]
    assert len(train) == 42 and len(few.given(train)) == 12 and not run.task.inner.known
    preflight.check(run, pictures / "run", print)
    out = capsys.readouterr().out
    assert "12 of 42 training pictures teach by their labels (6 of a class), 30 without" in out
    feed, state = run.train_feed(), run.parallel.replicate(run.init_state())
    state, metrics, _ = feed(state, 0, 6)
    feed.close()
    assert "pseudo_accuracy" not in metrics and metrics["accuracy"][1] == 4 and metrics["confident"][1] == 8
    begin.store_splits(run, pictures, 0)
    before = stored_splits.read(pictures)
    assert {split: len(part.ids) for split, part in before.parts.items()}["unlabelled"] == 30
    draw(pictures / "bare", ["new.png"], 2)
    again = opened(of_files(pictures), workdir=pictures)
    assert stored_splits.store(again.members.found) == before
    np.testing.assert_array_equal(again.sources["train"].labels, train.labels)
    same_run.check_pictures(again, pictures, notes.append)
    assert len(notes) == 1 and notes[0].startswith("1 new picture")
    assert len(opened(of_files(pictures), workdir=pictures, allow_changed=True).sources["train"]) == 43
    (pictures / "bare/3.png").unlink()
    with pytest.raises(UserError, match="gone from unlabelled .'3.png'"):
        same_run.check_pictures(opened(of_files(pictures), workdir=pictures), pictures, notes.append)
    with pytest.raises(UserError, match="would draw other labels among changed pictures"):
        draw(pictures / "known", ["ant/new.png"], 3)
        opened(of_files(pictures, **{"few.labels": "4"}), workdir=pictures, allow_changed=True)


def test_labels_of_the_other_set_are_known_where_its_classes_are_the_same(pictures):
    draw(pictures / "more", [f"{name}/{i}.png" for name in ("bee", "ant") for i in range(8)], 5)
    found = opened(of_files(pictures, **{"few.data": f"folder/{pictures}/more"})).sources["train"]
    hidden = found.labels < 0
    assert hidden.sum() == 16 and np.bincount(few.truth(found)[hidden]).tolist() == [8, 8]


def test_show_augment_shows_both_views():
    sheet = augmented.sheet_rows(Reader(resolve(config_of())), 5, 1)
    assert [len(row) for row in sheet] == [3] * 5
    assert sorted(row[0][1] for row in sheet)[0] == []  # of a picture without a label no class is told


BAD = [
    ({"few.method": "fixmach"}, "fixmach.*fixmatch"),
    ({"few.labels": "500"}, "few.labels 500 is 500 of 96 training pictures"),
    ({"few.labels": "3"}, "3 label.s. are fewer than the 4 classes"),
    ({"few.labels": "none.csv"}, "none.csv can't be read"),
    ({"few.labels": ""}, "all 96 training pictures have one; name others by config.few.data"),
    ({"few.labels": "100%"}, "all 96 training pictures have one"),
    ({"few.ratio": 0}, "config.few.ratio is 0; it must be at least 1"),
    ({"few.threshold": 0.0}, "config.few.threshold is 0.0; it must be above 0"),
    ({"few.threshold": 1.1}, "config.few.threshold is 1.1; it must be above 0 and at most 1"),
    ({"few.weight": -1.0}, "config.few.weight is -1.0"),
    ({"batch_size": 10}, "batch_size 10 can't be divided by 6: .* try 12"),
    ({"parallel.devices": 4}, "batch_size 12 can't be divided by 24: .* 4 device.s.*try 24"),
    ({"accumulate": 4}, "batch_size 12 can't be divided by 24"),
    ({"batch_size": 144}, "takes 96 pictures without a label, and there are 88"),
    ({"data.augment_second": ()}, "a strong view .*augment_second is empty"),
    ({"data.augment": ("crop(8, pad=1)", "mixup(0.2)")}, "mix"),
    ({"data.augment_second": ("crop(8, pad=1)", "mixup(0.2) | cutmix(1.0)")}, "mix"),
    ({"few.method": "pseudo", "data.augment_second": (), "data.augment": ("cutmix(1.0)",)}, "'cutmix' mixes pictures"),
    ({"few.method": "pseudo"}, "config.data.augment_second=.* has no effect"),
    ({"few.method": ""}, "config.few.*has no effect"),
    ({"ssl.method": "simclr", "monitor.knn": ""}, "config.ssl.method='simclr' does not go with"),
    ({"distill.teacher": "init", "distill.model": "toy_flat"}, "config.distill.teacher='init' does not go with"),
    ({"loss.class_weight": "auto"}, "config.loss.class_weight='auto' does not go with"),
    ({"loss.name": "focal"}, "config.loss.name='focal' does not go with"),
    ({"data.sampling": "balanced"}, "config.data.sampling='balanced' does not go with"),
    ({"few.data": "synthetic/96x16x1x4"}, "pictures of 16 x 16 x 1 and the labelled ones are of 8 x 8 x 1"),
]  # fmt: skip


@pytest.mark.parametrize("changes, message", BAD)
def test_bad_input_is_one_line_before_anything_compiles(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        build.build(config_of(**changes))
    assert "\n" not in str(caught.value)


def test_lists_and_sets_that_do_not_fit_are_refused(pictures):
    (pictures / "ants.csv").write_text("ant/0.png\nant/1.png\nant/2.png\nant/3.png\n")
    wholly = {"data.validation": 0.0, "data.split_ratios": (1, 0, 0), "few.data": ""}
    cases = {
        "1 of 2 classes have no labelled training picture, the first is 'bee'": {"few.labels": f"{pictures}/ants.csv"},
        "is a set in memory and the labelled pictures are files": {"few.data": "digits", "few.labels": "4"},
    }
    for message, changes in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            build.build(of_files(pictures, **{**wholly, **changes}))
        assert "\n" not in str(caught.value)
