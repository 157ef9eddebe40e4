"""JAX before its first use: compilation cache, quiet logs, processes."""

import argparse
import logging
import os
from pathlib import Path

from jaxcls.cli.arguments import count
from jaxcls.errors import UserError


def add_processes(parser: argparse.ArgumentParser) -> None:
    """The arguments of a run in several processes."""
    parser.add_argument(
        "--distributed", action="store_true", help="several processes, found by JAX (Slurm, Kubernetes, TPU, Open MPI)"
    )
    parser.add_argument("--coordinator_address", metavar="HOST:PORT", help="several processes by hand: process 0")
    parser.add_argument("--num_processes", type=count, help="several processes by hand: how many")
    parser.add_argument("--process_id", type=count, help="several processes by hand: which one this is, from 0")


def set_up(processes: argparse.Namespace | None = None) -> None:
    """Compilation cache and, where a command takes `add_processes`, processes; before anything touches the devices.

    Raises:
      UserError: for half of the arguments of processes.
    """
    import jax
    from absl import logging as absl_logging

    # Orbax tells of every file it renames, and its threads print a traceback each before it raises.
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    if not jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]  # its flags are no attributes of a class
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if processes is None:
        return
    by_hand = (processes.coordinator_address, processes.num_processes, processes.process_id)
    if processes.distributed:
        jax.distributed.initialize()
    elif by_hand != (None, None, None):
        if None in by_hand:
            raise UserError("--coordinator_address, --num_processes and --process_id go together.")
        jax.distributed.initialize(*by_hand)


def cpu_only() -> None:
    """JAX computes on the CPU alone, in this process: it must not take the memory of a GPU that is training."""
    import jax

    jax.config.update("jax_platforms", "cpu")


def cache_folder() -> Path:
    """Where compiled programs are kept, unless JAX_COMPILATION_CACHE_DIR says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxcls" / "xla"
