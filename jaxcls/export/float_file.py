"""The ONNX model of a network in float32, with all that its user needs in the metadata."""

import json
from typing import TYPE_CHECKING

import jax

from jaxcls.export import beside, probabilities
from jaxcls.export.writer import to_onnx
from jaxcls.runtime import metadata
from jaxcls.tasks import base
from jaxcls.tasks.networks import Network
from jaxcls.types import Note, PyTree

if TYPE_CHECKING:
    import onnx


def float_model(
    network: Network, *, output: str = "logits", features: bool = False, note: Note = print
) -> "onnx.ModelProto":
    """Prepared pictures (uint8 `[batch, h, w, c]`) to answers: normalisation, views and averages are inside.

    Args:
      network: computing in float32 (`networks.from_run(..., dtype="float32")`).
      output: "logits", or "probabilities" for those of the stored calibration. A network whose answer is features gives
        "features" either way.
      features: whether the file has what heat maps and distances of outliers need (export.beside).
      note: where lines go about what it can't have of these.

    Raises:
      UserError: for an operation that can't be written, or pictures that are none.
    """
    output = output if network.output != base.FEATURES else "features"
    described = metadata.of(network, output=output, precision="float32")
    finished = probabilities.function(network) if output == "probabilities" else lambda answer: answer

    def function(variables: PyTree, images: jax.Array) -> jax.Array:
        return finished(network.answer(variables, network.preprocessing.device(images)))

    shape = tuple(json.loads(described["picture"]))
    if features:
        return _with_features(network, shape, output, finished, described, note)
    return to_onnx(function, network.variables, shape, output=output, metadata=described)


def _with_features(network, shape, output, finished, described, note):
    """The model with outputs beside its answer; without the map where the answer is no linear layer of its mean."""
    found = beside.of(network)

    def write(plain):
        def function(variables, images):
            answer, *others = beside.function(network, variables, images, found, plain)
            return finished(answer), *others

        names = beside.names(found, plain)
        return to_onnx(function, network.variables, shape, output=output, beside=names, metadata=described)

    plain = bool(found.layer) and (bool(network.views) or output == "probabilities")
    made = write(plain)
    if found.layer and not beside.is_linear(made, found.layer, shape, beside.PLAIN if plain else output):
        found = beside.Beside(why=beside.MORE.format(network.name))
        made = write(False)
    beside.drop(made, beside.PLAIN)
    for key, value in beside.metadata(network, found, note).items():
        made.metadata_props.add(key=key, value=value)
    return made
