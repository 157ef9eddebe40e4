"""Memory of the host at the start of a run whose model has a gigabyte: fresh, with weights from a file, going on.

    python scripts/bench/start_memory.py
    python scripts/bench/start_memory.py --model vit_b_16 --devices 8 --set parallel.shard=fsdp

Each kind of start has a process of its own, on virtual devices of this machine's CPU, and ends when the state lies
where the first step wants it; nothing is compiled but what makes the state. The peak is of resident memory, less what
the process had before its run was built. Devices and the host share it here, so what the devices hold at the end is
told apart: the rest is what a host with accelerators would need. Pages of files that are only read count, too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from jaxcls.cli.entry import entry_point

KINDS = ("fresh", "weights", "going on")


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vit_l_16", help="by name (default %(default)s: 1.2 GB)")
    parser.add_argument("--devices", type=int, default=1, help="virtual ones (default %(default)s)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="config keys")
    parser.add_argument("--kind", choices=KINDS, help="one kind, in this process, with its files in --folder")
    parser.add_argument("--folder", type=Path, help="of a kind")
    args = parser.parse_args(argv)
    if args.kind:
        print(json.dumps(measure(args)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            print(line(kind, started(args, kind, folder)), flush=True)
    return 0


def started(args: argparse.Namespace, kind: str, folder: str) -> dict[str, Any]:
    """The figures of a kind of start, from a process of its own."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={args.devices}"
    words = [f"--model={args.model}", f"--devices={args.devices}", f"--kind={kind}", f"--folder={folder}"]
    command = [sys.executable, __file__, *words, *(["--set", *args.set] if args.set else [])]
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    found = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(found.stdout.splitlines()[-1])


def line(kind: str, found: dict[str, Any]) -> str:
    """The figures for people."""
    model, state, peak = found["model"], found["devices"], found["peak"]
    rest = (peak - state) / model
    return (
        f"{kind:9} model {model:.2f} GB, on devices {state:.2f} GB, peak {peak:.2f} GB: {rest:.2f} models beside them"
    )


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Gigabytes of the model, of what the devices hold, and of the peak above what the process had before."""
    import jax

    from jaxcls.checkpoints.store import Checkpoints
    from jaxcls.defaults import default_config
    from jaxcls.models import safetensors_files, state_dict
    from jaxcls.settings import config_file
    from jaxcls.training import begin, build, loop

    weights, workdir = args.folder / "weights.safetensors", args.folder / "run"
    words = [
        "data.name=synthetic/64x224x3x10",
        f"model.name={args.model}",
        "duration=8 steps",
        "batch_size=8",
        *args.set,
    ]
    words += [f"model.pretrained={weights}"] if args.kind == "weights" else []
    config = default_config()
    config_file.override(config, [tuple(word.split("=", 1)) for word in words])
    run = build.build(config)
    checkpoints = Checkpoints(workdir, keep=1)
    before = status("VmRSS")
    state, _ = begin.restore(run, checkpoints)
    state = run.parallel.place(state)
    jax.block_until_ready(state)
    found = {"model": size(state.params), "devices": held(state), "peak": status("VmHWM") - before}
    if args.kind == "fresh":  # what the other kinds start from
        params = jax.device_get(state.params)
        safetensors_files.write(weights, state_dict.to_state_dict({"params": params, **state.model_state}), {})
        checkpoints.save(run.parallel.saveable(state.replace(step=state.step + 1)), loop.meta_of(run, 1, {}, {}))
        checkpoints.close()
    return found


def size(tree: Any) -> float:
    """Gigabytes of arrays."""
    import jax

    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) / 1e9


def held(tree: Any) -> float:
    """Gigabytes that all devices hold of arrays."""
    import jax

    return sum(shard.data.nbytes for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards) / 1e9


def status(name: str) -> float:
    """Gigabytes that Linux tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name))) * 1024 / 1e9


if __name__ == "__main__":
    main()
