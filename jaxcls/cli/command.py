"""`jaxcls VERB ...`: finds the verb, reads its arguments, runs it. `cli.verbs` lists them."""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from jaxcls.cli.arguments import Parser, take_settings
from jaxcls.cli.entry import entry_point
from jaxcls.cli.verbs import GROUPS, VERBS, module
from jaxcls.errors import UserError, did_you_mean

USAGE = "usage: jaxcls VERB [arguments]        jaxcls VERB --help tells of one"


@entry_point
def main(argv: Sequence[str] | None = None) -> int | None:
    """Runs a command line; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        if words[1:]:
            return main([words[1], "--help"])
        print(overview())
        return 0
    if words[0] in ("-V", "--version"):
        from jaxcls import __version__

        print(f"jaxcls {__version__}")
        return 0
    verb, *rest = words
    if verb not in VERBS:
        near = did_you_mean(verb, list(VERBS), cutoff=0.5)
        raise UserError(f"jaxcls has no verb {verb!r}{near or '; jaxcls --help lists them.'}")
    return run(verb, rest)


def run(verb: str, argv: Sequence[str]) -> int | None:
    """Runs a verb with its arguments; its exit status, None for 0.

    A module with SETTINGS = True takes `--config.key=value`; they are `args.settings`, pairs in the order given,
    with --data as the last one.

    Raises:
      UserError: for a mistake in them, or from the verb.
    """
    implementation = importlib.import_module(module(verb))
    end = list(argv).index("--") if "--" in argv else len(argv)  # what follows belongs to another command
    settings, rest = take_settings(argv[:end])
    rest = [*rest, *argv[end:]]
    if settings and not getattr(implementation, "SETTINGS", False):
        raise UserError(f"jaxcls {verb} takes no --config.{settings[0][0]}; see jaxcls {verb} --help.")
    args = parser(verb).parse_args(rest)
    if getattr(args, "data", None) and hasattr(implementation, "SETTINGS"):
        settings.append(("data.name", args.data))
    args.settings = settings
    return implementation.run(args)


def parser(verb: str, make: Callable[..., argparse.ArgumentParser] = Parser, **options: Any) -> argparse.ArgumentParser:
    """The parser of a verb, from `make`; its description is the docstring of its module."""
    implementation = importlib.import_module(module(verb))
    verb_parser = make(prog=f"jaxcls {verb}", description=implementation.__doc__, **options)
    implementation.arguments(verb_parser)
    return verb_parser


def overview() -> str:
    """The verbs in groups."""
    width = max(map(len, VERBS)) + 2
    lines = ["Image classification in JAX: from a folder of pictures to a trained and measured model.", "", USAGE]
    for group, verbs in GROUPS.items():
        lines += ["", group, *(f"  {verb:<{width}}{text}" for verb, text in verbs.items())]
    return "\n".join(lines)
