"""Training pictures without labels, and the labelled ones that judge them (config.monitor.data)."""

import jax
import numpy as np
import pytest
from fixtures import toys
from flax import linen as nn
from PIL import Image

from jaxcls.cli import command
from jaxcls.data import stored_splits
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.models.base import Classifier
from jaxcls.settings.reader import Reader, resolve
from jaxcls.training import augmented, begin, build, data, loop, preflight, same_run

CLASSES = ("ant", "bee")


class Flat(Classifier):
    """Features that are a linear function of the pixels."""

    head = ("fc",)

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.Dense(6, name="stem")(images.reshape(images.shape[0], -1))
        return (nn.Dense(self.num_classes, name="fc")(x) if self.num_classes else x), {"pre_logits": x}


@pytest.fixture(scope="module", autouse=True)
def flat():
    with toys.registered(toy_flat=Flat):
        yield


def draw(folder, names, seed=0):
    rng = np.random.default_rng(seed)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures without labels, and twenty of two classes, some under the same names."""
    draw(tmp_path / "bare", [f"ant/{i}.png" for i in range(12)])
    draw(tmp_path / "known", [f"{name}/{i}.png" for name in CLASSES for i in range(10)], 1)
    return tmp_path


def config_of(pictures, **changes):
    config = default_config()
    settings = {
        "data.name": f"unlabelled/{pictures}/bare",
        "data.augment": ("random_resized_crop(8)", "flip"),
        "data.eval_transform": ("resize(8, 8)",),
        "data.workers": 0,
        "model.name": "toy_flat",
        "batch_size": 4,
        "parallel.devices": 1,
        "ssl.method": "vicreg",
        "ssl.projector": (8, 8),
        "monitor.knn": "3, 0.1",
        "schedule.peak": 0.01,
        **changes,
    }
    config.update_from_flattened_dict(settings)
    return config


def watched(pictures, **changes):
    known = {"monitor.data": f"folder/{pictures}/known", "eval.best": "knn", "data.split_ratios": (0.6, 0.2, 0.2)}
    return config_of(pictures, **{**known, **changes})


def opened(config, workdir=None, allow=False):
    return data.read(Reader(resolve(config)), views=2, workdir=workdir, allow_changed=allow)


def test_without_monitor_all_pictures_train_and_nothing_is_measured(pictures, capsys):
    run = build.build(config_of(pictures))
    assert {split: len(source) for split, source in run.data.sources.items()} == {"train": 12}
    assert run.data.classes == () and run.data.bank is None and not run.selects
    assert run.task.output == "features" and run.model.spec["num_classes"] == 0
    preflight.check(run, pictures / "run", print)
    assert "no labels; train 12 pictures" in capsys.readouterr().out


def test_the_monitor_has_the_other_splits_and_both_sets_are_found_again(pictures):
    def sizes(found):
        return {split: len(source) for split, source in found.members.found.items()}

    config, notes = watched(pictures), []
    run = build.build(config)
    assert sizes(run.data) == {"train": 12, "bank": 12, "validation": 4, "test": 4}
    assert run.data.sources.keys() == {"train", "validation", "test"} and len(run.data.bank) == 12
    assert run.data.classes == CLASSES and not run.data.labelled and run.task.needs == ("bank",)
    assert len(opened(watched(pictures, **{"monitor.pictures": 6})).bank) == 6
    begin.store_splits(run, pictures, 0)
    before = stored_splits.read(pictures)
    draw(pictures / "bare", ["new/1.png", "0.png"], 2)
    draw(pictures / "known", ["ant/new.png"], 3)
    again = opened(config, pictures)
    assert stored_splits.store(again.members.found) == before
    same_run.check_pictures(again, pictures, notes.append)
    assert len(notes) == 1 and notes[0].startswith("3 new pictures")
    assert sizes(opened(config, pictures, allow=True)) == {"train": 14, "bank": 13, "validation": 4, "test": 4}
    (pictures / "known/bee/0.png").unlink()
    draw(pictures / "bare", ["ant/0.png"], 4)
    with pytest.raises(UserError, match="changed in train .'ant/0.png'"):
        same_run.check_pictures(opened(config, pictures), pictures, notes.append)


def test_labels_of_training_pictures_count_where_the_classes_are_those_of_the_monitor(pictures):
    draw(pictures / "more", [f"{name}/{i}.png" for name in reversed(CLASSES) for i in range(6)], 5)
    draw(pictures / "others", [f"{name}/{i}.png" for name in ("ant", "cow") for i in range(6)], 6)
    known = watched(pictures, **{"data.name": f"folder/{pictures}/more"})
    assert opened(known).labelled and len(opened(known).sources["train"]) == 12
    other = watched(pictures, **{"data.name": f"folder/{pictures}/others"})
    found = opened(other)
    assert not found.labelled and found.classes == CLASSES and found.sources["train"].classes == ()
    assert set(found.sources["train"].labels.tolist()) == {-1}


def test_a_set_in_memory_judges_files(pictures):
    found = opened(watched(pictures, **{"monitor.data": "digits", "data.channels": 3, "data.eval_transform": ()}))
    assert found.evaluation.picture == (8, 8, 3) and found.picture == (8, 8, 3)
    assert found.leaves("train", training=True)["views"].shape == (2, 8, 8, 3)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"ssl.method": "", "ssl.projector": (), "monitor.knn": "lightly"}, "no labels to learn; set config.ssl"),
        ({"data.sampling": "balanced"}, "config.data.sampling='balanced' has no effect"),
        ({"data.imbalance": 10.0}, "config.data.imbalance=10.0 has no effect"),
        ({"data.group_by": "(.)"}, "config.data.group_by='[(].[)]' has no effect"),
        ({"loss.class_weight": "auto"}, "config.loss.class_weight='auto' has no effect"),
        ({"ssl.method": "supcon"}, "learns from labels"),
        ({"batch_size": 16}, "more than the 12 training examples"),
        ({"data.augment": ("resize(8, 8)",)}, "random"),
        ({"data.augment_second": ("random_resized_crop(9)",)}, "augment_second: both views are cut by one decoding"),
        ({"monitor.data": "unlabelled/{}/known"}, "config.monitor.data=.* has no labels"),
        ({"monitor.data": "folder/{}/known", "monitor.knn": "15, 0.1"}, "asks 15 neighbours, but 14 labelled"),
        ({"monitor.data": "folder/{}/bare"}, "two classes are the least"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_before_anything_compiles(pictures, changes, message):
    texts = {key: x.format(pictures) if isinstance(x, str) else x for key, x in changes.items()}
    with pytest.raises(UserError, match=message) as caught:
        run = build.build(config_of(pictures, **{"eval.best": "accuracy", **texts}))
        preflight.check(run, pictures / "run", print)
    assert "\n" not in str(caught.value)


def test_show_augment_shows_both_views(pictures, capsys):
    """The first is what one view alone would be, the second the second list's; a sheet has them in pairs."""
    size = {"data.augment": ("random_resized_crop(8)", "flip"), "batch_size": 4}
    alone = config_of(pictures, **size, **{"ssl.method": "", "ssl.projector": ()})
    second = {"data.augment_second": ("random_resized_crop(8)", "flip", "solarize(0)")}  # every level is inverted
    sheets = [
        augmented.sheet_rows(Reader(resolve(config)), 2, 2)
        for config in (alone, config_of(pictures, **size), config_of(pictures, **size, **second))
    ]
    for one, pair, apart in zip(*sheets, strict=True):
        assert (len(one), len(pair), len(apart)) == (3, 5, 5) and pair[2][1] == ["view 2"]
        for column in (0, 1):
            image = one[1 + column][0]
            np.testing.assert_array_equal(pair[1 + 2 * column][0], image)
            np.testing.assert_array_equal(apart[1 + 2 * column][0], image)
            assert (pair[2 + 2 * column][0] != image).any()
            np.testing.assert_array_equal(apart[2 + 2 * column][0], 255 - pair[2 + 2 * column][0])


