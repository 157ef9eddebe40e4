"""What pruning and INT8 make of trained nets: accuracy, size, milliseconds.

    python scripts/bench/prune_table.py --data-dir DIR --pictures DIR --weights DIR --work /tmp/prune resnet20:0.5:l1
    python scripts/bench/prune_table.py --data-dir DIR --pictures DIR --weights DIR --work /tmp/prune --list

An arm NET:RATIO:IMPORTANCE[:distill|:EPOCHS] is a run pruned from NET:base, evaluated as it is and after fine-tuning
(with :distill the whole net teaches), and exported as float32 and INT8 files. NET:int8 is NET:base trained for INT8,
NET:RATIO:l1:int8 the fine-tuned pruned net trained for INT8; NET:times runs all files of a net in turns. Each appends
a row to --out when it ends, and is left out where it has one. Pin it to one core.

--data-dir is of tensorflow-datasets and has cifar10, --pictures is a folder with train/ and val/ (ants and bees),
--weights has resnet20_cifar10.th and squeezenet1_1_imagenet.safetensors. Figures are of the 10,000 test pictures of
CIFAR-10, of the 153 of val/.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jaxcls.cli.entry import entry_point

ROOT = Path(__file__).resolve().parents[2]
TAKEN = ("0.5:l1", "0.5:random", "0.5:l1:distill", "0.5:l1:int8", "0.7:l1", "0.3:l1")
CIFAR = """from jaxcls.defaults import default_config


def get_config(arg=""):
    config = default_config()
    config.data.name, config.data.validation = "tfds/cifar10", 0.0
    config.data.augment = ("crop(32, pad=4)", "flip")
    config.optim.weight_decay, config.optim.nesterov, config.batch_size = 1e-4, True, 128
    return config
