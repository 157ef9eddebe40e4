"""What pruning and INT8 make of trained nets: accuracy, size, milliseconds.

    python scripts/bench/prune_table.py --data-dir DIR --pictures DIR --weights DIR --work /tmp/prune resnet20:0.5:l1
    python scripts/bench/prune_table.py --data-dir DIR --pictures DIR --weights DIR --work /tmp/prune --list

An arm NET:RATIO:IMPORTANCE[:distill|:rounds][:EPOCHS] is a run pruned from NET:base, evaluated as it is and after
fine-tuning (:distill: the whole net teaches; :rounds: it goes in four parts, with as much training after each), and
exported as float32 and INT8 files. NET:int8 is NET:base trained for INT8, NET:RATIO:l1:int8 the fine-tuned pruned net
trained for INT8; NET:times runs all files of a net in turns. Each appends a row to --out when it ends, and is left out
where it has one. Pin it to one core.

--data-dir is of tensorflow-datasets and has cifar10, --pictures is a folder with train/ and val/ (ants and bees),
--weights has resnet20_cifar10.th and squeezenet1_1_imagenet.safetensors. Figures are of the 10,000 test pictures of
CIFAR-10, of the 153 of val/.
"""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import _arms

from jaxcls.cli.entry import entry_point

MORE = {"distill": ["--distill"], "rounds": ["--rounds", "4"]}
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
        "base": {"duration": "3 epochs", "schedule.warmup": "1 epochs", "schedule.peak": 0.1},
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
        "arms": ("base", *TAKEN, "0.5:l1:rounds:5", "int8", "times"),
        "data": ("folder/PICTURES", "validation"),
    },
}
ARMS = tuple(f"{net}:{arm}" for net, of in NETS.items() for arm in of["arms"])


def commands(arm: str, args: argparse.Namespace) -> list[list[str]]:
    """What an arm runs, each a list of arguments of jaxcls; nothing for the times of files."""
    name, arm = arm.split(":", 1)
    if arm == "times":
        return []
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
        tune = ["--finetune", *epochs, *_settings(tuned, args), *MORE.get(more[0] if more else "", [])]
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
    """The row of an arm."""
    if arm.endswith(":times"):
        return times(arm.split(":")[0], args)
    run, row = Path(_run(args, arm)), {}
    if not arm.endswith(":base"):  # that goes on where it was interrupted; the others begin anew
        shutil.rmtree(run, ignore_errors=True)
    for command in commands(arm, args):
        row |= figures(command, _arms.jaxcls(command, args.data_dir), run)
    return row


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = _arms.parser(__doc__, "prune.jsonl")
    for option in ("--pictures", "--weights"):
        parser.add_argument(option, type=lambda text: Path(text).resolve(), required=True)
    args = _arms.parsed(parser, argv, ARMS)
    (args.work / "cifar.py").write_text(CIFAR)
    return _arms.run(args, lambda arm: commands(arm, args), lambda arm: measure(arm, args))


if __name__ == "__main__":
    sys.exit(main())
