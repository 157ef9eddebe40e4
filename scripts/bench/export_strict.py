"""Does every family's export load in its library, with `strict=True`? For a machine that has torch, torchvision, timm.

    python scripts/bench/export_strict.py write FOLDER     # with jaxcls: one state dict for each model below
    python scripts/bench/export_strict.py load FOLDER      # with PyTorch: each into its library's model

Both formats are written, through what `jaxcls export` calls; the weights are drawn. `load` also compares the logits of
one picture with ours, which shows that each tensor is where it belongs. Exit status of `load`: 1 where one is refused
or differs.
"""

import argparse
import json
import sys
from pathlib import Path

TORCHVISION = """alexnet vgg11 vgg11_bn resnet18 resnext50_32x4d wide_resnet50_2 densenet121 googlenet inception_v3
squeezenet1_1 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large shufflenet_v2_x0_5 mnasnet0_5 mnasnet1_0
efficientnet_b0 efficientnet_b5 efficientnet_v2_s regnet_x_400mf regnet_y_400mf vit_b_32 swin_t swin_v2_t
convnext_tiny"""
TIMM = """resnet18d seresnet18 seresnext50_32x4d resnetv2_50 vit_tiny_patch16_224 deit_tiny_patch16_224
deit_tiny_distilled_patch16_224 mixer_s32_224 vit_small_patch14_dinov2 vit_small_patch14_reg4_dinov2
vit_base_patch32_clip_quickgelu_224 vit_base_patch16_siglip_224 vit_small_patch16_dinov3 vit_small_patch16_dinov3_qkvb
eva02_tiny_patch14_224 eva02_base_patch14_224 maxvit_tiny_tf_224 tf_efficientnet_b0
tf_efficientnetv2_s tf_mobilenetv3_small_100 mobilenetv2_050 mobilenetv4_conv_small convnextv2_atto convnextv2_tiny
repvgg_a0 resnetv2_50x1_bit"""
SIZES = {"inception_v3": 299, "swin_v2_t": 256, "vit_small_patch14_dinov2": 98, "vit_small_patch14_reg4_dinov2": 98}
CLOSE = 2e-4  # of the logits' size: float32 through two implementations


def write(folder: Path) -> None:
    """Writes NAME.pth, NAME.safetensors and NAME.npz (picture and logits) for every name."""
    import jax
    import numpy as np

    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
    from draws import draw

    from jaxcls import models
    from jaxcls.errors import UserError
    from jaxcls.models import weight_files
    from jaxcls.models.state_dict import to_state_dict

    for name in f"{TORCHVISION} {TIMM}".split():
        model, size = models.create(name), SIZES.get(name, 224)
        image = np.random.default_rng(0).normal(size=(1, size, size, 3)).astype(np.float32)
        variables = jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf / 4 if "in_proj" in path[-1].key else leaf,  # or the softmax is a step
            draw(jax.eval_shape(model.init, jax.random.key(0), image)),
        )
        state = model.for_library(to_state_dict(variables))
        logits, _ = jax.jit(model.apply)(variables, image)
        np.savez(folder / f"{name}.npz", image=image, logits=np.asarray(logits))
        for suffix in (".pth", ".safetensors"):
            try:
                weight_files.write(folder / f"{name}{suffix}", state, {"format": "pt"}, model.versions)
            except UserError as error:
                print(f"{name}{suffix} is not written: {error}")


def load(folder: Path) -> int:
    """Prints whether each file loads and how far the logits are apart. Returns how many are refused or differ."""
    import numpy as np
    import timm
    import torch
    import torchvision
    from safetensors.torch import load_file

    print(json.dumps({module.__name__: module.__version__ for module in (torch, torchvision, timm)}))
    bad = 0
    for path in sorted([*folder.glob("*.pth"), *folder.glob("*.safetensors")]):
        state = torch.load(path, weights_only=True) if path.suffix == ".pth" else load_file(path)
        name, more = path.stem, {}
        if name in ("googlenet", "inception_v3"):
            more = {"aux_logits": False, "init_weights": False, "transform_input": False}
        create = torchvision.models.get_model if name in TORCHVISION.split() else timm.create_model
        if name in TIMM.split():
            more = {"num_classes": 1000, **({"img_size": SIZES[name]} if name in SIZES else {})}
        model = create(name, **more).eval()
        try:
            model.load_state_dict(state, strict=True)
        except (RuntimeError, ValueError) as error:
            bad += 1
            print(f"{path.name}: REFUSED {' '.join(str(error).split())[:200]}")
            continue
        with np.load(path.with_suffix(".npz")) as stored, torch.no_grad():
            expected = stored["logits"]
            got = model(torch.from_numpy(stored["image"]).permute(0, 3, 1, 2)).numpy()
        apart = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
        bad += apart > CLOSE
        print(f"{path.name}: strict, {len(state)} tensors; logits {apart:.1e} apart{'' if apart <= CLOSE else ' BAD'}")
    return bad


def command_line(argv=None):
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("write", "load"))
    parser.add_argument("folder", type=Path)
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    return min(load(args.folder), 1) if args.what == "load" else write(args.folder)


main = command_line  # without jaxcls.cli.entry: `load` is for where jaxcls need not be installed

if __name__ == "__main__":
    sys.exit(main())
