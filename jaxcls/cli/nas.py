"""Searches for a net: a supernet with a controller chooses one of a space, and it is held against random nets of it.

    jaxcls nas --config=nas_fashion --workdir=runs/nas
    jaxcls nas --config=nas_fashion:tiny --workdir=runs/nas-tiny      # a trial of minutes
    jaxcls nas --workdir=runs/nas                                     # goes on: after Ctrl-C, a kill, a crash
    jaxcls nas --config=nas_fashion --list                            # the space and what its nets cost, runs nothing
    jaxcls nas --config=nas_fashion --latency runs/latency.json       # measures a table for config.nas.cost

WORKDIR/supernet is the run of the supernet; then the choice is trained from scratch, and random nets of no more
multiply-adds and a known net beside it, each with the same seeds (config.nas.random, seeds, reference).
WORKDIR/nas.html and nas.json say what came out, and whether that is better than random; WORKDIR/found.py is the config
of the net that was found, which trains as any other. --config.key=value sets a key
of all runs. Exit status: 0, also where a net from scratch failed (nas.json has why); 2 where the search cannot work,
130 after Ctrl-C.
"""

import argparse
from pathlib import Path

from jaxcls.cli import devices, run_config
from jaxcls.cli.arguments import add_config, expanded
from jaxcls.errors import UserError

SETTINGS = True


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    add_config(parser)
    parser.add_argument("--workdir", type=expanded, metavar="DIR", help="default: runs/<name of the config>")
    parser.add_argument("--list", action="store_true", help="show the space, run nothing")
    text = "measure the blocks of the space in ONNX Runtime on this machine into FILE (.json), run nothing"
    parser.add_argument("--latency", type=expanded, metavar="FILE", help=text)


def run(args: argparse.Namespace) -> None:
    """Searches, lists or measures."""
    devices.cpu_only()  # this process only counts; the runs have processes of their own
    config, workdir = _config(args)
    from jaxcls.architect import running, told

    say = lambda line: print(line, flush=True)  # noqa: E731
    if args.latency:
        from jaxcls.architect import latencies

        latencies.write(config, args.latency, say)
        return
    search = running.checked(config, workdir)
    say("\n".join(told.space(search.space)))
    if not args.list:
        say("\n".join(told.summary(running.run(search, workdir, note=say), workdir)))


def _config(args):
    """(config, workdir): without a config that of the search that was begun there."""
    if args.config is None and args.workdir is not None:
        supernet = Path(args.workdir) / "supernet"
        if not (supernet / "config.json").is_file():
            raise UserError(f"--workdir={args.workdir} holds no architecture search; to begin one, give --config=NAME.")
        return run_config.read(None, str(supernet), args.settings)[0], args.workdir
    return run_config.read(args.config, args.workdir, args.settings)
