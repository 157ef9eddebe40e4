"""Compiles a training step for TPUs that are not there, and tells what the program costs.

    python scripts/bench/aot.py --model resnet50 --topology v5e:2x4 --batch 1024
    python scripts/bench/aot.py --model vit_base_patch16_224 --set depth=2 --topology v5e:16x16 --batch 16384 --json
    python scripts/bench/aot.py --model resnet50 --batch 1024 --mesh "('replica', 2), ('data', -1)" --shard fsdp

Nothing is run and no accelerator is needed, but libtpu is: `pip install 'jax[tpu]==VERSION'`, of the installed JAX, in
an environment of its own. (`--topology cpu:8` compiles for so many CPUs of this process instead.) The program is that
of a run in jit mode on all chips of the topology (v5e:2x4: 8 chips), its batch split over them, with the default
config's recipe; its state lies as --mesh and --shard say, which are config.parallel's. Cycles are those of XLA's cost
model, no measurement: compare two programs by them. Compiling ResNet-50 takes about eight CPU minutes, two blocks of a
ViT two.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from _aot_program import facts
from _step import config_of_model
from jax.sharding import NamedSharding, PartitionSpec

from jaxcls import models, sharding
from jaxcls.call_strings import literals
from jaxcls.cli.entry import entry_point
from jaxcls.data.base import ArraySource
from jaxcls.errors import UserError
from jaxcls.models import summary
from jaxcls.parallel import STATE, Parallel
from jaxcls.tasks.wrappers import Gathered
from jaxcls.training import build
from jaxcls.training.model import PRECISIONS
from jaxcls.training.run import Run
from jaxcls.training.step import make_train_step
from jaxcls.types import PyTree

# libtpu asks a cloud's server for the machine's place and name unless told, and lets one process at a time load it.
ENVIRONMENT = {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    result = measure(args)
    if args.hlo:
        with open(args.hlo, "w") as file:
            file.write(result["text"])
    del result["text"]
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="NAME", help="by name")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="fields of the model")
    parser.add_argument("--topology", default="v5e:2x4", help="the chips, such as v5e:2x4, v6e:16x16 (%(default)s)")
    parser.add_argument("--mesh", default="('data', -1),", help="config.parallel.mesh (default %(default)s)")
    parser.add_argument(
        "--shard", default="()", help="config.parallel.shard, such as fsdp (default: the state is whole)"
    )
    parser.add_argument("--batch", type=int, required=True, help="of all chips together")
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16", help="(default %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the pictures (default %(default)s)")
    parser.add_argument("--classes", type=int, default=1000, help="(default %(default)s)")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    parser.add_argument("--hlo", metavar="FILE", help="write the compiled program as text")
    return parser.parse_args(argv)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All facts of a command line, and the program as "text". Raises UserError for what can't be compiled."""
    devices = topology(args.topology)
    chips = Absent("jit", devices, literals(args.mesh), literals(args.shard))
    if args.batch < 1 or args.batch % chips.shares:
        raise UserError(f"--batch {args.batch} does not divide by the {chips.shares} chips of {args.topology}.")
    run = build_run(args)
    sharding.check(run.state_shapes.params, chips.rules, chips.shape)
    began = time.process_time()
    program = compiled(run, chips)
    seconds, text = time.process_time() - began, program.as_text()
    cost, memory = program.cost_analysis() or {}, program.memory_analysis()
    macs = summary.summarize(run.model.module, (args.size, args.size, 3)).total.macs
    sizes = {name: getattr(memory, f"{name}_size_in_bytes") for name in ("argument", "output", "alias", "temp")}
    return {
        "model": args.model,
        "fields": run.model.spec["fields"],
        "topology": args.topology,
        "chips": len(devices),
        "mesh": chips.shape,
        "shard": [list(rule) for rule in chips.rules],
        "state_bytes": chips.bytes_per_device(run.state_shapes),
        "batch": args.batch,
        "precision": args.precision,
        "jax": jax.__version__,
        "compile_cpu_s": seconds,
        "flops": float(cost.get("flops", 0)),
        "flops_in_theory": 6.0 * macs * args.batch / len(devices),
        "bytes_accessed": float(cost.get("bytes accessed", 0)),
        "memory": sizes,
        **facts(text),
        "text": text,
    }


def topology(name: str) -> Sequence[Any]:
    """The chips of a topology. Raises UserError where libtpu is missing, or knows no such topology."""
    if name.startswith("cpu:"):
        devices = jax.devices("cpu")
        if not name[4:].isdecimal() or not 0 < int(name[4:]) <= len(devices):
            raise UserError(
                f"--topology {name}: there are {len(devices)} CPU devices; "
                "XLA_FLAGS=--xla_force_host_platform_device_count=8 makes eight."
            )
        return devices[: int(name[4:])]
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"libtpu is missing, which compiles for TPUs: pip install 'jax[tpu]=={jax.__version__}', in an environment "
            "of its own (a JAX that finds libtpu looks for TPUs)."
        )
    from jax.experimental import topologies

    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    jax.config.update("jax_platforms", "cpu")  # what is computed on the way
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=name).devices
    except (RuntimeError, ValueError, NotImplementedError) as error:
        said = str(error).strip().splitlines()[0][:200]
        raise UserError(f"--topology {name} (such as v5e:2x4): libtpu says {said}") from error


