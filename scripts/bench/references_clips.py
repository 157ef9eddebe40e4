"""As references.py, of the nets of clips: tests/models/fixtures, for a machine with torchvision.

python scripts/bench/references_clips.py            # all of the table below
python scripts/bench/references_clips.py tiny_r3d   # some of them
"""

import argparse
import importlib.util
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
TINY = {"num_classes": 10, "stage_sizes": [1, 1]}
TABLE = {  # name -> (frames, height, width), our fields; tiny ones are the first stages with a block each
    "tiny_r3d": ((5, 22, 30), TINY),
    "tiny_mc3": ((5, 22, 30), {**TINY, "kinds": ["3d", "2d"]}),
    "tiny_r2plus1d": ((5, 22, 30), {**TINY, "kinds": ["2+1d", "2+1d"], "stem": "2+1d"}),
    "tiny_s3d": ((8, 72, 56), {"num_classes": 10, "stages": [[[64, 96, 128, 16, 32, 32]]]}),
    "s3d": ((16, 256, 224), {"num_classes": 10}),
    "r3d_18": ((8, 48, 64), {"num_classes": 10}),
    "mc3_18": ((8, 48, 64), {"num_classes": 10}),
    "r2plus1d_18": ((8, 48, 64), {"num_classes": 10}),
}
NAMES = {"tiny_r3d": "r3d_18", "tiny_mc3": "mc3_18", "tiny_r2plus1d": "r2plus1d_18", "tiny_s3d": "s3d"}
STEPS = ("tiny_r3d", "tiny_r2plus1d")  # that have a training step


def make(name: str):
    """torchvision's net, or its first stages with a block each."""
    import torchvision
    from torch import nn

    model = getattr(torchvision.models.video, NAMES.get(name, name))(num_classes=10)
    if name == "tiny_s3d":
        model.features, model.classifier[1] = model.features[:6], nn.Conv3d(256, 10, 1)
    elif name in NAMES:
        model.layer1, model.layer2 = model.layer1[:1], model.layer2[:1]
        model.layer3, model.layer4, model.fc = nn.Identity(), nn.Identity(), nn.Linear(128, 10)
    return model


def write(name: str) -> dict:
    """Writes the outputs of a net; returns its entry of the index."""
    import torch
    import torchvision

    model = make(name)
    size, fields = TABLE[name]
    entry = {
        "source": f"torchvision {torchvision.__version__}", "kwargs": {"num_classes": 10}, "size": list(size),
        "params": sum(p.numel() for p in model.parameters()), "ours": [NAMES.get(name, name), fields],
        "slow": name not in NAMES,
    }  # fmt: skip
    stored: dict[str, np.ndarray] = {}
    entry["state"] = [writing._row(key, tensor) for key, tensor in model.state_dict().items()]
    writing._fill(model, name, entry["state"], stored, size)
    writing._raise_variances(model, stored)
    with torch.no_grad():
        stored["logits"] = model.double().eval()(writing._inputs(2, size).double()).float().numpy()
    if name in STEPS:
        writing._step(model.float().train(), size, entry, stored)
    np.savez_compressed(writing.FOLDER / "models" / f"{name}.npz", **stored)
    return entry


def command_line(argv=None):
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*TABLE, []], help="of the table; default: all")
    index = writing.FOLDER / "models_clips.json"
    for name in parser.parse_args(argv).names or TABLE:
        writing.record(index, name, write(name))


main = command_line  # without jaxcls.cli.entry: for where jaxcls need not be installed
_spec = importlib.util.spec_from_file_location("write_references", HERE / "references.py")
writing = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(writing)

if __name__ == "__main__":
    sys.exit(main())
