"""Downloads a data set and prepares it for jaxcls.

    jaxcls prepare --list
    jaxcls prepare cifar10
    jaxcls prepare imagenet2012 --manual-dir=DIR          # with ILSVRC2012_img_{train,val}.tar in it

tensorflow-datasets downloads, checks and writes the set as ArrayRecord, which `tfds/<name>` then reads without
TensorFlow. It goes to --data-dir, $TFDS_DATA_DIR or ~/tensorflow_datasets. A set that is there already is left alone;
one that is there as TFRecord is converted beside it. Exit status: 0 done, 2 not possible, with a line that says why.
"""

import argparse

from jaxcls.cli.arguments import expanded
from jaxcls.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a data set of tensorflow-datasets, or tfds/<name>")
    parser.add_argument("--data-dir", type=expanded, metavar="DIR", help="where sets are kept")
    text = "archives that are downloaded by hand (ImageNet)"
    parser.add_argument("--manual-dir", type=expanded, metavar="DIR", help=text)
    parser.add_argument("--list", action="store_true", help="show the usual sets and their sizes")


def run(args: argparse.Namespace) -> None:
    """Prepares, or lists."""
    if not (args.list or args.name):
        raise UserError("name a data set; jaxcls prepare --list shows the usual ones.")
    from jaxcls.data import prepare

    if args.list:
        print(prepare.table())
    else:
        prepare.prepare(args.name.removeprefix("tfds/"), args.data_dir, args.manual_dir)
