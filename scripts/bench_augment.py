"""Measures what augmentation inside the compiled step costs: the transforms alone, and the step with and without them.

    python scripts/bench_augment.py --config configs/resnet18_cifar10.py --data synthetic/2048x32x3x10 --batch 32 \\
        --augment "crop(32, pad=4), flip, rand_augment(2, 9), random_erasing, mixup(0.2)"

On one device, into whose memory the set must fit. --base is the list that the other is compared with (default: none,
pictures go into the net as they are). All take turns within one process, the order reversed every round; medians over
rounds.
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import numpy as np

from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError
from jaxcls.settings.config_file import override
from jaxcls.training import build

sys.path.insert(0, str(Path(__file__).parent))
from bench_step import Step, interleave, machine, ratio, read_config, summary


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    result = run(args)
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, metavar="FILE[:ARG]", help="a config of a run")
    parser.add_argument("--data", metavar="NAME", help="another set for it, e.g. synthetic/2048x32x3x10")
    parser.add_argument("--augment", required=True, metavar="LIST", help="as config.data.augment")
    parser.add_argument("--base", default="", metavar="LIST", help="to compare with (default: none)")
    parser.add_argument("--batch", type=int, help="default the config's")
    parser.add_argument("--precision", choices=build.PRECISIONS, help="of the computation; default the config's")
    parser.add_argument("--steps", type=int, default=5, help="steps of a round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s, after one to warm up")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    if min(args.steps, args.rounds) < 1:
        parser.error("--steps and --rounds must be at least 1")
    return args


def run(args):
    """All measurements of a command line, as one dict."""
    base, job = job_with(args, args.base), job_with(args, args.augment)
    steps = {"base": Step(base), "step": Step(job)}
    contenders = {name: step.round for name, step in steps.items()} | {"transforms": Transforms(job)}
    for call in contenders.values():
        call(1)
    times = interleave(contenders, args.steps, args.rounds)
    batch = job.config.batch_size
    found = {name: summary(times[name], args.steps, batch) for name in times}
    return machine(job.parallel) | {
        "model": job.config.model.name, "augment": list(job.config.data.augment), "batch": batch,
        "compared_with": list(base.config.data.augment), "picture": list(job.sources["train"].images.shape[1:]),
        "steps": args.steps, "rounds": args.rounds, **found,
        "share_of_step": ratio(times["transforms"], times["base"]),
        "share_of_step_cpu": ratio(times["transforms"], times["base"], "cpu"),
        "step_with": ratio(times["step"], times["base"]), "step_with_cpu": ratio(times["step"], times["base"], "cpu"),
    }  # fmt: skip


def job_with(args, specs):
    """The run of the config with another list of transforms."""
    args.model = args.parallel = None  # as read_config knows them
    config = read_config(args)
    override(config, [("data.augment", specs), ("parallel.devices", "1")])
    job = build.build(config)
    if not job.in_memory(job.sources["train"]):
        raise UserError("the set does not fit into device memory; name a smaller one with --data.")
    return job


class Transforms:
    """The transforms of a run's training, compiled by themselves; called with a number of batches."""

    def __init__(self, job):
        n, source = job.config.batch_size, job.sources["train"]
        numbers = dict.fromkeys(("index", "draw", "epoch"), np.arange(n, dtype=np.int32))
        self.batch = job.parallel.split({"image": source.images[:n], "label": source.labels[:n], **numbers})
        keys = jax.vmap(lambda row: jax.random.fold_in(jax.random.key(0), row))
        self.compiled = job.parallel.compile(
            lambda batch: job.transforms["train_device"](keys(batch["draw"]), batch), (0,)
        )

    def __call__(self, batches):
        """That many batches, back to back; waits for the last one."""
        for _ in range(batches):
            out = self.compiled(self.batch)
        jax.block_until_ready(out)


def lines(r):
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
