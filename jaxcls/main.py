"""Command line: `python -m jaxcls.main --config=configs/lenet5_digits.py [--workdir=DIR] [--mode=train|eval|check]`.

Any key of the config can be set: `--config.batch_size=256 --config.schedule.peak=0.2`. `--config=FILE:tiny` is a trial
of a config that takes seconds to minutes.
"""

import argparse
import difflib
import json
import logging
import os
import sys
from pathlib import Path

from jaxcls.cli.entry import fail
from jaxcls.errors import UserError
from jaxcls.training import signals


def main(argv):
    """Runs what the command line asks for.

    Args:
      argv: arguments, without the program's name.

    Raises:
      UserError: a mistake on the command line, in the config or in the data.
      Stopped: SIGTERM or Ctrl-C during training, once the state is saved.
    """
    args = parse(argv)
    config, workdir = read_config(args)
    set_up_jax(args)
    if args.mode == "train":
        from jaxcls.training import loop

        loop.run(config, workdir)
    elif args.mode == "eval":
        from jaxcls.training import evaluate

        evaluate.run(config, workdir, step=args.step)
    else:
        from jaxcls.training import build, preflight

        preflight.check(build.build(config), workdir, note=print, full=True)
        print("ready: nothing stands against this run")


def parse(argv):
    """The arguments; `settings` are the (key, text) pairs of `--config.key=text`, in order.

    Raises:
      UserError: for an argument that does not exist (the nearest is named) or has no such value.
    """
    parser = _Parser(
        prog="python -m jaxcls.main", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--config", metavar="FILE", help="config file; default: that of an earlier run in --workdir")
    parser.add_argument("--workdir", metavar="DIR", help="for checkpoints, logs, results; default runs/<config name>")
    parser.add_argument(
        "--mode", default="train", choices=["train", "eval", "check"],
        help="train (or go on with a run), evaluate a checkpoint, or only look whether all is well",
    )  # fmt: skip
    parser.add_argument(
        "--step", type=_count, help="with --mode=eval: the checkpoint; default the best one, else the newest"
    )
    parser.add_argument(
        "--distributed", action="store_true", help="several processes, found by JAX (Slurm, Kubernetes, TPU, Open MPI)"
    )
    parser.add_argument("--coordinator_address", metavar="HOST:PORT", help="several processes by hand: process 0")
    parser.add_argument("--num_processes", type=_count, help="several processes by hand: how many")
    parser.add_argument("--process_id", type=_count, help="several processes by hand: which one this is, from 0")
    settings, rest = take_settings(argv)
    args, unknown = parser.parse_known_args(rest)
    if unknown:
        raise UserError(_unknown(unknown[0], parser))
    args.settings = settings
    return args


def read_config(args):
    """(config, workdir). Without --config the workdir's own config is used, which its run has stored.

    Raises:
      UserError: where neither is given, or there is a mistake in the config or a setting.
    """
    if args.config is None and args.workdir is None:
        raise UserError("give --config=configs/..., or --workdir=... of an earlier run; see --help.")
    from jaxcls.settings import config_file

    if args.config is not None:
        config = config_file.load(args.config)
        workdir = args.workdir or f"runs/{Path(args.config.partition(':')[0]).stem}"
    else:
        config, workdir = _stored(args.workdir), args.workdir
    config_file.override(config, args.settings)
    return config, workdir


def set_up_jax(args):
    """Compilation cache and processes, before anything touches the devices."""
    import jax
    from absl import logging as absl_logging

    # Orbax tells of every file it renames, and its threads print a traceback each before it raises.
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    if not jax.config.jax_compilation_cache_dir:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxcls" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    by_hand = (args.coordinator_address, args.num_processes, args.process_id)
    if args.distributed:
        jax.distributed.initialize()
    elif by_hand != (None, None, None):
        if None in by_hand:
            raise UserError("--coordinator_address, --num_processes and --process_id go together.")
        jax.distributed.initialize(*by_hand)


def cli(argv=None):
    """Entry point: whatever a user can cause ends in a line on stderr and a status.

    0: done, or stopped by SIGTERM with the state saved. 2: a UserError. 130: Ctrl-C.
    """
    with signals.ending_at_once():
        try:
            main(sys.argv[1:] if argv is None else argv)
        except UserError as error:
            sys.exit(fail(error))
        except signals.Stopped as stopped:
            print(f"{stopped}. The same command goes on from there.", flush=True)
            sys.exit(stopped.status)


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing the usage before the message."""

    def error(self, message):
        raise UserError(f"{message}; see --help.")


def _count(text):
    value = int(text)
    if value < 0:
        raise ValueError
    return value


_count.__name__ = "whole number"  # argparse puts it into its message


def take_settings(argv):
    """Takes `--config.key=text` and `--config.key text` out of arguments: (pairs for `config_file.override`, the rest).

    Raises:
      UserError: for a key without a value.
    """
    settings, rest, argv = [], [], list(argv)
    while argv:
        arg = argv.pop(0)
        if not arg.startswith(("--config.", "-config.")):
            rest.append(arg)
            continue
        key, equals, text = arg.partition(".")[2].partition("=")
        if not equals and (not argv or argv[0].startswith("--")):
            raise UserError(f"--config.{key} has no value; write --config.{key}=...")
        settings.append((key, text if equals else argv.pop(0)))
    return settings, rest


def _unknown(argument, parser):
    if not argument.startswith("-"):
        config = f"; a config is given as --config={argument}" if argument.partition(":")[0].endswith(".py") else ""
        return f"{argument!r} is no argument{config or '; see --help.'}"
    flag = argument.partition("=")[0]
    options = [option for action in parser._actions for option in action.option_strings]
    near = difflib.get_close_matches(flag, options, 1)
    return f"there is no argument {flag}; " + (f"did you mean {near[0]}?" if near else "see --help.")


def _stored(workdir):
    """The config that a run has left in its workdir."""
    from ml_collections import ConfigDict

    path = Path(workdir) / "config.json"
    try:
        return ConfigDict(json.loads(path.read_text()), convert_dict=True)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"--workdir={workdir} holds no run (no {path}); give --config=configs/... too.") from None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} can't be read ({error}); give --config=configs/... too.") from error


def _unraisable(problem):
    """After a failed write, TensorStore's threads report that Orbax's event loop is gone; the error is told already."""
    if str(problem.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(problem)


if __name__ == "__main__":
    sys.unraisablehook = _unraisable
    cli()
