"""As references.py, of the convolutional nets: tests/models/fixtures, for a machine with timm.

python scripts/bench/references_conv.py                       # those that are stored
python scripts/bench/references_conv.py --out FOLDER repvgg_b0    # others, elsewhere
"""

import argparse
import importlib.util
import sys
from functools import partial
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
SIZE = (72, 96)  # even at each halving but the last: SAME padding is not symmetric there
MOBILE = (("cn_r1_k3_s1_e1_c8_skip",), ("er_r2_k3_s2_e2_c16",), ("ds_r1_k3_s1_e1_c16_se0.25",),
          ("ir_r2_k5_s2_e3_c24_se0.25",))  # fmt: skip
MOBILE_V3 = (("ds_r1_k3_s2_e1_c8_se0.25_nre",), ("ir_r1_k5_s2_e4.5_c16_se0.25", "ir_r1_k3_s1_e2.3_c16"),
             ("cn_r1_k1_s1_c24",))  # fmt: skip
MOBILE_V4 = (("cn_r1_k3_s2_e1_c8",), ("uir_r1_a3_k5_s2_e4_c16", "uir_r1_a0_k3_s1_e2_c16", "uir_r1_a5_k0_s1_e2_c16",
             "uir_r1_a0_k0_s1_e2_c16"), ("cn_r1_k1_s1_c24",))  # fmt: skip
TINY_MOBILE = {"rows": MOBILE, "first": 8, "last": 32, "width_mult": 1.0, "depth_mult": 1.0}
TINY = {  # name -> (ours, its fields)
    "tiny_tf_efficientnet": ("tf_efficientnet_b0", TINY_MOBILE),
    "tiny_tf_mobilenetv3": ("tf_mobilenetv3_small_100", {**TINY_MOBILE, "rows": MOBILE_V3}),
    "tiny_mobilenetv4": ("mobilenetv4_conv_small", {**TINY_MOBILE, "rows": MOBILE_V4}),
    "tiny_convnextv2": ("convnextv2_atto", {"depths": (1, 1, 2, 1), "widths": (8, 16, 24, 32)}),
    "tiny_repvgg": ("repvgg_a0", {"depths": (1, 2), "widths": (8, 16), "first": 8}),
    "tiny_bit": ("resnetv2_50x1_bit", {"stage_sizes": (1, 2), "width": 32}),
}
WHOLE = ("tf_efficientnet_b0", "tf_mobilenetv3_small_100", "mobilenetv2_050", "convnextv2_atto", "convnextv2_tiny",
         "mobilenetv4_conv_small", "repvgg_a0", "resnetv2_50x1_bit")  # fmt: skip
OTHERS = ("tf_efficientnet_b1", "tf_efficientnet_b2", "tf_efficientnet_b3", "tf_efficientnet_b4",
          "tf_efficientnetv2_s", "tf_efficientnetv2_m", "tf_mobilenetv3_large_100", "mobilenetv2_100",
          "mobilenetv2_110d", "mobilenetv2_120d", "mobilenetv2_140", "convnextv2_femto", "convnextv2_pico",
          "convnextv2_nano", "convnextv2_base", "mobilenetv4_conv_medium", "mobilenetv4_conv_large", "repvgg_a1",
          "repvgg_a2", "repvgg_b0", "resnetv2_101x1_bit")  # fmt: skip


def make(name: str):
    """timm's net: one of its names, or a tiny one from its own classes, as TINY has it in our words."""
    import timm
    from timm.layers import StdConv2d
    from timm.models import byobnet, resnetv2
    from timm.models._efficientnet_builder import decode_arch_def, round_channels
    from timm.models.efficientnet import EfficientNet
    from timm.models.mobilenetv3 import MobileNetV3, SqueezeExcite
    from torch import nn

    if name not in TINY:
        return timm.create_model(name, num_classes=writing.CLASSES)
    ours, fields = TINY[name]
    if "rows" in fields:
        v4, net = "mobilenetv4" in ours, EfficientNet if "efficient" in ours else MobileNetV3
        more = {"act_layer": nn.SiLU}
        if net is MobileNetV3:
            more = {"head_norm": v4, "head_bias": not v4, "act_layer": nn.ReLU if v4 else nn.Hardswish}
            more["se_layer"] = partial(
                SqueezeExcite, gate_layer="hard_sigmoid", force_act_layer=nn.ReLU, rd_round_fn=round_channels
            )
        norm = partial(nn.BatchNorm2d, eps=1e-5 if v4 else 1e-3)
        blocks = decode_arch_def([list(stage) for stage in fields["rows"]])
        return net(blocks, num_classes=writing.CLASSES, num_features=fields["last"], stem_size=fields["first"],
                   pad_type="" if v4 else "same", norm_layer=norm, round_chs_fn=round_channels, **more)  # fmt: skip
    if "repvgg" in ours:
        blocks = [byobnet.ByoBlockCfg("rep", d, c) for d, c in zip(fields["depths"], fields["widths"], strict=True)]
        cfg = byobnet.ByoModelCfg(blocks=tuple(blocks), stem_type="rep", stem_chs=fields["first"])
        return byobnet.ByobNet(cfg, num_classes=writing.CLASSES)
    if "bit" in ours:
        n, width = len(fields["stage_sizes"]), fields["width"]
        channels = tuple(4 * width * 2**i for i in range(n))
        return resnetv2.ResNetV2(fields["stage_sizes"], channels, num_classes=writing.CLASSES, stem_chs=width,
                                 stem_type="fixed", conv_layer=partial(StdConv2d, eps=1e-8))  # fmt: skip
    return timm.create_model(ours, num_classes=writing.CLASSES, depths=fields["depths"], dims=fields["widths"])


def write(name: str, folder: Path) -> dict:
    """Writes the outputs of a net; returns its entry of the index."""
    import timm
    import torch

    model = make(name)
    ours, fields = TINY.get(name, (name, {}))
    entry = {
        "source": f"timm {timm.__version__}", "kwargs": {"num_classes": writing.CLASSES}, "ctor": ours,
        "size": list(SIZE), "params": sum(p.numel() for p in model.parameters()),
        "ours": [ours, {"num_classes": writing.CLASSES, **fields}], "slow": name not in TINY,
    }  # fmt: skip
    stored: dict[str, np.ndarray] = {}
    entry["state"] = [writing._row(key, tensor) for key, tensor in model.state_dict().items()]
    writing._fill(model, name, entry["state"], stored, SIZE)
    writing._raise_variances(model, stored)
    image = writing._inputs(2, SIZE)
    with torch.no_grad():
        stored["logits"] = model.double().eval()(image.double()).float().numpy()
    if name in TINY:
        writing._step(model.float().train(), SIZE, entry, stored)
    (folder / "models").mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "models" / f"{name}.npz", **stored)
    return entry


def command_line(argv=None):
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*TINY, *WHOLE, *OTHERS, []], help="default: those that are stored")
    parser.add_argument("--out", type=Path, default=writing.FOLDER, help="default: the fixtures of the tests")
    args = parser.parse_args(argv)
    index = args.out / "models_conv.json"
    for name in args.names or (*TINY, *WHOLE):
        writing.record(index, name, write(name, args.out))


main = command_line  # without jaxcls.cli.entry: for where jaxcls need not be installed
_spec = importlib.util.spec_from_file_location("write_references", HERE / "references.py")
writing = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(writing)

if __name__ == "__main__":
    sys.exit(main())
