"""The rule of every primitive: what it does to shadows."""

import dataclasses
from collections.abc import Sequence

from jaxcls.prune import moves, sums
from jaxcls.prune.program import Step
from jaxcls.prune.shadow import Places, Value, constant, fix, joined

ENTRYWISE = frozenset(
    """
    abs acos add and asin atan atan2 bitcast_convert_type cbrt ceil clamp convert_element_type copy cos cosh div eq erf
    erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min mul ne neg nextafter
    not or pow reduce_precision rem round rsqrt select_n shift_left shift_right_logical sign sin sinh sqrt square
    stop_gradient sub tan tanh xor
    """.split()  # noqa: SIM905
)
# Of a known meaning, but everything that flows into them stays: LeNet-5's table of connections is a scatter.
# Random bits depend on no picture: what they meet cuts them.
WHOLE = frozenset(
    """
    cummax cummin cumprod cumsum iota random_bits random_clone random_fold_in random_seed random_split random_unwrap
    random_wrap scatter scatter-add sort top_k
    """.split()  # noqa: SIM905
)
MEANS = frozenset({"psum", "psum_invariant", "pmax", "pmin", "pvary", "pcast"})  # over devices: entry by entry
RULES = {**sums.RULES, **moves.RULES}


def apply(places: Places, step: Step, values: Sequence[Value]) -> list[Value]:
    """What is known of the outputs of a step. What flows into a primitive without a rule can't go."""
    name = step.primitive
    if name in ENTRYWISE:
        value = joined(places, values, step.shapes[0], f"it meets an axis that stays whole in {name}")
        same = name in ("convert_element_type", "copy", "stop_gradient") and values[0].zero
        return [dataclasses.replace(value, zero=same)]
    if name == "optimization_barrier" or name in MEANS:
        return list(values)
    if name in RULES:
        return RULES[name](places, step, values)
    if name not in WHOLE:
        places.unknown.add(name)
    if not any(value.made or value.shadows for value in values):
        return [constant(shape) for shape in step.shapes]
    for value in values:
        fix(places, value, range(len(value.shape)), f"it flows into {name}")
    return [Value(shape, made=any(value.made for value in values)) for shape in step.shapes]
