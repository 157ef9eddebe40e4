"""Measures all tables of the speed section anew, each row in a process of its own on one core, and keeps the figures.

    python scripts/bench/all.py --peer-python PEERS/bin/python --tf-python TENSORFLOW/bin/python
    python scripts/bench/all.py --only step/resnet50 input
    python scripts/bench/all.py --stored                    # measures nothing: tables and page of what is stored
    python scripts/bench/all.py --quick --out quick.jsonl   # tries everything at small size; its figures mean nothing

Every row is appended to --out (docs/bench/speed.jsonl, which is committed) when it is done, so what an interrupted run
has finished is kept: what was measured, values with units, commit, date, machine, load average at begin and end,
versions. At the end the tables are printed as Markdown, with what became worse by more than 10 % than the last line of
the same row on the same machine, and beside the file a page (.html) plots each row over time. Use an idle machine.

PyTorch, torchvision, timm, Keras, ONNX Runtime are needed for the tables "step" and "forward_one": of this interpreter,
or of --peer-python, which must have JAX and all that jaxcls needs, too. Rows that need one which is missing are
skipped, as tf.data is without --tf-python. A row that fails is told with its last line, the others go on; exit status 1
then.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from _speed_jobs import TABLES, Job, jobs
from _speed_page import regressions, tables, write_page
from gpu import commit

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OUT = ROOT / "docs" / "bench" / "speed.jsonl"
PEERS = ("torch", "torchvision", "timm", "keras", "onnxruntime")  # jaxnn is left out where it is missing
# Prints the versions of what is installed, without loading it.
VERSIONS = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    failed, now = 0, commit()  # before the first row: with it the checkout is a changed one
    try:
        if not args.stored:
            failed = sum([not measure(job, args, now) for job in wanted(args)])
    finally:  # also of an interrupted run
        tell(args.out)
    return 1 if failed else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = f"tables ({', '.join(TABLES)}) or rows such as step/resnet50"
    parser.add_argument("--only", nargs="+", metavar="NAME", help=names)
    parser.add_argument("--quick", action="store_true", help="few rounds at small sizes; needs --out")
    parser.add_argument("--stored", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="default docs/bench/speed.jsonl")
    parser.add_argument("--core", type=int, default=0, help="that all run on (default %(default)s)")
    parser.add_argument("--peer-python", default=sys.executable, metavar="PYTHON", help="default: this one")
    parser.add_argument("--tf-python", metavar="PYTHON", help="an interpreter with TensorFlow")
    args = parser.parse_args(argv)
    if args.quick and args.out == OUT:
        parser.error("--quick needs --out FILE: its figures do not belong to the others")
    return args


def wanted(args: argparse.Namespace) -> list[Job]:
    """The jobs of --only, or all. UserError for a name that is none."""
    found = jobs(args.tf_python)
    for name in args.only or ():
        if not any(name in (job.name, job.table) for job in found):
            raise UserError(
                f"--only {name}: there are {', '.join([*TABLES, *(j.name for j in found if '/' in j.name)])}."
            )
    return [job for job in found if not args.only or job.name in args.only or job.table in args.only]


def measure(job: Job, args: argparse.Namespace, now: str) -> bool:
    """Runs a job of the commit `now` and appends its rows; False where it failed."""
    python = args.peer_python if job.peers or job.name == "convolve" else sys.executable
    found = versions(python)
    missing = [name for name in PEERS if job.peers and name not in found]
    if missing:
        print(f"{job.name}: skipped, {', '.join(missing)} not installed (--peer-python)", flush=True)
        return True
    if job.name == "input" and not args.tf_python:
        print("input: without tf.data (--tf-python)", flush=True)
    if job.name == "input" and args.tf_python:
        found = found | {"tensorflow": versions(args.tf_python).get("tensorflow", "")}
    begin = os.getloadavg()[0]
    print(f"{job.name} ...", flush=True)
    try:
        rows = list(job.rows(run(command(job, python, args))))
    except Failed as reason:
        print(f"{job.name}: failed: {reason}", flush=True)
        return False
    common = {
        "commit": now,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(args.core),
        "load": [round(begin, 2), round(os.getloadavg()[0], 2)],
        "quick": args.quick,
        "versions": found,
    }
    append(args.out, [{"what": f"{job.table}/{row}", "values": values} | common for row, values in rows])
    return True


class Failed(Exception):
    """A command that gave no figures; the text is its last line."""


def command(job: Job, python: str, args: argparse.Namespace) -> list[str]:
    """The command line of a job."""
    one_core = ["taskset", "-c", str(args.core)] if shutil.which("taskset") else []
    return [*one_core, python, str(HERE / job.script), *job.arguments, *(job.quick if args.quick else ()), "--json"]


def run(words: Sequence[str]) -> dict[str, Any]:
    """What a command prints as JSON. Raises Failed."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    for line in done.stderr.splitlines():
        if line.startswith("left out: "):  # a peer that is missing
            print(line, flush=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise Failed(f"{last} (status {done.returncode})")
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise Failed(f"no JSON but {done.stdout[-200:]!r}") from None


@cache
def versions(python: str) -> dict[str, str]:
    """Name: version of what matters that an interpreter has. UserError where it does not start."""
    names = (
        "jax",
        "jaxlib",
        "flax",
        "numpy",
        "tensorflow",
        *PEERS,
        "jaxnn",
        "pillow",
        "simplejpeg",
        "turbojpeg",
        "cykooz-resizer",
    )
    try:
        done = subprocess.run([python, "-c", VERSIONS, *names], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"{python} does not start: {error}.") from None
    return json.loads(done.stdout)


def machine(core: int) -> dict[str, Any]:
    """The machine: its processor, cores, of how many of them a row has, and memory."""
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        models = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = models[core] if core < len(models) else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = 1 if shutil.which("taskset") else os.cpu_count()
    return {"cpu": cpu, "cpus": os.cpu_count(), "measured_on": cores, "memory_gib": round(memory)}


def append(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Adds lines to the file, which is made with its folder where it is missing. UserError where it can't be."""
    text = "".join(json.dumps(line) + "\n" for line in rounded(lines))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}; name another file with --out.") from None


def rounded(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines with values of five digits, which is more than they are known to."""
    values = [{name: [float(f"{v:.5g}"), unit] for name, (v, unit) in line["values"].items()} for line in lines]
    return [line | {"values": v} for line, v in zip(lines, values, strict=True)]


def stored(path: Path) -> list[dict[str, Any]]:
    """The lines of the file. UserError for one that is none."""
    lines = []
    for i, text in enumerate(path.read_text(encoding="utf-8").splitlines() if path.exists() else (), 1):
        try:
            lines.append(json.loads(text))
        except ValueError:
            raise UserError(f"{path}, line {i} is no JSON; remove it.") from None
    return lines


def tell(path: Path) -> None:
    """Prints the tables and regressions of what is stored, and writes the page beside it."""
    lines = stored(path)
    if not lines:
        print(f"{path} has no rows yet")
        return
    worse = list(regressions(lines)) or ["nothing"]
    write_page(lines, path.with_suffix(".html"))
    words = ["", *tables(lines), "Worse by more than 10 % than before:", *(f"- {sentence}" for sentence in worse)]
    print("\n".join([*words, "", f"Plots: {path.with_suffix('.html')}"]), flush=True)  # a signal ends without flushing


if __name__ == "__main__":
    sys.exit(main())
