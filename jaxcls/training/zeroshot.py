"""A classifier of pictures from a pair of towers and the names of the classes, without training.

Radford et al. 2021 (arXiv 2103.00020, section 3.1): each class is asked about by sentences; the mean of their features,
at length 1, is the class's column of the last layer, and the logits are the towers' scale times cosines. So it is a
run as any other, at step 0.
"""

import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from jaxcls import files
from jaxcls.checkpoints import view
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.errors import UserError, listed
from jaxcls.models import pretrained, text_tower, tower_files, weight_files
from jaxcls.models.cosine import unit
from jaxcls.models.state_dict import to_state_dict
from jaxcls.models.text_tower import SIGLIP, TextTower
from jaxcls.models.tower_files import Towers
from jaxcls.settings.reader import resolve
from jaxcls.tasks import networks, pairs
from jaxcls.tasks.base import shown_figure
from jaxcls.training import begin, build, evaluate, loop, run_weights
from jaxcls.training.averaging import check_out
from jaxcls.training.run import Run
from jaxcls.types import Note, PathLike
from jaxcls.words import templates as sentences

if TYPE_CHECKING:
    from jaxtyping import Float32, Int32

FILE = "zeroshot.json"
BATCH = 64  # sentences at a time
_SIZES = {384: "small", 768: "base", 1024: "large"}
Tokenise = Callable[[Sequence[str], int], "Int32[np.ndarray, 'n context']"]


def write(
    config: Any,
    weights: str,
    out: str,
    tokenise: Tokenise,
    *,
    templates: Sequence[str],
    words: Mapping[str, str] | None = None,
    note: Note = print,
) -> dict[str, Any]:
    """Writes a workdir with the classifier, evaluated on validation where there is such a split.

    Args:
      config: of the run; an empty config.model.name is chosen by the weights, and its neck is set.
      weights: a file with both towers (`models.tower_files`).
      out: the new workdir.
      tokenise: texts and a length to rows of tokens.
      templates: sentences with {} in them.
      words: class -> what it is called in sentences; others go by their names.

    Returns:
      what lies in zeroshot.json.

    Raises:
      UserError: for weights, a vocabulary or data that don't go together; a folder in use.
    """
    check_out(out)
    found = read(weights)
    towers = found.towers
    config = resolve(config)
    choose(config, found)
    note(f"opening {config.data.name} ...")
    run = build.build(config, fits=True)
    _check_words(words or {}, run.data.classes)
    tower = text_tower.of_tensors(towers.text, activation=activation(run.model.module), **found.fields)
    note(f"{len(run.data.classes)} classes, each in {len(templates)} sentences")
    asked = [sentences.filled(templates, (words or {}).get(name, name)) for name in run.data.classes]
    kernel = of_classes(tower, towers.text, tokenise, asked)
    loaded = placed(run, towers, kernel)
    report = {
        "weights": str(weights),
        "sha256": found.sha256,
        "model": config.model.name,
        "activation": tower.activation,
        "scale": towers.scale,
        "bias": towers.bias,
        "templates": list(templates),
        "words": dict(words or {}),
    }
    try:
        _write(Path(out), run, loaded, report, note)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)  # it was empty, and the same command shall find it so
        raise
    return report


def _check_words(words, classes):
    if strangers := sorted(set(words) - set(classes)):
        known = listed(classes)
        raise UserError(f"--words has no class of these pictures: {listed(strangers)}; there are {known}")


def choose(config: Any, found: "Found") -> None:
    """Sets config.model to what the tower of pictures is, unless it is named.

    Raises UserError where the tower is none of ours.
    """
    image = found.towers.image
    features = image["head.weight"].shape[0] if "head.weight" in image else 0
    config.model.neck = found.neck or (f"cosine({features})" if features else "cosine")
    if config.model.name:
        return
    patches = image.get("patch_embed.proj.weight")
    if patches is None or (size := _SIZES.get(patches.shape[0])) is None:
        raise UserError(
            "the tower of pictures is no vision transformer of a size that is known here; name it with "
            "--config.model.name=vit_base_patch16_clip_224 (jaxcls models '*clip*')"
        )
    kind = "clip_224" if "cls_token" in image else "siglip_224"
    config.model.name = f"vit_{size}_patch{patches.shape[-1]}_{kind}"


def activation(module: Any) -> str:
    """Of both towers: that of the picture's."""
    return getattr(getattr(module, "backbone", module), "activation", "gelu")


class Found(NamedTuple):
    """Two towers, the SHA-256 of the file (of a run's step: of its manifest), fields of the tower of texts, and a run's
    neck."""

    towers: Towers
    sha256: str
    fields: dict[str, Any]
    neck: str = ""


