"""`jaxcls export --to stablehlo`: a network as programs of `jax.export`, which JAX runs without jaxcls.

`F.stablehlo` is for accelerators (and whatever else JAX runs on): plain operations, any batch. `F.cpu.stablehlo` is for
CPUs: the forms that are fast there, batches of at most 63 (larger ones would take other forms). Parameters are
arguments of both, and lie in `F.safetensors`; `F.json` says what pictures, numbers and classes are.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import UInt8

from jaxcls import files, parallel, pytree
from jaxcls.errors import UserError
from jaxcls.export import probabilities
from jaxcls.models import safetensors_files
from jaxcls.models.layers import convolve
from jaxcls.parallel import Parallel
from jaxcls.runtime import metadata
from jaxcls.tasks.networks import Network
from jaxcls.types import Note

SUFFIX = ".stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")  # of the artefact for accelerators
LARGEST = 63  # pictures of a batch of the artefact for CPUs: from 64 on its forms are others
BATCHES = (1, 3, 8)  # that are checked
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}  # of the largest number
WORDS = (metadata.MARK, "answer", "output", "precision", "model", "data")  # metadata that are no JSON
UNCHECKED = tuple(platform for platform in PLATFORMS if platform != "cpu")

Weights = Mapping[str, Array]
Program = Callable[[Weights, Array], Array]


@dataclasses.dataclass(frozen=True)
class Artefact:
    """A program as bytes. `arguments`: of its module's `main`, in order; `difference`: the largest that was found."""

    content: bytes
    platforms: tuple[str, ...]
    batch: str
    arguments: tuple[str, ...]
    calling_convention: int
    difference: float


def program(network: Network, output: str = "logits") -> Program:
    """(name -> parameter, uint8 pictures [n, h, w, c] as `prepare` makes them) -> float32 [n, d]. For tracing.

    Args:
      network: what answers; names are those of `weights`.
      output: "logits", or "probabilities": those of predictions, calibrated where that is stored. A network whose
        answer is features gives these either way.
    """
    structure = jax.tree.structure(network.variables)
    names = list(pytree.flatten_names(network.variables))  # in the order of the tree
    squashed = output == "probabilities" and network.key == "logits"
    finished = probabilities.function(network) if squashed else lambda answer: answer

    def answer(given: Weights, images: Array) -> Array:
        variables = jax.tree.unflatten(structure, [given[name] for name in names])
        return finished(network.answer(variables, network.preprocessing.device(images)))

    return answer


def weights(network: Network) -> dict[str, np.ndarray]:
    """The network's variables by name, such as "params/conv1/kernel", in the order of the program's arguments."""
    found = pytree.flatten_names(network.variables)
    return {name: np.asarray(found[name]) for name in sorted(found)}


def write(
    network: Network,
    pictures: UInt8[np.ndarray, "n h w c"],
    out: Path,
    *,
    output: str = "logits",
    note: Note = print,
) -> dict[str, Any]:
    """Writes the four files, after both programs as read back have answered like the network, on the CPU.

    Args:
      network: what is exported, in the precision that it computes in.
      pictures: prepared ones to check with, as many as the largest of BATCHES or more.
      out: F.stablehlo; the others are named after it.
      output: "logits" or "probabilities".
      note: where lines go.

    Returns:
      What F.json says.

    Raises:
      UserError: where the network can't be exported, a program answers otherwise, or a file can't be written.
    """
    check_place(out)
    key = network.key if network.key == "features" else output
    precision = str(jnp.dtype(network.model.dtype))
    made = artefacts(network, pictures, output, precision)
    tensors = weights(network)
    path = lambda suffix: out.with_suffix(suffix)  # noqa: E731
    about = {
        **_plain(metadata.of(network, output=key, precision=precision)),
        "weights": path(".safetensors").name,
        "artefacts": {path(suffix).name: _told(artefact) for suffix, artefact in made.items()},
    }
    with files.replacing(path(".safetensors")) as temporary:
        safetensors_files.write(temporary, tensors, {"format": "flax", "model": network.name})
    for suffix, artefact in made.items():
        with files.replacing(path(suffix)) as temporary:
            temporary.write_bytes(artefact.content)
    files.write_json(path(".json"), about, ensure_ascii=False)
    size = sum(tensor.nbytes for tensor in tensors.values()) / 2**20
    for suffix, artefact in made.items():
        note(
            f"{path(suffix)}: {len(artefact.content) / 2**10:,.0f} KiB, {', '.join(artefact.platforms)}, batch "
            f"{artefact.batch}; differs by at most {artefact.difference:.1e} from the network on the CPU (batches of "
            f"{', '.join(map(str, BATCHES))})"
        )
    note(f"{path('.safetensors')}: {len(tensors)} parameters, {size:.1f} MiB; {path('.json')} describes all")
    note(f"not checked: {' and '.join(UNCHECKED)}, which this export has not run on")
    return about


