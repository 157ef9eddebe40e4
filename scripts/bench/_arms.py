"""Tables made arm by arm: each arm is some commands of jaxcls and adds a row to a file of JSON lines when it ends."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Commands = list[list[str]]  # each a list of arguments of jaxcls


def parser(about: str | None, out: str) -> argparse.ArgumentParser:
    """A parser of what all tables take; `out`: the file of docs/bench."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("arms", nargs="*", metavar="ARM")
    made.add_argument("--data-dir", type=_path, required=True, help="of tensorflow-datasets, with cifar10")
    made.add_argument("--work", type=_path, required=True, help="folder for the workdirs")
    made.add_argument("--out", type=Path, default=ROOT / "docs" / "bench" / out)
    made.add_argument("--list", action="store_true", help="prints the commands")
    return made


def _path(text):
    return Path(text).resolve()


def parsed(made: argparse.ArgumentParser, argv: Sequence[str] | None, known: Sequence[str]) -> argparse.Namespace:
    """The arguments. Ends where an arm is not known."""
    args = made.parse_args(argv)
    if strange := [arm for arm in args.arms if arm not in known]:
        made.error(f"there is no arm {strange[0]!r}; it can be {', '.join(known)}")
    args.arms = args.arms or list(known)
    args.work.mkdir(parents=True, exist_ok=True)
    return args


def run(
    args: argparse.Namespace,
    commands: Callable[[str], Commands],
    measure: Callable[[str], dict[str, object]],
    *,
    counts: Callable[[dict[str, object]], bool] = lambda row: True,
) -> int:
    """Prints the commands of the arms, or measures those that have no row yet. Returns the exit status.

    `counts`: whether a row is one of these arguments.
    """
    rows = map(json.loads, args.out.read_text().splitlines()) if args.out.exists() else ()
    done = {row["arm"] for row in rows if counts(row)}
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    for arm in args.arms:
        if args.list:
            for command in commands(arm):
                print(f"{arm}: jaxcls {shlex.join(command)}")
        elif arm not in done:
            began, spent = time.monotonic(), _spent()
            row = {"arm": arm, **measure(arm), "cpu_s": round(_spent() - spent)}
            row |= {"wall_s": round(time.monotonic() - began), "commit": head.strip()}
            with open(args.out, "a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    return 0


def _spent():
    """CPU seconds of this process and of those that have ended."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def jaxcls(command: list[str], data_dir: Path) -> str:
    """Runs one command. Returns its output. Raises SystemExit, with what it said, where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TFDS_DATA_DIR": str(data_dir)}
    full = [sys.executable, "-m", "jaxcls", *command]
    done = subprocess.run(full, cwd=ROOT, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}")
    return done.stdout


def trained(command: list[str], data_dir: Path) -> str:
    """As `jaxcls`, of `train --workdir=..`: in pieces of 45 minutes, which go on exactly where they stopped."""
    workdir = Path(next(part.partition("=")[2] for part in command if part.startswith("--workdir=")))
    told = jaxcls([*command, "--max-time", "45m"], data_dir)
    while not (workdir / "results.json").exists():
        told += jaxcls([*command, "--max-time", "45m"], data_dir)
    return told
