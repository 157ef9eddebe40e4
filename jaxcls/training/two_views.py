"""The task of a config that learns without labels (config.ssl): the part of `build` that reads these sections."""

from typing import Any

from jaxcls.data.base import multilabel
from jaxcls.errors import UserError
from jaxcls.hyperparameters import Section, number
from jaxcls.settings.reader import choose
from jaxcls.tasks.ssl import barlow_twins, byol, moco, moco_v3, simclr, simsiam, supcon, vicreg
from jaxcls.tasks.ssl.frame import Monitor, TwoViews
from jaxcls.training.data import Data
from jaxcls.training.model import Model

# What neighbours' votes are called, as (k, temperature): Wu et al. 2018 (InstDisc); lightly's benchmarks and MoCo's
# CIFAR-10 notebook; SimSiam's authors (facebookresearch/simsiam#10); solo-learn.
NEIGHBOURS = {"instdisc": (200, 0.07), "lightly": (200, 0.1), "simsiam": (200, 0.2), "solo-learn": (20, 0.07)}
WIDTHS = {  # of the projector, and of the predictor where there is one; 0: those of the features
    "simclr": ((0, 128), ()),
    "supcon": ((0, 128), ()),
    "moco": ((0, 128), ()),
    "moco_v3": ((4096, 256), (4096, 256)),
    "byol": ((4096, 256), (4096, 256)),
    "simsiam": ((2048, 2048, 2048), (512, 2048)),
    "barlow_twins": ((8192, 8192, 8192), ()),
    "vicreg": ((8192, 8192, 8192), ()),
}
BY_PICTURE = ("byol", "simsiam")  # the others compare the pictures of a batch


def task(config: Any, model: Model, data: Data, total: int) -> TwoViews:
    """The task of config.ssl, without its wrappers; `total`: steps of the run.

    Raises:
      UserError: for settings that do not go together.
    """
    section = Section(config.ssl, "ssl")
    method = choose("config.ssl.method", section.method, WIDTHS)
    if config.accumulate > 1 and method not in BY_PICTURE:
        raise UserError(
            f"config.accumulate={config.accumulate}: {method} compares the pictures of a batch, which micro-batches "
            "would cut into smaller ones; lower config.batch_size in its place, or use byol or simsiam."
        )
    if method == "supcon" and not data.labelled:
        raise UserError("config.ssl.method='supcon' learns from labels, and the pictures have none; use 'simclr'.")
    judged = [data.sources["train"], *filter(None, (data.sources.get("validation"), data.bank))]
    wanted = config.monitor.knn or config.monitor.probe or method == "supcon"
    if wanted and any(map(multilabel, judged)):
        raise UserError(
            f"config.ssl.method={method!r}: neighbours, the probe and supcon know one class a picture, but the labels "
            "are sets; set config.monitor.knn='' and config.monitor.probe=False (and use another method than supcon)."
        )
    watched = monitor(config, data)
    if watched.k and not watched.probe and config.eval.best == "accuracy" and "validation" in data.sources:
        raise UserError(
            "config.eval.best is 'accuracy', which is the linear probe's, and there is none (config.monitor.probe, and "
            "labels of the training pictures); set config.eval.best='knn'."
        )
    frame = {"axis_name": model.axis_name, "monitor": watched}
    return MAKE[method](config, section, model, total, frame)


def monitor(config: Any, data: Data) -> Monitor:
    """How the features are watched. Raises UserError for neighbours that can't be."""
    k, temperature = neighbours(config.monitor.knn)
    probe = bool(config.monitor.probe and data.labelled)
    if k and data.bank is not None:
        if k > len(data.bank):
            raise UserError(
                f"config.monitor.knn={config.monitor.knn!r} asks {k} neighbours, but {len(data.bank)} labelled "
                f"training pictures can vote; write for example config.monitor.knn='{min(20, len(data.bank))}, 0.1'."
            )
        return Monitor(probe, k, temperature)
    return Monitor(probe)


def neighbours(text: str) -> tuple[int, float]:
    """(k, temperature) of config.monitor.knn; (0, 0.0) for none. Raises UserError."""
    if not text:
        return 0, 0.0
    if text in NEIGHBOURS:
        return NEIGHBOURS[text]
    try:
        k, temperature = (part.strip() for part in str(text).split(","))
        found = int(k), float(temperature)
        if found[0] < 1 or not 0 <= found[1] < float("inf"):
            raise ValueError
    except ValueError:
        known = ", ".join(NEIGHBOURS)
        raise UserError(
            f"config.monitor.knn is {text!r}; it can be {known}, 'K, TEMPERATURE' such as '20, 0.07', or ''."
        ) from None
    return found


