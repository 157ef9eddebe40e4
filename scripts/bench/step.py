"""Measures the training step: compile time, step time, pictures per second, memory, FLOPs; the loop around it; peers.

    python scripts/bench/step.py --model resnet50 --size 224 --classes 1000 --batch 256 --precision bfloat16
    python scripts/bench/step.py --config configs/resnet18_cifar10.py --batch 64
    python scripts/bench/step.py --config configs/lenet5_digits.py --loop --steps 200 --rounds 7
    python scripts/bench/step.py --model resnet50 --batch 256 --precision bfloat16 --peer torch

--model trains on random pictures that lie in device memory, --config on the config's data (--data names another set).
What is compared runs in turns within one process, the order reversed every round, so other jobs on the machine hit all
alike; ratios are medians over rounds. --loop compares the compiled step, called back to back, with the training loop
over the same steps: without evaluation and checkpoints, and with one of each at the end of the round, written to the
end. It draws the progress bar of a terminal.
--forward measures the evaluation of a batch as well, logits fetched.
--peer torch runs the same net in PyTorch: torchvision's or timm's, channels_last, autocast below float32, torch.compile
on a GPU; uint8 pictures on its device, normalised in the step, but no random crop, flip or EMA. On a CPU that other
jobs use too, its threads (OpenMP) mostly wait for each other: compare on one core there (taskset -c 0).
--peer keras runs the net of keras.applications on JAX in the same way, --peer jaxnn a ResNet of jaxnn. Several may be
given; then one that lacks the net is left out.
Several models, each in a process of its own, give a table in Markdown:

    taskset -c 0 python scripts/bench/step.py --model resnet50 swin_t --batch 4 --steps 1 --forward --peer torch
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from _loop import Loop, compare
from _peers import CALLED, peers_of
from _step import Step, config_of_file, config_of_model, random_pictures
from _timing import interleave, machine, peak_memory, ratio, speed, summary
from absl import logging

from jaxcls.cli.entry import entry_point
from jaxcls.training import build
from jaxcls.training.model import PRECISIONS
from jaxcls.training.run import Run
from jaxcls.training.signals import Stopped


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    logging.set_verbosity(logging.ERROR)  # Orbax warns of checkpoints without a score
    if args.peer:  # read when JAX opens the device: leave memory to the other one
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        if args.model and len(args.model) > 1:
            return table(args.model, args.peer, sys.argv[1:] if argv is None else argv)
        result = measure(args)
    except Stopped as stopped:  # by a signal, inside of the loop
        return stopped.status
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="FILE[:ARG]", help="a config of a run")
    what.add_argument("--model", nargs="+", metavar="NAME", help="models by name, on random pictures")
    parser.add_argument("--data", metavar="NAME", help="another set for --config, e.g. synthetic/2048x32x3x10")
    parser.add_argument("--size", type=int, default=224, help="side of the pictures of --model (default %(default)s)")
    parser.add_argument("--classes", type=int, default=1000, help="of --model (default %(default)s)")
    parser.add_argument("--channels", type=int, default=3, choices=(1, 3), help="of --model (default %(default)s)")
    parser.add_argument("--batch", type=int, help="of all devices together; default the config's, 32 for --model")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the computation; default the config's")
    parser.add_argument("--parallel", choices=("jit", "pmap"), help="default the config's")
    parser.add_argument("--steps", type=int, default=20, help="steps of a round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s, after one to warm up")
    parser.add_argument("--loop", action="store_true", help="measure the training loop too (with --config)")
    parser.add_argument("--forward", action="store_true", help="measure evaluation too (with --model)")
    parser.add_argument("--peer", nargs="+", choices=CALLED, default=[], help="measure the same net in these too")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    if min(args.steps, args.rounds) < 1:
        parser.error("--steps and --rounds must be at least 1")
    if args.loop and not args.config:
        parser.error("--loop needs --config: evaluation and checkpoints follow a config")
    if args.forward and not args.model:
        parser.error("--forward needs --model: it takes the random batch")
    return args


def build_run(args: argparse.Namespace) -> Run:
    """The run of --config or --model."""
    same = {"batch": args.batch, "precision": args.precision, "parallel": args.parallel}
    if args.config:
        return build.build(config_of_file(args.config, data=args.data, **same))
    run = build.build(config_of_model(args.model[0], classes=args.classes, channels=args.channels, **same))
    pictures = random_pictures(run.training.batch_size, args.size, args.channels, run.data.classes)
    shape = pictures.images.shape[1:]
    evaluation = dataclasses.replace(run.data.evaluation, picture=shape)
    data = dataclasses.replace(run.data, sources={"train": pictures}, evaluation=evaluation)
    return dataclasses.replace(run, data=data)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All measurements of a command line."""
    run = build_run(args)
    step = Step(run)
    contenders = {"step": step.round}
    first = step.compile()
    step.round(args.steps)
    memory = peak_memory(run.parallel.devices)
    if args.forward:
        contenders["forward"] = step.forward
        step.forward(1)
    pictures = step.pictures() if args.peer else ((), ())
    for name, peer in peers_of(args.peer, run, *pictures):
        contenders[f"{name} step"] = peer.step
        peer.step(max(2, args.steps // 4))
        if args.forward:
            contenders[f"{name} forward"] = peer.forward
            peer.forward(2)
    with tempfile.TemporaryDirectory() as folder:
        if args.loop:
            around = Loop(run, step, folder)
            contenders |= {"loop": around.round, "full_loop": around.full_round}
            around.round(args.steps)
            around.full_round(args.steps)
        times = interleave(contenders, args.steps, args.rounds)
        if args.loop:
            around.checkpoints.close()
    return describe(args, run) | first | memory | figures(args, run, times, first["flops_per_step"])


def describe(args: argparse.Namespace, run: Run) -> dict[str, Any]:
    """The machine, and what was measured on it."""
    return machine(run.parallel) | {
        "model": run.model.name,
        "data": "random pictures" if args.model else run.data.name,
        "batch": run.training.batch_size,
        "picture": list(run.data.batch_shape),
        "precision": run.model.precision,
        "parallel": run.parallel.mode,
        "steps": args.steps,
        "rounds": args.rounds,
    }


def figures(args: argparse.Namespace, run: Run, times: dict, flops: float) -> dict[str, Any]:
    """The times of the contenders, and how they compare."""
    batch = run.training.batch_size
    result: dict[str, Any] = dict(summary(times["step"], args.steps, batch))
    result["flops_per_second"] = flops / result["step_ms"] * 1e3
    if "forward" in times:
        result["forward"] = summary(times["forward"], args.steps, batch)
    result["peers"] = {name: {} for name in args.peer if f"{name} step" in times}
    for name, of_peer in result["peers"].items():
        for kind in ("step", "forward"):
            if (theirs := times.get(f"{name} {kind}")) is not None:
                of_peer[kind] = summary(theirs, args.steps, batch) | {
                    "our_time": ratio(times[kind], theirs),
                    "our_time_cpu": ratio(times[kind], theirs, "cpu"),
                }
    if "loop" in times:
        result["loop"] = compare(run, times, args.steps, batch)
    return result


def table(names: Sequence[str], peers: Sequence[str], argv: Sequence[str]) -> int:
    """Each model with the other flags in a process of its own; prints a row of a Markdown table for each."""
    others = [word for word in argv if word not in {"--model", "--json", *names}]
    of = [f"of {CALLED[peer]}'s" for peer in peers]
    head = ["model", "our forward, CPU ms a picture", *of, "our step, CPU ms a picture", *of]
    head += [f"wall, {words}" for words in of]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    failed = 0
    for name in names:
        command = [sys.executable, __file__, "--model", name, *others, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            failed = done.returncode
            continue
        print(row(json.loads(done.stdout), peers), flush=True)
    return failed


def row(r: dict[str, Any], peers: Sequence[str]) -> str:
    """A result as a row of the table of `table`."""

    def of_peers(kind, key):
        figures = [r["peers"].get(peer, {}).get(kind) for peer in peers]
        return [f"{f[key]:.2f}" if f else "-" for f in figures]

    cells = [r["model"]]
    for kind, ours in (("forward", r.get("forward")), ("step", r)):
        cells += [f"{ours['step_cpu_ms'] / r['batch']:.1f}" if ours else "-", *of_peers(kind, "our_time_cpu")]
    return f"| {' | '.join([*cells, *of_peers('step', 'our_time')])} |"


def lines(r: dict[str, Any]) -> Iterator[str]:
    """The result as lines of text."""
    yield f"{r['devices']} x {r['device']} ({r['platform']}, {r['cpus']} CPU cores), jax {r['jax']}"
    yield (
        f"{r['model']} on {r['data']}, {r['picture']}, batch {r['batch']}, {r['precision']}, {r['parallel']}; "
        f"{r['rounds']} rounds of {r['steps']} steps"
    )
    yield f"compile            {r['compile_s']:.1f} s"
    yield speed("step", r)
    temporary = f", {r['temporary_bytes'] / 2**20:,.0f} MiB temporary" if r["temporary_bytes"] is not None else ""
    yield f"peak memory        {r['peak_memory_bytes'] / 2**20:,.0f} MiB ({r['peak_memory']}){temporary}"
    flops, rate = r["flops_per_step"] / 1e9, r["flops_per_second"] / 1e12
    yield f"FLOPs a step       {flops:,.2f} G by XLA's count, {rate:,.3f} T a second"
    if "forward" in r:
        yield speed("forward", r["forward"])
    for peer, kinds in r["peers"].items():
        for kind, of_peer in kinds.items():
            yield speed(f"{CALLED[peer]}, {kind}", of_peer)
            wall, cpu = of_peer["our_time"], of_peer["our_time_cpu"]
            yield f"we take            {wall:.2f} of its wall time, {cpu:.2f} of its CPU time"
    if "loop" in r:
        loop = r["loop"]
        both = "evaluation and checkpoint" if loop["evaluates"] else "checkpoint"
        yield speed("loop", loop)
        wall, least = loop["overhead_percent"], loop["overhead_percent_of_minima"]
        cpu = loop["overhead_percent_cpu"]
        yield f"the loop adds      {wall:.1f} % wall ({least:.1f} % of minima), {cpu:.1f} % CPU"
        seconds, every = loop["evaluation_and_checkpoint_s"], loop["evaluation_and_checkpoint_every"]
        yield f"{both:<18} {seconds:.2f} s every {every} steps: {loop['overhead_percent_with_both']:.1f} % in all"


if __name__ == "__main__":
    sys.exit(main())
