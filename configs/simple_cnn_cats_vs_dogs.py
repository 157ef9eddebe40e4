"""A beginners' net of two convolutions (12,850,530 parameters) on cats and dogs, 23,262 pictures: 20 epochs.

    jaxcls prepare cats_vs_dogs
    jaxcls train --config=simple_cnn_cats_vs_dogs

70 % of each class are trained on, 15 % choose the checkpoint, 15 % are tested on, once. A recipe of our own, made for
two CPU cores or any GPU; not run by us on this set, and no result is published for just this net. It is a first step:
configs/finetune.py, from published weights, is far better on the same pictures.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains at 32 pixels for 4 steps on synthetic pictures."""
    tiny = parse_tiny(arg)
    size = 32 if tiny else 224
    config = default_config()
    config.duration = "4 steps" if tiny else "20 epochs"
    config.batch_size = 16 if tiny else 64
    config.data.name = "synthetic/64x48x3x2" if tiny else "tfds/cats_vs_dogs"
    config.data.augment = (f"random_resized_crop({size}, scale=(0.5, 1.0))", "flip")
    config.data.eval_transform = (f"resize({size})", f"center_crop({size})")
    config.data.normalize = "imagenet"
    config.model.name = "simple_cnn_16_32"
    config.model.fields = {"dropout": 0.5}
    config.schedule.peak = 0.01
    config.schedule.warmup = "1 step" if tiny else "1 epoch"
    config.optim.nesterov = True
    config.optim.weight_decay = 5e-4
    return config
