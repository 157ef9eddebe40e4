"""Every family at small fields, for tests: name -> (constructor, fields, shape of a picture)."""

from jaxcls import models
from jaxcls.models import efficientnet, mobilenet_v3
from jaxcls.models.alexnet import AlexNet, AlexNet2012
from jaxcls.models.convnext import ConvNeXt
from jaxcls.models.convnext_v2 import ConvNeXtV2
from jaxcls.models.densenet import DenseNet
from jaxcls.models.eva import Eva
from jaxcls.models.googlenet import GoogLeNet
from jaxcls.models.inception import InceptionV3, alone, chain, fork
from jaxcls.models.lenet import LeNet5, LeNet51998
from jaxcls.models.maxvit import MaxViT
from jaxcls.models.mbconv_net import MBConvNet
from jaxcls.models.mixer import Mixer
from jaxcls.models.mnasnet import MNASNet
from jaxcls.models.mobilenet_v2 import MobileNetV2
from jaxcls.models.pyramidnet import PyramidNet
from jaxcls.models.regnet import RegNet
from jaxcls.models.repvgg import RepVGG
from jaxcls.models.resnet import BasicBlock, Bottleneck, ResNet
from jaxcls.models.resnet_cifar import ResNetCifar
from jaxcls.models.resnetv2 import ResNetV2
from jaxcls.models.s3d import S3D
from jaxcls.models.shufflenet import ShuffleNetV2
from jaxcls.models.simple_cnn import SimpleCNN
from jaxcls.models.squeezenet import SqueezeNet
from jaxcls.models.swin import Swin
from jaxcls.models.timm_mobile import TimmMobile
from jaxcls.models.vgg import VGG
from jaxcls.models.video_resnet import VideoResNet
from jaxcls.models.vit import ViT
from jaxcls.models.wide_resnet import WideResNet

