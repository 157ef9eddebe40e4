"""Writes the stored outputs that today's backbones are held against: tests/models/fixtures, for a machine with timm.

    python scripts/bench/references.py            # all of the table below
    python scripts/bench/references.py tiny_clip  # some of them

Weights are drawn from the names of the tensors (tests/references.py), so a file holds outputs and running statistics
alone. Outputs in evaluation are float64's; the training step is float32's. `tiny_` ones are of reduced depth and width,
by the arguments of timm's own classes, and have a training step; the others are marked slow, and the largest are cut to
two blocks.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/models/fixtures"
CLASSES = 10

# Name -> (timm's name, its arguments, height and width, our fields for the arguments).
_SMALL = {"depth": 4, "embed_dim": 48, "num_heads": 3}
_OURS = {"depth": 4, "width": 48, "heads": 3}
TABLE = {
    "tiny_dinov2": ("vit_small_patch14_reg4_dinov2", _SMALL, (42, 56), _OURS),
    "tiny_clip": ("vit_base_patch32_clip_quickgelu_224", _SMALL, (64, 96), _OURS),
    "tiny_siglip": ("vit_base_patch16_siglip_224", _SMALL, (64, 48), _OURS),
    "tiny_dinov3": ("vit_small_patch16_dinov3", _SMALL, (64, 48), {**_OURS, "hidden": 192}),
    "tiny_eva02": ("eva02_tiny_patch14_224", _SMALL, (56, 42), {**_OURS, "hidden": 128}),
    "tiny_eva02_split": ("eva02_base_patch14_224", _SMALL, (42, 56), {**_OURS, "hidden": 128}),
}
_MAXVIT = {"depths": (2, 1), "embed_dim": (16, 24), "block_type": ("M", "M"), "stem_width": 16, "head_hidden_size": 20,
           "transformer_dim_head": 8, "transformer_window_size": (4, 4)}  # fmt: skip
TABLE["tiny_maxvit"] = (
    "maxvit_tiny_tf_224", _MAXVIT, (64, 96),
    {"stage_sizes": (2, 1), "widths": (16, 24), "stem_width": 16, "hidden": 20, "head_features": 8, "window": 4},
)  # fmt: skip
for _name, _size in {
    "maxvit_tiny_tf_224": 224,
    "vit_small_patch14_dinov2": 98, "vit_base_patch14_dinov2": 98, "vit_small_patch14_reg4_dinov2": 98,
    "vit_base_patch14_reg4_dinov2": 98, "vit_base_patch32_clip_224": 224, "vit_base_patch16_clip_224": 112,
    "vit_base_patch32_clip_quickgelu_224": 224, "vit_base_patch16_clip_quickgelu_224": 112,
    "vit_base_patch16_siglip_224": 112, "vit_small_patch16_dinov3": 112, "vit_base_patch16_dinov3": 112,
    "vit_small_patch16_dinov3_qkvb": 112, "vit_base_patch16_dinov3_qkvb": 112, "eva02_tiny_patch14_224": 98,
    "eva02_small_patch14_224": 224, "eva02_base_patch14_224": 98,
}.items():  # fmt: skip
    TABLE[_name] = (_name, {}, (_size, _size), {})
for _name in ("vit_large_patch14_dinov2", "vit_large_patch14_reg4_dinov2", "vit_large_patch14_clip_224",
              "vit_large_patch14_clip_quickgelu_224"):  # fmt: skip
    TABLE[f"{_name}_depth2"] = (_name, {"depth": 2}, (98, 98), {"depth": 2})


def write(name: str) -> dict:
    """Writes the outputs of a net; returns its entry of the index."""
    import timm
    import torch

    called, arguments, size, fields = TABLE[name]
    model = timm.create_model(called, num_classes=CLASSES, img_size=size, **arguments)
    entry = {
        "source": f"timm {timm.__version__}", "kwargs": {"num_classes": CLASSES, **arguments}, "ctor": called,
        "size": list(size), "params": sum(p.numel() for p in model.parameters()),
        "ours": [called, {"num_classes": CLASSES, **fields}], "slow": not name.startswith("tiny_"),
    }  # fmt: skip
    stored: dict[str, np.ndarray] = {}
    entry["state"] = [_row(key, tensor) for key, tensor in model.state_dict().items()]
    _fill(model, name, entry["state"], stored, size)
    image = _inputs(2, size)
    with torch.no_grad():
        stored["logits"] = model.double().eval()(image.double()).float().numpy()
    if not entry["slow"]:
        _step(model.float().train(), size, entry, stored)
    np.savez_compressed(FOLDER / "models" / f"{name}.npz", **stored)
    return entry


def _row(key, tensor):
    """[key, shape, mean, std] as the reader wants it."""
    shape = list(tensor.shape)
    if key.endswith("num_batches_tracked"):
        return [key, shape, 0, None]
    if key.endswith(("running_mean", "running_var")):
        return [key, shape, None, None]
    if key.rpartition(".")[2] in ("gamma", "gamma_1", "gamma_2"):
        return [key, shape, 0.4, 0.1]
    if tensor.ndim == 1:
        return [key, shape, *((1.0, 0.3) if key.endswith("weight") else (0.0, 0.2))]
    if key.endswith("weight"):
        return [key, shape, 0.0, round(float(np.prod(shape[1:])) ** -0.5, 5)]
    return [key, shape, 0.0, 0.3]  # tokens and tables


def _norms():
    import torch

    return torch.nn.BatchNorm2d, torch.nn.BatchNorm3d


def _inputs(batch, size):
    """Pictures, or clips, channels first."""
    import torch

    return torch.from_numpy(np.moveaxis(references.inputs(batch, size), -1, 1).copy())


def _fill(model, name, rows, stored, size):
    """Loads what the rows describe; running statistics are those of two pictures, as float16 has them."""
    import torch

    state = model.state_dict()
    for key, shape, mean, std in rows:
        if std is not None:
            state[key] = torch.from_numpy(references._tensor(name, key, shape, mean, std))
    model.load_state_dict(state)
    norms = [m for m in model.modules() if isinstance(m, _norms())]
    if not norms:
        return
    for norm in norms:
        norm.momentum, norm.kept = 1.0, norm.momentum
    with torch.no_grad():
        model.train()(_inputs(2, size))
    state = model.state_dict()
    for key, _, mean, std in rows:
        if mean is None:
            state[key] = state[key].half().float()
            stored[f"state:{key}"] = state[key].half().numpy()
        elif std is None:
            state[key] = torch.zeros_like(state[key])
    model.load_state_dict(state)
    for norm in norms:
        norm.momentum = norm.kept


def _raise_variances(model, stored):
    """Of two small pictures some channels hardly vary; divided by that little, rounding would grow in the reference
    itself: variances are their layer's mean at least, as float16 has them."""
    import torch

    for key in [key for key in stored if key.endswith("running_var")]:
        value = stored[key].astype(np.float32)
        stored[key] = np.maximum(value, value.mean()).astype(np.float16)
        model.state_dict()[key.removeprefix("state:")].copy_(torch.from_numpy(stored[key].astype(np.float32)))


