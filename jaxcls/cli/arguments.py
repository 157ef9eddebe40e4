"""One way to take arguments, for all verbs: mistakes are one line, and what several verbs take is spelt alike."""

import argparse
import math
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from jaxcls.data import query
from jaxcls.errors import UserError, did_you_mean
from jaxcls.files import expanded as expanded
from jaxcls.files import path as path

SHELLS = ("bash", "zsh", "tcsh")
SOURCES = ("digits", "synthetic", "moving_digits", "tfds", *query.PATHS)  # what the name of a data set may begin with
SETS = ("mnist", "fashion_mnist", "cifar10", "cifar100", "imagenet2012")  # of tfds; their names are given without it


class Parser(argparse.ArgumentParser):
    """Raises UserError in place of printing the usage; a misspelt option gets the nearest."""

    def __init__(self, **options: Any):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}{self._see}")

    # Typeshed gives it overloads, which say no more than this.
    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse's, but a misspelt option is told before one that lacks."""
        options = [option for action in self._actions for option in action.option_strings]
        words = list(args or ())
        for word in words[: words.index("--") if "--" in words else None]:
            flag = word.partition("=")[0]
            if flag.startswith("--") and flag not in options:
                raise UserError(f"there is no argument {flag}{did_you_mean(flag, options) or self._see}")
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            config = unknown[0].partition(":")[0].endswith(".py") and "--config" in options
            hint = f"; a config is given as --config={unknown[0]}" if config else self._see
            raise UserError(f"{unknown[0]!r} is no argument{hint}")
        return known

    @property
    def _see(self) -> str:
        return f"; see {self.prog} --help."


def count(text: str) -> int:
    """A whole number from 0 on."""
    value = int(text)
    if value < 0:
        raise ValueError
    return value


count.__name__ = "whole number"  # argparse puts it into its message


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def data_name(text: str) -> str:
    """The name of a data set, as config.data.name takes it; a bare path means `folder/PATH`, of a table `table/PATH`.

    `digits` and what begins with `synthetic`, `tfds/`, `folder/`, `table/` and so on are names; all else is a path. A
    misspelt name stays as it is, unless there is such a path: opening it says what was meant.
    """
    text = expanded(text)
    kind = text.partition("/")[0]
    misspelt = did_you_mean(kind, (*SOURCES, *SETS)) and not os.path.exists(text)
    return text if kind in SOURCES or misspelt else query.of_path(text)


def numbers(text: str) -> tuple[float, ...]:
    """Finite numbers with commas between them: "0.5", "0.485,0.456,0.406"."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers; write it like 0.485,0.456,0.406")
    return values


def add_run(parser: argparse.ArgumentParser, step: str = "the best one, else the newest") -> None:
    """RUN and --step, of the verbs that look at a run."""
    parser.add_argument("run", metavar="RUN", type=expanded, help="workdir of a run")
    parser.add_argument("--step", type=count, metavar="N", help=f"of the run's checkpoints; default: {step}")


def add_config(parser: argparse.ArgumentParser, **options: Any) -> None:
    """--config and --data, of the verbs that start from a config; `--config.key=value` is taken by the command."""
    text = "name of a config (jaxcls configs), or a file"
    parser.add_argument("--config", metavar="CONFIG", type=expanded, help=text, **options)
    add_data(parser)


def add_allow_changed(parser: argparse.ArgumentParser) -> None:
    """--allow-changed-data, the same everywhere."""
    parser.add_argument(
        "--allow-changed-data",
        action="store_true",
        help="go on though pictures are gone, changed or new since the run began (docs/running.md)",
    )


def add_data(parser: argparse.ArgumentParser, **options: Any) -> None:
    """--data, the same everywhere."""
    text = "a folder of pictures, a table, or what config.data.name takes: digits, tfds/cifar10, table/FILE?label=breed"
    parser.add_argument("--data", type=data_name, metavar="DATA", help=text, **options)


def take_settings(argv: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Takes `--config.key=text` and `--config.key text` out of arguments: (pairs for `config_file.override`, the rest).

    Raises:
      UserError: for a key without a value.
    """
    settings, rest, left = [], [], list(argv)
    while left:
        arg = left.pop(0)
        if not arg.startswith(("--config.", "-config.")):
            rest.append(arg)
            continue
        key, equals, text = arg.partition(".")[2].partition("=")
        if not equals and (not left or left[0].startswith("--")):
            raise UserError(f"--config.{key} has no value; write --config.{key}=...")
        settings.append((key, text if equals else left.pop(0)))
    return settings, rest