def _widths(config, method):
    """(projector, predictor)."""
    chosen = []
    pairs = zip(("projector", "predictor"), WIDTHS[method], strict=True)
    for key, usual in pairs:
        if not usual:
            continue
        given = tuple(getattr(config.ssl, key)) or usual
        if not all(isinstance(width, int) and not isinstance(width, bool) and width >= 0 for width in given):
            raise UserError(f"config.ssl.{key} is {given!r}; it must be the widths of layers, such as {usual}.")
        chosen.append(given)
    if len(chosen) == 2 and chosen[1][-1] != chosen[0][-1]:
        raise UserError(
            f"config.ssl.predictor ends with {chosen[1][-1]} and config.ssl.projector with {chosen[0][-1]}: what is "
            "predicted are projections; give both the same last width."
        )
    return chosen


def _types(model):
    module = model.module
    return {"dtype": module.dtype, "param_dtype": module.param_dtype, "axis_name": module.axis_name}


def _slow(config, section, total):
    """Momentum, and the steps over which it grows."""
    shape = choose("config.ssl.momentum_schedule", config.ssl.momentum_schedule, ("constant", "cosine"))
    return {"momentum": section.momentum, "total": number(total, "total_steps") if shape == "cosine" else 0}


def _temperature(section):
    return {"temperature": section.temperature}


def _weights(config, usual):
    """config.ssl.weights, as many as `usual`, which stand for none."""
    given = tuple(config.ssl.weights) or usual
    if len(given) != len(usual) or not all(isinstance(w, (int, float)) and w >= 0 for w in given):
        raise UserError(f"config.ssl.weights is {given!r}; it must be {len(usual)} number(s), such as {usual}.")
    return tuple(number(float(w), f"ssl.weights.{i}") for i, w in enumerate(given))


def _simclr(config, section, model, total, frame, of=simclr.SimCLR, name="simclr", heads=simclr.heads):
    (projector,) = _widths(config, name)
    return of(model.module, heads(projector, _types(model)), **_temperature(section), **frame)


def _supcon(*args):
    return _simclr(*args, of=supcon.SupCon, name="supcon", heads=supcon.heads)


def _moco(config, section, model, total, frame):
    (projector,) = _widths(config, "moco")
    keys = config.batch_size * (2 if section.symmetric else 1)
    if section.queue < 1 or section.queue % keys:
        raise UserError(
            f"config.ssl.queue={section.queue} can't be divided by the {keys} keys of a batch; "
            f"try {max(1, round(section.queue / keys)) * keys}."
        )
    return moco.MoCo(
        model.module,
        moco.heads(projector, _types(model)),
        queue=section.queue,
        symmetric=section.symmetric,
        shuffle=config.parallel.batch_norm != "global",
        **_temperature(section),
        **_slow(config, section, total),
        **frame,
    )


def _moco_v3(config, section, model, total, frame):
    projector, predictor = _widths(config, "moco_v3")
    heads = moco_v3.heads(projector, predictor, _types(model), norm=section.predictor_norm)
    return moco_v3.MoCoV3(model.module, heads, **_temperature(section), **_slow(config, section, total), **frame)


def _byol(config, section, model, total, frame):
    projector, predictor = _widths(config, "byol")
    heads = byol.heads(projector, predictor, _types(model))
    return byol.BYOL(model.module, heads, **_slow(config, section, total), **frame)


def _simsiam(config, section, model, total, frame):
    projector, predictor = _widths(config, "simsiam")
    return simsiam.SimSiam(model.module, simsiam.heads(projector, predictor, _types(model)), **frame)


def _barlow_twins(config, section, model, total, frame):
    (projector,), (off,) = _widths(config, "barlow_twins"), _weights(config, (0.005,))
    heads = barlow_twins.heads(projector, _types(model))
    return barlow_twins.BarlowTwins(model.module, heads, off_diagonal=off, scale=section.scale, **frame)


def _vicreg(config, section, model, total, frame):
    (projector,) = _widths(config, "vicreg")
    weights = _weights(config, (25.0, 25.0, 1.0))
    return vicreg.VICReg(model.module, vicreg.heads(projector, _types(model)), weights=weights, **frame)


MAKE = {
    "simclr": _simclr,
    "supcon": _supcon,
    "moco": _moco,
    "moco_v3": _moco_v3,
    "byol": _byol,
    "simsiam": _simsiam,
    "barlow_twins": _barlow_twins,
    "vicreg": _vicreg,
}
