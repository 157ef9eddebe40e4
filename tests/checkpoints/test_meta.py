"""The item that a checkpoint describes itself with: it comes back as it was, from every version."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls.checkpoints import meta
from jaxcls.checkpoints.meta import Answer, Meta
from jaxcls.criteria import CLASSIFICATION, Figure
from jaxcls.errors import UserError

TEXT = st.text(max_size=5)
PLAIN = st.dictionaries(TEXT, st.one_of(st.integers(), TEXT, st.lists(st.integers(), max_size=2)), max_size=3)
NAMES = st.dictionaries(TEXT, TEXT, max_size=3)
ANSWERS = st.builds(
    Answer, names=NAMES, raw=NAMES, model=st.none() | PLAIN, precision=TEXT, output=TEXT, mean=TEXT, problem=TEXT,
    views=st.lists(TEXT, max_size=2).map(tuple), preprocessing=PLAIN,
)  # fmt: skip
METAS = st.builds(
    Meta, step=st.integers(0, 10**9), config=PLAIN, model=TEXT, parameters=st.integers(0), loop=PLAIN, metrics=PLAIN,
    normalize=PLAIN, data=PLAIN, versions=PLAIN, pretrained=st.none() | TEXT, averaged=st.none() | PLAIN,
    classes=st.lists(TEXT, max_size=3).map(tuple), answer=st.none() | ANSWERS, version=st.just(meta.VERSION),
    figures=st.lists(st.builds(Figure, TEXT, st.sampled_from(["max", "min"]), st.booleans()), max_size=2).map(tuple),
)  # fmt: skip


@given(METAS)
def test_it_comes_back_from_json_as_it_was(written):
    assert meta.from_json(json.loads(json.dumps(written.to_json())), "x") == written


@given(METAS.map(Meta.to_json), st.sampled_from([f.name for f in dataclasses.fields(Meta)]), st.integers() | TEXT)
def test_whatever_stands_in_it_there_is_a_meta_or_a_line(item, key, value):
    try:
        meta.from_json({**item, key: value}, "the item")
    except UserError as error:
        assert str(error).startswith("the item: ") and "\n" not in str(error)


@pytest.mark.parametrize("version", [meta.VERSION + 1, 0, -1, "2", 1.5, {}, True, []])
def test_an_unknown_version_gets_a_line(version):
    with pytest.raises(UserError, match="it is in version .* of the format, and this program reads up to"):
        meta.from_json({"step": 1, "config": {}, "version": version}, "the item")


def test_version_1_has_the_figures_of_classification_and_no_answer():
    old = meta.from_json({"step": 3, "config": {"seed": 1}, "classes": [0, 1], "data": {"name": "digits"}}, "x")
    assert (old.version, old.figures, old.answer, old.classes) == (1, CLASSIFICATION, None, ("0", "1"))


def test_the_names_of_version_1_tell_average_projections_and_optimiser_apart():
    plain = {"params/fc/kernel": "params/fc/kernel", "batch_stats/bn/mean": "model_state/batch_stats/bn/mean"}
    others = ["step", "rng", "opt_state/0/trace/fc/kernel", "extra/queue", "params/hints/stage1/kernel"]
    assert meta.names_of_version_1([*plain.values(), *others]) == (plain, {})
    average = {name: f"extra/ema/{stored}" for name, stored in plain.items()}
    everything = [*plain.values(), *average.values(), *others, "extra/ema/params/hints/stage1/kernel"]
    assert meta.names_of_version_1(everything) == (average, plain)
