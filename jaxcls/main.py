"""Command line: `python -m jaxcls.main --config=configs/lenet5_digits.py [--workdir=DIR] [--mode=train|eval|check]`.

Any key of the config can be overridden: `--config.batch_size=256 --config.schedule.peak=0.2`.
"""

import json
import os
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from jaxcls.errors import UserError

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "Config file, e.g. configs/lenet5_digits.py; ':tiny' behind it is a trial.")
flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and results; default runs/<config name>.")
flags.DEFINE_enum("mode", "train", ["train", "eval", "check"], "Train (or resume), evaluate a checkpoint, or only check.")
flags.DEFINE_integer("step", None, "With --mode=eval: the checkpoint; default the best one, else the newest.")
flags.DEFINE_bool("distributed", False, "Several processes, found by JAX itself (Slurm, Kubernetes, TPU, Open MPI).")
flags.DEFINE_string("coordinator_address", None, "Several processes by hand: host:port of process 0.")
flags.DEFINE_integer("num_processes", None, "Several processes by hand: how many.")
flags.DEFINE_integer("process_id", None, "Several processes by hand: the number of this one, from 0.")


def main(_):
    """Runs the mode that the flags ask for."""
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)  # Orbax tells of every file it renames, and warns of steps without a score
    config, workdir = read_config()
    set_up_jax()
    from jaxcls.signals import Stopped

    try:
        if FLAGS.mode == "train":
            from jaxcls import train

            train.run(config, workdir)
        elif FLAGS.mode == "eval":
            from jaxcls import evaluate

            evaluate.run(config, workdir, step=FLAGS.step)
        else:
            from jaxcls import build, preflight

            preflight.check(build.build(config), workdir, note=print)
            print("ready: nothing stands against this run")
    except Stopped as stopped:
        print(f"{stopped}. The same command goes on from there.", flush=True)
        sys.exit(stopped.status)


def read_config():
    """(config, workdir). Without --config the workdir's own config is used, which its run has stored.

    Raises:
      UserError: where neither is given.
    """
    if FLAGS.config is not None:
        name = Path(str(FLAGS["config"].config_filename).split(":")[0]).stem
        return FLAGS.config, FLAGS.workdir or f"runs/{name}"
    if FLAGS.workdir is None:
        raise UserError("give --config=configs/..., or --workdir=... of an earlier run.")
    path = Path(FLAGS.workdir) / "config.json"
    try:
        stored = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"--workdir={FLAGS.workdir} holds no run ({path} is missing); give --config=configs/... too.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can't be read: {error}") from error
    return ConfigDict(stored, convert_dict=True), FLAGS.workdir


def set_up_jax():
    """Compilation cache and processes, before anything touches the devices."""
    import jax

    if not jax.config.jax_compilation_cache_dir:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jaxcls" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if FLAGS.distributed:
        jax.distributed.initialize()
    elif FLAGS.coordinator_address or FLAGS.num_processes or FLAGS.process_id is not None:
        if None in (FLAGS.coordinator_address, FLAGS.num_processes, FLAGS.process_id):
            raise UserError("--coordinator_address, --num_processes and --process_id go together.")
        jax.distributed.initialize(FLAGS.coordinator_address, FLAGS.num_processes, FLAGS.process_id)


def parse_flags(argv):
    """Parses the command line; a mistake there or in the config file becomes one line."""
    try:
        return FLAGS(argv)
    except flags.Error as error:
        raise UserError(f"{str(error).splitlines()[0]}; see --help") from error


def cli(argv=None):
    """Entry point: turns a UserError into one line and status 2."""
    try:
        app.run(main, argv=argv, flags_parser=parse_flags)
    except UserError as error:
        sys.exit(fail(error))


def fail(error):
    """Prints a UserError on stderr; returns the exit status 2."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    return 2


if __name__ == "__main__":
    cli()