def check_place(out: Path) -> None:
    """Raises UserError where a file that would be replaced belongs to another export."""
    about = files.read_json(out.with_suffix(".json"))
    if isinstance(about, dict) and "artefacts" in about:
        return
    for path in (out.with_suffix(".json"), out.with_suffix(".safetensors")):
        if path.exists():
            raise UserError(f"{path} is there already and belongs to no {out.name}; give another name as --out")


def artefacts(
    network: Network, pictures: UInt8[np.ndarray, "n h w c"], output: str = "logits", precision: str = "float32"
) -> dict[str, Artefact]:
    """Suffix -> checked program: that for accelerators, and that for CPUs. See `write`."""
    answer, given = program(network, output), weights(network)
    if len(pictures) < max(BATCHES):  # ones that repeat serve as well
        pictures = np.resize(pictures, (max(BATCHES), *pictures.shape[1:]))
    cpu = jax.devices("cpu")[0]
    for_cpu = Parallel(devices=[cpu]).aimed(answer)  # whatever JAX's default device is
    with jax.default_device(cpu):
        own = _compiled(lambda w, x: for_cpu(w, x))  # a new one for each: JAX keeps the trace of a function it has seen
        wanted = np.asarray(own(given, pictures[: max(BATCHES)]))
        with convolve.plain():
            exported = _exported(network, lambda w, x: answer(w, x), given, pictures, PLATFORMS, ())
        forms = _exported(network, lambda w, x: for_cpu(w, x), given, pictures, ("cpu",), (f"b<={LARGEST}",))
        found = {SUFFIX: (exported, "any"), f".cpu{SUFFIX}": (forms, f"1 to {LARGEST}")}
        return {
            suffix: _checked(one, batch, given, pictures, wanted, TOLERANCE.get(precision, 1e-4))
            for suffix, (one, batch) in found.items()
        }


def _compiled(function):
    """Jitted on the CPU for a few calls, where most of the time is the compiler's."""
    return jax.jit(function, compiler_options=parallel.once())


def _exported(network, answer, given, pictures, platforms, constraints):
    """`jax.export.Exported` of a program with a symbolic batch."""
    from jax import export

    (b,) = export.symbolic_shape("b", constraints=constraints)
    shapes = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in given.items()}
    try:
        return export.export(jax.jit(answer), platforms=platforms)(
            shapes, jax.ShapeDtypeStruct((b, *pictures.shape[1:]), np.uint8)
        )
    except UserError:
        raise
    except Exception as error:  # of models of one's own, whatever JAX says about them
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise UserError(f"{network.title} can't be exported for any number of pictures: {reason}") from error


def _checked(exported, batch, given, pictures, wanted, tolerance):
    """The Artefact, after what its bytes give has been compared."""
    from jax import export

    content = bytes(exported.serialize())
    call = _compiled(export.deserialize(bytearray(content)).call)
    answers = {n: np.asarray(call(given, pictures[:n])) for n in BATCHES}
    difference = max(float(np.abs(answer - wanted[:n]).max()) for n, answer in answers.items())
    largest = max(1.0, float(np.abs(wanted).max()))
    if not difference <= tolerance * largest:  # NaN, too
        raise UserError(
            f"the program for {', '.join(exported.platforms)} answers otherwise than the network, by {difference:.2g} "
            f"of {largest:.2g}: nothing is written; please report it"
        )
    names = [*given, "image"]
    kept = tuple(names[i] for i in exported.module_kept_var_idx)
    first = ("_platform_index",) if len(exported.platforms) > 1 else ()
    version = exported.calling_convention_version
    return Artefact(content, tuple(exported.platforms), batch, first + kept, version, difference)


def _told(artefact):
    checked = {"platform": "cpu", "batches": list(BATCHES), "largest_difference": artefact.difference}
    return {
        "platforms": list(artefact.platforms),
        "batch": artefact.batch,
        "checked": checked,
        "unchecked": [platform for platform in artefact.platforms if platform in UNCHECKED],
        "calling_convention": artefact.calling_convention,
        "arguments": list(artefact.arguments),
    }


def _plain(described):
    """The metadata, of which those that are JSON are values here."""
    return {key: text if key in WORDS else json.loads(text) for key, text in described.items()}
