"""Which part of a model a parameter belongs to: its stem, one of its stages, or its head."""

import jax
from flax import linen as nn
from jax import Array
from jax.extend import core

from jaxcls import pytree

HEAD = "head"


def parts(model: nn.Module, images: Array | jax.ShapeDtypeStruct) -> dict[str, str]:
    """Parameter name -> "stem", "stage1", .., or "head", in the order of `pytree.flatten_names`.

    A parameter belongs to the first of the model's `out["stem"]`, `out["stage1"]`, .. whose value depends on it, which
    the trace of a forward pass shows; so there is no table of names, and a new family needs none. The head is the last
    layer (`Classifier.head`), auxiliary classifiers, and what a neck puts behind its backbone. What else comes after
    the last stage (hidden layers of VGG's classifier, the norm before ConvNeXt's) has published weights as stages have,
    and counts as the last stage. Nothing is computed. `images`: [b, h, w, c].
    """
    variables = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), images)
    params = variables["params"]
    rest = {name: value for name, value in variables.items() if name != "params"}
    names = list(pytree.flatten_names(params))

    def forward(params, rest, x):
        logits, out = model.apply({"params": params, **rest}, x, train=False)
        return {**{key: out[key] for key in out if key == "stem" or _is_stage(key)}, "logits": logits}

    needs = _dependencies(forward, params, rest, images)
    stages = [key for key in ("stem", *sorted(filter(_is_stage, needs), key=lambda key: int(key[5:]))) if key in needs]
    heads = tuple(f"{layer}." for layer in getattr(model, "head", ()))
    prefix = getattr(model, "prefix", "")

    def part(i, name):
        dotted = name.replace("/", ".")
        if dotted.startswith(heads) or not dotted.startswith(prefix) or i not in needs["logits"] or not stages:
            return HEAD
        return next((stage for stage in stages if i in needs[stage]), stages[-1])

    return {name: part(i, name) for i, name in enumerate(names)}


def _is_stage(key):
    return key.startswith("stage") and key[5:].isdigit()


def _dependencies(function, params, *args):
    """Key of the dict that the function returns -> the leaves of `params` (their numbers) that its value depends on."""
    shapes = jax.eval_shape(function, params, *args)
    jaxpr = jax.make_jaxpr(function)(params, *args).jaxpr
    count, nothing = len(jax.tree.leaves(params)), frozenset()
    sources = {variable: frozenset((i,)) for i, variable in enumerate(jaxpr.invars[:count])}

    def of(variables):
        return nothing.union(*(sources.get(v, nothing) for v in variables if not isinstance(v, core.Literal)))

    for equation in jaxpr.eqns:  # what is called inside one, such as a recomputed block, counts as a whole
        inputs = of(equation.invars)
        sources.update((variable, inputs) for variable in equation.outvars)
    outputs = jax.tree.unflatten(jax.tree.structure(shapes), jaxpr.outvars)
    return {key: of([variable]) for key, variable in outputs.items()}
