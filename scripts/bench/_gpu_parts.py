"""The parts of gpu.py: each runs in processes of its own, and yields rows for the table and lines on what lacks."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEAK = {  # TFLOP/s of dense bfloat16 products, by the makers' data sheets
    "A100": 312,
    "H100 PCIe": 756,
    "H100": 989,
    "H200": 989,
    "L4": 121,
    "RTX 4090": 165,
}
RESNET50 = 6 * 4.089e9  # operations for a picture of 224 pixels: 2 a multiply-add, forward and twice backward
AIRBENCH = "airbench94 on an A100: 3.83 s, compiled 3.09 s (another recipe, with Muon, 2.59 s); its README"


@dataclasses.dataclass(frozen=True)
class Options:
    """What the parts need to know. `machine` is what `probe` tells; `workdir` is a folder of this run's own."""

    small: bool
    batch: int
    epochs: int
    data_dir: str
    workdir: Path
    machine: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table, as texts; `raw` is everything that was measured, in its first row."""

    what: str
    jaxcls: str
    peer: str = ""
    note: str = ""
    raw: dict[str, Any] | None = None


class LeftOut(Exception):
    """A part, or its peer, that gave no figures; the text says why in one line."""


def child(arguments: list[Any], seconds: float) -> dict[str, Any]:
    """The JSON object that a Python process prints. Raises LeftOut where it fails or takes longer."""
    if seconds < 1:
        raise LeftOut("no time was left")
    command = [sys.executable, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        out, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise LeftOut(f"took longer than {seconds:.0f} s") from None
    finally:
        _end(process)
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    if process.returncode:
        raise LeftOut(lines[-1].removeprefix("error: ") if lines else f"exit status {process.returncode}")
    return json.loads(out[out.index("{") :])


def _end(process):
    """Asks a process to end, twice (a ladder hands it on to its run, which saves at first), then kills it."""
    for stop in (process.terminate, process.terminate, process.kill):
        if process.poll() is not None:
            return
        stop()
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            continue


def probe() -> dict[str, Any]:
    """What JAX finds here: platform, device, how many of it, versions. LeftOut where it does not start."""
    code = (
        "import json, platform, jax, jaxlib; d = jax.devices(); print(json.dumps({'platform': d[0].platform, "
        "'device': d[0].device_kind, 'devices': len(d), 'python': platform.python_version(), "
        "'jax': jax.__version__, 'jaxlib': jaxlib.__version__}))"
    )
    return child(["-c", code], 120)


def resnet50(options: Options, seconds: float) -> Iterator[Row | str]:
    """ResNet-50's training step in bfloat16, against torch.compile."""
    name, size, rounds = "ResNet-50", 224, ["--steps", 20, "--rounds", 5, "--batch", options.batch]
    if options.small:
        name, size, rounds = "SqueezeNet1_1", 32, ["--steps", 1, "--rounds", 1, "--batch", 8]
    began, model = time.monotonic(), name.lower().replace("-", "")
    shared = ["--model", model, "--size", size, "--precision", "bfloat16", *rounds]
    ours = child([HERE / "step.py", *shared, "--classes", 1000, "--json"], seconds * 0.6)
    try:
        device = "cpu" if options.small and options.machine["platform"] == "cpu" else "cuda"
        left = seconds - (time.monotonic() - began)
        peer = child([HERE / "_torch_peer.py", *shared, "--device", device], left)
    except LeftOut as reason:
        peer = None
        yield f"{name} in PyTorch: {reason}"
    pair = [ours, peer] if peer else [ours]

    def cells(text: Callable[[dict], str]) -> list[str]:
        return [text(figures) for figures in pair]

    note = f"bfloat16, {size} px, batch {rounds[-1]}" + (f"; torch.compile, PyTorch {peer['torch']}" if peer else "")
    raw = {"jaxcls": ours, "torch": peer}
    speed = cells(lambda f: f"{f['pictures_per_second']:,.0f}")
    yield _pair(f"{name} training, pictures/s", speed, note, raw)
    if peer:
        yield Row(f"{name} training, our time in units of PyTorch's", f"{ours['step_ms'] / peer['step_ms']:.2f}")
    if not options.small:
        peak = next((value for key, value in PEAK.items() if key in ours["device"]), None)
        rates = [f["pictures_per_second"] * RESNET50 / 1e12 for f in pair]
        share = [f"{rate:.0f}" + (f" ({rate / peak:.0%} of the peak)" if peak else "") for rate in rates]
        yield _pair(f"{name} training, TFLOP/s", share, "24.5 GFLOP a picture")
    yield _pair(f"{name}, compiling, s", cells(lambda f: f"{f['compile_s']:.0f}"))
    memory = cells(lambda f: f"{f['peak_memory_bytes'] / 2**30:.1f}" if f["peak_memory_bytes"] else "")
    yield _pair(f"{name}, peak memory, GiB", memory, "PyTorch: what its tensors took")


