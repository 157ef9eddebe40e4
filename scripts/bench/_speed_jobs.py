"""The measurements of all.py: which command each is, and which rows of which table its JSON gives."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from _keras_peer import NETS
from _peers import CALLED

Values = dict[str, tuple[float, str]]  # column: (value, unit)
Rows = Iterator[tuple[str, Values]]  # (row, its values)

TIMES, SPEED, RATE = "times the time", "times the speed", "pictures/s"
HIGHER = (SPEED, RATE)  # units of which more is better; of all others less is
# What is measured for comparison only: columns by their beginnings, rows.
THEIR_COLUMNS = ("XLA", "PyTorch", "ONNX Runtime", "bare,", "constants:", "step without")
THEIR_ROWS = {f"input/{job}, {peer}" for job in ("train", "eval") for peer in ("decode", "pillow", "pillow-draft")}
THEIR_ROWS |= {f"input/{job}, tf.data" for job in ("train", "eval")} | {
    "imports/python",
    "imports/numpy",
    "imports/jax",
}
MODELS = (
    "resnet50",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_small_patch16_224",
    "swin_t",
    "airbench94",
)
TABLES = {
    "step": "Against PyTorch, and Keras and jaxnn on JAX: training step and forward pass",
    "forward_one": "Forward pass of one picture against ONNX Runtime",
    "loop": "The training loop against the bare compiled step",
    "convolve": "Convolutions and max pools: ms of processor time",
    "input": "Input: decoding and cropping on the host",
    "end_to_end": "A folder of JPEGs, predicted and evaluated",
    "augment": "Augmentation inside the step",
    "recompile": "Numbers of a recipe as arguments of the step",
    "report": "Figures and the report",
    "imports": "Starting: fresh processes",
    "start": "Starting: until the first step begins",
}


@dataclass(frozen=True)
class Job:
    """A command and what its JSON means.

    Attributes:
      name: "table" or "table/row".
      script: a file of scripts/bench/.
      arguments: of it; `quick` follows them for a quick run.
      rows: the rows of a result.
      peers: whether it needs the packages of peers.
    """

    name: str
    script: str
    arguments: Sequence[str]
    quick: Sequence[str]
    rows: Callable[[dict[str, Any]], Rows]
    peers: bool = False

    @property
    def table(self) -> str:
        """The table that its rows belong to."""
        return self.name.split("/")[0]


def step_rows(r: dict[str, Any]) -> Rows:
    """Of step.py with --model: our times of a picture, and in units of each peer's."""
    values: Values = {}
    for kind, ours in (("forward", r.get("forward")), ("step", r)):
        if ours:
            values[f"{kind}, CPU a picture"] = ours["step_cpu_ms"] / r["batch"], "ms"
        for peer, kinds in r["peers"].items():
            if kind in kinds:
                values[f"{kind}, CPU of {CALLED[peer]}'s"] = kinds[kind]["our_time_cpu"], TIMES
    for peer, kinds in r["peers"].items():
        values[f"step, wall of {CALLED[peer]}'s"] = kinds["step"]["our_time"], TIMES
    values["compiling"] = r["compile_s"], "s"
    yield r["model"], values


def loop_rows(r: dict[str, Any]) -> Rows:
    """Of step.py with --loop. What the loop adds is told as a ratio: percent of nearly nothing scatter."""
    loop = r["loop"]
    yield (
        f"{r['model']}, batch {r['batch']}",
        {
            "bare step, CPU": (r["step_cpu_ms"], "ms"),
            "loop, CPU": (loop["step_cpu_ms"], "ms"),
            "loop of the bare step, wall": (1 + loop["overhead_percent"] / 100, TIMES),
            "loop of the bare step, CPU": (1 + loop["overhead_percent_cpu"] / 100, TIMES),
            "with evaluation and checkpoint, wall": (1 + loop["overhead_percent_with_both"] / 100, TIMES),
        },
    )


def forward_one_rows(r: dict[str, Any]) -> Rows:
    """Of forward_one.py."""
    values: Values = {"jaxcls, CPU": (r["ours"]["step_cpu_ms"], "ms")}
    values["ONNX Runtime, CPU"] = r["onnxruntime"]["step_cpu_ms"], "ms"
    yield r["model"], values | {"CPU of ONNX Runtime's": (r["our_time_cpu"], TIMES)}


def convolve_rows(r: dict[str, Any]) -> Rows:
    """Of convolve.py, and our times in units of PyTorch's."""
    for case in r["cases"]:
        ms = case["ms"]
        values: Values = {name: (value, "ms") for name, value in ms.items()}
        for part in ("forward", "pictures", "kernel"):
            if f"PyTorch {part}" in ms:
                values[f"{part}, of PyTorch's"] = ms[f"jaxcls {part}"] / ms[f"PyTorch {part}"], TIMES
        yield f"{case['side']}, {case['case']}", values


def input_rows(r: dict[str, Any]) -> Rows:
    """Of input.py: a row a pipeline, columns by size."""
    rows: dict[str, Values] = {}
    for pictures in r["sets"]:
        for p in pictures["pipelines"]:
            values = rows.setdefault(f"{p['job']}, {p['peer']}", {})
            values[f"{pictures['set']}, a CPU second"] = p["pictures_per_cpu_second"], RATE
            for key, name, unit in (
                ("times_pillow", "x Pillow", SPEED),
                ("times_tf_data", "x tf.data", SPEED),
                ("of_decode", "x floor", TIMES),
            ):
                if key in p:
                    values[f"{pictures['set']}, {name}"] = p[key], unit
    yield from rows.items()
    for m in r["in_memory"]:
        yield f"{m['set']} in device memory", {"rows and lookup": (m["pictures_per_second"], RATE)}


