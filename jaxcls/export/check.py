"""A file against the network that it was made of: the same pictures, both answers, and whether they differ by more than
was asked for."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxcls import metrics
from jaxcls.errors import UserError
from jaxcls.export import set_check
from jaxcls.export.pictures import Pictures
from jaxcls.measure import compare, decision, stored
from jaxcls.measure.multilabel import answers as of_sets
from jaxcls.tasks import base
from jaxcls.tasks.networks import Network

Ask = Callable[[np.ndarray], np.ndarray]  # uint8 [n, h, w, c] -> float32 [n, d]
BATCH = 16
ROUNDING = 1e-3  # of the largest answer: by so much a float32 file may differ
OK, REJECTED, NOT_JUDGED = "ok", "rejected", "not judged"


def runner(network: Network, output: str = "logits") -> Ask:
    """The network itself, jitted, its weights as arguments: what a file of this output must answer.

    A batch is filled up to 1 or a multiple of BATCH, so two programs are compiled.
    """
    import jax

    variables = jax.device_put(network.variables)
    ask = jax.jit(lambda variables, images: network.answer(variables, network.preprocessing.device(images)))

    def run(images):
        n = len(images)
        room = 0 if n == 1 else -n % BATCH
        padded = np.concatenate([images, np.zeros((room, *images.shape[1:]), np.uint8)]) if room else images
        answer = np.asarray(ask(variables, padded), np.float32)[:n]
        return given(network, answer) if output == "probabilities" else answer

    return run


def given(network: Network, logits: Float[np.ndarray, "n classes"]) -> Float[np.ndarray, "n classes"]:
    """Calibrated probabilities of logits, float32, as files with output "probabilities" give them."""
    if network.output == base.SIGMOID:
        return of_sets.probabilities(logits, network.calibration).astype(np.float32)
    return decision.probabilities(network.calibration, logits).astype(np.float32)


def answers(asked: Mapping[str, Ask], pictures: Pictures) -> tuple[Int[np.ndarray, " n"], dict[str, np.ndarray]]:
    """(numbers of the pictures that could be read, name -> answers [n, d]): each is read once for all.

    Raises:
      UserError: where none can be read.
    """
    numbers: list[np.ndarray] = []
    parts: dict[str, list[np.ndarray]] = {name: [] for name in asked}
    for some, images in pictures.batches(BATCH):
        numbers.append(some)
        for name, ask in asked.items():
            parts[name].append(ask(images))
    if not numbers:
        raise UserError(f"none of {pictures.about} can be read, so no file can be checked.")
    return np.concatenate(numbers), {name: np.concatenate(part) for name, part in parts.items()}


def stored_logits(network: Network, workdir: Path, pictures: Pictures, ask: Ask) -> Float[np.ndarray, "n d"] | None:
    """What evaluation has stored of these rows of validation at the network's step; None where that is not there, is of
    other weights, or was computed in another precision: tried on eight of them."""
    if pictures.rows is None or pictures.labels is None or network.key != "logits":
        return None
    try:
        if not stored.has_logits(workdir, "validation", network.step):
            return None
        found = stored.read_answers(workdir, "validation", network.step)
    except UserError:
        return None
    at = np.full(int(max(found.rows.max(), pictures.rows.max())) + 1, -1)
    at[found.rows] = np.arange(len(found.rows))
    places = at[pictures.rows]
    if (places < 0).any() or not np.array_equal(found.label[places], pictures.labels):
        return None
    logits = np.asarray(found.logits[places], np.float32)
    few = np.linspace(0, pictures.count - 1, min(8, pictures.count)).astype(int)
    images = [(number, pictures.read(int(number))) for number in few]
    good = [(number, image) for number, image in images if image is not None]
    if not good:
        return None
    now = ask(np.stack([image for _, image in good]))
    apart = np.abs(now - logits[[number for number, _ in good]]).max()
    return logits if apart <= ROUNDING * np.abs(now).max() else None


def compared(
    run: Float[np.ndarray, "n d"],
    file: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"] | UInt8[np.ndarray, "n classes"] | None = None,
    *,
    classes: bool = True,
    limits: Float[np.ndarray, " classes"] | None = None,
) -> dict[str, Any]:
    """How the answers of a file differ from those of the run, on the same pictures.

    Args:
      run, file: logits, probabilities or features.
      labels: of the pictures, for accuracy.
      classes: whether the largest answer is a class.
      limits: where answers are sets, those from which on each class is named (set_check.limits); None: no sets.

    Returns:
      dict of pictures, largest_difference, mean_difference, relative (the largest difference over the largest answer of
      the run); with classes agreement (share of pictures with the same class) and changed (how many have another one
      though the run's first two are further apart than rounding); with labels run and file (correct, accuracy,
      interval of 95 %), drop (accuracy of the run less that of the file), drop_interval (paired bootstrap), mcnemar
      (measure.compare.mcnemar); of sets what set_check.compared has in place of all these. All are fractions of 1.
    """
    difference = _difference(run, file)
    largest = float(np.abs(run[np.isfinite(run)]).max(initial=0.0))
    found: dict[str, Any] = {
        "pictures": len(run),
        "largest_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "relative": float(difference.max() / largest) if largest else math.inf if difference.any() else 0.0,
    }
    if limits is not None:
        return found | set_check.compared(run, file, limits, ROUNDING * largest, labels)
    if not classes:
        return found
    ours, theirs = _classes(run), _classes(file)
    margin = np.diff(np.sort(run, axis=1)[:, -2:], axis=1)[:, 0] if run.shape[1] > 1 else np.full(len(run), np.inf)
    found["agreement"] = float((ours == theirs).mean())
    found["changed"] = int(((ours != theirs) & ~(margin <= ROUNDING * largest)).sum())
    if labels is not None:
        found |= _accuracies(ours == labels, theirs == labels)
    return found


def _difference(run, file):
    """|run - file| in float64; inf where one alone is not finite, or the other infinity."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(run.astype(np.float64) - file)
    same = (run == file) | (np.isnan(run) & np.isnan(file))
    return np.where(same, 0.0, np.where(np.isfinite(apart), apart, np.inf))