TINY = {
    "simple_cnn": (SimpleCNN, {"channels": (3, 4), "hidden": 5}, (8, 12, 2)),
    "lenet5": (LeNet5, {}, (28, 28, 1)),
    "lenet5_1998": (LeNet51998, {}, (28, 28, 1)),
    "alexnet": (AlexNet, {"channels": (4, 6, 5, 4, 4), "hidden": 9, "dropout": 0.0}, (95, 67, 3)),
    "alexnet_2012": (AlexNet2012, {"channels": (4, 6, 4, 6, 4), "hidden": 9, "dropout": 0.0}, (95, 67, 3)),
    "vgg": (VGG, {"stage_sizes": (1, 2), "width": 4, "hidden": 9, "batch_norm": True, "dropout": 0.0}, (20, 17, 3)),
    "shufflenet": (ShuffleNetV2, {"channels": (4, 6, 9), "stage_sizes": (2,)}, (33, 32, 3)),
    "squeezenet": (SqueezeNet, {"features": 8, "kernel_size": 3, "least": 17, "dropout": 0.0,
                                "stages": (((5, 6),), ((3, 8),))}, (33, 32, 3)),
    "googlenet": (GoogLeNet, {"stages": ((("3a", (4, 3, 4, 3, 4, 4)),),), "dropout": 0.0}, (32, 31, 3)),
    "inception": (InceptionV3, {"stages": ((("5b", (alone("branch1x1", 4, 1), fork("branch3x3_2", 4), 4)),
                                            ("6a", (chain("branch3x3", (4, 3)), 0))),), "dropout": 0.0}, (75, 75, 3)),
    "convnext": (ConvNeXt, {"depths": (1, 1), "widths": (4, 6), "layer_scale": 0.5}, (33, 36, 3)),
    "convnext_v2": (ConvNeXtV2, {"depths": (1, 1), "widths": (4, 6), "conv_mlp": True}, (33, 36, 3)),
    "swin": (Swin, {"depths": (2,), "width": 4, "heads": (2,), "window_size": 2}, (12, 20, 3)),
    "swin_v2": (Swin, {"depths": (1, 1), "width": 4, "heads": (1, 2), "window_size": 2, "version": 2}, (20, 12, 3)),
    "fpn": (models.create, {"name": "resnet20_cifar", "neck": "fpn", "depth": 8}, (13, 12, 3)),
    "resnet_basic": (ResNet, {"stage_sizes": (1, 1), "block": BasicBlock, "width": 4, "attention": "eca"}, (16, 24, 3)),
    "resnet_bottleneck": (ResNet, {"stage_sizes": (1, 1), "block": Bottleneck, "width": 4, "stem": "deep", "groups": 2,
                                   "base_width": 32, "avg_down": True, "attention": "cbam"}, (14, 12, 3)),
    "densenet": (DenseNet, {"growth_rate": 4, "block_config": (2, 1), "num_init_features": 6, "attention": "se"},
                 (13, 16, 3)),
    "resnet_cifar_a": (ResNetCifar, {"depth": 8, "shortcut": "A"}, (8, 8, 3)),
    "resnet_cifar_b": (ResNetCifar, {"depth": 8, "shortcut": "B"}, (8, 8, 3)),
    "resnetv2": (ResNetV2, {"stage_sizes": (1, 1), "width": 4}, (16, 24, 3)),
    "preact_resnet": (ResNetV2, {"stage_sizes": (1, 1), "kernels": (3, 3), "width": 4, "stem": "cifar",
                                 "final_norm": False, "spelling": "kuangliu"}, (8, 9, 3)),
    "bit": (ResNetV2, {"stage_sizes": (1, 1), "width": 32, "stem": "bit", "norm": "group"}, (16, 24, 3)),
    "wide_resnet": (WideResNet, {"depth": 10, "widen": 1}, (8, 8, 3)),
    "pyramidnet": (PyramidNet, {"stage_sizes": (1, 1), "alpha": 7, "kernels": (1, 3, 1), "stem": "imagenet"},
                   (17, 16, 3)),
    "vit": (ViT, {"patch": 4, "width": 8, "depth": 4, "heads": 2, "distilled": True}, (8, 12, 3)),
    "vit_torchvision": (ViT, {"patch": 4, "width": 8, "depth": 4, "heads": 2, "spelling": "torchvision"}, (8, 12, 3)),
    "vit_registers": (ViT, {"patch": 4, "width": 8, "depth": 4, "heads": 2, "registers": 2, "embed_prefix": False,
                            "layer_scale": 0.5}, (8, 12, 3)),
    "vit_clip": (ViT, {"patch": 4, "width": 8, "depth": 4, "heads": 2, "pre_norm": True, "activation": "quick_gelu"},
                 (8, 12, 3)),
    "vit_map": (ViT, {"patch": 4, "width": 8, "depth": 4, "heads": 2, "class_token": False, "pool": "map"}, (8, 12, 3)),
    "eva02": (Eva, {"patch": 4, "width": 8, "depth": 4, "heads": 2, "hidden": 12, "mlp": "gated_norm",
                    "split_qkv": True, "trained": 2, "table": True, "norm_last": True}, (8, 12, 3)),
    "dinov3": (Eva, {"patch": 4, "width": 8, "depth": 4, "heads": 2, "hidden": 12, "qkv_bias": False, "registers": 2,
                     "layer_scale": 0.5}, (8, 12, 3)),
    "maxvit": (MaxViT, {"stage_sizes": (1, 1), "widths": (8, 12), "stem_width": 8, "head_features": 4, "window": 2,
                        "hidden": 6}, (16, 32, 3)),
    "mixer": (Mixer, {"patch": 4, "width": 8, "depth": 4}, (8, 12, 3)),
    "mobilenet_v2": (MobileNetV2, {"rows": ((1, 8, 1, 1), (2, 8, 2, 2)), "width_mult": 0.25, "dropout": 0.0},
                     (9, 8, 3)),
    "mbconv_net": (MBConvNet, {"blocks": ((3, 1, 8, 1), (5, 2, 12, 2), "skip", (3, 2, 12, 1)), "first": 8, "last": 16,
                               "stem": "cifar", "act": "hard_swish"}, (9, 8, 3)),
    "mobilenet_v3": (mobilenet_v3.MobileNetV3, {"rows": (mobilenet_v3.Row(3, 16, 16, True, "RE", 2),
                                                         mobilenet_v3.Row(5, 24, 16, False, "HS", 1)),
                                                "hidden": 8, "dropout": 0.0}, (9, 8, 3)),
    "mnasnet": (MNASNet, {"rows": ((8, 3, 2, 3, 2),), "width_mult": 0.25, "dropout": 0.0}, (9, 8, 3)),
    "efficientnet": (efficientnet.EfficientNet, {"rows": (efficientnet.Row(1, 3, 1, 8, 1, fused=True),
                                                          efficientnet.Row(2, 3, 2, 8, 2),
                                                          efficientnet.Row(2, 5, 1, 16, 1, fused=True)), "first": 8,
                                                 "last": 12, "dropout": 0.0, "stochastic_depth": 0.0}, (16, 16, 3)),
    "timm_efficientnet": (TimmMobile, {"rows": (("cn_r1_k3_s1_e1_c8_skip",), ("er_r1_k3_s2_e2_c8",),
                                                ("ds_r1_k3_s1_c8_se0.25",), ("ir_r2_k5_s2_e2_c16_se0.25",)), "first": 8,
                                       "last": 12, "padding": "same", "epsilon": 1e-3, "dropout": 0.0}, (16, 16, 3)),
    "timm_mobilenet_v3": (TimmMobile, {"rows": (("ds_r1_k3_s2_c8_se0.25_nre",), ("ir_r1_k5_s1_e4.5_c8_se0.25",),
                                                ("cn_r1_k1_s1_c16",)), "first": 8, "last": 12, "act": "hard_swish",
                                       "squeeze": "expanded", "tail": "mean", "dropout": 0.0}, (16, 16, 3)),
    "mobilenet_v4": (TimmMobile, {"rows": (("uir_r2_a3_k5_s2_e2_c8",), ("uir_a0_k0_e2_c8", "uir_a3_k0_e2_c8",
                                                                        "uir_a0_k3_e2_c8")), "first": 8, "last": 12,
                                  "act": "relu", "tail": "mean_norm", "dropout": 0.0}, (16, 16, 3)),
    "repvgg": (RepVGG, {"depths": (1, 2), "widths": (4, 6), "first": 4}, (17, 16, 3)),
    "regnet": (RegNet, {"depth": 3, "initial": 8, "slope": 4, "step": 2.0, "group_width": 4, "squeeze": 1.0},
               (16, 16, 3)),
}  # fmt: skip

# Those of clips, which tests of pictures do not take.
CLIPS = {
    "r3d": (VideoResNet, {"stage_sizes": (1, 1), "width": 4}, (5, 14, 12, 3)),
    "r2plus1d": (VideoResNet, {"stage_sizes": (1, 1), "width": 4, "stem": "2+1d", "kinds": ("2+1d", "2d")},
                 (4, 12, 14, 3)),
    "s3d": (S3D, {"features": (4, 6), "stages": (((3, 2, 4, 3, 4, 4),), ((3, 2, 4, 3, 4, 4),)), "dropout": 0.0},
            (5, 30, 28, 3)),
    "inflated": (ResNet, {"stage_sizes": (1, 1), "block": Bottleneck, "width": 4, "stem": "deep", "avg_down": True,
                          "attention": "se", "taps": 3}, (5, 14, 12, 3)),
    "frames": (models.create, {"name": "resnet20_cifar", "neck": "frames", "depth": 8}, (3, 13, 12, 3)),
}  # fmt: skip
