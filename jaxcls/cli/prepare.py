"""Downloads a data set and prepares it for jaxcls, or writes any set into files that are read fast.

    jaxcls prepare --list
    jaxcls prepare cifar10
    jaxcls prepare imagenet2012 --manual-dir=DIR          # with ILSVRC2012_img_{train,val}.tar in it
    jaxcls prepare pictures --to array_record --out DIR   # a folder, or what config.data.name takes: then records/DIR
    jaxcls prepare tfds/mnist --superpixels 75 --out DIR  # with a graph beside each picture: then graphs/DIR

tensorflow-datasets downloads, checks and writes the set as ArrayRecord, which `tfds/<name>` then reads without
TensorFlow. It goes to --data-dir, $TFDS_DATA_DIR or ~/tensorflow_datasets. A set that is there already is left alone;
one that is there as TFRecord is converted beside it. With --to array_record encoded pictures are copied as they are,
with their labels, ids and splits, into a few large files, and DIR appears once it is whole. With --superpixels each
picture is cut into about so many segments (SLIC), the nodes of a graph that lies beside it (docs/graphs.md). Exit
status: 0 done, 2 not possible, with a line that says why.
"""

import argparse
from pathlib import Path

from jaxcls.cli.arguments import data_name, expanded, positive
from jaxcls.errors import UserError

MOST = 1024  # segments of a picture


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a data set of tensorflow-datasets, or tfds/<name>")
    parser.add_argument("--data-dir", type=expanded, metavar="DIR", help="where sets are kept")
    text = "archives that are downloaded by hand (ImageNet)"
    parser.add_argument("--manual-dir", type=expanded, metavar="DIR", help=text)
    parser.add_argument("--to", choices=("array_record",), help="write the set NAME, or a folder of pictures, to --out")
    parser.add_argument("--out", type=expanded, metavar="DIR", help="with --to: a folder that is not there yet")
    text = "write the set with a graph of about N superpixels beside each picture, to --out"
    parser.add_argument("--superpixels", type=positive, metavar="N", help=text)
    text = "with --superpixels: between a segment and the 8 nearest (default), or those that it touches"
    parser.add_argument("--edges", choices=("nearest", "touching"), default="nearest", help=text)
    text = "with --superpixels: pictures of files are made so small first, short side (default %(default)s)"
    parser.add_argument("--side", type=positive, default=128, metavar="PIXELS", help=text)
    parser.add_argument("--list", action="store_true", help="show the usual sets and their sizes")


def run(args: argparse.Namespace) -> None:
    """Prepares, or lists."""
    if args.superpixels:
        _graphs(args)
        return
    if args.to or args.out:
        _write(args)
        return
    if not (args.list or args.name):
        raise UserError("name a data set; jaxcls prepare --list shows the usual ones.")
    from jaxcls.data import prepare

    if args.list:
        print(prepare.table())
    else:
        prepare.prepare(args.name.removeprefix("tfds/"), args.data_dir, args.manual_dir)


def _write(args: argparse.Namespace) -> None:
    """Writes a set to --out. Raises UserError for options that don't go together."""
    if not (args.to and args.out and args.name):
        raise UserError("writing a set takes its name, --to array_record and --out DIR.")
    if args.manual_dir or args.list:
        raise UserError(f"{'--list' if args.list else '--manual-dir'} does not go with --to; leave it out.")
    from jaxcls.data import record_files, sources
    from jaxcls.data.base import refuse_clips

    bases = sources.find(data_name(args.name), data_dir=args.data_dir)
    refuse_clips(next(iter(bases.values())), "jaxcls prepare --to array_record")
    record_files.write(bases, Path(args.out))
    for split, source in bases.items():
        print(f"{split}: {len(source):,} pictures of {len(source.classes)} classes")
    print(f"written; its name in a config: records/{args.out}")


def _graphs(args: argparse.Namespace) -> None:
    """Writes a set with graphs to --out. Raises UserError for options that don't go together."""
    if not (args.out and args.name):
        raise UserError("superpixels take the name of a set and --out DIR.")
    if args.manual_dir or args.list or args.to:
        other = "--to" if args.to else "--list" if args.list else "--manual-dir"
        raise UserError(f"{other} does not go with --superpixels; leave it out.")
    if args.superpixels > MOST:
        raise UserError(f"--superpixels {args.superpixels:,}: they are dense, N x N a picture; give at most {MOST:,}.")
    from jaxcls.augment import host
    from jaxcls.data import graph_files, sources

    bases = sources.find(data_name(args.name), data_dir=args.data_dir)
    channels = {source.images.shape[-1] for source in bases.values() if hasattr(source, "images")} or {3}
    read = host.smaller(args.side, channels.pop())
    graph_files.write(bases, Path(args.out), read, args.superpixels, how=args.edges)
    for split, source in bases.items():
        print(f"{split}: {len(source):,} pictures of {len(source.classes)} classes, each with a graph")
    print(f"written; its name in a config: graphs/{args.out}")
