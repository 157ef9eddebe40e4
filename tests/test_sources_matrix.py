"""Sources x commands: each cell works, and what it makes is there, or ends in one line that names the thing."""

import json
import shutil

import numpy as np
import pytest
from small_sources import ALL, BARE, SETS, N

from jaxcls.checkpoints import view
from jaxcls.cli.command import main
from jaxcls.tune import processes, workers

CONFIG = """
from jaxcls.defaults import default_config

def get_config(arg=""):
    config = default_config()
    config.data.normalize, config.data.validation, config.data.workers = "symmetric", 0.2, 0
    config.data.augment = config.data.eval_transform = ("resize(16, 16)",)
    config.model.name, config.model.fields = "simple_cnn_16_32", {"channels": (2, 2), "hidden": 4}
    config.duration, config.batch_size, config.parallel.devices = "2 steps", 8, 1
    config.checkpoint.every = config.eval.every = "1 steps"
    if arg == "ssl":
        config.data.augment, config.ssl.method = ("random_resized_crop(16)", "flip"), "simclr"
        config.ssl.projector, config.data.validation, config.monitor.knn = (4,), 0.0, ""
        config.monitor.probe = False
    return config
"""
ONE, NONE = {make.__name__ for make in SETS}, {make.__name__ for make in BARE}


class World:
    """Sources and runs on them, each made when it is first asked for."""

    def __init__(self, base):
        self.base, self.names = base, {}
        (base / "small.py").write_text(CONFIG)

    def name(self, source):
        """config.data.name of a source."""
        if source not in self.names:
            self.names[source] = ALL[source](self.base / source)
        return self.names[source]

    def train(self, source, workdir):
        """The command that trains on a source: without labels by SimCLR."""
        config = f"{self.base}/small.py{':ssl' if source in NONE else ''}"
        return ["train", f"--config={config}", "--data", self.name(source), f"--workdir={workdir}"]

    def run(self, source):
        """The workdir of a run on a source."""
        workdir = self.base / f"{source}.run"
        if not (workdir / "results.json").exists():
            assert main(self.train(source, workdir)) == 0
        return workdir

    def copy(self, source, place):
        """A run on a source in another place, to be written into."""
        return shutil.copytree(self.run(source), place)


