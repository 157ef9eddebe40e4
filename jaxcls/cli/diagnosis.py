"""What jaxcls stands on: looked at without touching it, and without dying of what is missing or broken."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jaxcls
from jaxcls.cli import devices
from jaxcls.training import memory

# Packages that everything needs, then those that are there for some devices only.
NEEDED = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "numpy",
    "scipy",
    "ml-collections",
    "tensorflow-datasets",
    "array-record",
    "pillow",
    "simplejpeg",
    "huggingface-hub",
    "scikit-learn",
    "matplotlib",
)
PLUGINS = ("jax-cuda13-plugin", "jax-cuda12-plugin", "libtpu")
CUDA = "pip install 'jax[cuda13]' (jax[cuda12] for older drivers)"
SECONDS = 120  # for JAX to say what it sees
ROOM = 2**28  # bytes of disk below which a run is not begun
# Runs in a process of its own: a broken driver may end it, and no memory of a GPU is taken that is in use.
PROBE = """
import json
try:
    import jax
    devices = [f"{device.id}: {device.device_kind}" for device in jax.devices()]
    answer = {"backend": jax.default_backend(), "devices": devices, "error": None}
except BaseException as error:
    text = " ".join(str(error).split())
    answer = {"backend": None, "devices": [], "error": type(error).__name__ + (": " + text if text else "")}
print(json.dumps(answer))
"""


class Extra(NamedTuple):
    """A package that some things need: what, how it is installed, and which others do as well."""

    package: str
    purpose: str
    install: str
    others: tuple[str, ...] = ()


EXTRAS = (
    Extra(
        "opencv-python-headless",
        "SIFT (jaxcls baseline); random_resized_crop(..., resample='fast')",
        "pip install opencv-python-headless",
        ("opencv-python", "opencv-contrib-python"),
    ),
    Extra("cykooz-resizer", "random_resized_crop of files in half the time", "pip install 'cykooz-resizer>=4,<5'"),
    Extra("scikit-image", "HOG (jaxcls baseline), superpixels (jaxcls prepare)", "pip install scikit-image"),
    Extra("imbalanced-learn", "--smote (jaxcls baseline, probe)", "pip install imbalanced-learn"),
    Extra(
        "tensorflow-cpu",
        "jaxcls prepare, of sets that are encoded from arrays; jaxcls export --to tflite",
        "pip install 'tensorflow-cpu>=2.21,<2.22'",
        ("tensorflow",),
    ),
    Extra("pyarrow", "Parquet tables, sets of Hugging Face", "pip install pyarrow"),
    Extra("pydicom", "DICOM files as pictures", "pip install pydicom"),
    Extra("av", "videos as clips: clips/FOLDER", "pip install av"),
    Extra("sentencepiece", "the vocabulary of SigLIP: jaxcls zeroshot", "pip install sentencepiece"),
    Extra("optuna", "searches: jaxcls tune", "pip install optuna"),
    Extra("onnx", "jaxcls export --to onnx", "pip install onnx"),
    Extra("onnxruntime", "ONNX files: checked on export, jaxcls predict MODEL.onnx", "pip install onnxruntime"),
    Extra("flatbuffers", "jaxcls export --to stablehlo", "pip install flatbuffers"),
    Extra(
        "ai-edge-litert", "LiteRT files: checked on export, jaxcls predict MODEL.tflite", "pip install ai-edge-litert"
    ),
    Extra("fastapi", "jaxcls serve", "pip install fastapi"),
    Extra("starlette", "jaxcls serve", "pip install starlette"),
    Extra("pydantic", "jaxcls serve", "pip install pydantic"),
    Extra("uvicorn", "jaxcls serve", "pip install uvicorn"),
    Extra("python-multipart", "jaxcls serve", "pip install python-multipart"),
    Extra("httptools", "jaxcls serve", "pip install httptools"),
    Extra("openvino", "INT8 files on CPUs, faster than in ONNX Runtime", "pip install 'openvino>=2026,<2027'"),
    Extra("wandb", "records: config.log_to='wandb'", "pip install wandb"),
    Extra("mlflow-skinny", "records: config.log_to='mlflow'", "pip install mlflow-skinny", ("mlflow",)),
    Extra("sqlalchemy", "MLflow without a server", "pip install sqlalchemy"),
    Extra("alembic", "MLflow without a server", "pip install alembic"),
)


def report() -> dict[str, Any]:
    """Everything as a JSON object; `problems` is what stands against training, `notes` what is worth knowing."""
    result = {
        "jaxcls": jaxcls.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in (*NEEDED, *PLUGINS)},
        **sight(),
        "extras": {extra.package: version(extra.package, *extra.others) for extra in EXTRAS},
        "cache": cache(),
        "disk": {"here": space(Path()), "cache": space(cache_path())},
        "memory": memory.host(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }
    return {**result, "problems": list(problems(result)), "notes": list(notes(result))}


def version(*names: str) -> str | None:
    """The version of the first package that is installed."""
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def sight() -> dict[str, Any]:
    """`backend`, `devices` as JAX sees them, and `error`, a line, where it sees none."""
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3"}
    silent: dict[str, Any] = {"backend": None, "devices": []}
    try:
        process = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=SECONDS, env=environment
        )
    except subprocess.TimeoutExpired:
        return {**silent, "error": f"JAX did not answer within {SECONDS} s"}
    try:
        answer = json.loads(process.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        answer = {**silent, "error": f"JAX ended with status {process.returncode}"}
    if answer["error"] and (wish := os.environ.get("JAX_PLATFORMS")):
        answer["error"] += f"; JAX_PLATFORMS={wish} is set, which allows nothing else"
        if "cuda" in wish and not version(*PLUGINS[:2]):
            answer["error"] += f"; the CUDA plugin is not installed: {CUDA}"
    return answer


def cache_path() -> Path | None:
    """The folder of compiled programs; None where there is no home."""
    try:
        return Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or devices.cache_folder())
    except RuntimeError:
        return None


def cache() -> dict[str, Any]:
    """`folder`, `files`, `bytes`, `writable` of the compilation cache."""
    folder = cache_path()
    if folder is None:
        return {"folder": None, "files": 0, "bytes": 0, "writable": False}
    sizes = []
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.path.getsize(os.path.join(root, name)))
            except OSError:  # another process has just removed it
                continue
    return {"folder": str(folder), "files": len(sizes), "bytes": sum(sizes), "writable": writable(folder)}


def nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    folder = folder.absolute()
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)


def writable(folder: Path) -> bool:
    """Whether a file can be made there, or the folder itself where it is not there yet."""
    try:
        with tempfile.TemporaryFile(dir=nearest(folder)):
            return True
    except OSError:
        return False


def space(folder: Path | None) -> dict[str, Any]:
    """`folder`, `free` and `total` bytes of its disk, None where that can't be read; `writable`."""
    try:
        assert folder is not None
        place = nearest(folder)
        usage = shutil.disk_usage(place)
        return {"folder": str(place), "free": usage.free, "total": usage.total, "writable": writable(place)}
    except (OSError, AssertionError):
        return {"folder": None if folder is None else str(folder), "free": None, "total": None, "writable": False}


