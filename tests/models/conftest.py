import jax
import numpy as np
import pytest
import references


@pytest.fixture
def reference(request):
    """`reference("resnet18")` (references.load). The test is skipped where that reference is nowhere."""

    def load(name):
        if name not in references.index(references.HERE):
            request.getfixturevalue("shared")
        return references.load(name)

    return load


@pytest.fixture
def abstract():
    """`abstract(model, *image_shape)`: shapes and dtypes of a model's variables for a batch of one, in no time."""

    def variables(model, *shape):
        image = jax.ShapeDtypeStruct((1, *shape), np.float32)
        return jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), image)

    return variables
