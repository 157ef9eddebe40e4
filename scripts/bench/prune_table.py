"""What pruning and INT8 make of a trained net on CIFAR-10: accuracy, size, milliseconds.

    python scripts/bench/prune_table.py --data-dir DIR --weights resnet20_cifar10.th --work /tmp/prune 0.5:l1 0.5:random
    python scripts/bench/prune_table.py --data-dir DIR --weights resnet20_cifar10.th --work /tmp/prune --list

An arm RATIO:IMPORTANCE[:distill] is a run pruned from the published resnet20_cifar: evaluated as it is, after EPOCHS
epochs of fine-tuning (of all 50,000 training pictures; with :distill the whole net teaches), and exported as float32
and INT8 files. `base` is the net itself, `int8` the same trained for INT8. Each appends a row to --out when it ends,
and is left out where it has one. Figures are of the 10,000 test pictures. Pin it to one core.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from jaxcls.cli.entry import entry_point

ROOT = Path(__file__).resolve().parents[2]
EPOCHS, MULTIPLE = 2, 4
ARMS = ("base", *(f"{r}:{how}" for r in (0.5, 0.7, 0.3) for how in ("l1", "random", "l1:distill")), "int8")
# One step of nothing: a run that answers as the file does.
FROZEN = ("--config.optim.freeze=('conv', 'bn', 'layer')", "--config.schedule.peak=1e-12")
CONFIG = """from jaxcls.defaults import default_config


def get_config(arg=""):
    config = default_config()
    config.data.name, config.data.validation, config.data.normalize = "tfds/cifar10", 0.0, "imagenet"
    config.data.augment = ("crop(32, pad=4)", "flip")
    config.model.name = "resnet20_cifar"
    config.schedule.peak, config.optim.weight_decay, config.optim.nesterov = 0.02, 1e-4, True
    config.duration, config.batch_size = "2 epochs", 128
    return config
"""


def commands(arm: str, args: argparse.Namespace) -> list[list[str]]:
    """What an arm runs, each a list of arguments of jaxcls."""
    work, data = args.work, [f"--config.data.dir={args.data_dir}"]
    run, base = str(work / arm.replace(":", "-")), str(work / "base")
    start = [f"--config={work / 'config.py'}", f"--workdir={run}", *data, "--config.duration=1 steps"]
    if arm == "base":
        made = [["train", *start, f"--config.model.pretrained={args.weights}", *FROZEN]]
    elif arm == "int8":
        quiet = ["--config.model.quantize=int8", "--config.duration=1 epochs", "--config.schedule.peak=0.002"]
        made = [["train", *start[:-1], *quiet, f"--config.model.pretrained={base}"]]
    else:
        ratio, how, *more = arm.split(":")
        options = ["--ratio", ratio, "--importance", how, "--multiple", str(MULTIPLE), *[f"--{one}" for one in more]]
        tune = ["--finetune", f"{EPOCHS} epochs", "--config.optim.freeze=()", "--config.schedule.peak=0.02"]
        made = [["prune", base, *options, "--out", run, *tune], ["eval", run], ["train", "--workdir", run]]
    export = ["export", run, "--to", "onnx", "--out", f"{run}.onnx", "--max-drop", "100", "--check", "200"]
    files = [f"{run}.onnx"] if arm == "int8" else [f"{run}.onnx", f"{run}.int8.onnx"]
    judged = [["eval", file, "--data", "tfds/cifar10", "--split", "test"] for file in files]
    return [*made, [*export, *(["--int8"] if arm != "int8" else [])], *judged]


def figures(command: list[str], text: str, run: Path) -> dict:
    """What a row keeps of a command."""
    verb, what = command[0], Path(command[1]).name
    if verb == "prune":
        made = json.loads((run / "prune.json").read_text())
        return {key: made[key] for key in ("parameters", "multiply_adds")}
    if verb == "export":
        return {"files": [_file(entry) for entry in json.loads((run / "export.json").read_text())]}
    found = re.findall(r"^.*test.* accuracy .*$" if verb == "train" else r"^.*accuracy .*$", text, re.MULTILINE)
    return {verb if verb == "train" else f"{verb} {what}": " ".join(found[-1].split()) if found else ""}


def _file(entry):
    """Size and milliseconds of a file, by batch size."""
    cpu = {size: round(times["cpu_p50"], 3) for size, times in entry["latency"].items()}
    return {"file": entry["file"], "bytes": entry["bytes"], "cpu_ms": cpu}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments. Ends where an arm is not known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arms", nargs="*", metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--data-dir", required=True, help="of tensorflow-datasets, with cifar10")
    parser.add_argument("--weights", required=True, help="resnet20_cifar10.th")
    parser.add_argument("--work", type=Path, required=True, help="folder for the workdirs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "bench" / "prune.jsonl")
    parser.add_argument("--list", action="store_true", help="prints the commands")
    args = parser.parse_args(argv)
    if strange := [arm for arm in args.arms if arm not in ARMS]:
        parser.error(f"there is no arm {strange[0]!r}; it can be {', '.join(ARMS)}")
    return args


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = parse(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    (args.work / "config.py").write_text(CONFIG)
    done = {json.loads(line)["arm"] for line in args.out.read_text().splitlines()} if args.out.exists() else set()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    for arm in args.arms or ARMS:
        if args.list:
            for command in commands(arm, args):
                print(f"{arm}: jaxcls {shlex.join(command)}")
        elif arm not in done:
            row = measure(arm, args) | {"commit": commit.strip()}
            with open(args.out, "a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    return 0


def measure(arm: str, args: argparse.Namespace) -> dict:
    """The row of an arm. Raises SystemExit where a command fails."""
    row: dict = {"arm": arm}
    began, spent = time.monotonic(), os.times()
    for command in commands(arm, args):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TFDS_DATA_DIR": args.data_dir}
        full = [sys.executable, "-m", "jaxcls", *command]
        done = subprocess.run(full, cwd=ROOT, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"{shlex.join(command)}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}")
        row |= figures(command, done.stdout, args.work / arm.replace(":", "-"))
    now = os.times()
    cpu = now.children_user + now.children_system - spent.children_user - spent.children_system
    return row | {"cpu_s": round(cpu), "wall_s": round(time.monotonic() - began)}


if __name__ == "__main__":
    sys.exit(main())
