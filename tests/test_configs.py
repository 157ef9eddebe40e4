"""Every file in configs/: its docstring, its schedule on a set of the real size, its tiny variant from end to end."""

import ast
import re
from pathlib import Path

import clip_files_made
import jax
import numpy as np
import pytest
from PIL import Image

from jaxcls import main
from jaxcls.defaults import default_config, flatten
from jaxcls.errors import UserError
from jaxcls.logs.records import read_metrics
from jaxcls.parallel import Parallel
from jaxcls.settings import config_file
from jaxcls.training import build, loop, recipe

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = {path.stem: path for path in sorted((ROOT / "configs").glob("*.py"))}
MORE = {"resnet50_strikes_back": ["a1", "a2"], "distill_resnet18": ["cifar100"], "distill_mobilenet_v2": ["cifar100"]}
SUPERNETS = ("nas_cifar10", "nas_fashion", "nas_small")
NAMED = ("zeroshot", "zeroshot_probe", "wise_ft")
VERB = {**dict.fromkeys(SUPERNETS, "nas"), **dict.fromkeys(NAMED, "zeroshot")}  # of the docstring; else train
MORE |= {
    "columns_digits": ["picture", "column"],
    "clips_moving_digits": ["frames", "shuffled"],
    "fixmatch_cifar10": ["4000"],
    "resnet50_large_batch": ["lars_32k", "lamb_8k"],
}
CASES = [(name, arg) for name in CONFIGS for arg in ("", "tiny", *MORE.get(name, []))]

# Training pictures of the sets that have to be downloaded, as published, and what stands in for them here.
PUBLISHED = {
    "tfds/mnist": 60_000, "tfds/fashion_mnist": 60_000, "tfds/cifar10": 50_000, "tfds/cifar100": 50_000,
    "tfds/imagenet2012": 1_281_167, "tfds/cats_vs_dogs": 16_283,
    "tfds/plant_village": 38_012, "graphs/mnist75": 60_000,
}  # fmt: skip
STAND_IN = {
    "tfds/mnist": "synthetic/256x28x1x10", "tfds/fashion_mnist": "synthetic/256x28x1x10",
    "tfds/cifar10": "synthetic/256x32x3x10", "tfds/cifar100": "synthetic/256x32x3x100",
}  # fmt: skip
LONG = (  # to compile, even as :tiny: their step is a slow test
    "convnext_tiny_imagenet", "deit_small_imagenet", "efficientnet_b0_imagenet", "inspection", "medical_densenet",
    "mobilenet_v2_imagenet", "mobilenet_v3_large_imagenet", "plant_village", "resnet18_cifar100", "resnet50_imagenet",
    "resnet50_large_batch",
    "resnet50_strikes_back", "resnet50_torchvision", "simple_cnn_cats_vs_dogs", "swin_t_imagenet",
    "wrn_28_10_cifar10", "wrn_28_10_cifar100",
    # without labels: tests/training/test_ssl_runs.py has their tasks
    "barlow_twins_cifar10", "byol_cifar10", "moco_v2_cifar10", "moco_v2_imagenet", "moco_v3_cifar10",
    "moco_v3_resnet50_imagenet", "moco_v3_vit_small_imagenet", "simclr_cifar10", "simclr_folder", "simclr_imagenet",
    "simsiam_cifar10", "vicreg_cifar10",
    *SUPERNETS,  # tests/tasks/test_architecture.py has their task
    "lit_table", "wise_ft", "zeroshot_probe",  # as pairs_table and zeroshot
    "fixmatch_cifar10",  # tests/training/test_fewlabels.py has its task
    "clips", "clips_moving_digits",
    "gin_mnist",  # tests/training/test_graph_run.py has its net
)  # fmt: skip
CLASSES = {"ants": 90, "bees": 160}  # mean grey level of a picture


def load(name, arg=""):
    """The config of a file, as the command line loads it."""
    return config_file.load(f"{CONFIGS[name]}:{arg}" if arg else CONFIGS[name])


@pytest.fixture
def pictures(tmp_path):
    """A folder of 2 x 40 small PNG files without split folders, and beside it `pictures.csv`, with sets of labels,
    `captions.csv`, `known.csv` with a bit of each, a folder of clips, and `moving.npz`."""
    table, captions, rng = ["path,labels\n"], ["path,label,caption\n"], np.random.default_rng(0)
    known = ["path,label,bit\n"]
    for name, grey in CLASSES.items():
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for i in range(40):
            noise = rng.integers(-60, 61, (36 + i % 5, 40, 3))
            Image.fromarray((grey + noise).astype(np.uint8)).save(folder / f"{i}.png")
            labels = "|".join(word for word, there in ((name, True), ("even", i % 2 == 0)) if there and i % 7)
            table.append(f"pictures/{name}/{i}.png,{labels}\n")
            captions.append(f"pictures/{name}/{i}.png,{name},number {i} of the {name}\n")
            known.append(f"pictures/{name}/{i}.png,{name},{i % 2}\n")
    (tmp_path / "pictures.csv").write_text("".join(table))
    (tmp_path / "captions.csv").write_text("".join(captions))
    (tmp_path / "known.csv").write_text("".join(known))
    (tmp_path / "vocabulary").write_text("#version\na n\n")
    clip_files_made.folder(tmp_path / "clips", each=10)
    moving = {f"{split}_images": rng.integers(0, 256, (16, 8, 32, 32, 1), np.uint8) for split in ("train", "test")}
    labels = {f"{split}_labels": np.arange(16) % 4 for split in ("train", "test")}
    np.savez(tmp_path / "moving.npz", **moving, **labels)
    graphs = {"nodes": rng.random((256, 5, 4)), "edges": rng.random((256, 5, 5)) < 0.4, "labels": np.arange(256) % 10}
    np.savez(tmp_path / "pictures.npz", **graphs)
    return tmp_path / "pictures"


