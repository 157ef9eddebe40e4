"""Pictures and their captions: a tower of texts learns to follow one of pictures that stays as it is.

    jaxcls train --config=lit_table --data=table/captions.csv --config.model.pretrained=NAME \
        --config.words.vocab=bpe_simple_vocab_16e6.txt.gz --workdir=runs/lit
    jaxcls zeroshot runs/lit --data=PATH --vocab=bpe_simple_vocab_16e6.txt.gz --out=runs/classifier

LiT, Zhai et al. 2022 (arXiv 2111.07991, "locked-image tuning"): where the tower of pictures is good already, captions
need not teach it, and with few of them they had better not. The texts follow its features (`pre_logits`; the paper's
tower has no projection, either). No backward pass runs through the pictures. The paper has billions of captions; no
figures were measured here. `configs/pairs_table.py` trains both towers.
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` has towers of two narrow blocks, random ones, and 32 pixels."""
    tiny = parse_tiny(arg)
    size = "32" if tiny else "weights"  # what the weights are published for
    config = default_config()
    config.duration = "4 steps" if tiny else "20 epochs"
    config.batch_size = 16 if tiny else 256
    config.data.name = "table/captions.csv"
    config.data.augment = (f"random_resized_crop({size}, scale=(0.5, 1.0))",)
    config.data.eval_transform = ("resize(32)", "center_crop(32)") if tiny else ("weights",)
    config.data.normalize = "symmetric" if tiny else "weights"
    config.model.name = "resnet18" if tiny else ""  # that of the weights
    config.model.fields = {"width": 8, "stage_sizes": (1, 1)} if tiny else {}
    config.model.pretrained = "" if tiny else "required"
    config.model.neck = "cosine"
    config.optim.freeze = ("all",)
    config.words.method = "clip"
    config.words.context = 16 if tiny else 32
    config.words.width, config.words.depth = (32, 2) if tiny else (256, 4)
    config.optim.name = "adamw"
    config.optim.weight_decay = 0.1
    config.schedule.peak = 1e-3
    config.schedule.warmup = "" if tiny else "5%"
    return config
