"""Looks into checkpoints without building the model, the optimiser or the devices of the run that wrote them.

Layout: `<workdir>/checkpoints/<step>/` is Orbax's, with the items `state` (a nested dict of arrays) and `meta` (JSON);
`<workdir>/manifests/<step>.json` lists the SHA-256 of its files and is written last, so a step without one is
unfinished. Listing and metadata are plain JSON; only shapes and values need Orbax, which is imported for them.

Here is what other rooms use: `steps` (which there are), `arrays` (what they hold), `manifest` (whether that is as it
was written), `values` (figures of arrays), `names` (workdirs that can't work).
"""

from collections.abc import Mapping
from typing import Any

from jaxcls.checkpoints.arrays import Tensor, read_arrays, read_tensors, read_variables
from jaxcls.checkpoints.manifest import verify, verify_all
from jaxcls.checkpoints.names import check as check_name
from jaxcls.checkpoints.steps import Step, best_step, find_step, find_workdir, list_steps, manifest_path, read_meta
from jaxcls.checkpoints.values import Difference, difference, statistics

__all__ = [
    "Difference",
    "Step",
    "Tensor",
    "best_step",
    "check_name",
    "difference",
    "find_step",
    "find_workdir",
    "flatten_config",
    "list_steps",
    "manifest_path",
    "read_arrays",
    "read_meta",
    "read_tensors",
    "read_variables",
    "statistics",
    "verify",
    "verify_all",
]


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config as `{"optimizer.name": "sgd"}`; an empty section stays as `{}`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten_config(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
