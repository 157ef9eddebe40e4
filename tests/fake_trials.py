"""Searches whose trials are made of numbers: no training, no model; what a run leaves, as far as a search looks."""

import json
from pathlib import Path

from jaxcls.criteria import Figure
from jaxcls.defaults import default_config
from jaxcls.tune import budget, choosing, space, study
from jaxcls.tune.plan import Plan
from jaxcls.tune.running import Ended, Reached

ACCURACY = Figure("accuracy", share=True)
SPACE = "schedule.peak=log(1e-3,1); batch_size=pow2(16,64)"


class Killed(BaseException):
    """In place of SIGKILL: nothing catches it."""


def make(folder, *, trials=None, epochs=None, text=SPACE, length=4, repeat=0, seeds=3, **plan):
    """A search that can begin, in a folder; trials have `length` epochs."""
    config = json.loads(json.dumps(default_config().to_dict()))
    made = Plan("fake", config, space.parse(text), epochs=float(length), **{"sampler": "random", **plan})
    study.create(folder, made)
    budget.write(folder, budget.Budget(trials, epochs, (ACCURACY,), "fake", repeat, seeds))
    return folder


def value(config, epoch):
    """What a fake trial reaches: best at a peak of 0.1, better with each epoch, another for each seed."""
    distance = abs(config.schedule.peak - 0.1) + config.batch_size / 1000 + (config.seed * 7 % 5) / 100
    return 1 / (1 + distance) - 0.2 / epoch


class Fake:
    """In place of `running.run`. `checkpoint.json` is where it would go on; `epochs.txt` has a line for each epoch that
    was trained, so that nothing counts twice.

    Args:
      length: epochs of a run.
      hook: called as hook(config, folder, epoch) before each epoch; may raise, or return an Ended.
    """

    def __init__(self, length=4, hook=lambda config, folder, epoch: None):
        self.length, self.hook, self.began = length, hook, []

    def __call__(self, config, folder, wanted, prune):
        self.began.append(folder.name)
        folder.mkdir(parents=True, exist_ok=True)
        state = folder / "checkpoint.json"
        history = json.loads(state.read_text()) if state.is_file() else []
        if history and len(history) < self.length and (why := prune(self.reached(history))):
            return Ended("pruned", self.reached(history), why)
        for epoch in range(len(history) + 1, self.length + 1):
            if isinstance(ended := self.hook(config, folder, epoch), Ended):
                return ended
            with open(folder / "epochs.txt", "a") as file:
                file.write(f"{epoch}\n")
            history.append([epoch, value(config, epoch)])
            with open(folder / "metrics.jsonl", "w") as file:
                for step, figure in history:
                    line = {"step": step, "split": "validation", "epoch": step, "time": 1e9 + step, "accuracy": figure}
                    file.write(json.dumps(line) + "\n")
            why = prune(self.reached(history))
            state.write_text(json.dumps(history))
            if why and epoch < self.length:
                return Ended("pruned", self.reached(history), why)
        return Ended("complete", self.reached(history))

    def reached(self, history):
        best = max(figure for _, figure in history)
        return Reached([list(x) for x in history], float(len(history)), {"accuracy": best}, 1.0,
                       len(history) == self.length)  # fmt: skip


def trained(folder):
    """Folder of a run -> the epochs that it was trained, in order, with those that were trained again."""
    return {path.parent.name: [*map(int, path.read_text().split())] for path in Path(folder).glob("*/epochs.txt")}


def told(folder):
    """[(number, state, params, values)] of a search, as its study has it."""
    records = choosing.opened(folder).records
    return [(r.number, r.state, dict(r.params), r.values) for r in records]