def end_to_end_rows(r: dict[str, Any]) -> Rows:
    """Of end_to_end.py."""
    for model, figures in r["models"].items():
        values: Values = {f"{key}, CPU a picture": (f["cpu_ms_median"], "ms") for key, f in figures.items()}
        of_bare: Values = {f"{key} of bare": (f["of_bare"], SPEED) for key, f in figures.items() if key != "bare"}
        yield model, values | of_bare


def augment_rows(r: dict[str, Any]) -> Rows:
    """Of augment.py."""
    yield (
        f"{r['model']}, batch {r['batch']}",
        {
            "step without, CPU": (r["base"]["step_cpu_ms"], "ms"),
            "transforms alone, CPU": (r["transforms"]["step_cpu_ms"], "ms"),
            "step with of without, CPU": (r["step_with_cpu"], TIMES),
        },
    )


def recompile_rows(r: dict[str, Any]) -> Rows:
    """Of recompile.py."""
    first = {form: seconds[0] for form, seconds in r["first_steps_s"].items()}
    values: Values = {"arguments of constants, a step": (r["ratio"], TIMES)}
    for form, seconds in r["first_steps_s"].items():
        values[f"{form}: first trial"] = first[form], "s"
        values[f"{form}: the others"] = sum(seconds[1:]), "s"
    yield r["config"], values


def report_rows(r: dict[str, Any]) -> Rows:
    """Of report.py: CPU seconds."""
    names = {"figures_s": "figures, CPU", "temperature_s": "temperature, CPU", "page_s": "report, CPU"}
    values: Values = {name: (r[key][1], "s") for key, name in names.items()}
    yield f"{r['count']:,} x {r['classes']:,}", values | {"page": (r["page_bytes"] / 2**20, "MiB")}


def imports_rows(r: dict[str, Any]) -> Rows:
    """Of imports.py."""
    for case, figures in r.items():
        memory = figures["peak_rss_bytes"] / 2**20
        yield case, {"wall": (figures["wall_s"], "s"), "CPU": (figures["cpu_s"], "s"), "peak": (memory, "MiB")}


def start_rows(r: dict[str, Any]) -> Rows:
    """Of start.py: CPU seconds, the median of the warm starts."""
    for case, starts in r.items():
        seconds = {cache: sorted(s["cpu_s"] for s in rounds) for cache, rounds in starts.items() if rounds}
        yield case, {f"{cache} cache, CPU": (values[len(values) // 2], "s") for cache, values in seconds.items()}


def jobs(tf_python: str | None = None) -> list[Job]:
    """All measurements, the peers first. tf_python: an interpreter with TensorFlow, for tf.data."""
    found = []
    for model in MODELS:
        size = ["--size", "32", "--classes", "10", "--batch", "256"] if model == "airbench94" else ["--batch", "8"]
        peers = ["--peer", "torch", *(["keras"] if model in NETS else []), *(["jaxnn"] if "resnet" in model else [])]
        arguments = ["--model", model, *size, "--steps", "1", "--rounds", "5", "--forward", *peers]
        small = ["--batch", "2", "--rounds", "1", "--size", "32" if model in ("airbench94", *NETS) else "224"]
        found.append(Job(f"step/{model}", "step.py", arguments, small, step_rows, peers=True))
    cifar = ["--config", "configs/resnet18_cifar10.py", "--data", "synthetic/2048x32x3x10", "--batch", "32"]
    digits = ["--config", "configs/lenet5_digits.py", "--loop", "--steps", "200", "--rounds", "15"]
    transforms = "crop(32, pad=4), flip, rand_augment(2, 9), random_erasing, mixup(0.2)"
    augmented = [*cifar, "--augment", transforms, "--steps", "4", "--rounds", "5"]
    fewer, once = ["--batch", "4", "--steps", "1", "--rounds", "1"], ["--rounds", "1"]
    tf = ["--tf-python", tf_python] if tf_python else []
    small_input = ["--sizes", "500x375", "--reads", "32", *once]
    small_folder = ["--models", "mobilenet_v3_small", "--pictures", "8", "--batch", "4", *once]
    end_to_end = ["--rounds", "5"]
    return [
        *found,
        Job("forward_one/resnet18", "forward_one.py", [], ["--size", "64", *once], forward_one_rows, peers=True),
        Job("loop/lenet5_digits", "step.py", digits, ["--steps", "5", *once], loop_rows),
        Job("loop/resnet18_cifar10", "step.py", [*cifar, "--loop", "--steps", "5", "--rounds", "7"], fewer, loop_rows),
        Job("convolve", "convolve.py", [], ["--case", "1x1, 64 to 256", "max pool, overlapping", *once], convolve_rows),
        Job("input", "input.py", ["--rounds", "3", "--reads", "384", *tf], small_input, input_rows),
        Job("end_to_end", "end_to_end.py", end_to_end, small_folder, end_to_end_rows),
        Job("augment", "augment.py", augmented, fewer, augment_rows),
        Job("recompile", "recompile.py", ["--config", "lenet5_digits"], ["--steps", "5", *once], recompile_rows),
        Job("report", "report.py", [], ["--count", "1000", "--classes", "10"], report_rows),
        Job("imports", "imports.py", ["--rounds", "3"], ["--cases", "python", "import", *once], imports_rows),
        Job("start", "start.py", ["--rounds", "3"], ["--cases", "digits", *once], start_rows),
    ]