"""
# One step of nothing: a run that answers as the file does.
FROZEN = {"optim.freeze": ("conv", "bn", "layer"), "schedule.peak": 1e-12, "duration": "1 steps"}
TUNED = {"optim.freeze": (), "schedule.peak": 0.02, "duration": "2 epochs"}
# NET -> a config of configs/, what all its runs have, what its base has, its fine-tuning, its training for INT8, arms
NETS: dict[str, dict[str, Any]] = {
    "resnet20": {
        "config": "WORK/cifar.py",
        "all": {"data.normalize": "imagenet", "model.name": "resnet20_cifar"},
        "base": {**FROZEN, "model.pretrained": "WEIGHTS/resnet20_cifar10.th"},
        "tuned": TUNED,
        "int8": {"duration": "100 steps", "schedule.peak": 0.002},
        "multiple": 4,
        "arms": (
            "base",
            *TAKEN,
            "0.5:l1:5",
            "0.7:random",
            "0.7:l1:distill",
            "0.3:random",
            "0.3:l1:distill",
            "int8",
            "times",
        ),
        "data": ("tfds/cifar10", "test"),
    },
    "resnet18w16": {
        "config": "WORK/cifar.py",
        "all": {
            **{"data.normalize": "cifar10", "model.name": "resnet18"},
            **{"model.fields.stem": "cifar", "model.fields.width": 16},
        },
        "base": {"duration": "4 epochs", "schedule.warmup": "1 epochs", "schedule.peak": 0.1},
        "tuned": TUNED,
        "int8": {"duration": "100 steps", "schedule.peak": 0.002},
        "multiple": 8,
        "arms": ("base", *TAKEN, "int8", "times"),
        "data": ("tfds/cifar10", "test"),
    },
    "squeezenet": {
        "config": "finetune",
        "all": {"data.name": "folder/PICTURES"},
        "base": {"model.pretrained": "WEIGHTS/squeezenet1_1_imagenet.safetensors"},
        "tuned": {"duration": "10 epochs", "schedule.peak": 0.002},
        "int8": {"duration": "3 epochs", "schedule.peak": 0.0002},
        "multiple": 8,
        "arms": ("base", *TAKEN, "int8", "times"),
        "data": ("folder/PICTURES", "val"),
    },
}
ARMS = tuple(f"{net}:{arm}" for net, of in NETS.items() for arm in of["arms"])


def commands(arm: str, args: argparse.Namespace) -> list[list[str]]:
    """What an arm runs, each a list of arguments of jaxcls."""
    name, arm = arm.split(":", 1)
    net, run = NETS[name], _run(args, f"{name}:{arm}")
    name_of, split = (_filled(text, args) for text in net["data"])
    new = ["train", f"--config={_filled(net['config'], args)}", f"--workdir={run}", *_settings(net["all"], args)]
    if arm == "base":
        made = [[*new, *_settings(net["base"], args)]]
    elif arm.endswith("int8"):
        start = _run(args, f"{name}:{arm.removesuffix('int8').removesuffix(':') or 'base'}")
        made = [[*new, *_settings({**net["int8"], "model.quantize": "int8", "model.pretrained": start}, args)]]
    else:
        ratio, how, *more = arm.split(":")
        options = ["--ratio", ratio, "--importance", how, "--multiple", str(net["multiple"])]
        tuned = {key: value for key, value in net["tuned"].items() if key != "duration"}
        epochs = [f"{part} epochs" for part in more if part.isdigit()] or [net["tuned"]["duration"]]
        tune = ["--finetune", *epochs, *_settings(tuned, args), *(["--distill"] if "distill" in more else [])]
        base = _run(args, f"{name}:base")
        made = [["prune", base, *options, "--out", run, *tune], ["eval", run], ["train", "--workdir", run]]
    export = ["export", run, "--to", "onnx", "--out", f"{run}.onnx", "--max-drop", "100", "--check", "200"]
    files = [f"{run}.onnx"] if arm.endswith("int8") else [f"{run}.onnx", f"{run}.int8.onnx"]
    judged = [["eval", file, "--data", name_of, "--split", split] for file in files]
    return [*made, [*export, *([] if arm.endswith("int8") else ["--int8"])], *judged]


def _run(args, arm):
    return str(args.work / arm.replace(":", "-"))


def _filled(text, args):
    for name in ("weights", "pictures", "work"):
        text = text.replace(name.upper(), str(getattr(args, name)))
    return text


def _settings(settings, args):
    told = {key: _filled(value, args) if isinstance(value, str) else value for key, value in settings.items()}
    return [f"--config.{key}={value}" for key, value in told.items()]


def figures(command: list[str], text: str, run: Path) -> dict:
    """What a row keeps of a command."""
    verb, what = command[0], Path(command[1]).name
    if verb == "prune":
        made = json.loads((run / "prune.json").read_text())
        return {key: made[key] for key in ("parameters", "multiply_adds")}
    if verb == "export":
        return {"bytes": {entry["file"]: entry["bytes"] for entry in json.loads((run / "export.json").read_text())}}
    found = re.findall(r"^.*accuracy .*$", text, re.MULTILINE)
    if verb == "train":
        found = [line for line in found if "test " in line] or found
    return {verb if verb == "train" else f"{verb} {what}": " ".join(found[-1].split()) if found else ""}


def times(name: str, args: argparse.Namespace) -> dict:
    """CPU milliseconds of one thread for batches of 1 and 16: all files of a net in turns."""
    from jaxcls.export import latency
    from jaxcls.runtime import session

    opened = {path.name: session.open(path, threads=1) for path in sorted(args.work.glob(f"{name}-*.onnx"))}
    shape = tuple(next(iter(opened.values())).inputs[0].shape[1:])
    asked = {file: lambda images, one=one: session.run(one, images) for file, one in opened.items()}
    found = latency.measure(asked, shape, seconds=5.0 * len(asked))
    return {"cpu_ms": {f: {n: round(of["cpu_p50"], 3) for n, of in sizes.items()} for f, sizes in found.items()}}


def measure(arm: str, args: argparse.Namespace) -> dict:
    """The row of an arm. Raises SystemExit where a command fails."""
    row: dict = {"arm": arm}
    began, spent = time.monotonic(), os.times()
    if arm.endswith(":times"):
        return row | times(arm.split(":")[0], args)
    run = Path(_run(args, arm))
    shutil.rmtree(run, ignore_errors=True)  # of an arm that was interrupted
    for command in commands(arm, args):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TFDS_DATA_DIR": str(args.data_dir)}
        full = [sys.executable, "-m", "jaxcls", *command]
        done = subprocess.run(full, cwd=ROOT, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"{shlex.join(command)}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}")
        row |= figures(command, done.stdout, run)
    now = os.times()
    cpu = now.children_user + now.children_system - spent.children_user - spent.children_system
    return row | {"cpu_s": round(cpu), "wall_s": round(time.monotonic() - began)}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments. Ends where an arm is not known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arms", nargs="*", metavar="ARM", help=", ".join(ARMS))
    for option in ("--data-dir", "--pictures", "--weights", "--work"):
        parser.add_argument(option, type=lambda text: Path(text).resolve(), required=True)
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
    (args.work / "cifar.py").write_text(CIFAR)
    done = {json.loads(line)["arm"] for line in args.out.read_text().splitlines()} if args.out.exists() else set()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    for arm in args.arms or ARMS:
        if args.list:
            for command in [] if arm.endswith(":times") else commands(arm, args):
                print(f"{arm}: jaxcls {shlex.join(command)}")
        elif arm not in done:
            row = measure(arm, args) | {"commit": commit.strip()}
            with open(args.out, "a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