def read(weights: PathLike) -> Found:
    """The towers of a file, or of a run with config.words.

    Raises:
      UserError: for a file or a run without them.
    """
    weights = str(weights)
    if not run_weights.is_run(weights):
        file = weight_files.read(weights)
        towers = tower_files.split(file.tensors)
        return Found(towers, file.sha256, {} if "cls_token" in towers.image else SIGLIP)
    network, folder = networks.from_run(weights), view.best_step(weights)
    config = view.read_meta(folder).config
    if not (method := config.get("words", {}).get("method")):
        raise UserError(f"{weights} has no tower of texts, as a run with config.words has (docs/words.md).")
    names = [name for name in view.read_tensors(folder) if name.startswith(f"params/{pairs.TEXT}/")]
    more = [f"params/{name}" for name in (pairs.SCALE, pairs.BIAS)]
    arrays = view.read_arrays(folder, {*names, *more})
    text = traverse_util.unflatten_dict({tuple(name.split("/")[2:]): arrays[name] for name in names})
    image = {collection: tree["backbone"] for collection, tree in network.variables.items()}
    scale = min(float(arrays[more[0]]), pairs.MOST if method == "clip" else math.inf)
    bias = float(arrays[more[1]]) if more[1] in arrays else 0.0
    towers = Towers(to_state_dict(image), to_state_dict({"params": text}), math.exp(scale), bias)
    fields = SIGLIP if method == "siglip" else {}
    return Found(towers, network.source["sha256"], fields, config["model"]["neck"])


def of_classes(
    tower: TextTower, weights: Mapping[str, np.ndarray], tokenise: Tokenise, asked: Sequence[Sequence[str]]
) -> "Float32[np.ndarray, 'features classes']":
    """A column of length 1 for each class: the mean of the features, at length 1, of its sentences."""
    rows = tokenise([sentence for each in asked for sentence in each], tower.context)
    if rows.max() >= tower.vocabulary:
        raise UserError(
            f"the vocabulary has a token {rows.max()}, and the text tower knows {tower.vocabulary:,}; give the one "
            "that belongs to these weights"
        )
    blank = jax.eval_shape(lambda: tower.init(jax.random.key(0), rows[:1]))
    variables, _ = pretrained.match(tower, blank, dict(weights))
    answer = jax.jit(lambda variables, tokens: unit(tower.apply(variables, tokens)[0]))
    parts = [
        np.asarray(answer(variables, _filled(rows[i : i + BATCH], BATCH)))[: len(rows[i : i + BATCH])]
        for i in range(0, len(rows), BATCH)
    ]
    features = np.concatenate(parts).reshape(len(asked), len(asked[0]), -1)
    return np.asarray(unit(features.mean(axis=1))).T


def asked(workdir: PathLike, tokenise: Tokenise, texts: Sequence[str]) -> "Float32[np.ndarray, 'n features']":
    """Features of length 1 of texts, by the tower of texts that a run was made with (`write`), or that it has learnt.

    Raises:
      UserError: for a run without one, or whose weights are gone or others now.
    """
    told = files.read_json(Path(workdir) / FILE)
    found = read(told["weights"] if told else workdir)
    if told and found.sha256 != told["sha256"]:
        raise UserError(f"{told['weights']} is not any more what {workdir} was made with")
    active = told["activation"] if told else "gelu"
    tower = text_tower.of_tensors(found.towers.text, activation=active, **found.fields)
    return of_classes(tower, found.towers.text, tokenise, [[text] for text in texts]).T


def _filled(rows, size):
    """Of one length, so that one program serves."""
    return np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)])


def placed(run: Run, towers: Towers, kernel: np.ndarray) -> tuple[Any, pretrained.Report]:
    """(weights, report) for `Run.first_state`: the tower of pictures, and the last layer of the classes."""
    shapes = run.task.answering(run.state_shapes, averaged=False)
    weights, report = pretrained.match(run.task.model, shapes, towers.image, run.model.use)
    last = run.task.model.head[0]
    wanted = shapes["params"][last]["kernel"].shape
    if wanted != kernel.shape:
        raise UserError(
            f"the tower of texts answers with {kernel.shape[0]} numbers, and that of pictures with {wanted[0]}: these "
            "weights are no pair, or config.model.neck is another than theirs"
        )
    weights["params"][last] = {
        "kernel": np.float32(towers.scale * kernel),
        "bias": np.full(kernel.shape[1], towers.bias, np.float32),
    }
    for name in [name for name in report.kept if re.match(rf"{re.escape(last)}\.", name)]:
        del report.kept[name]
    return weights, report


def _write(out, run, loaded, report, note):
    out.mkdir(parents=True, exist_ok=True)
    state = run.init_state(loaded[0])
    figures = {}
    if run.selects:
        figures, _ = evaluate.Measure(run, "validation")(run.parallel.place(state))
        first = next(iter(run.task.criteria))
        note(f"validation {shown_figure(first, figures[first.name])}, without any training")
    files.write_json(out / "config.json", run.stored)
    begin.store_data(run, out, 0)
    files.write_json(out / "pretrained.json", loaded[1].to_dict())
    store = Checkpoints(out, keep=1, transient=run.task.transient)
    meta = loop.meta_of(run, 0, figures, {"pretrained": report["weights"]})
    store.save(run.parallel.saveable(run.parallel.place(state)), meta, run.score(figures))
    store.close()
    files.write_json(out / FILE, report)
