"""What the methods share: the probe, what tells of a collapse, the neighbours' vote, the spread."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from draws import draw
from flax.traverse_util import flatten_dict
from ssl_nets import WIDTH, Encoder
from tiny_models import TINY

from jaxcls.tasks.ssl import simclr
from jaxcls.tasks.ssl.frame import BANK, Monitor, Seen, of_encoder, spread
from jaxcls.tasks.ssl.heads import Mlp

QUICK = ("simple_cnn", "squeezenet")  # a dense head behind a hidden layer, a convolution


def probed(name):
    """(model, names of the parameters that the probe's loss moves, all names)."""
    kind, fields, shape = TINY[name]
    fields = {**fields, "dropout": 0.0} if "dropout" in fields else fields
    model = kind(num_classes=3, **fields)
    task = simclr.SimCLR(model, {"_projector": Mlp((WIDTH,))}, monitor=Monitor(probe=True))
    image = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    shapes = jax.eval_shape(lambda: task.init(jax.random.key(0), {"image": image})[:2])
    params, model_state = draw(shapes)
    label = jnp.array([0, 1, 2, -1])

    def probe(params):
        seen = task.see({"params": params, **model_state}, image, jax.random.key(0))
        return task.probing([seen], {"label": label})[0]

    grads = jax.jit(jax.grad(probe))(params)
    names = flatten_dict(grads, sep="/")
    assert all(np.isfinite(g).all() for g in names.values())
    return model, {name for name, g in names.items() if np.any(g)}, set(names)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in TINY])
def test_a_probe_moves_its_own_layer_alone(name):
    """Every model of the zoo: exactly zero elsewhere; of its own layer kernel and bias move. (lenet5_1998 has none.)"""
    model, moved, everything = probed(name)
    own = {path for path in everything if path.split("/")[0] in model.head}
    assert moved == own and bool(own) == (name != "lenet5_1998")


def test_the_probe_changes_neither_the_loss_shown_nor_learns_from_no_label():
    task = simclr.SimCLR(Encoder(num_classes=3), {}, monitor=Monitor(probe=True))
    logits = jnp.array([[2.0, 0, 0], [0, 1, 0], [0, 0, 5.0]])

    def loss(logits, label):
        return task.probing([Seen(logits, None, None)] * 2, {"label": label})

    label = jnp.array([0, -1, 1])
    (value, told), gradient = jax.value_and_grad(loss, has_aux=True)(logits, label)
    assert float(value) == 0.0
    assert [float(x) for x in told["accuracy"]] == [1, 2]
    soft = jax.nn.softmax(logits)
    expected = np.asarray(soft) - np.eye(3)[[0, 0, 1]]
    np.testing.assert_allclose(gradient[::2], expected[::2], atol=1e-6)
    assert not np.any(gradient[1])


def test_collections_of_an_encoder_have_no_heads():
    tree = {"params": {"conv": 1, "_projector": 2, "_predictor": 3}, "batch_stats": {"_projector": 4}}
    assert of_encoder(tree) == {"params": {"conv": 1}}


def test_a_collapse_is_told_and_an_ordinary_state_is_not():
    task = simclr.SimCLR(Encoder(num_classes=0), {})
    rng = np.random.default_rng(0)
    even, point = rng.normal(size=(512, 16)), np.ones((512, 16)) + 1e-3 * rng.normal(size=(512, 16))
    spreads = [float(np.divide(*spread(jnp.asarray(x, jnp.float32)))) for x in (even, point)]
    assert spreads[0] == pytest.approx(1, abs=0.02) and spreads[1] < 0.01
    chance = np.log(2 * 512 - 1)
    assert task.remark({"loss": 5.0, "chance": chance, "spread": spreads[0]}, 1000) == ""
    assert task.remark({"loss": chance, "chance": chance, "spread": spreads[0]}, 10) == ""  # at the start it is so
    line = task.remark({"loss": 5.0, "chance": chance, "spread": spreads[1]}, 10)
    assert line.startswith("collapse: at step 10") and "\n" not in line
    assert "no better than guessing" in task.remark({"loss": chance, "chance": chance, "spread": 0.9}, 1000)
    assert task.remark({"loss": 0.3}, 1000) == ""  # of a method without a chance level


def test_the_vote_is_that_of_scikit_learn(k=5, temperature=0.07):
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(k)
    known, asked = (rng.normal(size=(n, 6)).astype(np.float32) for n in (80, 40))
    label = rng.integers(0, 4, 80)
    known += label[:, None] * 0.4
    voter = KNeighborsClassifier(k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / temperature))
    expected = voter.fit(known, label).predict(asked)
    task = simclr.SimCLR(Encoder(num_classes=0), {}, monitor=Monitor(k=k, temperature=temperature))
    assert task.needs == (BANK,) and [figure.name for figure in task.criteria] == ["knn"]
    truth = rng.integers(0, 4, 40)
    index = np.arange(40)
    predictions = {"features": asked, "label": truth, "index": index}
    figures = task.figures(predictions, {BANK: {"features": known, "label": label}})
    assert figures == {"count": 40, "knn": pytest.approx(float((expected == truth).mean()))}
    all_right = task.figures({**predictions, "label": expected}, {BANK: {"features": known, "label": label}})
    assert all_right["knn"] == 1.0
