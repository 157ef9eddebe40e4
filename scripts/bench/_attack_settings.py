"""Every key of the config with values that can't be, or hardly: each is accepted or refused in a line."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxcls.cli.entry import LONGEST, fail
from jaxcls.defaults import default_config, flatten
from jaxcls.errors import UserError, of_machine
from jaxcls.settings import config_file
from jaxcls.training import build, preflight

# As typed: kind -> text.
TEXTS = {
    "not a number": "nan",
    "infinite": "inf",
    "below 0": "-1",
    "0": "0",
    "1e30": "1e30",
    "31 digits": "9" * 31,
    "empty": "",
    "a word": "x",
    "an empty tuple": "()",
    "a tuple of numbers": "(nan, 1e999, -1)",
    "10,000 letters": "x" * 10_000,
    "brackets": "(" * 300,
    "escapes": "\x1b[31m\u2028\n\udcff",
}
# As a file of Python sets it.
VALUES = {
    "None": None, "a dict": {}, "a list in lists": [[[]]], "bytes": b"x", "True": True, "an object": object(),
    "a function": len,
}  # fmt: skip
FIELDS = ("num_classes", "dtype", "name", "parent", "axis_name", "width", "dropout", "remat", "param_dtype", "a.b", "")
OTHERS = (
    ("data.name", "synthetic/10x100000x3x10"),
    ("data.name", "synthetic/99999999999999999999x8x1x2"),
    ("data.name", "synthetic/64x8x1x99999999"),
    ("data.name", "folder/" + "a" * 300),
    ("data.name", "folder/\0"),
    ("data.name", "tfds/../.."),
    ("data.split_ratios", "(0.7, 0.2, 0.2)"),
    ("data.mean", "(nan,)"),
    ("duration", "9" * 400 + " epochs"),
    ("duration", "3000000000 steps"),
    ("schedule.warmup", "9" * 400 + "%"),
    ("data.augment", "random_resized_crop(28, scale=(2, 1))"),
    ("data.augment", "random_resized_crop(28, scale=(0, 0))"),
    ("data.augment", "random_resized_crop(28, ratio=(2, 1))"),
    ("data.augment", "random_resized_crop(28, ratio=(0, 1))"),
    ("data.augment", "crop(28, pad=28)"),
    ("data.augment", "crop(28, pad=10000000000)"),
    ("data.augment", "resize(99999999999)"),
    ("data.augment", "mixup(1e999)"),
    ("eval.tta", "shift(99999999999)"),
)


def base():
    """A config whose build takes milliseconds; what other keys need is switched on by `around`."""
    config = default_config()
    config.data.name, config.duration, config.batch_size = "synthetic/64x28x1x2", "4 steps", 8
    config.parallel.devices = 1
    return config


AROUND = {  # key -> settings with which it has an effect
    "loss.gamma": [("loss.name", "focal")],
    "loss.alpha": [("loss.name", "focal")],
    "loss.epsilon": [("loss.name", "poly1")],
    "loss.threshold": [("loss.name", "binary_cross_entropy")],
    "optim.b1": [("optim.name", "adam")],
    "optim.b2": [("optim.name", "adam")],
    "optim.eps": [("optim.name", "adam")],
    "optim.trust": [("optim.name", "lars")],
    "optim.adam_rate": [("optim.name", "muon")],
    "optim.lookahead_alpha": [("optim.lookahead", "2")],
    "optim.lookahead_end": [("optim.lookahead", "2")],
    "schedule.pct_start": [("schedule.name", "one_cycle")],
    "schedule.div_factor": [("schedule.name", "one_cycle")],
    "schedule.final_div_factor": [("schedule.name", "one_cycle")],
    "schedule.power": [("schedule.name", "polynomial")],
    "schedule.factor": [("schedule.name", "step"), ("schedule.every", "2 steps")],
    "schedule.every": [("schedule.name", "step")],
    "schedule.milestones": [("schedule.name", "multi_step")],
    "schedule.mult": [("schedule.name", "sgdr"), ("schedule.every", "1 step")],
    "schedule.cooldown": [("schedule.name", "trapezoid")],
    "schedule.warmup_start": [("schedule.warmup", "1 step")],
    **{f"plateau.{key}": [("plateau.figure", "loss")] for key in ("factor", "patience", "threshold", "cooldown")},
    **{f"early_stopping.{key}": [("early_stopping.figure", "loss")] for key in ("patience", "threshold")},
}


def settings() -> Iterator[tuple[str, str, object]]:
    """(kind, key, text or value) of every setting that is tried."""
    for path, _ in flatten(default_config()):
        for kind, text in TEXTS.items():
            yield kind, path, text
    for path, _ in flatten(default_config()):
        for kind, value in VALUES.items():
            yield f"{kind}, from Python", path, value
    for field in FIELDS:
        for text in ("nan", "3", "x", "-1", "(1, nan)", "int8", "9" * 31):
            yield "a field of the model", f"model.fields.{field}", text
    for path, text in OTHERS:
        yield "settings reported", path, text


def attack(folder: Path, quick: bool, say: Callable[[str], None]) -> list[str]:
    """`run` for attack.py: the table in Markdown; returns a line for each fault."""
    faults: list[str] = []
    rows = run(folder, faults.append, 23 if quick else 1)
    say("| setting | tried | accepted | refused in a line | tracebacks, long lines |")
    say("|---|---|---|---|---|")
    for row in [*rows, ("all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True)))]:
        say(f"| {' | '.join(map(str, row))} |")
    return faults


def attempt(folder: Path, path: str, value: object) -> str:
    """What came of one setting: "accepted", "refused", or what was wrong with the answer."""
    config, text = base(), io.StringIO()
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            config_file.override(config, AROUND.get(path, ()))
            if isinstance(value, str):
                config_file.override(config, [(path, value)])
            else:
                with config.unlocked(), config.ignore_type():
                    config.update_from_flattened_dict({path: value})
            preflight.check(build.build(config), folder / "run", lambda line: None)
        return "accepted"
    except UserError as error:
        return _told(error)
    except Exception as error:
        if line := of_machine(error):
            return _told(UserError(line))
        return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


def _told(error):
    """What `attempt` returns for an error that a command would tell."""
    with contextlib.redirect_stderr(io.StringIO()) as text:
        fail(error)
    longest = max(map(len, text.getvalue().splitlines()))
    return "refused" if longest < LONGEST else f"a line of {longest} characters"


def run(folder: Path, note: Callable[[str], None], every: int = 1) -> list[tuple[str, int, int, int, int]]:
    """Tries each setting by building the run and its preflight; nothing is compiled.

    Args:
      folder: empty.
      note: gets a line for each that ends in neither way.
      every: only every so many.

    Returns:
      [(kind, tried, accepted, refused in a line, tracebacks or long lines)].
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    counts: dict[str, list[int]] = {}
    for kind, path, value in list(settings())[::every]:
        came = attempt(folder, path, value)
        count = counts.setdefault(kind, [0, 0, 0, 0])
        count[0] += 1
        count[{"accepted": 1, "refused": 2}.get(came, 3)] += 1
        if came not in ("accepted", "refused"):
            note(f"config.{path}={str(value)[:40]!r}: {came}")
    return [(kind, *count) for kind, count in counts.items()]