def problems(result: dict[str, Any]) -> Iterator[str]:
    """What stands against training."""
    if missing := [name for name in NEEDED if not result["packages"][name]]:
        yield f"{', '.join(missing)} missing: pip install {' '.join(missing)}"
    if result["error"]:
        yield f"JAX sees no device: {result['error']}"
    here = result["disk"]["here"]
    if here["free"] is not None and here["free"] < ROOM:
        yield f"the disk of {here['folder']} is full: {size(here['free'])} free"


def notes(result: dict[str, Any]) -> Iterator[str]:
    """What is worth knowing."""
    if result["backend"] == "cpu" and (shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()):
        yield f"there is an NVIDIA GPU that JAX does not use: {CUDA}"
    if not result["cache"]["writable"]:
        where = result["cache"]["folder"] or "(there is no home folder)"
        yield f"the compilation cache {where} can't be written, so every start compiles anew; set XDG_CACHE_HOME"
    if not result["disk"]["here"]["writable"]:
        yield "the current folder can't be written; give runs a --workdir elsewhere"


def size(count: int | None) -> str:
    """Bytes in words."""
    if count is None:
        return "?"
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"


def lines(result: dict[str, Any]) -> Iterator[str]:
    """A report for people."""
    yield f"jaxcls     {result['jaxcls']}, Python {result['python']}, {result['platform']}"
    packages = [f"{name} {number}" for name, number in result["packages"].items() if number]
    for start in range(0, len(packages), 5):
        yield f"{'' if start else 'packages':11}{', '.join(packages[start : start + 5])}"
    yield f"devices    {result['backend'] or 'none'}{': ' if result['devices'] else ''}{', '.join(result['devices'])}"
    for i, extra in enumerate(EXTRAS):
        number = result["extras"][extra.package]
        yield f"{'' if i else 'extras':11}{extra.package} {number or 'not installed'}, for {extra.purpose}"
        if not number:
            yield f"{'':13}{extra.install}"
    kept = result["cache"]
    yield f"cache      {kept['folder']}: {size(kept['bytes'])} in {kept['files']:,} files"
    for name, row in result["disk"].items():
        yield f"{'disk' if name == 'here' else '':11}{row['folder']}: {size(row['free'])} of {size(row['total'])} free"
    room, limit = result["memory"], result["memory"]["limit"]
    limited = f", limited to {size(limit)}" if limit else ""
    yield f"memory     {size(room['available'])} of {size(room['total'])} available{limited}; {result['cores']} cores"
    yield from (f"note       {text}" for text in result["notes"])
    yield from (f"problem    {text}" for text in result["problems"])
    if not result["problems"]:
        yield "ready      nothing stands against training"
