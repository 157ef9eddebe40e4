"""What is known of the registered models: default pictures, published multiply-adds and accuracies.

Multiply-adds are torchvision's. Accuracies are top-1 on ImageNet-1k in percent unless the row says CIFAR-10 or
Kinetics-400 (of a video: the mean of five clips), with their sources: TV, the metadata of torchvision's weights (where
there are two: its first weights / those of its newer recipe); TIMM, timm's results; MM, mmpretrain; gluon, GluonCV; RM,
the README of the authors' or the named repository.
"""

import dataclasses
from typing import Any

FRAMES = 16  # of a clip where nothing says how many
KINETICS = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # mean, deviation: torchvision's for clips


@dataclasses.dataclass(frozen=True)
class Published:
    """Of a model: `library`, whose names its parameters bear; the default picture `size`, `channels` and `classes`;
    `frames` of a clip, 0 for pictures; `gmacs`, thousand millions of multiply-adds for one as printed by the source,
    and `top1` with its source, "" where unknown.
    """

    library: str
    size: int = 224
    channels: int = 3
    classes: int = 1000
    frames: int = 0
    gmacs: str = ""
    top1: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a picture (height, width, channels), or of a clip (frames, height, width, channels)."""
        return (*[self.frames] * bool(self.frames), self.size, self.size, self.channels)


# [library], [library, size, channels, classes] or that with frames; rows: name, size if another, GMACs or -, top-1.
_TABLE = """
[torchvision]
alexnet                          0.714   56.52 (TV)
vgg11                            7.609   69.02 (TV)
vgg13                            11.308  69.93 (TV)
vgg16                            15.470  71.59 (TV)
vgg19                            19.632  72.38 (TV)
vgg11_bn                         7.609   70.37 (TV)
vgg13_bn                         11.308  71.59 (TV)
vgg16_bn                         15.470  73.36 (TV)
vgg19_bn                         19.632  74.22 (TV)
resnet18                         1.814   69.76 (TV)
resnet34                         3.664   73.31 (TV)
resnet50                         4.089   76.13 / 80.86 (TV)
resnet101                        7.801   77.37 / 81.89 (TV)
resnet152                        11.514  78.31 / 82.28 (TV)
resnext50_32x4d                  4.230   77.62 / 81.20 (TV)
resnext101_32x8d                 16.414  79.31 / 82.83 (TV)
resnext101_64x4d                 15.460  83.25 (TV)
wide_resnet50_2                  11.398  78.47 / 81.60 (TV)
wide_resnet101_2                 22.753  78.85 / 82.51 (TV)
densenet121                      2.834   74.43 (TV)
densenet161                      7.728   77.14 (TV)
densenet169                      3.360   75.60 (TV)
densenet201                      4.291   76.90 (TV)
googlenet                        1.498   69.78 (TV)
inception_v3               299   5.713   77.29 (TV)
squeezenet1_0                    0.819   58.09 (TV)
squeezenet1_1                    0.349   58.18 (TV)
mobilenet_v2                     0.301   71.88 / 72.15 (TV)
mobilenet_v3_small               0.057   67.67 (TV)
mobilenet_v3_large               0.217   74.04 / 75.27 (TV)
shufflenet_v2_x0_5               0.040   60.55 (TV)
shufflenet_v2_x1_0               0.145   69.36 (TV)
shufflenet_v2_x1_5               0.296   73.00 (TV)
shufflenet_v2_x2_0               0.583   76.23 (TV)
mnasnet0_5                       0.104   67.73 (TV)
mnasnet0_75                      0.215   71.18 (TV)
mnasnet1_0                       0.314   73.46 (TV)
mnasnet1_3                       0.526   76.51 (TV)
efficientnet_b0                  0.386   77.69 (TV)
efficientnet_b1            240   0.687   78.64 / 79.84 (TV)
efficientnet_b2            288   1.088   80.61 (TV)
efficientnet_b3            300   1.827   82.01 (TV)
efficientnet_b4            380   4.394   83.38 (TV)
efficientnet_b5            456   10.266  83.44 (TV)
efficientnet_b6            528   19.068  84.01 (TV)
efficientnet_b7            600   37.746  84.12 (TV)
efficientnet_v2_s          384   8.366   84.23 (TV), 83.9 (RM)
efficientnet_v2_m          480   24.582  85.11 (TV), 85.2 (RM)
efficientnet_v2_l          480   56.080  85.81 (TV), 85.7 (RM)
regnet_x_400mf                   0.414   72.83 / 74.86 (TV)
regnet_x_800mf                   0.800   75.21 / 77.52 (TV)
regnet_x_1_6gf                   1.603   77.04 / 79.67 (TV)
regnet_x_3_2gf                   3.177   78.36 / 81.20 (TV)
regnet_x_8gf                     7.995   79.34 / 81.68 (TV)
regnet_x_16gf                    15.941  80.06 / 82.72 (TV)
regnet_x_32gf                    31.736  80.62 / 83.01 (TV)
regnet_y_400mf                   0.402   74.05 / 75.80 (TV)
regnet_y_800mf                   0.834   76.42 / 78.83 (TV)
regnet_y_1_6gf                   1.612   77.95 / 80.88 (TV)
regnet_y_3_2gf                   3.176   78.95 / 81.98 (TV)
regnet_y_8gf                     8.473   80.03 / 82.83 (TV)
regnet_y_16gf                    15.912  80.42 / 82.89 (TV)
regnet_y_32gf                    32.280  80.88 / 83.37 (TV)
regnet_y_128gf                   127.518
vit_b_16                         17.564  81.07 (TV)
vit_b_32                         4.409   75.91 (TV)
vit_l_16                         61.555  79.66 (TV)
vit_l_32                         15.378  76.97 (TV)
swin_t                           4.491   81.47 (TV), 81.39 (TIMM)
swin_s                           8.741   83.20 (TV), 83.23 (TIMM)
swin_b                           15.431  83.58 (TV), 83.60 (TIMM)
swin_v2_t                  256   5.940   82.07 (TV)
swin_v2_s                  256   11.546  83.71 (TV)
swin_v2_b                  256   20.325  84.11 (TV)
convnext_tiny                    4.456   82.52 (TV), 82.1 (RM)
convnext_small                   8.684   83.62 (TV), 83.1 (RM)
convnext_base                    15.355  84.06 (TV), 83.8 (RM)
convnext_large                   34.361  84.41 (TV), 84.3 (RM)

