"""A table of one's own pictures with sets of labels: any number of labels a picture, none among them.

    jaxcls train --config=multilabel_table --data=table/photos.csv --workdir=runs/tags

The table has a row a picture, such as `beach/1.jpg,sea|sky` below `path,labels`; docs/data.md has its other forms, and
docs/multilabel.md what is learned and measured. As configs/folder.py, a ResNet-18 from scratch at 128 pixels, each
class by a cross entropy of its own, ranked by the mean average precision. Without a column of splits 70 % are trained
on, dealt so that every label has its share of each split. No figures were measured.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains two narrow blocks at 32 pixels for 4 steps."""
    tiny = parse_tiny(arg)
    size = 32 if tiny else 128
    config = default_config()
    config.duration = "4 steps" if tiny else "60 epochs"
    config.batch_size = 16 if tiny else 32
    config.data.name = "table/pictures.csv"
    config.data.augment = (f"random_resized_crop({size}, scale=(0.25, 1.0))", "flip", "mixup(0.2, p=0.5)")
    config.data.eval_transform = (f"resize({size * 8 // 7})", f"center_crop({size})")
    config.data.normalize = "imagenet"
    config.model.name = "resnet18"
    config.model.fields = {"width": 8, "stage_sizes": (1, 1)} if tiny else {}
    config.schedule.peak = 0.05
    config.schedule.warmup = "" if tiny else "5%"
    config.optim.nesterov = True
    config.optim.weight_decay = 5e-4
    config.ema_decay = 0.99
    config.eval.best = "mAP"
    return config