@pytest.fixture(scope="module", autouse=True)
def guards(bare_end):
    """Runs end without a report, which has a cell of its own; the workers of a search are this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "look_after", lambda folder, number, note: workers.work(folder, note) or 0)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


# Each takes (world, source, a folder of its own) and returns the command, and what is asserted once it has worked.


def check(world, source, place):
    command = ["check", *world.train(source, place / "run")[1:]]
    return command, lambda out: "steps of 8 pictures" in out and not (place / "run").exists()


def train(world, source, place):
    """By the labels, which some have not."""
    command = [word.removesuffix(":ssl") for word in world.train(source, place / "run")]
    return command, lambda out: json.loads((place / "run/results.json").read_text())["test"]["count"] > 0


def ssl(world, source, place):
    command = ["train", f"--config={world.base}/small.py:ssl", *world.train(source, place / "run")[2:]]
    return command, lambda out: view.find_step(place / "run", 2).is_dir()


def resume(world, source, place):
    """Of a run that lacks its last step; it ends with the very same numbers."""
    run = world.copy(source, place / "run")
    before = view.read_arrays(view.find_step(run, 2))
    shutil.rmtree(view.find_step(run, 2))
    (run / "manifests/2.json").unlink()

    def same(out):
        after = view.read_arrays(view.find_step(run, 2))
        return "going on from step 1 of 2" in out and all(np.array_equal(before[key], after[key]) for key in before)

    return world.train(source, run), same


def evaluate(world, source, place):
    """Of the run itself; of pictures without labels that of another run on them."""
    if source in NONE:
        return ["eval", world.run("folder"), "--data", world.name(source)], None
    run = world.copy(source, place / "run")
    shutil.rmtree(run / "eval")
    return ["eval", run], lambda out: len(list((run / "eval").glob("test-*.npz"))) == 1


def other(world, source, place):
    """eval --data of a run on a folder."""
    run = world.copy("table_sets" if source in ONE else "folder", place / "run")
    command = ["eval", run, "--data", world.name(source), "--name", "other"]
    return command, lambda out: len(np.load(next((run / "eval").glob("other-*.npz")))["index"]) == N


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def predict(world, source, place):
    run, file = world.run("folder" if source in NONE else source), place / "answers.jsonl"
    many = {"digits": 1797, "synthetic": N + N // 4}.get(source, N)
    done = lambda out: len(rows(file)) == many and not any(row.get("error") for row in rows(file))  # noqa: E731
    return ["predict", run, world.name(source), "--out", file], done


def shard(world, source, place):
    """The second half; the first one is made here."""
    command, _ = predict(world, source, place)
    halves = [[*command[:-1], place / f"{i}.jsonl", "--shard", f"{i}/2"] for i in (1, 2)]
    assert main([*map(str, halves[0])]) == 0

    def apart(out):
        names = [{row["path"] for row in rows(place / f"{i}.jsonl")} for i in (1, 2)]
        many = {"digits": 1797, "synthetic": N + N // 4}.get(source, N)
        return all(names) and not names[0] & names[1] and len(names[0] | names[1]) == many

    return halves[1], apart


def clean(world, source, place):
    """Where nothing is found, nothing is written."""
    done = lambda out: (place / "findings.csv").is_file() == ("written" in out) and "pictures" in out  # noqa: E731
    return ["clean", world.name(source), "--out", place], done


def report(world, source, place):
    run = world.copy(source, place / "run")
    return ["report", run], lambda out: "<h1>" in (run / "report.html").read_text()


def compare(world, source, place):
    return ["compare", world.run(source), world.copy(source, place / "run")], lambda out: "# 2 runs on test" in out


def robustness(world, source, place):
    run = world.copy("folder" if source in NONE else source, place / "run")
    command = ["robustness", run, "--corruptions", "contrast", "--strengths", "3"]
    command += ["--data", world.name(source)] if source in NONE else []
    return command, lambda out: (run / "robustness.json").is_file()


def tune(world, source, place):
    config = world.train(source, place)[1].removeprefix("--config=").removesuffix(":ssl")
    command = ["tune", config, "--data", world.name(source), "--space=schedule.peak=log(1e-3,1)", "--trials=1"]
    return [*command, f"--workdir={place}/s"], lambda out: "1 trials: 1 complete" in out


OF_RUNS = (check, train, resume, evaluate, other, predict, shard, clean, report, compare, robustness, tune)
COMMANDS = {command.__name__: command for command in (*OF_RUNS, ssl)}
# (command, source) -> words of the line with which it is refused; all other cells work
UNLABELLED = {
    "train": "have no labels to learn; set config.ssl.method",
    "evaluate": "has no labels, which this needs",
    "other": "has no labels, which this needs",
    "compare": "is no workdir of a run that was evaluated",
    "robustness": "none of the train pictures of the run",
    "tune": "have no labels to learn; set config.ssl.method",
}
REFUSED = {(command, source): words for command, words in UNLABELLED.items() for source in NONE}
REFUSED |= {("other", source): "is one of the model's ('ant', 'bee', 'cow')" for source in ("digits", "synthetic")}
REFUSED |= {("robustness", source): "the labels of this run are sets" for source in ONE}
# Labels are not looked at, so of the sources with one a picture a folder does for all; of digits cleaning takes long.
CELLS = [
    (command, source)
    for command in COMMANDS
    for source in ALL
    if (command != "ssl" or source in (*ONE, *NONE, "folder")) and (command, source) != ("clean", "digits")
]
# Each command and each source once; the others are slow.
QUICK = {
    *(
        ("check", "hf_parquet"),
        ("train", "table_sets"),
        ("resume", "shards"),
        ("evaluate", "arrays"),
        ("other", "names"),
    ),
    *(
        ("predict", "records"),
        ("shard", "table"),
        ("clean", "hf_saved"),
        ("report", "arrays_sets"),
        ("ssl", "table_bare"),
    ),
    *(("compare", "synthetic"), ("robustness", "folder"), ("tune", "digits"), ("train", "unlabelled")),
}


def test_the_quick_cells_have_every_command_and_every_source():
    assert set(CELLS) >= QUICK | set(REFUSED)
    assert {command for command, _ in QUICK} == set(COMMANDS) and {source for _, source in QUICK} == set(ALL)


@pytest.mark.parametrize(
    "command, source", [cell if cell in QUICK else pytest.param(*cell, marks=pytest.mark.slow) for cell in CELLS]
)
def test_each_cell_works_or_says_what_to_do(world, command, source, tmp_path, capsys):
    words, done = COMMANDS[command](world, source, tmp_path)
    capsys.readouterr()
    status = main([*map(str, words)])
    out, error = capsys.readouterr()
    assert "Traceback" not in error
    told = REFUSED.get((command, source))
    if told:
        assert (status, error.count("\n")) == (2, 1) and told in error, error
        return
    assert status in ((0, 1) if command == "clean" else (0,)), error
    assert done(out), out[-2000:]
