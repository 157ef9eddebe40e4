"""Starts a verb in several processes of this machine, which train together.

    jaxcls launch -n 2 -- train --config=resnet50_imagenet --workdir=runs/mine
    jaxcls launch -n 2 --gpus-each 4 -- train --config=resnet50_imagenet

One process with all devices is what most machines want, and `jaxcls train` alone is that; this is for trying out what
runs on several machines (docs/scaling.md has recipes for those), or for a process a GPU. Lines of other processes than
the first bear their number. Ctrl-C and SIGTERM go to all of them, the state is saved, and the same command goes on. The
exit status is that of process 0, or of the first that fails.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading

from jaxcls.cli import command
from jaxcls.cli.arguments import count
from jaxcls.cli.verbs import VERBS
from jaxcls.errors import UserError, did_you_mean

LOCAL = "127.0.0.1"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the verb takes."""
    parser.add_argument("-n", "--processes", type=count, required=True, metavar="N", help="how many processes")
    text = "GPUs of each process: it sees its own ones alone; default: all see all"
    parser.add_argument("--gpus-each", type=count, metavar="K", help=text)
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- VERB ...", help="what each of them runs")


def run(args: argparse.Namespace) -> int:
    """Starts them and waits; the exit status."""
    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    check(args.processes, words)
    from jaxcls.training import relay

    address = f"{LOCAL}:{relay.free_port()}"
    processes = [_start(i, args, words, address) for i in range(args.processes)]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: _pass_on(processes, number))
    readers = [threading.Thread(target=_copy, args=(i, p), daemon=True) for i, p in enumerate(processes) if i]
    for reader in readers:
        reader.start()
    statuses = [process.wait() for process in processes]
    for reader in readers:
        reader.join(5)
    return next((status if status > 0 else 128 - status for status in statuses if status), 0)


def check(processes: int, words: list[str]) -> None:
    """What is to be run takes several processes. Raises UserError where it does not."""
    if processes < 1:
        raise UserError("-n is the number of processes, from 1 on.")
    if not words:
        raise UserError("say what they run: jaxcls launch -n 2 -- train --config=NAME --workdir=DIR.")
    if words[0] not in VERBS:
        near = did_you_mean(words[0], list(VERBS), cutoff=0.5)
        raise UserError(f"jaxcls has no verb {words[0]!r}{near or '; jaxcls --help lists them.'}")
    if "--num_processes" not in command.parser(words[0]).format_usage():
        raise UserError(f"jaxcls {words[0]} runs in one process; start it without jaxcls launch.")


def _start(index, args, words, address):
    """A started process; the output of all but the first is read here."""
    own = [f"--coordinator_address={address}", f"--num_processes={args.processes}", f"--process_id={index}"]
    environment = dict(os.environ)
    if args.gpus_each:
        first = index * args.gpus_each
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, range(first, first + args.gpus_each)))
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if index else {}
    command_line = [sys.executable, "-m", "jaxcls", *words, *(own if args.processes > 1 else [])]
    # a group of its own: Ctrl-C of a terminal reaches it once, through here
    return subprocess.Popen(command_line, env=environment, start_new_session=True, **output)


def _copy(index, process):
    """Lines of a process, with its number."""
    for line in process.stdout:
        sys.stdout.buffer.write(f"[{index}] ".encode() + line)
        sys.stdout.flush()


def _pass_on(processes, number):
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)
