import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxcls import models
from jaxcls.models import summary
from jaxcls.models.layers import convolve
from jaxcls.nas import supernet
from jaxcls.nas.space import Space, parse_stage

STAGES = (
    "mbconv(8, kernels=(3, 7), expansions=(1, 3))",
    "mbconv((8, 12), stride=2, kernels=(3, 5), expansions=(1, 2))",
    "mbconv((12, 8), kernels=3, expansions=(1, 2))",
)
SPACE = Space(tuple(map(parse_stage, STAGES)), first=8, last=12, act="hard_swish", picture=(9, 8, 3), classes=3)
NET = supernet.Supernet(space=SPACE, num_classes=3)
CHOICES = {  # of block 1, width and block 2, width and block 3
    "all on": supernet.largest(SPACE),
    "smallest, and no residual": (0, 0, 0, 0, 0),
    "skipped, and a residual": (4, 1, 2, 0, 1),
    "one width throughout": (1, 0, 3, 1, 0),
}


@pytest.fixture(scope="module")
def drawn():
    """Variables with values (norms included) and four pictures."""
    images = jax.random.normal(jax.random.key(0), (4, *SPACE.picture))
    with convolve.plain():  # one operation each, quick to compile
        params = jax.jit(lambda *given: NET.init(*given))(jax.random.key(1), images)["params"]
    keys = iter(jax.random.split(jax.random.key(2), 200))
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(next(keys), x.shape), params)
    ones = jnp.ones(4)
    with convolve.plain():
        run = jax.jit(lambda choice, images, mask: NET.apply({"params": params}, images, choice=choice, mask=mask)[0])
        run = run.lower(jnp.array(CHOICES["all on"]), images, ones).compile()
    return params, images, lambda choice, images, mask=ones: run(choice, images, mask)


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_a_choice_answers_as_the_net_it_stands_for_with_copied_weights(choice, drawn):
    """Masked kernels, expansions, widths and skips are the smaller net, whose norms see the same batch."""
    params, images, run = drawn
    net = models.create("mbconv_net", num_classes=3, **SPACE.fields(choice))
    cut = supernet.inherited(SPACE, params, choice)
    shapes = jax.eval_shape(net.init, jax.random.key(0), images)
    assert jax.tree.map(jnp.shape, cut) == jax.tree.map(lambda leaf: leaf.shape, shapes["params"])
    statistics = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes["batch_stats"])
    variables = {"params": cut, "batch_stats": statistics}
    with convolve.plain():
        answer = jax.jit(lambda v, x: net.apply(v, x, train=True, mutable=["batch_stats"])[0][0])
        want = answer(variables, images)
    np.testing.assert_allclose(run(jnp.array(choice), images), want, rtol=1e-5, atol=1e-5)
    counted = summary.summarize(net, SPACE.picture).total
    assert (counted.macs, counted.parameters) == (SPACE.macs(choice), SPACE.params(choice))
    assert counted.parameters == sum(leaf.size for leaf in jax.tree.leaves(cut))


def test_choices_differ(drawn):
    _, images, run = drawn
    answers = [run(jnp.array(choice), images) for choice in CHOICES.values()]
    assert min(float(jnp.abs(a - b).max()) for i, a in enumerate(answers) for b in answers[:i]) > 1e-3


def test_pictures_that_fill_a_batch_up_change_no_answer(drawn):
    _, images, run = drawn
    choice, mask = jnp.array(CHOICES["skipped, and a residual"]), jnp.array([1.0, 1.0, 0.0, 1.0])
    others = images.at[2].set(100.0)
    got, want = run(choice, others, mask), run(choice, images, mask)
    np.testing.assert_allclose(got[mask > 0], want[mask > 0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        run(choice, images[jnp.array([0, 1, 3, 3])], jnp.array([1.0, 1, 1, 0]))[:3], got[mask > 0], rtol=1e-4, atol=1e-5
    )


def test_what_is_masked_gets_no_gradient(drawn):
    """Of the smallest choice: neither the rim of kernels, nor channels beyond, nor blocks without an expansion."""
    params, images, _ = drawn
    choice = jnp.array(CHOICES["smallest, and no residual"])
    loss = lambda params: NET.apply({"params": params}, images, choice=choice)[0].var()  # noqa: E731
    with convolve.plain():
        grads = traverse_util.flatten_dict(jax.jit(jax.grad(loss))(params), sep="/")
    rim = grads["features.1/depthwise.0/kernel"].at[2:5, 2:5].set(0.0)
    assert not rim.any() and grads["features.1/depthwise.0/kernel"][2:5, 2:5, :, :8].all()
    assert not grads["features.1/expand.0/kernel"].any() and not grads["features.2/project.0/kernel"][..., 8:].any()


def test_one_program_serves_all_choices(drawn):
    """The choice is an argument: nothing is compiled again, and there is no branch in what is."""
    params, images, _ = drawn
    program = jax.make_jaxpr(lambda c: NET.apply({"params": params}, images, choice=c)[0])(jnp.array(CHOICES["all on"]))
    assert "cond[" not in str(program)
