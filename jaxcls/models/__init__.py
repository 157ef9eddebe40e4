"""Image classifiers by name: `create("resnet18", num_classes=10)`.

Every model is a Linen module with one contract:

    logits, out = model.apply(variables, images, train=False)

* `images`: float `[batch, height, width, channels]`, already normalised, any number of channels; of models whose
  `clips` is True `[batch, frames, height, width, channels]`;
* `logits`: float32 `[batch, num_classes]`, whatever the compute dtype;
* `out`: the features on the way, `stem`, `stage1` .. and `pre_logits` (what the last layer sees). The compiler drops
  those that nobody uses;
* `train=True` uses the statistics of the batch in BatchNorm: pass `mutable=["batch_stats"]` and keep what comes back.

Fields of every model: `num_classes`; `dtype`, of the computation; `param_dtype`; `axis_name`, of the mapped axis over
which `pmap` synchronises BatchNorm (None: not); `remat`, recompute blocks in the backward pass to save memory.
"""

from jaxcls.models import (  # noqa: F401  each registers its variants
    airbench,
    alexnet,
    convnext,
    convnext_v2,
    densenet,
    efficientnet,
    eva,
    googlenet,
    graph_net,
    inception,
    lenet,
    maxvit,
    mbconv_net,
    mixer,
    mnasnet,
    mobilenet_v2,
    mobilenet_v3,
    mobilenet_v4,
    pyramidnet,
    regnet,
    repvgg,
    resnet,
    resnet_cifar,
    resnetv2,
    s3d,
    shufflenet,
    simple_cnn,
    squeezenet,
    swin,
    timm_mobile,
    vgg,
    video_resnet,
    vit,
    vit_variants,
    wide_resnet,
)
from jaxcls.models.loading import load
from jaxcls.models.registry import create, list_models, parse_field, register

__all__ = ["create", "list_models", "load", "parse_field", "register"]
