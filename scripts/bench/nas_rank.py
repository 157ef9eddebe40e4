"""Whether one supernet ranks the 125 nets of nas_table.py as their training one by one does.

    python scripts/bench/nas_rank.py --data-dir DIR --work /tmp/nas --table docs/bench/nas_table.jsonl

A supernet of the same space is trained on the same 10,000 pictures (a fifth of them for the controller's reward, at its
usual rate), once: its accuracies are kept in --work. They are, for each choice, of the shared weights on the
5,000 pictures of validation, with the statistics of batches of 500; they are ranked against the mean test accuracy of
the table. Multiply-adds alone are a ranking, too: a supernet is worth something where it ranks better than they do.
With --out the result is a row of a file of JSON lines.
"""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import _nas_space
import numpy as np

from jaxcls.choices import ranking, simulation
from jaxcls.choices.samplers import Choice, every
from jaxcls.cli import devices
from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
EVALUATED = 500  # pictures of a batch
FEWEST = 20  # nets: of fewer ten are no top
EPOCHS, BATCH, RATIO = 8, 80, 4  # of the supernet: 64 pictures for the weights, 16 for the reward


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True, help="of tensorflow-datasets, with fashion_mnist")
    parser.add_argument("--work", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--table", type=Path, default=ROOT / "docs" / "bench" / "nas_table.jsonl")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the supernet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--accuracies", type=Path, help="of a supernet that was trained before (docs/bench)")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    rows = [json.loads(line) for line in args.table.read_text().splitlines()]
    if len(rows) < FEWEST:
        raise UserError(f"{args.table} has {len(rows)} nets, and a ranking needs at least {FEWEST}.")
    kept = args.accuracies or args.work / f"supernet-{args.epochs}-{args.seed}.json"
    if not kept.exists():
        devices.set_up()
        began = time.process_time()
        made = supernet(_nas_space.pictures(args.work, args.data_dir), args.epochs, args.seed)
        kept.write_text(json.dumps({**made, "cpu_s": round(time.process_time() - began)}))
    made = json.loads(kept.read_text())
    found = {tuple(choice): accuracy for *choice, accuracy in made.pop("accuracies")}
    result = {"epochs": args.epochs, "seed": args.seed, **made, **compared(rows, found)}
    if args.out:
        with open(args.out, "a") as file:
            file.write(json.dumps(result) + "\n")
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    return 0


def supernet(file: Path, epochs: int, seed: int) -> dict[str, Any]:
    """Trains it. Returns steps, accuracies on validation with shared weights as [*choice, accuracy], likely: the
    controller's probability of its most likely option, for each decision."""
    import jax
    import jax.numpy as jnp

    from jaxcls.tasks.architecture import NAS
    from jaxcls.training import build

    config, space = _nas_space.config(file, epochs), _nas_space.space()
    config.seed, config.batch_size, config.eval.batch_size = seed, BATCH, EVALUATED
    config.model.fields = space.frame
    config.nas.stages, config.nas.holdout, config.nas.ratio = _nas_space.STAGES, 1 / (1 + RATIO), RATIO
    run = build.build(config)
    state, feed, step = run.parallel.replicate(run.first_state()[0]), run.train_feed(), 0
    total = run.training.total_steps
    while step < total:
        state, _, done = feed(state, step, total)
        step += done
    measure, found = run.eval_feed("test"), []
    for choice in every(space.sizes):
        logits = np.array(jax.nn.one_hot(jnp.array(choice), max(space.sizes)))  # the most likely choice answers
        forced = state.replace(extra={**state.extra, NAS: {**state.extra[NAS], "logits": logits}})
        batches = list(itertools.islice(measure.batches(forced), _nas_space.VALIDATION // EVALUATED))
        right = [np.argmax(batch["logits"], -1) == np.asarray(batch["label"]) for batch in batches]
        found.append([*choice, round(float(np.mean(right)), 4)])
    powers = np.exp(np.asarray(state.extra[NAS]["logits"], np.float64))
    likely = [round(float(x), 3) for x in (powers / powers.sum(-1, keepdims=True)).max(-1)]
    return {"steps": total, "likely": likely, "accuracies": found}


def compared(rows: list[dict[str, Any]], found: dict[Choice, float]) -> dict[str, Any]:
    """Kendall's tau and recall of the ten best of the supernet and of multiply-adds, against the mean on test; of one
    seed on validation against the other on test; the interval of the first two's difference in tau."""
    truth = [float(np.mean(row["test"])) for row in rows]
    supernet, macs = [found[tuple(row["choice"])] for row in rows], [float(row["macs"]) for row in rows]
    ranked = {
        "supernet": (supernet, truth),
        "multiply_adds": (macs, truth),
        "other_seed": ([row["validation"][0] for row in rows], [row["test"][1] for row in rows]),
    }
    out: dict[str, Any] = {"nets": len(rows), "chance": round(ranking.chance(len(rows)), 3)}
    for name, (scores, true) in ranked.items():
        taken = {"tau": ranking.kendall(scores, true), "recall": ranking.top_recall(scores, true)}
        out[name] = {key: round(value, 3) for key, value in taken.items()}
    interval = ranking.kendall_difference(supernet, macs, truth)
    out["difference"] = [round(end, 3) for end in interval]
    out["verdict"] = simulation.verdict([-interval[1], -interval[0]], "multiply-adds")
    best = int(np.argmax(supernet))
    out["choice"] = {"blocks": rows[best]["blocks"], "rank": sum(value > truth[best] for value in truth) + 1}
    out["choice"] |= {"test": round(truth[best], 4), "best": max(truth), "mean": round(float(np.mean(truth)), 4)}
    return out


def lines(result: dict[str, Any]) -> list[str]:
    """The result as a table of Markdown."""
    text = ["| ranking | Kendall's tau | of the ten best |", "|---|---|---|"]
    text += [
        f"| {n} | {result[n]['tau']:+.3f} | {result[n]['recall']:.0%} |"
        for n in ("supernet", "multiply_adds", "other_seed")
    ]
    choice, (low, high) = result["choice"], result["difference"]
    return [
        f"{result['nets']} nets, tau by chance below {result['chance']}; {result['steps']} steps",
        *text,
        f"tau of the supernet less that of multiply-adds: {low:+.3f} to {high:+.3f} (95 %): {result['verdict']}",
        f"its best net: {choice['blocks']}: number {choice['rank']}, {choice['test']:.2%}",
        f"best {choice['best']:.2%}, mean {choice['mean']:.2%}; {result['cpu_s']} CPU s",
    ]


if __name__ == "__main__":
    sys.exit(main())
