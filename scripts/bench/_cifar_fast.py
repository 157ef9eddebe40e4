"""The seconds of training airbench94 by configs/cifar10_fast.py and of its evaluation, for gpu.py; prints JSON.

    python scripts/bench/_cifar_fast.py --config configs/cifar10_fast.py --precision bfloat16 --rounds 3

Steps are those of a run, back to back, with the pictures in device memory; the evaluation sees each test picture in the
recipe's six views. Reading, the first weights, compiling, logging and checkpoints are not in the seconds.
"""

import argparse
import json
import sys
import time

from _step import Step, config_of_file

from jaxcls.cli.entry import entry_point
from jaxcls.training import build
from jaxcls.training.evaluate import Measure
from jaxcls.training.model import PRECISIONS


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, metavar="FILE[:ARG]", help="the recipe")
    parser.add_argument("--data", default="", help="in place of its data, e.g. synthetic/50000x32x3x10")
    parser.add_argument("--data-dir", default="", help="where sets of tensorflow-datasets are kept")
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16", help="default %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="trainings (default %(default)s)")
    args = parser.parse_args(argv)
    config = config_of_file(args.config, data=args.data, precision=args.precision)
    config.data.dir = args.data_dir
    config.parallel.devices = 1
    run = build.build(config)
    step, test = Step(run), Measure(run, "test")
    result = {"compile_s": step.compile()["compile_s"]}
    test(step.state)  # compiles
    rounds = []
    for _ in range(args.rounds):
        step.restart()
        began = time.perf_counter()
        step.round(run.training.total_steps)
        trained = time.perf_counter()
        figures, _ = test(step.state)
        rounds.append({"train_s": trained - began, "evaluate_s": time.perf_counter() - trained})
    result |= min(rounds, key=lambda r: r["train_s"] + r["evaluate_s"])
    result |= {"steps": run.training.total_steps, "batch": config.batch_size, "data": config.data.name}
    print(json.dumps(result | {"accuracy": figures["accuracy"], "count": figures["count"], "rounds": rounds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
