"""Which recipe suits a set of pictures: rules from facts to settings, each with its reason. They know nothing else.

docs/recipes.md has the rules as a table, with what was measured and what was only read.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

UNTESTED = "untested here"
GREY = ((0.45,), (0.25,))  # mean and standard deviation of grey photographs, as configs/inspection.py has them
# Nets by how they like to be fine-tuned, by what their names begin with; all others have BatchNorm.
ADAM = ("beit", "clip", "convnext", "deit", "dino", "eva", "maxvit", "mixer", "siglip", "swin", "vit")
UNNORMALISED = ("alexnet", "squeezenet", "vgg")
UNEVEN = 3  # times more pictures of one class than of another, from which on plain accuracy chooses badly
RARE = 10  # and from which on rare classes are drawn more often


class Facts(NamedTuple):
    """What is known of a set, of the machine, and of what the user has said.

    Attributes:
      data: config.data.name.
      pictures: for training.
      classes: how many; 0: there are no labels.
      sets: whether a picture has a set of labels.
      rarest, commonest: training pictures of the class with fewest and with most.
      side: median of the short sides in pixels.
      channels: 1 where all pictures are grey, 3 for colour, else as stored.
      in_memory: whether the pictures are arrays of one size.
      devices: how many.
      accelerator: whether they are no CPU.
      model: the net that is wanted, or that of the weights; "" for any.
      weights: as config.model.pretrained; "" for none.
    """

    data: str
    pictures: int
    classes: int
    sets: bool
    rarest: int
    commonest: int
    side: int
    channels: int
    in_memory: bool
    devices: int
    accelerator: bool
    model: str = ""
    weights: str = ""

    @property
    def unevenness(self) -> float:
        """How many times more pictures the commonest class has than the rarest."""
        return self.commonest / max(self.rarest, 1)


class Choice(NamedTuple):
    """A key of the config, the value chosen for it, and why."""

    key: str
    value: Any
    reason: str


AUTO = Choice("auto_batch", True, "where memory is short a step is cut (config.accumulate); the batch stays")


def choices(facts: Facts) -> list[Choice]:
    """The recipe for a set, as settings over the defaults. Without weights it starts from scratch."""
    if facts.weights:
        own = _fine_tuning(facts)
    elif facts.side <= 16 and facts.model in ("", "lenet5"):
        own = _tiny_pictures(facts)
    elif facts.side <= 64:
        own = _small_pictures(facts)
    else:
        own = _from_scratch(facts)
    return [Choice("data.name", facts.data, "as given"), *own, *_always(facts), *_balance(facts)]


def advice(facts: Facts) -> list[str]:
    """Lines about what would be better, and what it takes."""
    if facts.weights or facts.side <= 64:
        return []
    return [
        "without weights it starts from scratch; published ones were worth 14 points on 244 training pictures "
        "(docs/results.md)",
        "to start from them add --config.model.pretrained=FILE, or on a machine with a network "
        "--config.model.name=resnet50 --config.model.pretrained=True (jaxcls models --pretrained lists them)",
    ]


def told(facts: Facts) -> str:
    """The facts as a phrase."""
    kind = {1: "grey", 3: "colour"}.get(facts.channels, f"{facts.channels} channels")
    labels = "labels, any number a picture" if facts.sets else "classes"
    each = f", {facts.rarest:,} to {facts.commonest:,} of each" if facts.rarest != facts.commonest else ""
    device = "accelerator" if facts.accelerator else "CPU device"
    many = "s" if facts.devices > 1 else ""
    start = f", weights {facts.weights}" if facts.weights else ""
    return (
        f"{facts.pictures:,} training pictures of {facts.classes:,} {labels}{each}, {kind}, {facts.side} pixels, "
        f"{facts.devices} {device}{many}{start}"
    )


def _fine_tuning(facts: Facts) -> Iterator[Choice]:
    yield Choice("model.pretrained", facts.weights, "weights are at hand: worth 14 points on 244 pictures (measured)")
    yield Choice("model.name", "", "that of the weights")
    yield Choice("data.augment", ("random_resized_crop(weights, scale=(0.25, 1.0))", "flip"), "as configs/finetune.py")
    size = "the size and normalisation of the weights: 224 pixels gave 91 %, 128 gave 87 % of ants and bees"
    yield Choice("data.eval_transform", ("weights",), size)
    yield Choice("data.normalize", "weights", "the same")
    if facts.channels == 1:
        yield Choice("data.channels", 3, "the weights are of colour pictures; grey ones get three equal channels")
    yield _epochs(facts, ((5_000, 20), (50_000, 10), (None, 5)))
    yield from _batch(facts, 32)
    yield AUTO
    if facts.model.startswith(ADAM):
        why = f"ConvNeXt's authors fine-tune so (Liu et al. 2022); {UNTESTED}"
        yield Choice("optim.name", "adamw", why)
        yield Choice("schedule.peak", 5e-5, why)
        yield Choice("optim.layer_decay", 0.8, why)
        yield Choice("optim.weight_decay", 1e-8, why)
        return
    if facts.model.startswith(UNNORMALISED) and not facts.model.endswith("_bn"):
        yield Choice("schedule.peak", 0.002, "SqueezeNet on 244 pictures: 0.002 gave 87 %, 0.005 76 % (measured)")
    else:
        why = f"PyTorch's tutorial of ResNet-18 on ants and bees has 0.001 for a batch of 4; {UNTESTED}"
        yield Choice("schedule.peak", 0.008, why)
    yield Choice("optim.nesterov", True, "as configs/finetune.py")
    yield Choice("optim.weight_decay", 1e-4, "as configs/finetune.py")


def _tiny_pictures(facts: Facts) -> Iterator[Choice]:
    whole = ("resize(28)", "center_crop(28)")
    yield Choice("model.name", "lenet5", "tiny pictures: LeNet-5 has 99.6 % of digits of 8 pixels (measured)")
    yield Choice("data.augment", (*whole, "crop(28, pad=3)"), "as configs/lenet5_digits.py, not mirrored")
    yield Choice("data.eval_transform", whole, "the size LeNet-5 was made for")
    yield _epochs(facts, ((2_000, 60), (None, 20)))
    yield from _batch(facts, 64)
    yield Choice("schedule.peak", 0.05, "as configs/lenet5_digits.py")
    yield from _regularised(facts)


def _small_pictures(facts: Facts) -> Iterator[Choice]:
    size = max(28, min(facts.side, 64) // 4 * 4)
    if not facts.model:
        width, why = (
            (64, f"an accelerator is there: the full width; {UNTESTED}") if facts.accelerator else (16, "a CPU")
        )
        yield Choice("model.name", "resnet18", "small pictures: 94.25 % of Fashion-MNIST at a quarter of its width")
        yield Choice("model.fields", {"stem": "cifar", "width": width}, f"small pictures need the small stem; {why}")
    flip = () if facts.channels == 1 else ("flip",)
    mirrored = "grey small pictures may be characters: not mirrored" if not flip else "shifted and mirrored"
    whole = (f"resize({size})", f"center_crop({size})")  # pictures of files must have one size from here on
    yield Choice("data.augment", (*whole, f"crop({size}, pad={size // 8})", *flip), mirrored)
    yield Choice("data.eval_transform", whole, "their own size")
    yield from _normalised(facts)
    yield _epochs(facts, ((2_000, 60), (20_000, 30), (None, 15)))
    yield from _batch(facts, 128)
    yield Choice("schedule.peak", 0.1, "as configs/small_fashion_mnist.py")
    yield Choice("optim.nesterov", True, "the same")
    yield from _regularised(facts)


def _from_scratch(facts: Facts) -> Iterator[Choice]:
    size = min(128, facts.side // 32 * 32)
    if not facts.model:
        yield Choice("model.name", "resnet18", "no weights: the best start from scratch on 244 pictures (measured)")
    crop = f"random_resized_crop({size}, scale=(0.25, 1.0))"
    yield Choice("data.augment", (crop, "flip"), "as configs/folder.py; take whole pictures where defects are small")
    yield Choice("data.eval_transform", (f"resize({size * 8 // 7})", f"center_crop({size})"), f"{size} pixels")
    yield from _normalised(facts)
    yield _epochs(facts, ((2_000, 60), (20_000, 30), (None, 15)))
    yield from _batch(facts, 32)
    yield AUTO
    yield Choice("schedule.peak", 0.01, "of 0.002, 0.01 and 0.05 the middle one; on 244 pictures none was better")
    yield Choice("optim.nesterov", True, "as configs/folder.py")
    yield from _regularised(facts)


def _regularised(facts: Facts) -> Iterator[Choice]:
    yield Choice("optim.weight_decay", 5e-4, "as in the recipes from scratch")
    if not facts.sets:
        yield Choice("loss.label_smoothing", 0.1, "the same")


def _normalised(facts: Facts) -> Iterator[Choice]:
    if facts.channels == 1:
        if not facts.in_memory:
            yield Choice("data.channels", 1, "all pictures looked at are grey")
        yield Choice("data.mean", GREY[0], "grey, as configs/inspection.py")
        yield Choice("data.std", GREY[1], "the same")
    elif facts.channels == 3:
        yield Choice("data.normalize", "imagenet", "colour photographs")


def _epochs(facts: Facts, table: tuple[tuple[int | None, int], ...]) -> Choice:
    """The first row of (most pictures, epochs) that the set fits."""
    epochs = next(epochs for most, epochs in table if most is None or facts.pictures <= most)
    known = f"{facts.pictures:,} pictures; fewer pictures want more epochs, measured with 20 on 244 and 15 on 60,000"
    return Choice("duration", f"{epochs} epochs", known)


def _batch(facts: Facts, usual: int) -> Iterator[Choice]:
    """`usual`, or less where the set has not four such batches; a multiple of the devices."""
    most = max(1, facts.pictures // 4)
    size = usual if usual <= most else 2 ** (most.bit_length() - 1)
    if size < facts.devices:
        yield Choice("parallel.devices", 1, f"a batch of {size} is too small for {facts.devices} devices")
    elif size % facts.devices:
        size = size // facts.devices * facts.devices
    yield Choice("batch_size", size, f"the recipe's {usual}" if size == usual else "four batches an epoch at least")
    if size != usual:
        yield Choice("schedule.per_batch", usual, "the rate goes with the batch")


def _always(facts: Facts) -> Iterator[Choice]:
    yield Choice("schedule.warmup", "5%", "a first rate that is too high ruins what was learned")
    if facts.sets:
        yield Choice("eval.best", "mAP", "sets of labels: classes are ranked, one by one")


def _balance(facts: Facts) -> Iterator[Choice]:
    if facts.sets or facts.unevenness < UNEVEN:
        return
    times = f"{facts.unevenness:.0f} : 1 between classes"
    yield Choice(
        "eval.best", "balanced_accuracy", f"{times}: accuracy alone chose a net that said one class (measured)"
    )
    if facts.unevenness >= RARE:
        yield Choice("data.sampling", "sqrt", f"{times}: rare classes are drawn more often, as configs/unbalanced.py")
        yield Choice("loss.class_weight", "effective(0.99)", "the rest of the difference (Cui et al. 2019)")
