"""Losses of vectors against lightly's and the paper's formulas (fixtures/ssl_answers.py), and closed forms."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ssl_nets import QUEUE, drawn

from jaxcls.tasks.ssl.barlow_twins import barlow_twins
from jaxcls.tasks.ssl.byol import cosine
from jaxcls.tasks.ssl.frame import similarities, unit
from jaxcls.tasks.ssl.moco import info_nce
from jaxcls.tasks.ssl.simclr import nt_xent
from jaxcls.tasks.ssl.supcon import same_class, sup_con
from jaxcls.tasks.ssl.vicreg import vicreg

STORED = np.load(Path(__file__).parents[2] / "fixtures" / "ssl.npz")
LABELS = jnp.array([0, 1, 2, 0, 1, 0, 3, 2])


def contrast(pairs, temperature):
    """Mean NT-Xent of pairs [n, 2, d], which are neighbours as SimCLR has them."""
    z = unit(pairs.reshape(-1, pairs.shape[-1]))
    own = jnp.arange(len(z))
    return jnp.mean(nt_xent(similarities(z, z), own, own ^ 1, temperature))


def supervised(pairs, temperature, labels=LABELS):
    z, label = unit(pairs.reshape(-1, pairs.shape[-1])), jnp.repeat(labels, 2)
    own = jnp.arange(len(z))
    return jnp.mean(sup_con(similarities(z, z), own, same_class(label, label, own), temperature))


def queued(pairs, temperature):
    """Keys are held still in ours; lightly's loss differentiates by both, so its query's gradient is compared."""
    return jnp.mean(info_nce(unit(pairs[:, 0]), unit(pairs[:, 1]), unit(drawn("bank", (QUEUE, 16))), temperature)[0])


def variances(pairs):
    return sum(weight * term for weight, term in zip((25, 25, 1), vicreg(pairs[:, 0], pairs[:, 1]), strict=True))


CASES = {
    "nt_xent_0.5": lambda z: contrast(z, 0.5),
    "nt_xent_0.1": lambda z: contrast(z, 0.1),
    "info_nce_0.07": lambda z: queued(z, 0.07),
    "info_nce_0.2": lambda z: queued(z, 0.2),
    "sup_con_0.1": lambda z: supervised(z, 0.1),
    "sup_con_0.5": lambda z: supervised(z, 0.5),
    "barlow_twins": lambda z: barlow_twins(z[:, 0], z[:, 1], 0.005),
    "vicreg": variances,
    "negative_cosine": lambda z: -jnp.mean(cosine(z[:, 0], z[:, 1])),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_the_references(name):
    loss, gradient = jax.jit(jax.value_and_grad(CASES[name]))(jnp.asarray(STORED["vectors"]))
    expected = STORED[f"{name}.grad"]
    if name.startswith("info_nce"):
        assert not np.any(gradient[:, 1])
        gradient, expected = gradient[:, 0], expected[:, 0]
    assert float(loss) == pytest.approx(float(STORED[name]), rel=1e-5)
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max(), rtol=1e-4)


def test_lightly_says_what_was_found_before():
    assert float(STORED["nt_xent_0.5"]) == pytest.approx(2.593191, abs=1e-6)


def test_closed_forms_of_a_contrast():
    """Identical orthonormal views; all equal; and a class each makes the supervised one the same."""
    n, pairs = 8, jnp.asarray(STORED["vectors"])
    alike = jnp.zeros((n, 2, 16)).at[:, :, :n].set(jnp.eye(n)[:, None])
    both = jax.jit(lambda z, t: (contrast(z, t), supervised(z, t, jnp.arange(n))))
    for temperature in (0.07, 0.5):
        expected = np.log(np.exp(1 / temperature) + 2 * n - 2) - 1 / temperature
        assert float(both(alike, temperature)[0]) == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert float(both(jnp.ones((n, 2, 16)), temperature)[0]) == pytest.approx(np.log(2 * n - 1), rel=1e-5)
        plain, with_classes = both(pairs, temperature)
        assert float(with_classes) == pytest.approx(float(plain), rel=1e-5)


def test_views_without_a_label_are_positives_of_their_picture_alone():
    label = np.array([-1, -1, -1, -1, 2, 2])
    expected = np.kron(np.eye(3), [[0, 1], [1, 0]]).astype(bool)
    np.testing.assert_array_equal(same_class(label, label, np.arange(6)), expected)


def test_a_vector_of_zeros_has_a_finite_gradient():
    pairs = jnp.zeros((4, 2, 3)).at[1:].set(jnp.asarray(STORED["vectors"])[1:4, :, :3])
    total = lambda z: sum(CASES[name](z) for name in ("nt_xent_0.5", "barlow_twins", "vicreg", "negative_cosine"))  # noqa: E731
    assert np.isfinite(jax.jit(jax.grad(total))(pairs)).all()
