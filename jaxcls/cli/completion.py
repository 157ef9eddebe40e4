"""Prints the completion script of a shell: verbs, options, choices, files and folders.

    source <(jaxcls completion bash)                      # in ~/.bashrc
    jaxcls completion zsh > ~/.zfunc/_jaxcls              # a folder of $fpath, before compinit
    jaxcls completion tcsh > ~/.jaxcls.tcsh               # source it in ~/.tcshrc

Print it anew after an update of jaxcls.
"""

import argparse
import functools

from jaxcls.cli import command
from jaxcls.cli.arguments import SHELLS, Parser
from jaxcls.cli.verbs import VERBS

FILES = {
    "CONFIG",
    "CSV",
    "FILE",
    "JOURNAL",
    "LADDER",
    "PATH",
    "PICTURE",
    "RUN_OR_WEIGHTS",
}  # by what stands in the help
FOLDERS = {"DATA", "DIR", "RUN"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("shell", choices=SHELLS, help="which one")


def run(args: argparse.Namespace) -> None:
    """Prints."""
    print(script(args.shell))


def script(shell: str) -> str:
    """The completion script of a shell."""
    import shtab

    return shtab.complete(parser(), shell)


def parser() -> argparse.ArgumentParser:
    """All verbs in one parser, each argument that is a file or folder marked as such."""
    import shtab

    whole = Parser(prog="jaxcls")
    whole.add_argument("--version", "-V", action="store_true", help="show the version")
    verbs = whole.add_subparsers()
    for verb, text in VERBS.items():
        part = command.parser(verb, functools.partial(verbs.add_parser, verb, help=text))
        for action in part._actions:
            words = {action.metavar} if isinstance(action.metavar, str) else set()
            if words & FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab reads it
            elif words & FOLDERS:
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    return whole
