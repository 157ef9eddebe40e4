"""A table of 125 nets, each trained with two seeds, on which searches of architectures can be simulated.

    python scripts/bench/nas_table.py train --data-dir DIR --work /tmp/nas --out docs/bench/nas_table.jsonl
    python scripts/bench/nas_table.py simulate --table docs/bench/nas_table.jsonl

`train`: three blocks of kernel 3 or 7 and expansion 1 or 6, or skipped, on the first 10,000 training pictures of
Fashion-MNIST; validation are the next 5,000, test are all 10,000 of the set. Each net adds a row to --out when it ends,
and is left out where it has one. It is one process; a net is compiled once for both seeds. Pin it to one core.

`simulate`: each sampler of jaxcls/choices searches the table --repeats times. A search sees a net's accuracy on
validation with one of the seeds; what it takes in the end is judged by the mean accuracy on test, below the best one.
"""

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import _nas_space
import numpy as np

from jaxcls.choices import simulation
from jaxcls.cli import devices
from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "bench" / "nas_table.jsonl"
# A net is trained for less time than its programs take to compile: these compile in half of it and run as fast.
FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    training = verbs.add_parser("train", help="trains what is missing of the table")
    training.add_argument("--data-dir", required=True, help="of tensorflow-datasets, with fashion_mnist")
    training.add_argument("--work", type=Path, required=True, help="folder for the pictures")
    training.add_argument("--out", type=Path, default=OUT)
    training.add_argument("--nets", type=int, nargs="+", help="numbers of the nets in their order; default: all")
    training.add_argument("--epochs", type=int, default=_nas_space.EPOCHS)
    playing = verbs.add_parser("simulate", help="searches the table")
    playing.add_argument("--table", type=Path, default=OUT)
    playing.add_argument("--repeats", type=int, default=simulation.REPEATS)
    playing.add_argument("--budgets", type=int, nargs="+", default=[*simulation.BUDGETS, 125])
    playing.add_argument("--partial", action="store_true", help="also of a table that is not finished")
    playing.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.verb == "train":
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}".strip()
        devices.set_up()
        table(args.out, _nas_space.pictures(args.work, args.data_dir), args.epochs, args.nets)
        return 0
    rows = [json.loads(line) for line in args.table.read_text().splitlines()]
    known = _nas_space.read(rows)
    if known.lacking and not args.partial:
        raise UserError(f"{args.table} lacks {known.lacking} of 125 nets; finish it first, or give --partial.")
    result = simulation.simulate(known, budgets=args.budgets, repeats=args.repeats)
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    return 0


def table(out: Path, file: Path, epochs: int, numbers: list[int] | None = None) -> None:
    """Trains the nets that the file lacks, in an order at random, so that a part of the table is a sample of it."""
    from jaxcls.choices.samplers import every

    space = _nas_space.space()
    choices = list(every(space.sizes))
    order = numbers or random.Random(0).sample(range(len(choices)), len(choices))
    for choice in (choices[n] for n in order):
        if choice in _known(out):  # looked at anew each time: two processes may share the work
            continue
        cpu, wall = time.process_time(), time.monotonic()
        row = {"choice": choice, "blocks": space.describe(choice), **one(space.fields(choice), file, epochs)}
        row |= {"macs": space.macs(choice), "parameters": space.params(choice), "epochs": epochs}
        row |= {"cpu_s": round(time.process_time() - cpu, 1), "wall_s": round(time.monotonic() - wall, 1)}
        with open(out, "a") as lines:
            lines.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def _known(out):
    return {tuple(json.loads(line)["choice"]) for line in out.read_text().splitlines()} if out.exists() else set()


def one(fields: dict[str, Any], file: Path, epochs: int) -> dict[str, list[float]]:
    """Accuracies on validation and test of a net, one for each seed: of its weights and of the order of pictures."""
    import jax

    from jaxcls.training import build
    from jaxcls.training.evaluate import Measure

    config = _nas_space.config(file, epochs)
    config.model.fields = fields
    run = build.build(config)
    feed, measure, total = run.train_feed(), Measure(run, "test"), run.training.total_steps
    found: dict[str, list[float]] = {"validation": [], "test": []}
    for seed in range(_nas_space.SEEDS):
        state = run.parallel.replicate(run._initial(jax.random.PRNGKey(seed), None))  # compiled once for all seeds
        feed.epoch, feed.numbers["seed"], step = None, seed, 0
        while step < total:
            state, _, done = feed(state, step, total)
            step += done
        outputs = measure(state)[1]
        right = (outputs["logits"].argmax(-1) == outputs["label"])[np.argsort(outputs["index"])]
        found["validation"].append(round(float(right[: _nas_space.VALIDATION].mean()), 4))
        found["test"].append(round(float(right[_nas_space.VALIDATION :].mean()), 4))
    jax.clear_caches()  # the programs of 125 nets would fill the memory
    return found


def lines(result: list[dict[str, Any]]) -> list[str]:
    """The result as a table of Markdown."""
    text = ["| evaluations | sampler | regret, points | less random | |", "|---|---|---|---|---|"]
    for row in result:
        regret = f"{row['regret']:.3f} ({row['interval'][0]:.3f} to {row['interval'][1]:.3f})"
        low, high = row.get("difference_interval", (np.nan, np.nan))
        less = f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})" if "difference" in row else ""
        cells = [f"{row['budget']}", row["sampler"], regret, less, row.get("verdict", "")]
        text.append(f"| {' | '.join(cells)} |")
    return text


if __name__ == "__main__":
    sys.exit(main())
