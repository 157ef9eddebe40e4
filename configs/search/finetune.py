"""A search over how published weights are fine-tuned on a folder of one's own pictures (finetune).

    jaxcls tune finetune --space search/finetune --data=PATH --config.model.pretrained=squeezenet1_1.safetensors \
        --budget "200 epochs" --pruner halving --workdir=runs/search

What is trained comes first: the head alone, or all layers, and only then with rates that fall from layer to layer.
"""

from jaxcls.defaults import parse_tiny


def get_space(arg=""):
    """`:tiny` has the rate and what is trained."""
    first = ["schedule.peak = log(1e-4, 3e-2)", "optim.freeze = choice('()', all)"]
    if parse_tiny(arg):
        return first
    return [
        *first,
        "optim.layer_decay = linear(0.6, 1) if optim.freeze='()'",
        "optim.weight_decay = log(1e-6, 1e-2)",
        "loss.label_smoothing = linear(0, 0.2)",
        "data.augment = choice('random_resized_crop(224, scale=(0.25, 1.0)), flip', 'random_resized_crop(224), flip, "
        "rand_augment(2, 9)')",
    ]
