"""Measures the training step: compile time, step time, pictures per second, memory, FLOPs; the loop around it; PyTorch.

    python scripts/bench_step.py --model resnet50 --size 224 --classes 1000 --batch 256 --precision bfloat16
    python scripts/bench_step.py --config configs/resnet18_cifar10.py --batch 64
    python scripts/bench_step.py --config configs/lenet5_digits.py --loop --steps 200 --rounds 7
    python scripts/bench_step.py --model resnet50 --batch 256 --precision bfloat16 --peer torch

--model trains on random pictures that lie in device memory, --config on the config's data (--data names another set).
What is compared runs in turns within one process, the order reversed every round, so other jobs on the machine hit all
alike; ratios are medians over rounds. --loop compares the compiled step, called back to back, with train.Loop over the
same steps: without evaluation and checkpoints, and with one of each at the end of the round, written to the end. It
draws the progress bar of a terminal.
--forward measures the evaluation of a batch as well, logits fetched.
--peer torch runs the same net in PyTorch: torchvision's or timm's, channels_last, autocast below float32, torch.compile
on a GPU; uint8 pictures on its device, normalised in the step, but no random crop, flip or EMA. On a CPU that other
jobs use too, its threads (OpenMP) mostly wait for each other: compare on one core there (taskset -c 0).
Several models, each in a process of its own, give a table in Markdown:

    taskset -c 0 python scripts/bench_step.py --model resnet50 swin_t --batch 4 --steps 1 --forward --peer torch
"""

import argparse
import contextlib
import importlib.util
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from absl import logging

from jaxcls.checkpoints.store import Checkpoints
from jaxcls.cli.entry import entry_point
from jaxcls.data.base import ArraySource
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.logs.logger import Logger
from jaxcls.training import build, loop
from jaxcls.training.signals import Stopped

sys.path.insert(0, str(Path(__file__).parent))
from torch_peer import TorchPeer


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    logging.set_verbosity(logging.ERROR)  # Orbax warns of checkpoints without a score
    if args.peer:  # read when JAX opens the device: leave memory to the other one
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        if args.model and len(args.model) > 1:
            return table(args.model, sys.argv[1:] if argv is None else argv)
        result = run(args)
    except Stopped as stopped:  # by a signal, inside of the loop
        return stopped.status
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="FILE[:ARG]", help="a config of a run")
    what.add_argument("--model", nargs="+", metavar="NAME", help="models by name, on random pictures")
    parser.add_argument("--data", metavar="NAME", help="another set for --config, e.g. synthetic/2048x32x3x10")
    parser.add_argument("--size", type=int, default=224, help="side of the pictures of --model (default %(default)s)")
    parser.add_argument("--classes", type=int, default=1000, help="of --model (default %(default)s)")
    parser.add_argument("--channels", type=int, default=3, choices=(1, 3), help="of --model (default %(default)s)")
    parser.add_argument("--batch", type=int, help="of all devices together; default the config's, 32 for --model")
    parser.add_argument("--precision", choices=build.PRECISIONS, help="of the computation; default the config's")
    parser.add_argument("--parallel", choices=("jit", "pmap"), help="default the config's")
    parser.add_argument("--steps", type=int, default=20, help="steps of a round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s, after one to warm up")
    parser.add_argument("--loop", action="store_true", help="measure the training loop too (with --config)")
    parser.add_argument("--forward", action="store_true", help="measure evaluation too (with --model)")
    parser.add_argument("--peer", choices=("torch",), help="measure the same net in PyTorch too")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    if min(args.steps, args.rounds) < 1:
        parser.error("--steps and --rounds must be at least 1")
    if args.loop and not args.config:
        parser.error("--loop needs --config: evaluation and checkpoints follow a config")
    if args.forward and not args.model:
        parser.error("--forward needs --model: it takes the random batch")
    return args