def _classes(answer):
    """The class of each row; -1 where it is not finite (jaxcls.metrics)."""
    top = answer.max(axis=1)
    return np.where(np.isfinite(top), answer.argmax(axis=1), -1)


def _accuracies(right_run: Bool[np.ndarray, " n"], right_file: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, right in (("run", right_run), ("file", right_file)):
        hits, n = int(right.sum()), len(right)
        out[name] = {"correct": hits, "accuracy": hits / n, "interval": list(metrics.wilson_interval(hits, n))}
    drop = compare.bootstrap_difference(right_file, right_run)
    out |= {"drop": drop["difference"], "drop_interval": drop["interval"]}
    out["mcnemar"] = compare.mcnemar(right_run, right_file)
    return out


def verdict(
    found: Mapping[str, Any], name: str, precision: str, *, max_drop: float, unjudged: str = ""
) -> tuple[str, str]:
    """("ok", "rejected" or "not judged", a sentence) of what `compared` found.

    A float32 file must differ by no more than rounding. Another one is rejected where it is less accurate than the run
    by more than `max_drop` points (of accuracy; of sets of mAP) and McNemar's test, of sets a paired bootstrap, says
    that this is more than noise.

    Args:
      found: from `compared`.
      name: of the file, for the sentence.
      precision: "float32", "float16" or "int8".
      max_drop: in points.
      unjudged: why the drop on this machine says nothing; "" where it does.
    """
    if precision == "float32":
        if found["relative"] <= ROUNDING and not found.get("changed"):
            return OK, f"{name} answers as the run does (largest difference {found['relative']:.1e} of the largest)."
        return REJECTED, (
            f"{name} differs from the run by {found['relative']:.1e} of the largest answer, more than by rounding "
            f"({ROUNDING:g}); please report it."
        )
    if not math.isfinite(found["relative"]) and not unjudged:
        return REJECTED, f"{name} gives answers that are no numbers where the run gives some; keep another precision."
    if "drop" not in found:
        what = "set of labels" if "labels" in found else "class"
        share = f"the same {what} on {100 * found.get('agreement', 0):.1f} % of {found['pictures']:,}, "
        same = share if "agreement" in found else ""
        return NOT_JUDGED, (
            f"{name}: {same}largest difference {found['relative']:.1e} of the largest; without labels what that costs "
            "can't be told."
        )
    p, sentence = _of_drop(found, name)
    if unjudged:
        return NOT_JUDGED, f"{sentence.rstrip('.')}; not judged: {unjudged}."
    if 100 * found["drop"] > max_drop and (p is None or p < compare.LEVEL):
        return REJECTED, f"{sentence.rstrip('.')}, and --max-drop is {max_drop:g}."
    return OK, sentence


def _of_drop(found, name):
    """(p that a drop is noise, or None where nothing tells; a sentence)."""
    if "mcnemar" not in found:
        return found["p"], set_check.sentence(found, name)
    p = found["mcnemar"]["p"]
    return p, compare.verdict(p, -found["drop"], "the run", name)