def _step(model, size, entry, stored):
    """Loss, logits, norms of gradients, and the first and last running statistics of one step on four pictures."""
    import torch

    image, label = _inputs(4, size), torch.tensor([1, 7, 3, 0])
    logits = model(image)
    loss = torch.nn.functional.cross_entropy(logits, label)
    loss.backward()
    names, norms = zip(*((key, p.grad.norm().item()) for key, p in model.named_parameters()), strict=True)
    entry |= {"train_size": list(size), "trainable": list(names)}
    stored |= {"train_label": label.numpy(), "train_loss": np.array(loss.item()), "train_grad_norm": np.array(norms)}
    stored["train_logits"] = logits.detach().numpy()
    batch_norms = [key for key, m in model.named_modules() if isinstance(m, _norms())]
    state = model.state_dict()
    for norm in {*batch_norms[:1], *batch_norms[-1:]}:
        stored |= {f"after:{norm}.{kind}": state[f"{norm}.{kind}"].numpy() for kind in ("running_mean", "running_var")}


def record(index, name, entry):
    """Puts what is known of a net into a file of JSON, beside what is there of others, and prints its parameters."""
    known = json.loads(index.read_text()) if index.exists() else {}
    index.write_text(json.dumps({**known, name: entry}, separators=(",", ":")) + "\n")
    print(name, entry["params"], flush=True)


def command_line(argv=None):
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*TABLE, []], help="of the table; default: all")
    index = FOLDER / "models_transformers.json"
    for name in parser.parse_args(argv).names or TABLE:
        record(index, name, write(name))


main = command_line  # without jaxcls.cli.entry: for where jaxcls need not be installed
sys.path.insert(0, str(ROOT / "tests"))
import references  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