def run(args):
    """All measurements of a command line, as one dict."""
    job = build.build(read_config(args))
    if args.model:
        job.sources = {"train": random_pictures(args, job.config.batch_size, job.classes)}
    step = Step(job)
    contenders = {"step": step.round}
    first = step.compile()
    step.round(args.steps)
    memory = peak_memory(job.parallel.devices)
    if args.forward:
        contenders["forward"] = step.forward
        step.forward(1)
    if args.peer:
        peer = TorchPeer(job, step.pictures())
        contenders["peer"] = peer.step
        contenders["peer"](max(2, args.steps // 4))
        if args.forward:
            contenders["peer_forward"] = peer.forward
            peer.forward(2)
    with tempfile.TemporaryDirectory() as folder:
        if args.loop:
            around = Loop(job, step, folder)
            contenders |= {"loop": around.round, "full_loop": around.full_round}
            around.round(args.steps)
            around.full_round(args.steps)
        times = interleave(contenders, args.steps, args.rounds)
        if args.loop:
            around.checkpoints.close()
    batch, config = job.config.batch_size, job.config
    result = machine(job.parallel) | {
        "model": config.model.name, "data": "random pictures" if args.model else config.data.name, "batch": batch,
        "picture": list(job.batch_shape()), "precision": config.precision, "parallel": config.parallel.mode,
        "steps": args.steps, "rounds": args.rounds,
    }  # fmt: skip
    result |= first | memory | summary(times["step"], args.steps, batch)
    result["flops_per_second"] = first["flops_per_step"] / result["step_ms"] * 1e3
    if args.forward:
        result["forward"] = summary(times["forward"], args.steps, batch)
    for ours, theirs in (("step", "peer"), ("forward", "peer_forward")):
        if theirs in times:
            result[theirs] = summary(times[theirs], args.steps, batch) | {
                "our_time": ratio(times[ours], times[theirs]),
                "our_time_cpu": ratio(times[ours], times[theirs], "cpu"),
            }
    if args.loop:
        result["loop"] = compare_loop(job, times, args.steps, batch)
    return result


def table(names, argv):
    """Each model with the other flags in a process of its own; prints a row of a Markdown table for each."""
    others = [word for word in argv if word not in {"--model", "--json", *names}]
    print("| model | our forward, CPU ms a picture | of PyTorch's | our step, CPU ms a picture | of PyTorch's | wall |")
    print("|---|---|---|---|---|---|", flush=True)
    failed = 0
    for name in names:
        command = [sys.executable, __file__, "--model", name, *others, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            failed = done.returncode
            continue
        print(row(json.loads(done.stdout)), flush=True)
    return failed


def row(r):
    """A result as a row of the table of `table`."""

    def cells(ours, peer):
        of_peer = f"{r[peer]['our_time_cpu']:.2f}" if peer in r else "-"
        return f"{ours['step_cpu_ms'] / r['batch']:.1f} | {of_peer}" if ours else "- | -"

    wall = f"{r['peer']['our_time']:.2f}" if "peer" in r else "-"
    return f"| {r['model']} | {cells(r.get('forward'), 'peer_forward')} | {cells(r, 'peer')} | {wall} |"


def read_config(args):
    """The config of --config or --model with the other flags applied."""
    if args.config:
        path, _, arg = args.config.partition(":")
        if not Path(path).is_file():
            raise UserError(f"--config: there is no file {path}; the recipes are in configs/.")
        spec = importlib.util.spec_from_file_location("config", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config = module.get_config(arg)
    else:
        config = default_config()
        config.model.name, config.batch_size, config.data.validation = args.model[0], 32, 0.0
        config.data.normalize, config.data.device_memory = "imagenet" if args.channels == 3 else "mnist", 2**40
    config.data.name = args.data or config.data.name
    config.batch_size = args.batch or config.batch_size
    config.precision = args.precision or config.precision
    config.parallel.mode = args.parallel or config.parallel.mode
    if args.model:  # one pixel each: `random_pictures` takes their place
        config.data.name = f"synthetic/{max(config.batch_size, args.classes)}x1x{args.channels}x{args.classes}"
    return config


def random_pictures(args, n, classes):
    """An ArraySource of n pictures of noise."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (n, args.size, args.size, args.channels), dtype=np.uint8)
    return ArraySource(images, random.integers(0, len(classes), n), classes, [""] * n)


class Step:
    """The compiled step of a job, as its training feed calls it. `state` is the newest state: steps donate it."""

    def __init__(self, job):
        self.job, self.feed, self.done = job, job.train_feed(), 0
        self.state = job.parallel.replicate(job.init_state())
        self.evaluation = None

    def compile(self):
        """Compiles and runs the first step.

        Returns:
          dict: compile_s (tracing, lowering and compiling), flops_per_step of all devices by XLA's cost analysis of the
          compiled step (what it does not know, such as custom calls, is missing), temporary_bytes of one device.
        """
        compiled, found = self.feed.compiled, {}

        def spy(*args):
            began = time.perf_counter()
            executable = compiled.lower(*args).compile()  # `compiled(*args)` finds it in jit's cache
            found["compile_s"] = time.perf_counter() - began
            cost, memory = executable.cost_analysis() or {}, executable.memory_analysis()
            found["flops_per_step"] = float(cost.get("flops", 0)) * self.job.parallel.size
            found["temporary_bytes"] = getattr(memory, "temp_size_in_bytes", None)
            return compiled(*args)

        self.feed.compiled = spy
        self.round(1)
        self.feed.compiled = compiled
        return found

    def round(self, steps):
        """That many steps back to back; waits for the last one."""
        end = self.done + steps
        while self.done < end:
            self.state, values, n = self.feed(self.state, self.done, end)
            self.done += n
        jax.block_until_ready((self.state, values))

    def forward(self, steps):
        """That many evaluations of the batch, with the logits fetched."""
        self.evaluation = self.evaluation or self.job.eval_feed("train")
        for _ in range(steps):
            self.evaluation(self.state)

    def pictures(self):
        """A batch of training pictures and labels, as host arrays."""
        source = self.job.sources["train"]
        items = [source[i] for i in range(self.job.config.batch_size)]
        return np.stack([item["image"] for item in items]), np.array([item["label"] for item in items])


class Loop:
    """train.Loop over the same compiled step, the same state and the same number of steps."""

    def __init__(self, job, step, folder):
        self.job, self.step, self.folder = job, step, Path(folder)
        validation = job.eval_feed("validation") if job.selects else None
        # Each round makes a train.Loop of its own, which would compile again.
        job.train_feed, job.eval_feed = lambda: step.feed, lambda split: validation
        job.log_every = min(job.log_every, 50)
        self.checkpoints = Checkpoints(folder, keep=job.config.checkpoint.keep, transient=job.task.transient)

    def round(self, steps):
        """Progress, logging, metrics and the check for NaN; no evaluation, nothing is saved."""
        self._train(steps, _Unsaved(self.folder), validates=False)

    def full_round(self, steps):
        """The same with an evaluation (if there is a validation split) and a checkpoint, written to the end."""
        self._train(steps, self.checkpoints, validates=True)
        self.checkpoints._finish()  # a run goes on meanwhile; here its work counts in full

    def _train(self, steps, checkpoints, *, validates):
        from rich.console import Console

        job, step = self.job, self.step
        job.total_steps = job.eval_every = job.checkpoint_every = steps
        console = Console(file=io.StringIO(), force_terminal=True, width=120)
        with _Log(self.folder, total_steps=steps, steps_per_epoch=job.steps_per_epoch, console=console) as log:
            running = loop.Loop(job, self.folder, checkpoints, log, {"saved": 0})
            if not validates:  # the loop ends with an evaluation and a checkpoint otherwise
                running.validation, running._meta = None, lambda *_: None
            step.state = running.train(step.state, 0)
            jax.block_until_ready(step.state)
        step.done = 0  # a stream that was closed is opened again where the next round starts


class _Log(Logger):
    def waiting(self, text):
        """No spinner: a run compiles once, a round does not."""
        return contextlib.nullcontext()


class _Unsaved(Checkpoints):
    def save(self, state, meta, score=None):
        """Nothing."""


def compare_loop(job, times, steps, batch):
    """What the loop adds to the step, in percent; evaluation and checkpoint at the config's own intervals."""
    bare, loop, full = times["step"], times["loop"], times["full_loop"]
    period = build.build_durations(job.config, len(job.sources["train"]), job.parallel)[1]
    every = min(period["checkpoint_every"], period["eval_every"] if job.selects else period["checkpoint_every"])
    extra = max(0.0, float(np.median([f["wall"] - p["wall"] for f, p in zip(full, loop, strict=True)])))
    per_step = float(np.median([t["wall"] for t in bare])) / steps
    overhead = 100 * (ratio(loop, bare) - 1)
    return summary(loop, steps, batch) | {
        "overhead_percent": overhead,
        "overhead_percent_of_minima": 100 * (min(t["wall"] for t in loop) / min(t["wall"] for t in bare) - 1),
        "overhead_percent_cpu": 100 * (ratio(loop, bare, "cpu") - 1),
        "evaluates": job.selects,
        "evaluation_and_checkpoint_s": extra,
        "evaluation_and_checkpoint_every": every,
        "overhead_percent_with_both": overhead + 100 * extra / (per_step * every),
    }


def interleave(contenders, steps, rounds):
    """name -> list of {"wall", "cpu"} in seconds, one a round; the order is reversed every other round."""
    times = {name: [] for name in contenders}
    for i in range(rounds):
        for name in list(contenders)[:: -1 if i % 2 else 1]:
            wall, cpu = time.perf_counter(), time.process_time()
            contenders[name](steps)
            times[name].append({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
    return times


def ratio(a, b, key="wall"):
    """Median over rounds of a's time in units of b's."""
    return float(np.median([x[key] / y[key] for x, y in zip(a, b, strict=True)]))


def summary(times, steps, batch):
    """Times of a step in ms (median and least of the rounds, CPU of all threads) and pictures a second (median)."""
    wall, cpu = (np.array([t[key] for t in times]) / steps * 1e3 for key in ("wall", "cpu"))
    return {
        "step_ms": float(np.median(wall)),
        "step_ms_min": float(wall.min()),
        "step_cpu_ms": float(np.median(cpu)),
        "pictures_per_second": batch / float(np.median(wall)) * 1e3,
    }


def peak_memory(devices):
    """Most memory so far: of the fullest accelerator, or resident memory of this process on CPU."""
    stats = [device.memory_stats() or {} for device in devices]
    if all("peak_bytes_in_use" in s for s in stats):
        return {"peak_memory": "device", "peak_memory_bytes": max(s["peak_bytes_in_use"] for s in stats)}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_memory": "process", "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}


def machine(parallel):
    """What it ran on."""
    kind = parallel.devices[0]
    return {
        "platform": kind.platform, "device": kind.device_kind, "devices": parallel.size, "cpus": os.cpu_count(),
        "jax": jax.__version__,
    }  # fmt: skip


def lines(r):
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
    for kind, theirs in (("forward", "peer_forward"), ("step", "peer")):
        if kind == "forward" and kind in r:
            yield speed(kind, r[kind])
        if theirs in r:
            yield speed("PyTorch", r[theirs])
            wall, cpu = r[theirs]["our_time"], r[theirs]["our_time_cpu"]
            yield f"of PyTorch's time  {wall:.2f} of its wall time, {cpu:.2f} of its CPU time for a {kind}"
    if "loop" in r:
        loop = r["loop"]
        both = "evaluation and checkpoint" if loop["evaluates"] else "checkpoint"
        yield speed("loop", loop)
        wall, least = loop["overhead_percent"], loop["overhead_percent_of_minima"]
        cpu = loop["overhead_percent_cpu"]
        yield f"the loop adds      {wall:.1f} % wall ({least:.1f} % of minima), {cpu:.1f} % CPU"
        seconds, every = loop["evaluation_and_checkpoint_s"], loop["evaluation_and_checkpoint_every"]
        yield f"{both:<18} {seconds:.2f} s every {every} steps: {loop['overhead_percent_with_both']:.1f} % in all"


def speed(name, r):
    return (
        f"{name:<18} {r['step_ms']:.2f} ms (min {r['step_ms_min']:.2f}, CPU {r['step_cpu_ms']:.2f}), "
        f"{r['pictures_per_second']:,.0f} pictures/s"
    )


if __name__ == "__main__":
    sys.exit(main())