class Absent(Parallel):
    """Devices that are only compiled for: nothing can be put on them."""

    def replicate(self, tree: PyTree) -> PyTree:
        """What would be put there, as shapes."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.replicated), tree)

    def place(self, tree: PyTree) -> PyTree:
        """A state that would lie there, as shapes."""
        lie = lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)  # noqa: E731
        return jax.tree.map(lie, tree, self.sharding(tree))


def build_run(args: argparse.Namespace) -> Run:
    """A run of the default config, whose pictures have the right shape and no values."""
    config = config_of_model(args.model, classes=args.classes, batch=args.batch, precision=args.precision)
    config.data.name = f"synthetic/{args.classes}x1x3x{args.classes}"
    config.batch_size, config.parallel.devices = 1, 1  # of the stand-in, which has as few pictures as can be
    with config.unlocked():
        config.model.fields = dict(map(models.parse_field, args.set))
    run = build.build(config)
    images = np.broadcast_to(np.uint8(0), (args.classes, args.size, args.size, 3))
    source = ArraySource(images, np.zeros(args.classes, int), tuple(run.data.classes), [""] * args.classes)
    evaluation = dataclasses.replace(run.data.evaluation, picture=images.shape[1:])
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, sources={"train": source}, evaluation=evaluation))
    return dataclasses.replace(run, training=dataclasses.replace(run.training, batch_size=args.batch))


def compiled(run: Run, chips: Parallel) -> Any:
    """JAX's `Compiled` of the run's training step."""
    cut = sharding.cutting(chips.shape)
    split = NamedSharding(chips.mesh, PartitionSpec(cut if len(cut) > 1 else cut[0]))
    batch = {
        name: jax.ShapeDtypeStruct((run.training.batch_size, *(leaf.shape or ())), leaf.dtype, sharding=split)
        for name, leaf in run.data.leaves("train", training=True).items()
    }
    number = jax.ShapeDtypeStruct((run.training.batch_size,), np.int32, sharding=split)
    batch |= dict.fromkeys(("epoch", "draw"), number)
    task = Gathered(run.task, chips.gathered) if chips.gathered else run.task
    step = make_train_step(task, run.training.tx, accumulate=run.training.accumulate, platform=chips.platform)
    step = chips.compile(step, (STATE, 0), out_axes=(STATE, None), donate=(0,))
    return step.lower(chips.place(run.state_shapes), batch).compile()


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The result as lines of text."""
    fields = "".join(f", {name}={value!r}" for name, value in result["fields"].items())
    yield (
        f"{result['model']}{fields}, {result['precision']}, batch {result['batch']} on {result['topology']} "
        f"({result['chips']} chips); JAX {result['jax']}, compiled in {result['compile_cpu_s']:.0f} CPU s"
    )
    share = result["flops"] / result["flops_in_theory"]
    yield f"FLOPs a chip       {result['flops'] / 1e9:,.1f} G, {share:.3f} of 6 x multiply-adds; one step, as all below"
    yield f"bytes accessed     {result['bytes_accessed'] / 1e9:,.2f} GB"
    mesh = ", ".join(f"{axis} {size}" for axis, size in result["mesh"].items())
    yield f"mesh               {mesh}; {result['state_bytes'] / 1e6:,.2f} MB of state a chip"
    yield "memory             " + ", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in result["memory"].items())
    yield "products           " + (", ".join(f"{n} {dtype}" for dtype, n in result["products"].items()) or "none")
    for label, name in (("float32 > 3 M", "large_float32"), ("copies > 1 MB", "copies")):
        yield f"{label:<19}" + (", ".join(f"{n} x {shape}" for shape, n in result[name].items()) or "none")
    reduced = [f"{of['number']} of {dtype}, {of['bytes'] / 1e6:,.2f} MB" for dtype, of in result["all_reduces"].items()]
    yield f"all-reduces        {'; '.join(reduced) or 'none'}; {result['all_reduces_started']} do not block"
    for opcode, of in result["collectives"].items():
        yield f"{opcode + 's':<19}{of['number']}, {of['bytes'] / 1e6:,.2f} MB; {of['started']} do not block"
    without = ", ".join(f"{n} {opcode}" for opcode, n in result["not_estimated"].items())
    yield f"estimated cycles   {result['cycles'] / 1e6:,.2f} M" + (f", without {without}" if without else "")
    for name, cycles in result["cycles_by_kind"].items():
        yield f"  {name:<22}{cycles / 1e6:>9,.2f} M {cycles / result['cycles']:>7.1%}"


if __name__ == "__main__":
    sys.exit(main())
