"""Learning from captions (config.words): the tokens of the pictures' captions, and the task."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxcls.data import captions
from jaxcls.data.base import Source
from jaxcls.errors import UserError
from jaxcls.models.cosine import Cosine
from jaxcls.models.text_tower import HEAD, SIGLIP, TextTower
from jaxcls.settings.reader import choose
from jaxcls.tasks.pairs import METHODS, Pairs
from jaxcls.words import tokenisers


def sources(config: Any, splits: Mapping[str, Source]) -> dict[str, Source]:
    """The splits, with tokens where config.words.method asks for them.

    Raises:
      UserError: without a vocabulary, or for pictures without captions; settings that do not go together.
    """
    section = config.words
    if not section.method:
        return dict(splits)
    what = f"config.words.method={choose('config.words.method', section.method, METHODS)!r}"
    for setting, given in {
        f"config.ssl.method={config.ssl.method!r}": config.ssl.method,
        f"config.few.method={config.few.method!r}": config.few.method,
        f"config.distill.teacher={config.distill.teacher!r}": config.distill.teacher,
        f"config.accumulate={config.accumulate} (a batch is compared as a whole)": config.accumulate > 1,
    }.items():
        if given:
            raise UserError(f"{setting} does not go with {what}; remove one of them.")
    if not section.vocab:
        raise UserError(
            f"{what} needs a vocabulary of the captions' tokens; set config.words.vocab to a file, as "
            "bpe_simple_vocab_16e6.txt.gz (docs/words.md)."
        )
    tokenise = tokenisers.read(section.vocab)
    return {name: captions.added(source, section.column, tokenise, section.context) for name, source in splits.items()}


def task(config: Any, model: Any) -> Pairs:
    """The task of config.words. Raises UserError for a model without directions, or sizes that can't be."""
    section, module = config.words, model.module
    if not isinstance(module, Cosine):
        raise UserError(
            "config.words.method compares directions, of as many numbers on both sides; set "
            "config.model.neck='cosine(512)'."
        )
    if section.width % min(HEAD, section.width):
        raise UserError(f"config.words.width={section.width} can't be divided into heads of {HEAD}.")
    more: dict[str, Any] = SIGLIP if section.method == "siglip" else {}
    tower = TextTower(
        num_classes=module.backbone.num_classes or _features(module, model.data.picture),
        vocabulary=tokenisers.read(section.vocab).size,
        context=section.context,
        width=section.width,
        depth=section.depth,
        heads=max(1, section.width // HEAD),
        dtype=module.dtype,
        param_dtype=module.param_dtype,
        remat=module.backbone.remat,
        **more,
    )
    return Pairs(module, tower, section.method, axis_name=model.axis_name)


def _features(module, picture):
    """How many numbers `pre_logits` are, where the tower of pictures has no projection."""
    image = jax.ShapeDtypeStruct((1, *picture), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    (_, out), _ = jax.eval_shape(lambda key, x: module.init_with_output(key, x, train=False), key, image)
    return out["pre_logits"].shape[-1]
