"""Writes the page about all registered models, docs/models.md.

    python scripts/bench/model_page.py
    python scripts/bench/model_page.py --errors errors.json --out models.md

The counts follow from shapes alone (jaxcls/models/summary.py). Exit status: 0; 2 where a file is none.
"""

import argparse
import json
import sys
from pathlib import Path

import flax.linen as nn
import jax
from rich.console import Console
from rich.progress import track

from jaxcls import models
from jaxcls.cli.entry import entry_point
from jaxcls.errors import UserError
from jaxcls.models import summary
from jaxcls.models.published import PUBLISHED, Published

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = (*(ROOT / "tests/models/fixtures").glob("models*.json"), ROOT.parent / "shared/reference/models.json")

INTRODUCTION = """\
# Models

Written by `python scripts/bench/model_page.py`; a single model by stage or layer, other sizes and fields, and its
speed: `jaxcls summarize resnet50 --batch 16`.

* **picture**: the side for which the figures of the row are, channels and classes where they are not 3 and 1000; of
  nets of clips frames and side.
* **GMACs**: thousand millions of multiply-adds of convolutions and matrix products (attention and mixing of tokens
  included) for one picture; nothing for norms, activations, biases and pooling. That is how torchvision's table counts:
  of the {counted} models here that it has, no figure differs in the digits it prints. Other tables count otherwise:
  timm's adds two for each value of a BatchNorm (ResNet-50 4.11, ResNet-50-D 4.35), and counters that miss fused
  attention give 16.87 for ViT-B/16.
* **activations**: millions of output values of the same operations, for one picture.
* **names**: whose names the parameters bear; published weights with these names load, for many models also those with
  names of another library.
* **logits**: relative L2 distance of the logits from those of the published implementation in float64, with the same
  weights (drawn ones; those of BiT's nets are badly conditioned: of `resnetv2_101x1_bit` PyTorch's own float32 is
  1.3e-05 away from its float64, and ours in float64 3.4e-07); "tested" where a test holds it below 1e-5. Empty: no
  outputs of the published one are stored; tests hold the
  number of parameters and the structure.
* **top-1**: published accuracy on ImageNet-1k of weights for this net, in percent, not ours (Kinetics-400 where it says
  so: of a video, the mean over five clips). TV: metadata of
  torchvision's weights (first / newer recipe); TIMM: timm's results; MM: mmpretrain; gluon: GluonCV; RM: the README of
  the authors or of the named repository.
"""

HEADER = """\
| model | picture | parameters | GMACs | activations | names | logits | top-1 |
|---|---|---|---|---|---|---|---|
"""


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/models.md", help="default: the page in docs/")
    parser.add_argument(
        "--errors",
        type=Path,
        default=ROOT / "docs/reference_errors.json",
        help="JSON, name of a reference -> relative error (default: the file in docs/)",
    )
    args = parser.parse_args(argv)
    jax.config.update("jax_platforms", "cpu")  # counting must not take the memory of a GPU that is training
    write(args.out, args.errors)
    return 0


def write(path: Path, errors_file: Path) -> None:
    """Writes the page. Raises UserError for a file of errors that cannot be read or a folder that is not there."""
    errors = read_errors(errors_file)
    references = set(errors)
    for file in REFERENCES:
        references |= json.loads(file.read_text()).keys() if file.exists() else set()
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent} for {path.name}; make it first")
    families: dict[str, list[str]] = {}
    order = {name: i for i, name in enumerate(PUBLISHED)}
    names = sorted(models.list_models(), key=lambda name: order.get(name, len(order)))
    console = Console(stderr=True)
    for name in track(names, "counting", console=console, transient=True, disable=not console.is_terminal):
        model, known = build(name)
        heading = (sys.modules[type(model).__module__].__doc__ or "").strip().splitlines()[0]
        families.setdefault(heading, []).append(row(name, model, known, references, errors))
    counted = sum(known.library == "torchvision" and bool(known.gmacs) for known in PUBLISHED.values())
    page = [INTRODUCTION.format(counted=counted)]
    for heading, rows in families.items():
        page.append("\n".join([f"## {title(heading)}\n", source(heading), HEADER + "\n".join(rows) + "\n"]))
    others = sorted(references - set(models.list_models()))
    variants = [f"{name} {errors[name]:.1e}" if name in errors else name for name in others]
    if variants:
        page.append(f"Also held against a reference, as fields of a model: {', '.join(variants)}.\n")
    path.write_text("\n".join(page))


def read_errors(file: Path) -> dict[str, float]:
    """Name of a reference -> relative error. Raises UserError for another file."""
    try:
        return {name: float(error) for name, error in json.loads(file.read_text()).items()}
    except OSError as error:
        raise UserError(f"--errors: {file}: {error.strerror or error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f'--errors: {file} must hold {{"name": number, ..}}: {error}') from error


def build(name: str) -> tuple[nn.Module, Published]:
    """A model of the published kind, and what is known of it."""
    known = PUBLISHED.get(name, Published("own"))
    return models.create(name, num_classes=known.classes), known


def row(name: str, model: nn.Module, known: Published, references: set[str], errors: dict[str, float]) -> str:
    """The row of a model."""
    total = summary.summarize(model, known.shape).total
    picture = f"{known.frames}x{known.size}" if known.frames else str(known.size)
    if known.channels != 3:
        picture += f", {known.channels} channel{'s' * (known.channels > 1)}"
    if known.classes != 1000:
        picture += f", {known.classes} classes" if known.classes else ", no classifier"
    logits = f"{errors[name]:.1e}" if name in errors else "tested" if name in references else ""
    gmacs, activations = total.macs / 1e9, total.activations / 1e6
    counts = (f"{total.parameters:,}", f"{gmacs:#.4g}", f"{activations:#.4g}")
    return f"| {' | '.join((f'`{name}`', picture, *counts, known.library, logits, known.top1))} |"


def title(heading: str) -> str:
    """What a module's first line says before its source: "ConvNeXt" of "ConvNeXt: Liu et al. 2022, ..."."""
    return heading.partition(":")[0].rstrip(".")


def source(heading: str) -> str:
    """And after that; "" where there is none."""
    text = heading.partition(": ")[2].strip()
    return f"{text}\n" if text else ""


if __name__ == "__main__":
    sys.exit(main())
