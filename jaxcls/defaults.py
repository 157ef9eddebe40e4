"""Every config key with its default. A config starts from here, so a misspelt key fails where it is written.

    from jaxcls.defaults import default_config

    def get_config(arg=""):
        config = default_config()
        config.model.name = "resnet50"
        ...
        return config

Durations are written "500 steps", "90 epochs" or "5%" (of the run).
"""

import functools
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from jaxcls.errors import UserError

# Keys that have another name now, in the same section. The old one is read wherever a config is: in files, on the
# command line, in what earlier runs have stored.
RENAMED = {"data.sizes": "data.resize_schedule", "parallel.sync_batchnorm": "parallel.batch_norm"}
# Of those, what has another value now: the values of before -> those of today.
REVALUED: dict[str, dict[Any, Any]] = {"parallel.sync_batchnorm": {True: "global", False: "local"}}


def default_config() -> ConfigDict:
    """A locked `ConfigDict` with all keys."""
    config = ConfigDict()
    config.seed = 0
    config.duration = "10 epochs"
    config.extended = ()  # where the run had ended before it was extended, as `jaxcls train` writes it: ("1140 steps",)
    config.batch_size = 128  # of all devices together
    config.auto_batch = False  # the step is cut to what memory there is (training/fitting.py); batch_size=auto sets it
    config.accumulate = 1  # micro-batches a step; BatchNorm sees one at a time
    config.precision = "float32"  # of the computation: float32, bfloat16, float16; parameters and logits stay float32

    config.data = data = _Data()
    data.name = "digits"  # digits, tfds/<name>, folder/<path>, table/<file>, unlabelled/<path> ... (docs/data.md)
    data.dir = ""  # of tensorflow-datasets; "" is its own default
    data.validation = 0.1  # share of train held out where a set has no validation split; 0: none, the last state counts
    data.split_ratios = (0.7, 0.15, 0.15)  # train, validation, test of a set that has no splits
    data.group_by = ""  # pictures that a split keeps together: a regular expression on paths, or a file of groups
    data.metadata = ""  # a CSV file with the column path and others, for figures by group in the report
    data.columns = ()  # of a table, which the net takes beside the picture: ("age", "place"); docs/columns.md
    data.tree = ""  # a CSV file of classes and what stands above them (child, parent), for figures by level
    data.channels = 0  # 1 grey, 3 colour, any other: as stored; 0: as they are in memory, 3 for picture files
    data.window = ()  # (low, high) that become black and white, of DICOM and pictures of more than 8 bits
    data.augment = ()  # training, in order, e.g. ("random_resized_crop(224)", "flip")
    data.augment_second = ()  # of the second view, where ssl.method or few.method has two; (): as data.augment
    data.resize_schedule = ()  # training: the pictures' short side from a moment on, e.g. ("0%: 128", "50%: 224")
    data.sampling = "uniform"  # training: uniform, oversample, balanced, sqrt (data/sampling.py)
    data.repeats = 1  # training: how often a picture stands in its batch, each time transformed by itself
    data.fold = ""  # "2/5": the second of five folds is held out, as `jaxcls train --folds 5` does for each
    data.rows = ""  # training: a file of the pictures that count, a name a line; "": all
    data.imbalance = 1.0  # training: the set is thinned out to this ratio of the largest class to the smallest
    data.eval_transform = ()  # evaluation, e.g. ("resize(256)", "center_crop(224)")
    # unit [0, 1], symmetric [-1, 1], imagenet, cifar10, cifar100, mnist, fashion_mnist, weights
    data.normalize = "unit"
    data.mean = ()  # in place of normalize: one value, or one a channel, on the scale of [0, 1]
    data.std = ()
    data.device_memory = 2**30  # bytes up to which a set of pictures in memory is kept on the device; 0: always stream
    data.bad_pictures = "stop"  # at a picture that can't be read; or skip it
    data.workers = -1  # reading processes; 0: threads of this process, -1: chosen by a measurement
    data.pack = 0  # pixels of the short side at which picture files are kept decoded, for many epochs; 0: not at all
    data.pack_dir = ""  # where; "" is jaxcls/packed in the user's cache

    config.model = model = _Model()
    model.name = "lenet5"  # "": that of the weights in model.pretrained
    model.fields = ConfigDict()  # further fields of the model, e.g. {"stem": "cifar"}
    model.fields.unlock()
    model.neck = ""  # fpn(64): a feature pyramid before the classifier; cosine; columns(32), with data.columns
    model.whiten = False  # the first convolution whitens patches of the training pictures (airbench94)
    model.pretrained = ""  # weights to start from: a name, a file, hf-hub:ORG/NAME; required: it does not start without
    model.kept = ()  # which channels are kept, ("conv1=f0", ..) as `jaxcls prune` writes it; (): all
    model.quantize = ""  # int8, int8(vnni), int8(arm): training for an INT8 file, for any or such processors

    config.loss = loss = ConfigDict()
    # cross_entropy (of sets: the binary one), focal, binary_cross_entropy, poly1, asymmetric
    loss.name = "cross_entropy"
    loss.label_smoothing = 0.0
    loss.class_weight = ""  # auto (1/frequency), effective(0.999), or numbers, one a class: "1, 2.5, 0.5"
    loss.gamma = 2.0  # of focal
    loss.alpha = 1.0  # of focal
    loss.epsilon = 1.0  # of poly1
    loss.threshold = 0.0  # of binary_cross_entropy: labels above it count in full; 0: as they are
    loss.gamma_neg = 4.0  # of asymmetric: how much absent classes that are said to be absent are played down
    loss.gamma_pos = 1.0  # of asymmetric: how much classes that are found are
    loss.clip = 0.05  # of asymmetric: absent classes with a lower probability count nothing
    loss.sum_classes = False  # of binary_cross_entropy and asymmetric: the sum over classes in place of the mean
    loss.aux_weight = 0.3  # of the loss of each auxiliary classifier, where the model has any
    loss.consistency = 0.0  # of the divergence between three views of a picture (AugMix: 12); 0: one view

    config.distill = distill = ConfigDict()
    distill.teacher = ""  # a run's workdir, a file of weights, or "init" (untrained, for trials); "": no teacher
    distill.model = ""  # of a file of weights or of "init"; that of a run is known
    distill.fields = ()  # of that model, e.g. ("stem=cifar",)
    distill.normalize = ""  # of that model's pictures, a name as of data.normalize; "": as the student's
    distill.mode = "soft"  # soft: alpha * T^2 * KL + (1 - alpha) * loss; hard: half the loss, half the teacher's class
    distill.alpha = 0.7
    distill.temperature = 4.0
    distill.hints = ()  # layers to be made alike, "stage3" or "stage4=stage3" (student's=teacher's)
    distill.hint_weight = 1.0
    distill.cache = False  # the teacher's logits are computed once, of pictures without augmentation

    config.prune = prune = ConfigDict()  # channels of model.pretrained that go before training (docs/compress.md)
    prune.ratio = 0.0  # share of the channels that go; 0: by macs or params, or none
    prune.macs = 0.0  # share of the multiply-adds that may stay, in place of a ratio
    prune.params = 0.0  # share of the parameters that may stay, in place of a ratio
    prune.importance = "l1"  # l1, l2, bn, taylor, random (the control)
    prune.scope = "local"  # local: the ratio of each group; global: the least important of all
    prune.floor = 0.0  # least share that a group keeps
    prune.multiple = 8  # what a layer's channels are rounded up to
    prune.keep = ()  # regular expressions of layers that stay whole, e.g. ("layer1",)

    config.ssl = ssl = ConfigDict()  # learning without labels (docs/self-supervised.md)
    ssl.method = ""  # simclr, supcon, moco, moco_v3, byol, simsiam, barlow_twins, vicreg; "": labels are learnt
    ssl.projector = ()  # widths of the projector's layers, 0 for that of the features; (): the method's own
    ssl.predictor = ()  # of the predictor's, of moco_v3, byol and simsiam
    ssl.predictor_norm = False  # of moco_v3: the predictor ends with a BatchNorm (the paper's ViTs)
    ssl.temperature = 0.1  # of simclr, supcon, moco and moco_v3
    ssl.momentum = 0.99  # of the slow encoder of moco, moco_v3 and byol
    ssl.momentum_schedule = "constant"  # or cosine, which ends at 1
    ssl.queue = 4096  # of moco: keys of earlier batches
    ssl.symmetric = False  # of moco: each view is the query once
    ssl.weights = ()  # barlow_twins: of what is off the diagonal (0.005); vicreg: of its three terms (25, 25, 1)
    ssl.scale = 1.0  # of the loss of barlow_twins

    config.few = few = ConfigDict()  # learning with few labels (docs/few_labels.md)
    few.method = ""  # fixmatch, pseudo; "": only labelled pictures are learnt from
    few.labels = ""  # which training pictures teach by labels: 500, 1%, or a file of names; "": all that have one
    few.draw = 0  # which draw of labels, as jaxcls probe --labels numbers them
    few.data = ""  # further pictures without labels, named as data.name is; "": those that few.labels leaves
    few.ratio = 7  # pictures without labels for each one with, in a batch: mu; batch_size counts both
    few.threshold = 0.95  # probability from which on a pseudo-label is learnt
    few.weight = 1.0  # of the loss of pseudo-labels
    few.temperature = 0.0  # of soft pseudo-labels; 0: hard ones

    config.nas = nas = ConfigDict()  # architecture search (docs/nas.md)
    nas.stages = ()  # of the space, such as ("mbconv(24, times=2, stride=2)",), for the model mbconv_net; (): no search
    nas.holdout = 0.5  # share of the training pictures whose accuracy is the reward; they teach no weight
    nas.ratio = 1  # pictures for the weights for each one for the reward, in a batch; batch_size counts both
    nas.rate = 3e-4  # of the controller, after the first quarter of the run; it grows tenfold
    nas.reward = "abs"  # accuracy + beta |cost / target - 1|; or mnas: accuracy * (cost / target)^beta
    nas.beta = -0.1
    nas.cost = "macs"  # macs, params, or a file of latencies (jaxcls nas --latency measures one)
    nas.target = 0.0  # of the cost; 0: accuracy alone counts
    nas.retrain = ""  # duration of the nets that are trained from scratch; "": duration
    nas.asked = 200  # nets that random search and evolution ask the shared weights about, each; 0: none of the two
    nas.random = 8  # random nets beside the choice, of no more multiply-adds
    nas.seeds = 2  # of each of these nets
    nas.reference = "resnet20_cifar"  # a model beside them; "": none

    config.words = words = ConfigDict()  # learning from captions (docs/words.md)
    words.method = ""  # clip, siglip; "": labels are learnt
    words.column = "caption"  # of the table, that has them
    words.vocab = ""  # the file of their tokens: byte pairs (CLIP) or sentencepiece
    words.context = 77  # tokens of a caption, both ends included
    words.width = 512  # of the tower of texts; a head of attention has 64
    words.depth = 12

    config.monitor = monitor = ConfigDict()  # of learning without labels: how good the features are, on validation
    monitor.data = ""  # labelled pictures, named as data.name is; "": the labels of data.name
    monitor.probe = True  # a linear classifier learns beside the encoder, which it does not change
    monitor.knn = "lightly"  # nearest neighbours: instdisc, lightly, simsiam, solo-learn, or "K, TEMPERATURE"; "": none
    monitor.pictures = 0  # training pictures that vote at most; 0: all

    config.optim = optim = ConfigDict()
    optim.name = "sgd"  # sgd, adam, adamw, rmsprop_tf, lars, lamb, lion, muon
    optim.momentum = 0.9  # of sgd, rmsprop_tf, lars and muon
    optim.nesterov = False
    optim.b1 = 0.9  # of adam, adamw, lamb, lion and muon
    optim.b2 = 0.0  # of the same; 0: the optimiser's own
    optim.eps = 0.0  # 0: the optimiser's own
    optim.weight_decay = 0.0  # L2 in the gradient of sgd, adam, rmsprop_tf and lars; decoupled in the others
    optim.decay_mask = ("kernel$|_weight$",)  # parameters that decay, by regular expressions on their names
    optim.clip_norm = 0.0  # largest global norm of the gradient; 0: any
    optim.clip_adaptive = 0.0  # largest norm of a unit's gradient by that of its weights (AGC); 0: any
    optim.clip_adaptive_exclude = ()  # parameters that AGC leaves alone
    optim.layer_decay = 1.0  # learning rate of a layer by that of the layer above it
    optim.multipliers = ()  # of the learning rate, (pattern, factor) pairs; the first that matches counts
    optim.freeze = ()  # what is not trained: stem, stage1 .., all (but the head), or regular expressions on names
    optim.unfreeze = ()  # what is trained from a moment on, e.g. ("20%: stage4", "40%: all"); the first entry counts
    optim.lookahead = 0  # steps between synchronisations with slow weights; 0: none
    optim.lookahead_alpha = 0.5
    optim.lookahead_end = 0.0  # alpha goes to it with the cube of the step; 0: it stays
    optim.sam = 0.0  # radius of sharpness-aware minimisation; 0: none. It computes every gradient twice
    optim.trust = 1e-3  # of lars
    optim.lars_form = "paper"  # paper, simclr, moco_v3, lightly or solo_learn: whose LARS (optim.rules.LARS_FORMS)
    optim.adam_rate = 1.0  # of muon: rate of what AdamW steps by that of the matrices
    optim.muon_exclude = ()  # matrices that AdamW steps, too

    config.schedule = schedule = ConfigDict()
    schedule.name = "cosine"  # jaxcls/training/recipe.py, SHAPES: constant, step, cosine, one_cycle ...
    schedule.peak = 0.1  # learning rate
    schedule.per_batch = 0  # the peak is for a batch of this size and grows in proportion; 0: it is as given
    schedule.batch_rule = "linear"  # how it grows with the batch: linear, or sqrt (LAMB's)
    schedule.warmup = ""  # duration of a linear warm-up (not for one_cycle)
    schedule.warmup_start = 0.0  # learning rate before the warm-up
    schedule.final = 0.0  # learning rate at the end of linear, polynomial, cosine, sgdr and trapezoid
    schedule.every = ""  # duration between the steps of step and exponential; of the first cycle of sgdr
    schedule.factor = 0.1  # of step, multi_step and exponential
    schedule.milestones = ()  # durations, of multi_step
    schedule.power = 2.0  # of polynomial
    schedule.mult = 1  # of sgdr: length of a cycle by that of the one before
    schedule.cooldown = "20%"  # of trapezoid: the way down
    schedule.pct_start = 0.3  # of one_cycle: share of the run before the peak
    schedule.cycle_momentum = True  # of one_cycle: from 0.95 down to 0.85 and back, in place of optim.momentum (b1)
    schedule.anneal = "cosine"  # of one_cycle; or linear
    schedule.three_phase = False  # of one_cycle: up, down as long, then to the end
    schedule.div_factor = 25.0  # of one_cycle: peak by the first rate
    schedule.final_div_factor = 1e4  # of one_cycle: first rate by the last
    schedule.rest = 0.0  # of a run that is extended now: the rate that it goes on with; 0: the one reached

    config.plateau = plateau = ConfigDict()  # lowers the rate where a figure of validation gets no better
    plateau.figure = ""  # accuracy, balanced_accuracy or loss; "": never
    plateau.factor = 0.1
    plateau.patience = 10  # evaluations
    plateau.threshold = 1e-4  # relative improvement that counts
    plateau.cooldown = 0  # evaluations after a reduction that are not counted
    plateau.min_scale = 0.0  # the least share of the schedule's rate

    config.early_stopping = stopping = ConfigDict()  # ends the run where a figure of validation gets no better
    stopping.figure = ""  # accuracy, balanced_accuracy or loss; "": never
    stopping.patience = 10  # evaluations
    stopping.threshold = 0.0  # improvement that counts

    config.sparsity = sparsity = ConfigDict()  # small weights, and zeros among them
    sparsity.bn = 0.0  # penalty: by the sum of |scale| of the BatchNorms (network slimming); 0: none
    sparsity.group = 0.0  # penalty: by the group lasso of the channels that pruning may take away
    sparsity.weights = 0.0  # penalty: by the sum of |w| of the kernels
    sparsity.magnitude = 0.0  # masks: the share of the kernels' weights that is zero in the end; 0: none
    sparsity.pattern = ""  # masks: 2:4, of four neighbouring inputs the two smallest weights are zero
    sparsity.scope = "local"  # of magnitude: the smallest of each kernel; global: of all together
    sparsity.begin = ""  # duration before the first masks; "": from the start
    sparsity.end = "50%"  # of magnitude: duration until the share is reached, and the masks stay
    sparsity.every = "100 steps"  # of magnitude: duration between new masks
    sparsity.keep = ()  # what none of these touches: stem, stage1 .., head, or regular expressions on names

    config.ema_decay = 0.0  # 0: no average
    config.noise_every = 0  # steps from one measurement of the gradient-noise scale to the next; 0: none
    config.precise_bn = 0  # training batches of which BatchNorm's statistics are taken before an evaluation; 0: none

    config.parallel = parallel = _Parallel()
    parallel.mode = "jit"  # jit or pmap
    parallel.devices = 0  # 0: all
    parallel.mesh = (("data", -1),)  # how the devices are arranged: (axis, size) pairs, -1 for what is left
    parallel.shard = ()  # how the state is cut over them: fsdp, or rules such as ("head/kernel", "-, model"); (): not
    parallel.batch_norm = "global"  # statistics of the whole batch; local: of a device's share; or of groups(8) of it

    config.eval = evaluation = ConfigDict()
    evaluation.every = "1 epoch"
    evaluation.batch_size = 0  # 0: that of training
    evaluation.best = "accuracy"  # what of validation chooses the best checkpoint; balanced_accuracy, loss, knn
    evaluation.tta = ()  # views of a picture whose predictions are averaged, such as ("shift(1)", "flip"): tasks/tta.py
    evaluation.tta_mean = "logits"  # or probabilities

    config.checkpoint = checkpoint = ConfigDict()
    checkpoint.every = "1 epoch"
    checkpoint.keep = 2  # newest ones; the best one is kept besides

    config.log_every = "50 steps"
    config.log_to = ()  # where metrics go besides the workdir: wandb, mlflow (logs/trackers.py)
    return config.lock()


