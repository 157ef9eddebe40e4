"""Hostile and damaged files of weights, tables and JSON (tests/hostile.py), each read by a process of its own.

As a program it reads [reader, path] from stdin, a JSON list a line, and prints for each an object: kind, name, answer
(the line that refuses it, "" for none), seconds (of the processor) and mebibytes (at the peak, over what the process
began with); then one with its status. A child that takes SECONDS by the clock is ended by SIGALRM. Linux only.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from _attack_run import ROOT, environment

sys.path.insert(0, str(ROOT / "tests"))
SECONDS, MORE = 60, 6 * 2**30  # where a child ends, or is refused memory
BOUNDS = {"seconds": 2.0, "mebibytes": 500.0}
TRIES = 3  # of a file beyond a bound: other jobs make the processor slower, never faster
SCALES = (0.01, 0.1, 1)
FLIPS = 100  # of each whole file
TORCH = ROOT / "tests" / "models" / "fixtures" / "torch"


def readers() -> dict[str, Callable[[Path], Any]]:
    """Kind -> what reads such a file."""
    from jaxcls import files
    from jaxcls.data import metadata
    from jaxcls.measure import cost_file
    from jaxcls.models import weight_files

    names = [f"{i}.png" for i in range(1000)] + ["a"]
    return {
        "weights": weight_files.read,
        "table": lambda path: metadata.table(names, str(path)),
        "costs": lambda path: cost_file.read(path, [str(i) for i in range(10)]),
        "json": lambda path: files.read_json(path, strict=True),
        "arrays": lambda path: files.read_arrays(path, "key"),
    }


def serve() -> None:
    """Reads pairs, prints records."""
    from jaxcls.errors import UserError

    by_kind = readers()
    by_kind["weights"](TORCH / "zip.pth")  # so that all is imported
    for kind, path in map(json.loads, sys.stdin):
        if not (child := os.fork()):
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_AS, (MORE, MORE))
            began, before = time.process_time(), _resident()
            try:
                by_kind[kind](Path(path))
                answer = ""
            except UserError as error:
                answer = str(error)
            more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
            print(json.dumps({"kind": kind, "name": path, "answer": answer, "seconds": time.process_time() - began,
                              "mebibytes": more}), flush=True)  # fmt: skip
            os._exit(0)
        print(json.dumps({"kind": kind, "name": path, "status": os.waitpid(child, 0)[1]}), flush=True)


def _resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1024


def measured(asked: Iterable[tuple[str, Path]]) -> dict[tuple[str, str], dict[str, Any]]:
    """(reader, path) -> the records of it in one; one without an answer has died."""
    lines = "".join(json.dumps([kind, str(path)]) + "\n" for kind, path in asked)
    command = [sys.executable, str(Path(__file__).resolve())]
    ended = subprocess.run(command, input=lines, env=environment(), capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(ended.stderr)
    found: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for record in map(json.loads, ended.stdout.splitlines()):
        found[record["kind"], record["name"]].update(record)
    return dict(found)


def faults(record: dict[str, Any]) -> list[str]:
    """What is wrong with a record, [] for nothing."""
    if record["status"] or "answer" not in record:
        return [f"died with status {record['status']}"]
    lines = ["not in one short line"] * ("\n" in record["answer"] or len(record["answer"]) > 1000)
    return lines + [f"{record[key]:.1f} {key}" for key, bound in BOUNDS.items() if record[key] > bound]


def run(folder: Path, note: Callable[[str], None]) -> list[tuple[str, int, int, int]]:
    """Reads every file.

    Args:
      folder: empty; what is made lies there.
      note: gets a line for each file that is answered otherwise than it should.

    Returns:
      [(kind, tried, refused in a line, over the bounds or crashed)].
    """
    import hostile

    weights = [(f"{scale}-{name}", content) for scale in SCALES for name, content in hostile.weights(scale)]
    whole = {path.name: path.read_bytes() for path in sorted(TORCH.glob("*.pth"))}
    whole["small.safetensors"] = hostile.small_safetensors()
    made = written(folder / "weights", weights)
    harmed = written(folder / "damaged", hostile.damaged(whole, FLIPS))
    (folder / "texts").mkdir()
    texts = list(hostile.texts(folder / "texts"))
    kinds = {"hostile weights": ("weights", made), "damaged weights": ("weights", harmed)}
    kinds |= {kind: (kind, texts) for kind in readers() if kind != "weights"}
    rows = []
    for title, (kind, paths) in kinds.items():
        found = measured([(kind, path) for path in paths])
        for _ in range(TRIES - 1):
            again = [(kind, Path(path)) for (_, path), record in found.items() if faults(record)]
            found |= measured(again) if again else {}
        count = Counter(refused=sum(bool(record.get("answer")) for record in found.values()))
        for (_, path), record in found.items():
            if wrong := faults(record):
                count["over"] += 1
                note(f"{title}: {Path(path).name[:80]}: {', '.join(wrong)}")
        rows.append((title, len(paths), count["refused"], count["over"]))
    return rows


def written(folder: Path, files: Iterable[tuple[str, bytes]]) -> list[Path]:
    """The paths of (name, content), which are written into a new folder."""
    folder.mkdir()
    paths = []
    for name, content in files:
        paths.append(folder / name)
        paths[-1].write_bytes(content)
    return paths


def attack(folder: Path, quick: bool, say: Callable[[str], None]) -> list[str]:
    """Prints a table; returns a line for each fault. `quick` tries all the same: it takes a minute or two."""
    lines: list[str] = []
    rows = run(folder, lines.append)
    say("| kind | tried | refused in a line | over the bounds |\n|---|---|---|---|")
    for row in rows:
        say(f"| {' | '.join(map(str, row))} |")
    return lines


if __name__ == "__main__":
    serve()
