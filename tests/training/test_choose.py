"""A recipe without a config: the rules fit all facts, the facts are those of the pictures, the file is the config."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import jaxcls
from jaxcls.cli.command import main
from jaxcls.defaults import default_config, flatten
from jaxcls.errors import UserError
from jaxcls.settings import config_file
from jaxcls.settings.reader import resolve
from jaxcls.training import chosen, same_run
from jaxcls.training.choose import Facts, advice, choices
from jaxcls.training.facts import facts

KEYS = dict(flatten(default_config()))
ANTS = Facts("folder/ants", 244, 2, False, 121, 123, 143, 3, False, 1, False)
FACTS = st.builds(
    Facts,
    data=st.just("folder/x"),
    pictures=st.integers(4, 10**6),
    classes=st.integers(2, 1000),
    sets=st.booleans(),
    rarest=st.integers(1, 100),
    commonest=st.integers(100, 10**5),
    side=st.integers(8, 4000),
    channels=st.sampled_from([1, 3, 4]),
    in_memory=st.booleans(),
    devices=st.sampled_from([1, 2, 3, 8]),
    accelerator=st.booleans(),
    model=st.sampled_from(["", "resnet50", "vit_base_patch16_224", "vgg11", "convnext_tiny"]),
    weights=st.sampled_from(["", "file.pth"]),
)


@settings(deadline=None, max_examples=30)
@given(FACTS)
def test_any_facts_give_settings_that_a_config_takes(found):
    made = choices(found)
    assert len({x.key for x in made}) == len(made) and {x.key for x in made} <= KEYS.keys()
    assert all(x.reason for x in made)
    config = default_config()
    for choice in made:
        chosen._set(config, choice.key, choice.value)
    config = resolve(config)
    assert config.batch_size <= max(found.pictures // 4, found.devices)
    assert config.batch_size % (config.parallel.devices or found.devices) == 0
    assert config.model.pretrained == found.weights and bool(advice(found)) == (not found.weights and found.side > 64)


def test_the_rules_that_were_measured():
    tuned = {x.key: x.value for x in choices(ANTS._replace(weights="squeezenet1_1.pth", model="squeezenet1_1"))}
    ours = {key: value for key, value in flatten(config_file.load("finetune")) if value != KEYS[key]}
    assert tuned.pop("auto_batch") is True
    del ours["model.fields"]  # none, written as another kind of none
    ours |= {"data.name": "folder/ants", "model.pretrained": "squeezenet1_1.pth"}
    assert {key: value for key, value in tuned.items() if value != KEYS[key]} == ours
    uneven = {x.key: x.value for x in choices(ANTS._replace(rarest=20, commonest=224))}
    assert uneven["eval.best"] == "balanced_accuracy" and uneven["data.sampling"] == "sqrt"
    assert "eval.best" not in {x.key for x in choices(ANTS)}


def folder(root, counts, size=(20, 30), mode="RGB", suffix="png"):
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for k in range(count):
            pixels = rng.integers(0, 255, (*size[::-1], *([3] if mode == "RGB" else [])), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{k}.{suffix}")
    return root


def seen(name, *more):
    config = default_config()
    config_file.override(config, [*more, ("data.name", name)])
    return facts(config, ["data.name", *(key for key, _ in more)])


@pytest.mark.parametrize("mode, suffix, channels", [("RGB", "jpg", 3), ("L", "jpg", 1), ("L", "png", 1)])
def test_facts_of_a_folder(tmp_path, mode, suffix, channels):
    found = seen(f"folder/{folder(tmp_path / 'pics', {'a': 20, 'b': 10}, mode=mode, suffix=suffix)}")
    assert (found.classes, found.side, found.channels, found.in_memory, found.weights) == (2, 20, channels, False, "")
    assert found.pictures == 21 and (found.rarest, found.commonest) == (7, 14)  # 70 % of each


def test_grey_pictures_that_are_stored_as_colour_are_grey(tmp_path):
    root = folder(tmp_path / "pics", {"a": 8, "b": 8}, mode="L")
    for path in root.rglob("*.png"):
        Image.open(path).convert("RGB").save(path)
    assert seen(f"folder/{root}").channels == 1


def test_facts_of_sets_in_memory_and_of_tables(tmp_path):
    assert seen("digits")[1:9] == (1259, 10, False, 122, 128, 8, 1, True)
    root = folder(tmp_path / "pics", {"a": 12})
    rows = [f"a/{k}.png,{('x', 'x|y', '')[k % 3]}" for k in range(12)]
    (root / "rows.csv").write_text("\n".join(["path,labels", *rows]))
    found = seen(f"table/{root / 'rows.csv'}")
    assert found.sets and {x.key: x.value for x in choices(found)}["eval.best"] == "mAP"


def test_one_file_of_weights_beside_the_folder_is_taken(tmp_path):
    root = folder(tmp_path / "pics", {"a": 8, "b": 8})
    (tmp_path / "notes.pth").write_bytes(b"")
    assert seen(f"folder/{root}").weights == ""
    with pytest.raises(UserError, match="squeezenet1_1-x.pth"):  # it is taken, and can't be read
        (tmp_path / "squeezenet1_1-x.pth").write_bytes(b"")
        seen(f"folder/{root}")
    (tmp_path / "resnet18.safetensors").write_bytes(b"")  # which one?
    assert seen(f"folder/{root}").weights == ""


def test_the_file_is_the_config_and_what_is_given_counts(tmp_path):
    made = chosen.chosen([("schedule.peak", "0.3"), ("model.fields.dropout", "0.1"), ("data.name", "digits")])
    assert made.config.schedule.peak == 0.3 and made.config.model.fields.to_dict() == {"dropout": 0.1}
    path = tmp_path / "config.py"
    path.write_text(chosen.text(made, "runs/x"))
    assert config_file.load(str(path)).to_dict() == made.config.to_dict()
    assert all(len(line) <= 120 for line in path.read_text().splitlines())


@pytest.mark.parametrize(
    "settings, message",
    [
        ([("optim.name", "adamw"), ("data.name", "digits")], "schedule.peak"),
        ([("data.name", "unlabelled/{}")], "has no labels"),
        ([("batch_siz", "3"), ("data.name", "digits")], "batch_size"),
    ],
)
def test_mistakes_are_one_line(tmp_path, settings, message):
    root = folder(tmp_path / "pics", {"a": 2})
    with pytest.raises(UserError, match=message) as error:
        chosen.chosen([(key, text.format(root)) for key, text in settings])
    assert "\n" not in str(error.value)


def test_a_run_without_a_config_keeps_it_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["train", "--data=digits", "--config.duration=2 steps", "--config.parallel.devices=1"]
    bad = [*command, "--config.model.name=resnet18", "--config.model.fields.stem=round"]
    assert main(bad) == 2 and not (tmp_path / "runs" / "digits").exists()
    assert not main(command)
    told = capsys.readouterr().out
    assert "chosen for digits: 1,259 training pictures of 10 classes" in told and "config.schedule.peak=0.05" in told
    stored = json.loads(Path("runs/digits/config.json").read_text())
    kept = resolve(config_file.load("runs/digits/config.py"))  # as JSON, which has no tuples within tuples
    assert same_run.to_json(kept) == same_run.to_json(resolve(stored))
    assert jaxcls.train(data="digits", max_time="1h")["test"]["step"] == 2  # the stored one, which has come to its end
    assert "chosen for" not in capsys.readouterr().out