@pytest.mark.slow
def test_it_trains_goes_on_and_is_refused_where_labels_are_needed(pictures, capsys):
    """Stopped and resumed it ends with the bits of a run that was not, and all commands answer or say why not."""
    states = {}
    for name, stops in {"a": (), "b": (2,)}.items():
        config = watched(pictures, **{"duration": "2 epochs", "eval.every": "2 steps"})
        for step in stops:
            with pytest.raises(loop.Stopped):
                loop.run(config, pictures / name, follow=lambda at, _, step=step: "enough" if at == step else "")
        figures = loop.run(config, pictures / name)
        assert 0 <= figures["test"]["knn"] <= 1
        run = build.build(config, workdir=pictures / name)
        states[name] = begin.restore(run, begin.Checkpoints(pictures / name, read_only=True))[0]
    jax.tree.map(np.testing.assert_array_equal, states["a"].params, states["b"].params)
    bare = pictures / "bare-run"
    loop.run(config_of(pictures, duration="1 epochs"), bare)
    capsys.readouterr()
    for arguments in (["eval", bare], ["predict", bare, pictures / "bare/ant"]):
        assert command.main([str(word) for word in arguments]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("error: ") and not any("Traceback" in line for line in lines)
    for verb in ("inspect", "report"):
        assert command.main([verb, str(bare)]) == 0
