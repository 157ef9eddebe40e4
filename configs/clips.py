"""A folder of one's own clips, one sub-folder a class: GIF, videos, arrays, folders of frames (docs/clips.md).

    jaxcls train --config=clips --data=clips/PATH --workdir=runs/mine
    jaxcls train --config=clips --data=clips/PATH --config.model.pretrained=r3d_18.pth    # published weights, a file

An R3D-18 on 16 frames, every second one, at 112 pixels, the frames and the size that its weights on Kinetics-400 were
trained with (Tran et al. 2018); evaluation averages three clips of each video. From scratch it needs thousands of
clips, and a GPU. No flip: it would turn left into right.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` trains narrow blocks on 4 frames of 16 pixels for 4 steps."""
    tiny = parse_tiny(arg)
    frames, size = (4, 16) if tiny else (16, 112)
    config = default_config()
    config.duration = "4 steps" if tiny else "45 epochs"
    config.batch_size = 8 if tiny else 32
    config.data.name = "clips/pictures"
    config.data.augment = (f"random_frames({frames}, stride=2)", f"random_resized_crop({size}, scale=(0.5, 1.0))")
    config.data.eval_transform = (
        f"frames({frames}, stride=2, clips=3)",
        f"resize({size * 8 // 7})",
        f"center_crop({size})",
    )
    config.eval.tta = ("clips(3)",)
    # of torchvision's weights on Kinetics-400
    config.data.mean, config.data.std = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    config.model.name = "r3d_18"
    config.model.fields = {"width": 4, "stage_sizes": (1, 1)} if tiny else {}
    config.schedule.peak = 0.01
    config.schedule.warmup = "" if tiny else "5%"
    config.optim.nesterov = True
    config.optim.weight_decay = 1e-4
    return config