[torchvision, 112, 3, 400, 16]
r3d_18                           40.697  63.20 on Kinetics-400 (TV)
mc3_18                           43.343  63.96 on Kinetics-400 (TV)
r2plus1d_18                      40.519  67.46 on Kinetics-400 (TV)
s3d                        224   17.979  68.37 on Kinetics-400 (TV)

[timm]
resnet18d                        -
resnet34d                        -
resnet50d                        -       77.54 (MM), 79.15 with mix-up (gluon)
resnet101d                       -       80.51 (gluon)
resnet152d                       -       80.61 (gluon)
resnetv2_50                      -       77.11 (gluon)
resnetv2_101                     -       78.53 (gluon)
resnetv2_152                     -
resnetv2_50x1_bit                -       82.82 (TIMM)
resnetv2_101x1_bit         448   -       82.34 (TIMM)
tf_efficientnet_b0               -       76.53 / 78.67 with JFT (TIMM)
tf_efficientnet_b1         240   -       78.56 / 81.39 with JFT (TIMM)
tf_efficientnet_b2         260   -       79.60 / 82.38 with JFT (TIMM)
tf_efficientnet_b3         300   -       80.88 / 84.06 with JFT (TIMM)
tf_efficientnet_b4         380   -       82.61 / 85.16 with JFT (TIMM)
tf_efficientnetv2_s        300   -       83.90 / 84.29 from 21k, at 384 (TIMM)
tf_efficientnetv2_m        384   -       85.20 / 86.00 from 21k, at 480 (TIMM)
tf_mobilenetv3_large_100         -       75.52 (TIMM)
tf_mobilenetv3_small_100         -       67.92 (TIMM)
mobilenetv2_050                  -       65.95 (TIMM)
mobilenetv2_100                  -       72.98 (TIMM)
mobilenetv2_110d                 -       75.06 (TIMM)
mobilenetv2_120d                 -       77.30 (TIMM)
mobilenetv2_140                  -       76.52 (TIMM)
mobilenetv4_conv_small           -
mobilenetv4_conv_medium    256   -
mobilenetv4_conv_large     384   -
convnextv2_atto                  -       77.76 at 288 (TIMM)
convnextv2_femto                 -       79.34 at 288 (TIMM)
convnextv2_pico                  -       81.09 at 288 (TIMM)
convnextv2_nano                  -       82.49 / 82.66 from 22k, at 288 (TIMM)
convnextv2_tiny                  -       83.46 / 84.42 from 22k, at 288 (TIMM)
convnextv2_base                  -       85.47 / 87.00 from 22k, at 288 (TIMM)
repvgg_a0                        -
repvgg_a1                        -
repvgg_a2                        -       76.46 (TIMM)
repvgg_b0                        -       75.14 (TIMM)
seresnet18                       -
seresnet34                       -
seresnet50                       -       77.74 (MM), 80.26 (TIMM)
seresnet101                      -
seresnet152                      -
seresnext50_32x4d                -
seresnext101_32x8d               -
vit_tiny_patch16_224             -
vit_small_patch16_224            -       76.5 in 90 epochs (big_vision RM), 78.84 (TIMM)
vit_small_patch32_224            -
vit_base_patch16_224             -       79.15 (TIMM)
vit_base_patch32_224             -
vit_large_patch16_224            -
deit_tiny_patch16_224            -       72.2 (RM)
deit_small_patch16_224           -       79.9 (RM)
deit_base_patch16_224            -       81.8 (RM)
deit_tiny_distilled_patch16_224  -       74.5 (RM)
deit_small_distilled_patch16_224 -       81.2 (RM)
deit_base_distilled_patch16_224  -       83.4 (RM)
vit_base_patch32_clip_224        -       83.30 (TIMM)
vit_base_patch16_clip_224        -       86.17 (TIMM)
vit_large_patch14_clip_224       -       87.89 (TIMM)
maxvit_tiny_tf_224               -       83.40 (TIMM)
mixer_s16_224                    -
mixer_s32_224                    -
mixer_b16_224                    -       76.3 in 300 epochs (big_vision RM)
mixer_b32_224                    -
mixer_l16_224                    -
mixer_l32_224                    -

