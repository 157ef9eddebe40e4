"""Pictures and their captions, from a table with the columns path and caption: a small CLIP of one's own, 64 pixels.

    jaxcls train --config=pairs_table --data=table/captions.csv \
        --config.words.vocab=bpe_simple_vocab_16e6.txt.gz --workdir=runs/pairs
    jaxcls zeroshot runs/pairs --data=PATH --vocab=bpe_simple_vocab_16e6.txt.gz --out=runs/classifier
    jaxcls find runs/pairs "a red truck" --data PICTURES --vocab=bpe_simple_vocab_16e6.txt.gz

Radford et al. 2021 (arXiv 2103.00020), with a ResNet-18 and a tower of texts of 4 blocks and width 256 in place of
theirs; `--config.words.method=siglip` is Zhai et al. 2023 (2303.15343). Where both towers are published, start from
them (docs/words.md): to learn words from a few thousand captions, their subjects must be few. Checked on coloured
digits (docs/results.md).
"""

from jaxcls.defaults import default_config, parse_tiny


def get_config(arg=""):
    """`:tiny` has towers of two narrow blocks and 32 pixels."""
    tiny = parse_tiny(arg)
    size = 32 if tiny else 64
    config = default_config()
    config.duration = "4 steps" if tiny else "20 epochs"
    config.batch_size = 16 if tiny else 256
    config.data.name = "table/captions.csv"
    config.data.augment = (f"random_resized_crop({size}, scale=(0.5, 1.0))",)
    config.data.eval_transform = (f"resize({size})", f"center_crop({size})")
    config.data.normalize = "symmetric"
    config.model.name = "resnet18"
    config.model.neck = "cosine(16)" if tiny else "cosine(256)"
    config.model.fields = {"width": 8, "stage_sizes": (1, 1)} if tiny else {"stem": "cifar"}
    config.words.method = "clip"
    config.words.context = 16 if tiny else 32
    config.words.width, config.words.depth = (32, 2) if tiny else (256, 4)
    config.optim.name = "adamw"
    config.optim.weight_decay = 0.1
    config.schedule.peak = 1e-3
    config.schedule.warmup = "" if tiny else "5%"
    return config
