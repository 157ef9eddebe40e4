"""Attacks jaxcls with what goes wrong at users' places, and counts what came of it; prints tables in Markdown.

    python scripts/bench/attack.py pictures            # 1,000 broken and odd pictures, minutes
    python scripts/bench/attack.py pictures --quick    # every twelfth

    pictures    each alone, within 2 s and 500 MiB; all in a folder through predict, check and train
    settings    every key of the config with what it can't be, or hardly: accepted or refused in a line
    checkpoints damage of every kind to every file of every kept step: what --verify sees
    processes   one of two processes killed, stopped or absent: how the other ends, and whether the run goes on
    kills       a run killed 27 times at every moment of its life: what was saved, and the bits and records at the end
    disks       too small, full and read-only ones: how each command ends, and whether it works once there is space
    weights     hostile and damaged files of weights, tables and JSON, each within the same bounds

Everything is made in a folder of its own, which is removed (--keep FOLDER: is not). Exit status: 0; 1 where something
crashed, took more than its bounds or was answered wrongly, with a line for each; 2 for wrong arguments. Linux only.
"""

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import _attack_checkpoints
import _attack_disks
import _attack_kills
import _attack_pictures
import _attack_processes
import _attack_settings
import _attack_weights
from gpu import commit

from jaxcls.cli.entry import entry_point


def table(run: Callable[..., list[tuple]], *header: str) -> Callable[..., list[str]]:
    """An attack of `run(empty folder, note) -> rows`, which notes a line for each fault. It has no quick way."""

    def attack(folder: Path, quick: bool, say: Callable[[str], None]) -> list[str]:
        del quick
        faults: list[str] = []
        for row in (header, ["---"] * len(header), *run(folder, faults.append)):
            say(f"| {' | '.join(map(str, row))} |")
        return faults

    return attack


# name -> run(empty folder, quick, say), which says lines of Markdown and returns a line for each fault
ATTACKS = {
    "pictures": _attack_pictures.run,
    "settings": _attack_settings.attack,
    "weights": _attack_weights.attack,
    "checkpoints": table(_attack_checkpoints.run, "kind", "tried", "seen"),
    "kills": table(_attack_kills.run, "kind", "tried", "as promised"),
    "disks": table(_attack_disks.run, "kind", "tried", "as promised"),
    "processes": table(_attack_processes.run, "kind", "tried", "as promised"),
}


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attack", choices=ATTACKS)
    parser.add_argument("--quick", action="store_true", help="a small part of it")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="an empty or new folder for what is made")
    args = parser.parse_args(argv)
    if args.keep and args.keep.exists() and (not args.keep.is_dir() or any(args.keep.iterdir())):
        parser.error(f"--keep {args.keep}: it is there and not empty; name a new folder")
    words = sys.argv[1:] if argv is None else argv
    print(f"    python scripts/bench/attack.py {shlex.join(words)}\n")
    print(f"Commit {commit() or 'unknown'}; {os.cpu_count()} cores, load {_load()} at the start.\n", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        faults = ATTACKS[args.attack](folder.resolve(), args.quick, lambda line: print(line, flush=True))
    print(f"\nIn all {time.monotonic() - began:.0f} s, load {_load()} at the end; {len(faults)} fault(s).")
    for fault in faults:
        print(f"- {fault.encode(errors='backslashreplace').decode()}")
    return 1 if faults else 0


def _load():
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