[timm, 224, 3, 0]
vit_small_patch14_dinov2         518     -
vit_base_patch14_dinov2          518     -
vit_large_patch14_dinov2         518     -
vit_small_patch14_reg4_dinov2    518     -
vit_base_patch14_reg4_dinov2     518     -
vit_large_patch14_reg4_dinov2    518     -
vit_base_patch16_siglip_224      -
vit_small_patch16_dinov3         256     -
vit_base_patch16_dinov3          256     -
vit_small_patch16_dinov3_qkvb    256     -
vit_base_patch16_dinov3_qkvb     256     -
eva02_tiny_patch14_224           -
eva02_small_patch14_224          -
eva02_base_patch14_224           -

[timm, 224, 3, 512]
vit_base_patch32_clip_quickgelu_224  -
vit_base_patch16_clip_quickgelu_224  -

[timm, 224, 3, 768]
vit_large_patch14_clip_quickgelu_224 -

[dyhan0920/PyramidNet-PyTorch]
pyramidnet101_a360               -

[dyhan0920/PyramidNet-PyTorch, 32, 3, 10]
pyramidnet110_a48_cifar          -       95.38 on CIFAR-10 (RM)
pyramidnet110_a84_cifar          -       95.73 on CIFAR-10 (RM)
pyramidnet110_a270_cifar         -       96.27 on CIFAR-10 (RM)
pyramidnet272_a200_cifar         -       96.69 on CIFAR-10 (RM)

[akamaster/pytorch_resnet_cifar10, 32, 3, 10]
resnet20_cifar                   -       92.60 on CIFAR-10 (chenyaofo RM)
resnet32_cifar                   -       93.53 on CIFAR-10 (chenyaofo RM)
resnet44_cifar                   -       94.01 on CIFAR-10 (chenyaofo RM)
resnet56_cifar                   -       94.37 on CIFAR-10 (chenyaofo RM)
resnet110_cifar                  -       93.50 on CIFAR-10 (torchdistill RM)
resnet20_cifar_b                 -       94.03 on CIFAR-10 (osmr RM)
resnet32_cifar_b                 -
resnet44_cifar_b                 -
resnet56_cifar_b                 -       95.48 on CIFAR-10 (osmr RM)
resnet110_cifar_b                -       96.31 on CIFAR-10 (osmr RM)

[kuangliu/pytorch-cifar, 32, 3, 10]
preact_resnet18                  -       95.11 on CIFAR-10 (RM)
preact_resnet34                  -
preact_resnet50                  -
preact_resnet110_cifar           -
preact_resnet164_cifar           -       94.54 on CIFAR-10 (RM)

[xternalz/WideResNet-pytorch, 32, 3, 10]
wrn_16_8                         -
wrn_28_10                        -       96.00 on CIFAR-10 (RM)
wrn_40_4                         -

[own]
alexnet_2012                     -
mbconv_net                       -

[own, 32, 1, 10]
lenet5                           0.0004
lenet5_1998                      -

[own, 32, 3, 10]
airbench94                       -       94.01 on CIFAR-10, six views (Jordan 2024)

[own, 28, 1, 10]
gcn                              -
gin                              -
gat                              -

[own, 224, 3, 10]
simple_cnn_16_32                 -
simple_cnn_32_64                 -
"""


def _read(table: str) -> dict[str, Published]:
    known: dict[str, Published] = {}
    defaults: dict[str, Any] = {}
    for line in filter(None, table.splitlines()):
        if line.startswith("["):
            library, *numbers = line.strip("[]").split(", ")
            defaults = {"library": library, **dict(zip(("size", "channels", "classes", "frames"), map(int, numbers)))}  # noqa: B905
            continue
        name, *rest = line.split(maxsplit=1)
        first, *rest = rest[0].split(maxsplit=1)
        fields = dict(defaults)
        if first.isdigit():
            fields["size"] = int(first)
            first, *rest = rest[0].split(maxsplit=1)
        known[name] = Published(**fields, gmacs=first.strip("-"), top1="".join(rest).strip())
    return known


PUBLISHED: dict[str, Published] = _read(_TABLE)
