"""Measures what augmentation inside the compiled step costs: the transforms alone, and the step with and without them.

    python scripts/bench/augment.py --config configs/resnet18_cifar10.py --data synthetic/2048x32x3x10 --batch 32 \\
        --augment "crop(32, pad=4), flip, rand_augment(2, 9), random_erasing, mixup(0.2)"

On one device, into whose memory the set must fit. --base is the list that the other is compared with (default: none,
pictures go into the net as they are). All take turns within one process, the order reversed every round; medians over
rounds.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from _step import Step, config_of_file
from _timing import interleave, machine, ratio, summary

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError
from jaxcls.settings.config_file import override
from jaxcls.training import build
from jaxcls.training.model import PRECISIONS
from jaxcls.training.run import Run


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    result = measure(args)
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, metavar="FILE[:ARG]", help="a config of a run")
    parser.add_argument("--data", metavar="NAME", help="another set for it, e.g. synthetic/2048x32x3x10")
    parser.add_argument("--augment", required=True, metavar="LIST", help="as config.data.augment")
    parser.add_argument("--base", default="", metavar="LIST", help="to compare with (default: none)")
    parser.add_argument("--batch", type=int, help="default the config's")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the computation; default the config's")
    parser.add_argument("--steps", type=int, default=5, help="steps of a round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s, after one to warm up")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    if min(args.steps, args.rounds) < 1:
        parser.error("--steps and --rounds must be at least 1")
    return args


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All measurements of a command line."""
    base, run = run_with(args, args.base), run_with(args, args.augment)
    steps = {"base": Step(base), "step": Step(run)}
    contenders: dict[str, Any] = {name: step.round for name, step in steps.items()}
    contenders["transforms"] = Transforms(run)
    for call in contenders.values():
        call(1)
    times = interleave(contenders, args.steps, args.rounds)
    batch = run.training.batch_size
    return machine(run.parallel) | {
        "model": run.model.name,
        "augment": list(run.data.augmentation.specs),
        "batch": batch,
        "compared_with": list(base.data.augmentation.specs),
        "picture": list(run.data.sources["train"].images.shape[1:]),
        "steps": args.steps,
        "rounds": args.rounds,
        **{name: summary(times[name], args.steps, batch) for name in times},
        "share_of_step": ratio(times["transforms"], times["base"]),
        "share_of_step_cpu": ratio(times["transforms"], times["base"], "cpu"),
        "step_with": ratio(times["step"], times["base"]),
        "step_with_cpu": ratio(times["step"], times["base"], "cpu"),
    }


def run_with(args: argparse.Namespace, specs: str) -> Run:
    """The run of the config with another list of transforms. UserError for a set that is not in device memory."""
    config = config_of_file(args.config, data=args.data, batch=args.batch, precision=args.precision)
    override(config, [("data.augment", specs), ("parallel.devices", "1")])
    run = build.build(config)
    if not run.data.in_memory(run.data.sources["train"]):
        raise UserError("the set does not fit into device memory; name a smaller one with --data.")
    return run


class Transforms:
    """The transforms of a run's training, compiled by themselves; called with a number of batches."""

    def __init__(self, run: Run) -> None:
        n, source = run.training.batch_size, run.data.sources["train"]
        numbers = dict.fromkeys(("index", "draw", "epoch"), np.arange(n, dtype=np.int32))
        self.batch = run.parallel.split({"image": source.images[:n], "label": source.labels[:n], **numbers})
        keys = jax.vmap(lambda row: jax.random.fold_in(jax.random.key(0), row))
        augmented = run.data.augmentation.device(None)
        self.compiled = run.parallel.compile(lambda batch: augmented(keys(batch["draw"]), batch), (0,))

    def __call__(self, batches: int) -> None:
        """That many batches, back to back; waits for the last one."""
        for _ in range(batches):
            out = self.compiled(self.batch)
        jax.block_until_ready(out)


def lines(r: dict[str, Any]) -> Iterator[str]:
    """The result as lines of text."""
    yield f"{r['devices']} x {r['device']} ({r['platform']}, {r['cpus']} CPU cores), jax {r['jax']}"
    yield f"{r['model']}, pictures {r['picture']}, batch {r['batch']}; {r['rounds']} rounds of {r['steps']} steps"
    for name, what in (
        ("base", f"step with {', '.join(r['compared_with']) or 'no transforms'}"),
        ("step", f"step with {', '.join(r['augment'])}"),
        ("transforms", "the transforms alone"),
    ):
        ms, cpu = r[name]["step_ms"], r[name]["step_cpu_ms"]
        yield f"{what}: {ms:.2f} ms (CPU {cpu:.2f}), {ms / r['batch']:.3f} ms a picture"
    yield f"the transforms alone take {r['share_of_step']:.1%} of the step (CPU {r['share_of_step_cpu']:.1%})"
    yield f"with them the step takes {r['step_with']:.3f} times as long (CPU {r['step_with_cpu']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
