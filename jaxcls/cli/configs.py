"""Lists, shows and copies the configs that come with jaxcls.

    jaxcls configs                           # all, a line each
    jaxcls configs finetune                  # its text
    jaxcls configs finetune --copy .         # a copy to edit: jaxcls train --config=finetune.py
    jaxcls configs --copy configs            # all of them

A name is taken wherever a config file is: jaxcls train --config=resnet18_cifar10.
"""

import argparse
import shutil
from pathlib import Path

from jaxcls.cli.arguments import path
from jaxcls.errors import UserError
from jaxcls.settings import shipped


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("name", metavar="NAME", nargs="*", help="of a config; default: all")
    parser.add_argument("--copy", metavar="DIR", type=path, help="copies them there; files that are there stay")


def run(args: argparse.Namespace) -> None:
    """Lists, shows or copies."""
    if args.copy is not None:
        copy(args.name or shipped.names(), args.copy)
    elif args.name:
        print("\n".join(shipped.path(name).read_text(encoding="utf-8") for name in args.name), end="")
    else:
        width = max(map(len, shipped.names()))
        for name in shipped.names():
            print(f"{name:<{width}}  {shipped.headline(name)}")


def copy(names: list[str], folder: Path) -> None:
    """Copies configs into a folder, which is made if absent.

    Raises:
      UserError: for a name that is none, or where a file is in the way; then nothing is copied.
    """
    sources = [shipped.path(name) for name in names]
    targets = [folder / (source.name if len(names) == 1 else source.relative_to(shipped.FOLDER)) for source in sources]
    if taken := [target for target in targets if target.exists()]:
        raise UserError(f"{taken[0]} is there already; move it, or give another folder as --copy.")
    try:
        for source, target in zip(sources, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            print(target)
    except OSError as error:
        raise UserError(f"{folder} can't be written: {error.strerror or error}; choose another folder.") from error
