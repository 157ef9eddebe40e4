"""Draws a contact sheet of training pictures as the network would see them.

    jaxcls show-augment --config=folder --data pictures
    jaxcls show-augment --data pictures --augment "random_resized_crop(128), flip, rotate(15)"
    jaxcls show-augment --data digits --augment "resize(28), rotate(20) | vflip" --columns 12 --rows 10

A row is a picture: first as it is, then what training makes of it, in the order in which it draws it. Rows, keys and
partners for mixing are those of a run with the same config, so these are the very pictures that it sees (before they
are normalised). Where the list mixes examples, the two largest shares of the label are given. Pictures are chosen from
all classes. With config.ssl.method both views of each draw stand side by side. Exit status: 0; 2 where something is
wrong with the data, the list or the output.
"""

import argparse
from typing import TYPE_CHECKING

from jaxcls.cli import devices
from jaxcls.cli.arguments import add_config, path, positive
from jaxcls.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

SETTINGS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_config(parser)
    add = parser.add_argument
    add("--augment", metavar="LIST", help="the transforms; default: the config's")
    add("--rows", type=positive, default=8, metavar="N", help="pictures (default %(default)s)")
    add("--columns", type=positive, default=8, metavar="N", help="draws of each (default %(default)s)")
    add("--size", type=positive, default=128, metavar="N", help="pixels of long sides (default %(default)s)")
    add("--out", type=path, default="augment.png", metavar="FILE", help="a PNG file (default %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Draws."""
    if args.size < 16:
        raise UserError("--size must be at least 16.")
    if not args.config and (args.data is None or args.augment is None):
        raise UserError("give --config, or --data and --augment; see jaxcls show-augment --help.")
    devices.cpu_only()
    from jaxcls.augment import contact_sheet
    from jaxcls.settings.reader import Reader
    from jaxcls.training import augmented, data, from_weights

    contact_sheet.check_output(args.out)
    config = Reader(from_weights.resolved(read_config(args), trains=False))
    rows = augmented.sheet_rows(config, args.rows, args.columns)
    lists = [", ".join(map(str, specs)) for specs in (config.data.augment, config.data.augment_second) if specs]
    title = f"{'  /  '.join(lists)}    seed {config.seed}"
    together = data.views_of(config) or 1
    contact_sheet.write(contact_sheet.draw(rows, args.size, title, together), args.out)
    print(f"wrote {args.out}: {len(rows)} pictures of {config.data.name}")


def read_config(args: argparse.Namespace) -> "ConfigDict":
    """The config that the command line describes."""
    from jaxcls.defaults import default_config
    from jaxcls.settings import config_file

    if args.config:
        config = config_file.load(args.config)
    else:
        config = default_config()
        config.batch_size = 2  # a pair, so that every epoch draws every picture
        config.data.eval_transform = ("resize(256)", "center_crop(224)")  # not used, but must be possible
    own = [(f"data.{key}", value) for key, value in (("name", args.data), ("augment", args.augment)) if value]
    config_file.override(config, [*own, *args.settings])
    return config
