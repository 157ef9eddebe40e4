"""Measures what comes after an evaluation, on made-up logits: the seconds of all figures, and of the report.

    python scripts/bench/report.py                                # 50,000 pictures, 1,000 classes
    python scripts/bench/report.py --figures                      # the figures alone
    python scripts/bench/report.py --count 2000 --classes 10 --json

The logits are random with the right class ahead, of which about three quarters are then right, as of a good ImageNet
model. The report is made as for a finished run: its files are read, the temperature is fitted on as many validation
logits, the figures are computed anew; pictures and heat maps, which depend on the model, are left out. Seconds are of
wall time, and of CPU time, which tells more on a machine that is busy.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.cli.entry import entry_point
from jaxcls.measure import calibration, figures
from jaxcls.report.page import write_report


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    logits, label = make_logits(args.count, args.classes)
    result = {"count": args.count, "classes": args.classes, "cpus": len(os.sched_getaffinity(0))}
    result |= measure_figures(logits, label)
    if not args.figures:
        result |= measure_page(logits, label)
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000, help="pictures (default %(default)s)")
    parser.add_argument("--classes", type=int, default=1000, help="default %(default)s")
    parser.add_argument("--figures", action="store_true", help="leave the report out")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    if min(args.count, args.classes - 1) < 1:
        parser.error("numbers must be at least 1, classes 2")
    return args


def make_logits(count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(float32 [count, classes], int [count])."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), label] += 2.0 + 0.4 * np.log(classes) + rng.normal(size=count)
    return 2 * logits, label


def measure_figures(logits: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    """Seconds of every figure, and of fitting the temperature."""
    names = [f"class {i}" for i in range(logits.shape[1])]
    values, figures_s = timed(lambda: figures.figures(logits, label, names))
    temperature, temperature_s = timed(lambda: calibration.fit_temperature(logits, label))
    return {
        "accuracy": values["accuracy"],
        "temperature": temperature,
        "figures_s": figures_s,
        "temperature_s": temperature_s,
    }


def measure_page(logits: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    """Seconds of the whole report of a workdir with these logits, and its bytes."""
    with tempfile.TemporaryDirectory() as workdir:
        (Path(workdir) / "eval").mkdir()
        for split in ("test", "validation"):
            index = np.arange(len(label), dtype=np.int32)
            np.savez(Path(workdir) / "eval" / f"{split}-1.npz", logits=logits, label=label, index=index)
        path, page_s = timed(lambda: write_report(workdir))
        return {"page_s": page_s, "page_bytes": path.stat().st_size}


def timed(work: Callable[[], Any]) -> tuple[Any, list[float]]:
    """(what it returns, [seconds of wall time, seconds of CPU time])."""
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, [time.perf_counter() - start, time.process_time() - cpu]


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The result as lines of text."""
    yield f"{result['count']:,} pictures, {result['classes']:,} classes, {result['cpus']} CPU core(s)"
    yield f"figures      {seconds(result['figures_s'])}   (accuracy {result['accuracy']:.2%})"
    yield f"temperature  {seconds(result['temperature_s'])}   (T = {result['temperature']:.3f})"
    if "page_s" in result:
        yield f"report       {seconds(result['page_s'])}   ({result['page_bytes'] / 2**20:.2f} MiB)"


def seconds(pair: list[float]) -> str:
    """What `timed` gives, as text."""
    return f"{pair[0]:7.2f} s, {pair[1]:6.2f} s of CPU"


if __name__ == "__main__":
    sys.exit(main())
