"""Measures what starting costs: time and memory of fresh processes, and the heavy modules that each loads.

    python scripts/bench/imports.py                    # all cases, 5 rounds
    python scripts/bench/imports.py --rounds 1 --cases import help --top 15

Every round starts each case once, in turns. With --top, the imports that cost most by themselves are listed (one more
process for each case; `-X importtime` makes everything slower, so compare its figures with each other only).
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxcls.cli.entry import entry_point

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "tensorflow",
    "tensorflow_datasets",
    "tensorboard",
    "jax",
    "flax",
    "optax",
    "orbax",
    "grain",
    "matplotlib",
    "sklearn",
    "scipy",
    "pandas",
    "rich",
    "PIL",
    "ml_collections",
    "numpy",
)
# Arguments of the interpreter. --mode=check needs a folder that it may write to.
CASES = {
    "python": ["-c", "pass"],
    "numpy": ["-c", "import numpy"],
    "jax": ["-c", "import jax"],
    "import": ["-c", "import jaxcls"],
    "models": ["-c", "import jaxcls.models"],
    "help": ["-m", "jaxcls.main", "--help"],
    "check": ["-m", "jaxcls.main", "--config=configs/lenet5_digits.py", "--workdir={workdir}", "--mode=check"],
}
# Runs a case as the interpreter would, and tells at its end which modules are loaded.
REPORT = """
import atexit, json, runpy, sys
path, arguments = sys.argv[1], sys.argv[2:]
atexit.register(lambda: open(path, "w").write(json.dumps(sorted(name for name in sys.modules if "." not in name))))
sys.argv = arguments[1:]
if arguments[0] == "-c":
    exec(arguments[1])
else:
    runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
"""


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--top", type=int, default=0, metavar="N", help="list the N costliest imports of each case")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, Path(folder))
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """case -> wall_s, wall_s_min, cpu_s, peak_rss_bytes, heavy modules, costliest imports."""
    times: dict[str, list] = {case: [] for case in args.cases}
    for _ in range(max(1, args.rounds)):
        for case in args.cases:
            times[case].append(start(case, folder))
    result = {}
    for case, rounds in times.items():
        wall, cpu, memory = (sorted(values) for values in zip(*rounds, strict=True))
        result[case] = {
            "wall_s": wall[len(wall) // 2],
            "wall_s_min": wall[0],
            "cpu_s": cpu[len(cpu) // 2],
            "peak_rss_bytes": memory[-1],
            "heavy": heavy(case, folder),
        }
        if args.top:
            result[case]["imports"] = imports(case, folder, args.top)
    return result


def start(case: str, folder: Path) -> tuple[float, float, int]:
    """(wall seconds, CPU seconds, peak resident bytes) of one process. The peak is at least that of this process."""
    began = time.perf_counter()
    process = subprocess.Popen(command(case, folder), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)  # its resources alone, where RUSAGE_CHILDREN adds all processes up
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"error: {' '.join(process.args)} ended with status {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def command(case: str, folder: Path) -> list[str]:
    """The command line of a case."""
    return [sys.executable, *(part.format(workdir=folder / "run") for part in CASES[case])]


def heavy(case: str, folder: Path) -> list[str]:
    """Which of `HEAVY` are loaded at the end."""
    path = folder / "modules.json"
    executable, *arguments = command(case, folder)
    subprocess.run([executable, "-c", REPORT, path, *arguments], cwd=ROOT, capture_output=True)
    loaded = set(json.loads(path.read_text()))
    return [name for name in HEAVY if name in loaded]


def imports(case: str, folder: Path, n: int) -> list[tuple[float, str]]:
    """The n packages whose modules cost most: [seconds of their own modules, package], without what they import."""
    executable, *arguments = command(case, folder)
    done = subprocess.run([executable, "-X", "importtime", *arguments], cwd=ROOT, capture_output=True, text=True)
    costs = re.findall(r"^import time: +(\d+) \| +\d+ \| +([^\s.]+)", done.stderr, re.MULTILINE)
    own: dict[str, float] = {}
    for microseconds, package in costs:
        own[package] = own.get(package, 0.0) + int(microseconds) / 1e6
    return sorted(((seconds, package) for package, seconds in own.items()), reverse=True)[:n]


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The result as lines of text."""
    yield f"{'case':<8} {'wall s':>7} {'min':>6} {'CPU s':>6} {'MiB':>5}  heavy modules"
    for case, r in result.items():
        memory = r["peak_rss_bytes"] / 2**20
        times = f"{r['wall_s']:7.2f} {r['wall_s_min']:6.2f} {r['cpu_s']:6.2f}"
        yield f"{case:<8} {times} {memory:5.0f}  {', '.join(r['heavy'])}"
    for case, r in result.items():
        if r.get("imports"):
            yield f"{case}: " + ", ".join(f"{package} {seconds:.2f} s" for seconds, package in r["imports"])


if __name__ == "__main__":
    sys.exit(main())
