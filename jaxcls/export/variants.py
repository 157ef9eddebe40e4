"""The INT8 variant of a float model, and the pictures that it takes: to calibrate on, to choose by, to compare on."""

import functools
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcls.errors import UserError
from jaxcls.export import check, latency, quantise, sensitive, weighted
from jaxcls.export import pictures as of
from jaxcls.export.asked import Options, Subject
from jaxcls.export.pictures import Pictures
from jaxcls.export.subject import prepared
from jaxcls.types import Note

if TYPE_CHECKING:
    from onnx import ModelProto


HELD_OUT = 512  # training pictures at most that a choice of layers is measured on


def pictures(subject: Subject, options: Options) -> tuple[Pictures | None, Pictures | None, Pictures]:
    """(to calibrate on, labelled training pictures to choose by, to compare on); None where there are none.

    Of a run: training, other training, validation pictures (test where it has no validation). Of a bare model: a
    folder's, of which up to half calibrate and the others compare; without one made pictures compare.

    Raises:
      UserError: for a folder that can't be used.
    """
    network, data = subject.network, subject.data
    calibration, held_out, compared = None, None, None
    if options.calibration_folder is not None:
        images = of.of_folder(options.calibration_folder, network.preprocessing)
        first, rest = of.calibration_rows(len(images), options.calibration_pictures, options.check_pictures)
        where = f"of {len(images):,} pictures in {options.calibration_folder}"
        calibration = of.of_list([images[i] for i in first], f"{len(first)} {where}")
        if len(rest):
            compared = of.of_list([images[i] for i in rest], f"{len(rest)} others {where}")
    if data is not None:
        train = data.sources["train"]
        first, rest = of.calibration_rows(len(train), options.calibration_pictures, HELD_OUT)
        calibration = calibration or of.of_split(data, "train", first)
        held_out = of.of_split(data, "train", rest) if len(rest) else None
        split = next((name for name in ("validation", "test") if name in data.sources), None)
        if split is not None:
            compared = of.of_split(data, split, of.spread(len(data.sources[split]), options.check_pictures))
    if compared is None:
        compared = of.made(prepared(network.preprocessing))
    return calibration, held_out, compared


def int8(
    subject: Subject,
    options: Options,
    model: "ModelProto",
    calibration: Pictures | None,
    held_out: Pictures | None,
    note: Note,
) -> tuple["ModelProto", dict[str, Any]]:
    """(the INT8 model, what export.json says of its making): calibrated where it is static; where it costs more than
    `max_drop` on held-out training pictures, with its most sensitive layers in float.

    Raises:
      UserError: where there is nothing to calibrate on, or ONNX Runtime refuses.
    """
    way, why = quantise.way(model, options.int8)
    about: dict[str, Any] = {"way": way, "target": options.target, "reduce_range": options.target == "any"}
    note(f"INT8 {way}: {why}")
    if way == "static":
        if calibration is None:
            lost = f" ({subject.why_no_data})" if subject.why_no_data else ""
            raise UserError(f"--int8 needs pictures to calibrate on, and there are none{lost}: --calibration DIR.")
        size = quantise.batch_size(options.method)
        ranges = quantise.calibrated(model, (x for _, x in calibration.batches(size)), method=options.method)
        about |= {"method": options.method, "pictures": calibration.count, "on": calibration.about}
        note(f"calibrated by {options.method} on {calibration.about}")
        build = functools.partial(quantise.quantised, ranges, target=options.target)
        names = [layer.name for layer in weighted.layers(ranges.model)]
    else:
        build = functools.partial(quantise.dynamic, model, target=options.target)
        products = [layer for layer in weighted.layers(weighted.named(model)) if layer.op in ("MatMul", "Gemm")]
        names = [layer.name for layer in products if layer.weights]
    unjudged = latency.lacks(options.target)
    if held_out is None or subject.network.key != "logits" or unjudged or _none_of_any(held_out.labels):
        return build(), about
    begun = time.perf_counter()
    found = _searched(model, build, names, held_out, options.max_drop, note)
    if found.kept:
        note(f"{len(found.kept)} of {len(names)} layers stay in float ({time.perf_counter() - begun:.0f} s)")
    return found.model, {**about, **found.to_json(), "chosen_on": held_out.about}


def _none_of_any(labels):
    """Whether these are sets of labels, all of them empty: they have no mAP."""
    return labels.ndim == 2 and not labels.any()


def _searched(model, build, names, held_out, max_drop, note):
    """What `sensitive.search` finds."""
    numbers, images = zip(*held_out.batches(check.BATCH), strict=True)
    labels = held_out.labels[np.concatenate(numbers)]
    in_float = sensitive.ask(model)
    reference = np.concatenate([in_float(batch) for batch in images])
    if labels.ndim == 2:
        drop = sensitive.drop_of_sets(reference, labels, lambda: images)
    else:
        drop = sensitive.drop_of(reference.argmax(axis=1), labels, lambda: images)
    few = np.concatenate(images)[of.spread(len(labels), sensitive.PICTURES)]
    return sensitive.search(build, model, names, few, drop, wanted=max_drop, note=note)