def _pair(what: str, cells: list[str], note: str = "", raw: dict[str, Any] | None = None) -> Row:
    """A row of our cell and, where there is one, the peer's."""
    return Row(what, cells[0], cells[1] if cells[1:] else "", note, raw)


def cifar10_fast(options: Options, seconds: float) -> Iterator[Row | str]:
    """airbench94 on CIFAR-10, against its author's time."""
    recipe: list[Any] = [HERE / "_cifar_fast.py", "--config", ROOT / "configs" / "cifar10_fast.py"]
    began = time.monotonic()
    synthetic: list[Any] = ["--data", "synthetic/50000x32x3x10"]
    if options.small:
        recipe[-1], synthetic = f"{recipe[-1]}:tiny", ["--data", "synthetic/256x32x3x10", "--rounds", 1]
    try:
        if options.small:
            raise LeftOut("not looked for")
        result = child([*recipe, "--data-dir", options.data_dir], seconds)
    except LeftOut as reason:
        yield f"cifar10_fast on CIFAR-10: {reason}; its time is taken on synthetic pictures"
        result = child([*recipe, *synthetic], seconds - (time.monotonic() - began))
    real = result["data"].startswith("tfds")
    total = result["train_s"] + result["evaluate_s"]
    note = f"{result['steps']} steps of {result['batch']}; training {result['train_s']:.2f} s, six views the rest"
    yield Row("cifar10_fast, training and evaluation, s", f"{total:.2f}", AIRBENCH, note, result)
    if real:
        accuracy = f"{result['accuracy']:.2%} of {result['count']:,}, one seed"
        yield Row("cifar10_fast, test accuracy", accuracy, "94.01 % (mean)")
    yield Row("cifar10_fast, compiling, s", f"{result['compile_s']:.0f}")


def ladder(options: Options, seconds: float) -> Iterator[Row | str]:
    """The first rungs of the CIFAR-100 ladder, a few epochs each."""
    file, epochs = ROOT / "configs" / "ladders" / "cifar100_resnet18.py", f"{options.epochs} epochs"
    command = [HERE / "_ladder.py", f"{file}:short", f"--config.duration={epochs}", "--config.precision=bfloat16"]
    if options.data_dir:
        command.append(f"--config.data.dir={options.data_dir}")
    if options.small:
        command, epochs = [HERE / "_ladder.py", f"{file}:tiny", "--rungs", 1], "4 steps"
    reserve = 0 if options.small else 25  # to stop the run under way
    command += ["--seconds", max(seconds - reserve, 1), "--workdir", options.workdir / "ladder"]
    report = child(command, seconds)
    for i, rung in enumerate(report["rungs"]):
        name, (run,) = f"CIFAR-100 ladder: {rung['name']}", rung["runs"]
        if run["state"] != "finished":
            yield f"{name}: {run.get('failed') or 'not finished in time'}"
            continue
        more = f"{rung['difference']:+.2%} against the rung before; " if rung["difference"] is not None else ""
        note = f"{more}{epochs}, {rung['seconds']:.0f} s with start and compiling"
        yield Row(name, f"{rung['mean']:.2%}", "", note, None if i else report)


PARTS = {"resnet50": resnet50, "cifar10_fast": cifar10_fast, "ladder": ladder}
SHARES = {"resnet50": 0.45, "cifar10_fast": 0.2, "ladder": 1.0}  # of the time; what one leaves, the next may take
