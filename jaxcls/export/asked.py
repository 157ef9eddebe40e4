"""What `jaxcls export --to onnx` is asked: of which network, and which files."""

import dataclasses
from pathlib import Path
from typing import Literal

from jaxcls.tasks.networks import Network
from jaxcls.training.data import Data

Int8 = Literal["", "auto", "static", "dynamic"]
Target = Literal["any", "vnni", "arm"]
Method = Literal["minmax", "percentile", "entropy"]
Output = Literal["logits", "probabilities"]


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is exported.

    Attributes:
      network: computes in float32 (`networks.from_run(..., dtype="float32")`).
      title: what messages and the table call it, such as "runs/digits, step 500".
      name: of its files, without a suffix, such as "digits".
      folder: the run's workdir, where export.json goes; None for a bare model, whose record lies beside the file.
      data: the run's pictures (training.data.read(..., trains=False, workdir=...)); None for a bare model.
      why_no_data: why a run's pictures can't be opened, for messages; "" otherwise.
    """

    network: Network
    title: str
    name: str
    folder: Path | None = None
    data: Data | None = None
    why_no_data: str = ""


@dataclasses.dataclass(frozen=True)
class Options:
    """What is wanted.

    Attributes:
      out: the float32 file; None for NAME.onnx in the current folder. Variants are named after it and lie beside it:
        NAME.int8.onnx, NAME.float16.onnx.
      int8: "" for none; "auto" chooses by the kind of net.
      float16: whether there is a float16 file, too.
      features: whether files have what heat maps and distances of outliers need, beside the answer (export.beside).
      output: what the graph gives: logits, or calibrated probabilities.
      target: whose instructions INT8 is for (export.quantise).
      method: of calibration.
      calibration_pictures: how many.
      calibration_folder: a folder of pictures to calibrate on; None for the run's training split.
      max_drop: points of accuracy that a file may cost.
      check_pictures: at most so many validation pictures are compared, evenly spread; 0 for all.
    """

    out: Path | None = None
    int8: Int8 = ""
    float16: bool = False
    features: bool = False
    output: Output = "logits"
    target: Target = "any"
    method: Method = "minmax"
    calibration_pictures: int = 64
    calibration_folder: Path | None = None
    max_drop: float = 1.0
    check_pictures: int = 2000
