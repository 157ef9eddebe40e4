"""As many rungs of a ladder as a time allows, one seed, for gpu.py; prints the ladder's report as JSON.

    python scripts/bench/_ladder.py configs/ladders/cifar100_resnet18.py:short --seconds 300 --workdir runs/short \\
        --config.duration="10 epochs"

`jaxcls ablate` runs whole ladders. A rung is begun where the longest so far would still fit, and stopped at the end.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import jax

from jaxcls.ablate import ladder, running, table
from jaxcls.cli.arguments import take_settings
from jaxcls.cli.entry import entry_point
from jaxcls.training.signals import Stopped


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    settings, rest = take_settings(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ladder", metavar="LADDER", help="a file with get_ladder(arg), or FILE:arg")
    parser.add_argument("--seconds", type=float, required=True, help="for all rungs together")
    parser.add_argument("--workdir", type=Path, required=True, help="of the ladder")
    parser.add_argument("--rungs", type=int, help="only the first ones")
    args = parser.parse_args(rest)
    jax.config.update("jax_platforms", "cpu")  # this process only counts: a GPU's memory is for the runs
    rungs = ladder.load(args.ladder, settings)[: args.rungs]
    try:
        with Deadline(args.seconds) as deadline:
            running.run(rungs, args.workdir, 1, launch=deadline.launch, note=lambda line: print(line, file=sys.stderr))
    except Stopped:
        pass  # what is finished counts
    print(json.dumps(table.collect(rungs, args.workdir, 1)))
    return 0


class Deadline:
    """A context in which runs are launched; when its seconds are over the run under way is stopped, as by Ctrl-C."""

    def __init__(self, seconds: float) -> None:
        self.end, self.longest = time.monotonic() + seconds, 0.0
        self.timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))

    def __enter__(self) -> "Deadline":
        signal.signal(signal.SIGTERM, lambda *_: None)  # between two runs; one under way has a handler of its own
        self.timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.timer.cancel()

    def launch(self, config: object, folder: Path) -> running.Ended:
        """`running.in_process`, unless too little time is left."""
        if self.end - time.monotonic() < self.longest:
            return running.Ended(0, "no time was left", 0.0, 0.0)
        ended = running.in_process(config, folder)
        self.longest = max(self.longest, ended.seconds)
        return ended


if __name__ == "__main__":
    sys.exit(main())