class _Renaming(ConfigDict):
    """A section whose keys may be given by the names that they had (RENAMED)."""

    section = ""

    def __getitem__(self, key):
        return super().__getitem__(self._current(key))

    def __setitem__(self, key, value):
        super().__setitem__(self._current(key), current_value(f"{self.section}.{key}", value))

    def _current(self, key):
        return current_key(f"{self.section}.{key}").removeprefix(f"{self.section}.")


class _Data(_Renaming):
    section = "data"


class _Model(ConfigDict):
    """`pretrained = True` means the usual weights of `name`."""

    def __setitem__(self, key, value):
        if key == "pretrained" and isinstance(value, bool):
            value = "True" if value else ""
        super().__setitem__(key, value)


class _Parallel(_Renaming):
    """`shard = "fsdp"` is `("fsdp",)`."""

    section = "parallel"

    def __setitem__(self, key, value):
        if key == "shard" and isinstance(value, str):
            value = (value,) if value else ()
        super().__setitem__(key, value)


def current_key(path: str) -> str:
    """The name that a key such as "optim.momentum" has today; a line on stderr says so, once, where it is another."""
    if path in RENAMED:
        _say_renamed(path)
    return RENAMED.get(path, path)


def current_value(path: str, value: Any) -> Any:
    """What a value that was given to a key, under this name, is today."""
    return REVALUED[path].get(value, value) if path in REVALUED and isinstance(value, bool) else value


@functools.cache
def _say_renamed(path):
    values = ", ".join(f"{old} is {new!r}" for old, new in REVALUED.get(path, {}).items())
    about = f" ({values})" if values else ""
    print(f"note: config.{path} is called config.{RENAMED[path]} now{about}", file=sys.stderr, flush=True)


def parse_tiny(arg: str | None) -> bool:
    """True for the argument "tiny" (`--config=configs/x.py:tiny`), False for none.

    Raises:
      UserError: for another argument.
    """
    if arg not in ("", None, "tiny"):
        raise UserError(f"this config takes the argument ':tiny' or none, not ':{arg}'.")
    return arg == "tiny"


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every key of a config, sections joined by dots; `model.fields` counts as one value."""
    for key, value in config.items():
        if hasattr(value, "keys") and f"{prefix}{key}" != "model.fields":
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
