import functools
import json

import jax
import numpy as np
import pytest
import references
from draws import draw

from jaxcls.models.layers import convolve
from jaxcls.models.pretrained import to_state_dict


@pytest.fixture
def reference(request):
    """`reference("resnet18")` (references.load). The test is skipped where that reference is nowhere."""

    def load(name):
        if name not in references.index(references.HERE):
            request.getfixturevalue("shared")
        return references.load(name)

    return load


@functools.cache
def traced(model, shape):
    """((logits, out), variables) for a batch of one in evaluation, as shapes: a model is traced once for all tests.

    With XLA's own convolutions, which are one operation each; the shapes of other forms: test_convolve.
    """
    image = jax.ShapeDtypeStruct((1, *shape), np.float32)
    with convolve.plain():
        return jax.eval_shape(lambda key, x: model.init_with_output(key, x, train=False), jax.random.key(0), image)


@pytest.fixture
def abstract():
    """`abstract(model, *image_shape)`: shapes and dtypes of a model's variables for a batch of one, in no time."""
    return lambda model, *shape: jax.tree.map(lambda leaf: leaf, traced(model, shape)[1])  # dicts of the test's own


@pytest.fixture
def drawn(abstract):
    """`drawn(model, *image_shape)`: variables with values (draws.draw)."""
    return lambda model, *shape: draw(abstract(model, *shape))


@pytest.fixture
def shapes(abstract):
    """`shapes(model, *image_shape)`: those of the logits and of each entry of `out`, without the batch, by name."""

    def of(model, *shape, train=False):
        if train:
            image, rngs = jax.ShapeDtypeStruct((2, *shape), np.float32), {"dropout": jax.random.key(0)}
            call = lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"], rngs=rngs)  # noqa: E731
            with convolve.plain():
                (logits, out), _ = jax.eval_shape(call, abstract(model, *shape), image)
        else:
            logits, out = traced(model, shape)[0]
        return jax.tree.map(lambda leaf: leaf.shape[1:], {"logits": logits, **out})

    return of


@pytest.fixture
def check_init(shared):
    """`check_init(name, model, *image_shape)`: what `model` is initialised with is distributed as in PyTorch's `name`.

    The model may be smaller: parameters of the same name and shape are compared. Returns how many.
    """

    def check(name, model, *shape):
        table = json.loads((shared / "reference/functions/init_stats.json").read_text())[name]
        variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, *shape), np.float32))
        ours = to_state_dict({"params": variables["params"]})
        same = [key for key, value in ours.items() if table[key][0] == list(value.shape)]
        for key in same:
            _, mean, std = table[key]
            error = 5 / np.sqrt(ours[key].size) * std + 1e-6 * abs(mean)  # of either sample; rounding of constants
            assert abs(ours[key].mean() - mean) <= error, key
            assert abs(ours[key].std() - std) <= error, key
        return len(same)

    return check
