"""Clips whose class is how a digit moves: a narrow 3-D ResNet (r3d_18, one block a stage) on 2,000 clips of 8 frames.

    jaxcls prepare mnist
    jaxcls train --config=clips_moving_digits
    jaxcls train --config=clips_moving_digits:frames      # a net of pictures, averaged over the frames
    jaxcls train --config=clips_moving_digits:shuffled    # the 3-D net, the frames of each clip in another order

Left or right, one place a frame or three, on a ring of eight places that each clip shows once (jaxcls/data/
moving_digits.py). Only the order of the frames tells: the two below are at chance, 25 %, by construction. A minute on
two CPU cores; docs/results.md has the figures, docs/clips.md says more.
"""

from jaxcls.defaults import default_config
from jaxcls.errors import UserError

ARMS = ("", "frames", "shuffled", "tiny")


def get_config(arg=""):
    """`:frames` and `:shuffled` as above; `:tiny` trains for 4 steps."""
    if arg not in ARMS:
        raise UserError(f"clips_moving_digits:{arg}: it can be {', '.join(filter(None, ARMS))}.")
    tiny = arg == "tiny"
    config = default_config()
    config.duration = "4 steps" if tiny else "6 epochs"
    config.batch_size = 8 if tiny else 48
    config.data.name = f"moving_digits/{64 if tiny else 2000}{'/shuffled' if arg == 'shuffled' else ''}"
    config.data.validation = 0.0  # the recipe is fixed: nothing is selected, the last state is the result
    config.data.normalize = "mnist"
    config.model.name = "r3d_18"
    config.model.fields = {"width": 4 if tiny else 8, "stage_sizes": (1, 1, 1)}
    if arg == "frames":
        config.model.name, config.model.neck = "resnet18", "frames"
    config.schedule.peak = 0.05
    config.schedule.warmup = "1 steps" if tiny else "1 epoch"
    config.optim.weight_decay = 5e-4
    return config
