"""Published weights fine-tuned on a folder of one's own pictures: SqueezeNet 1.1 from ImageNet, 224 pixels.

    jaxcls train --config=finetune --data=PATH \
        --config.model.pretrained=squeezenet1_1.safetensors --workdir=runs/finetune

The file is torchvision's squeezenet1_1, or any other in its names: without one it does not start (`--config=folder`
trains from scratch). All layers are trained, the last one afresh.
Measured on 244 training pictures of ants and bees: 91.5 % of 153 validation pictures, which chose the step (one seed;
docs/results.md). 10 minutes on two busy CPU cores.

What to try on your own pictures: `--config.optim.freeze=all` trains the head alone, in a third of the time;
`--config.optim.layer_decay=0.8`; `--config.optim.unfreeze="20%: stage3, 40%: all"`. On the ants and bees, at 128 pixels
for 12 epochs, neither these nor ten times the rate for the head or colour jitter with erasing differed by more than
the noise of 153 pictures (docs/results.md). `jaxcls probe` tells within a minute or two
what the frozen features are worth.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks at 32 pixels for 4 steps, from scratch: a trial of the rest."""
    tiny = parse_tiny(arg)
    size = "32" if tiny else "weights"  # what the weights are published for
    config = default_config()
    config.duration = "4 steps" if tiny else "20 epochs"
    config.batch_size = 16 if tiny else 32
    config.data.name = "folder/pictures"
    config.data.augment = (f"random_resized_crop({size}, scale=(0.25, 1.0))", "flip")
    config.data.eval_transform = ("resize(36)", "center_crop(32)") if tiny else ("weights",)
    config.data.normalize = "imagenet" if tiny else "weights"
    config.model.name = "resnet18" if tiny else ""  # that of the weights
    config.model.fields = {"width": 8, "stage_sizes": (1, 1)} if tiny else {}
    config.model.pretrained = "" if tiny else "required"
    config.schedule.peak = 0.002
    config.schedule.warmup = "" if tiny else "5%"
    config.optim.nesterov = True
    config.optim.weight_decay = 1e-4
    return config