@pytest.mark.parametrize("name", CONFIGS)
def test_docstring_gives_the_command(name):
    text = ast.get_docstring(ast.parse(CONFIGS[name].read_text()))
    assert re.search(rf"^(    )?jaxcls {VERB.get(name, 'train')} --config={name}\b", text, re.MULTILINE)


@pytest.mark.parametrize("name, arg", CASES)
def test_resolves_to_itself(name, arg):
    config = load(name, arg)
    assert config.is_locked
    assert build.resolve(config).to_dict() == config.to_dict()
    assert config.keys() == default_config().keys()


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("name, arg", CASES)
def test_schedule_fits_the_real_set(name, arg, devices):
    """Batches divide by 1 and 8 devices, and the schedule is possible, with as many pictures as the set really has."""
    config = load(name, arg)
    own = {"digits": 1259, "folder/pictures": 1000, "unlabelled/pictures": 1000, "table/pictures.csv": 1000,
           "table/captions.csv": 1000, "table/digits.csv": 12000, "clips/pictures": 1000,
           "moving_digits/2000": 2000}  # fmt: skip
    size = {**PUBLISHED, **own}.get(config.data.name, 64)  # synthetic ones have 64
    reader = build.Reader(config)
    durations = build.durations(reader, size, Parallel("jit", devices))
    rate, _ = recipe.schedule(reader, durations["total_steps"], durations["steps_per_epoch"])
    rates = np.asarray(jax.vmap(rate)(np.linspace(0, durations["total_steps"] - 1, 1001).round()))
    times = config.batch_size / config.schedule.per_batch if config.schedule.per_batch else 1
    peak = config.schedule.peak * (times**0.5 if config.schedule.batch_rule == "sqrt" else times)
    lowest = 0.9 if config.schedule.name == "step" else 0.99  # steps are taken during the warm-up, too
    assert lowest * peak < max(rates) <= 1.001 * peak
    assert min(rates) >= 0


@pytest.mark.parametrize("name", CONFIGS)
def test_tiny_variant_tries_what_the_recipe_uses(name):
    """The same optimiser, loss, schedule, average and transforms, if with other numbers."""

    def used(config):
        transforms = [re.sub(r"\(.*?\)", "", text) for text in config.data.augment]
        return transforms, config.optim.name, config.loss.name, config.schedule.name, bool(config.ema_decay)

    assert used(load(name, "tiny")) == used(load(name))


def tiny_run(name, pictures):
    """The run of a `:tiny`, on what stands in for its pictures."""
    config = load(name, "tiny")
    config.parallel.devices = 1
    kind = config.data.name.split("/")[0]
    own = {kind: f"{kind}/{pictures}" for kind in ("folder", "unlabelled")} | {"table": f"table/{pictures}.csv"}
    own |= {"clips": f"clips/{pictures.parent}/clips", "moving_digits": f"arrays/{pictures.parent}/moving.npz"}
    own["graphs"] = f"graphs/{pictures}.npz"
    config.data.name = own.get(kind) or STAND_IN.get(config.data.name, config.data.name)
    if config.words.method:
        config.data.name = f"table/{pictures.parent}/captions.csv"
        config.words.vocab = str(pictures.parent / "vocabulary")
    if config.data.columns:
        config.data.name = f"table/{pictures.parent}/known.csv"
    config.monitor.data = own["folder"] if kind == "unlabelled" else ""
    return build.build(config)


@pytest.mark.parametrize("name", CONFIGS)
def test_tiny_variant_is_a_run_that_answers(name, pictures):
    run = tiny_run(name, pictures)
    if name in SUPERNETS:
        assert run.answer.problem.startswith("a supernet is no net by itself")
        return
    assert run.answer.problem == "" and run.answer.names


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in CONFIGS])
def test_tiny_variant_trains(name, tmp_path, pictures, bare_end):
    run = tiny_run(name, pictures)
    results = loop.fit(run, tmp_path / "run")
    assert results["test"]["count"] == len(run.data.sources["test"])
    assert results["test"]["step"] <= run.training.total_steps <= 20
    losses = [line["loss"] for line in read_metrics(tmp_path / "run") if line["split"] == "train"]
    assert losses and np.isfinite(losses).all()
    assert (tmp_path / "run" / "manifests" / f"{run.training.total_steps}.json").is_file()


@pytest.mark.parametrize("name", CONFIGS)
def test_another_argument_is_refused(name):
    with pytest.raises(UserError, match="huge"):
        load(name, "huge")


def test_another_argument_is_one_line_on_the_command_line(capsys):
    with pytest.raises(SystemExit) as ended:
        main.cli([f"--config={CONFIGS['lenet5_digits']}:huge", "--mode=check"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]*huge[^\n]*\n", error)


def test_reference_has_every_key_with_its_default():
    """docs/configs.md: a row `| \\`config.key\\` | \\`default\\` | ... |` for each key of defaults.py, and no other."""
    text = (ROOT / "docs" / "configs.md").read_text()
    rows = dict(re.findall(r"^\| `config\.([\w.]+)` \| `([^`]*)` \|", text, re.MULTILINE))
    expected = dict(flatten(default_config()))
    expected["model.fields"] = expected["model.fields"].to_dict()
    assert {key: ast.literal_eval(default.replace("\\|", "|")) for key, default in rows.items()} == expected
    assert len(re.findall(r"^\| `config\.", text, re.MULTILINE)) == len(rows)
