"""JAX before its first use: compilation cache, quiet logs, processes."""

import argparse
import gc
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from jaxcls.cli import chatter
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
    parser.add_argument(
        "--initialization-timeout", type=count, default=300, metavar="SECONDS",
        help="how long the processes wait for each other at the start; default 300",
    )  # fmt: skip


def set_up(processes: argparse.Namespace | None = None) -> None:
    """Compilation cache and, where a command takes `add_processes`, processes; before anything touches the devices.

    Raises:
      UserError: for half of the arguments of processes, and from `join`.
    """
    chatter.silence_xla()
    gc.set_threshold(50_000, 20, 20)  # tracing makes millions of objects and hardly any garbage
    import jax

    chatter.tell_warnings()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    if not jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]  # its flags are no attributes of a class
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if processes is None:
        return
    by_hand = (processes.coordinator_address, processes.num_processes, processes.process_id)
    if not processes.distributed and by_hand == (None, None, None):
        return
    if processes.distributed:
        join(*_detected(processes.initialization_timeout), timeout=processes.initialization_timeout)
    elif None in by_hand:
        raise UserError("--coordinator_address, --num_processes and --process_id go together.")
    else:
        join(*by_hand, None, timeout=processes.initialization_timeout)


def join(address: str, number: int, index: int, local: Sequence[int] | None, *, timeout: int) -> None:
    """JAX's `distributed.initialize` within a watch over the processes (training/watch.py), which ends them together.

    Raises:
      UserError: where a process does not come within `timeout` seconds, or the address can't be used.
    """
    import jax

    from jaxcls.training import watch

    service = watch.start(address, number, index, timeout)
    jax.distributed.initialize(
        service,
        number,
        index,
        local,
        initialization_timeout=timeout,
        coordinator_bind_address=service,
        shutdown_timeout_seconds=24 * 3600,  # the others wait while process 0 writes the report; the watch ends them
    )


def _detected(timeout):
    """(address, number, index, local devices) of whatever has started the processes. Raises UserError."""
    from jax._src.clusters import ClusterEnv

    found = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, timeout)
    if None in found[:3]:
        raise UserError(
            "--distributed: JAX finds nothing here that has started several processes (Slurm, Kubernetes, TPU, Open "
            "MPI); give --coordinator_address, --num_processes and --process_id."
        )
    return found


def cpu_only() -> None:
    """JAX computes on the CPU alone, in this process: it must not take the memory of a GPU that is training."""
    import jax

    jax.config.update("jax_platforms", "cpu")


def cache_folder() -> Path:
    """Where compiled programs are kept, unless JAX_COMPILATION_CACHE_DIR says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxcls" / "xla"
