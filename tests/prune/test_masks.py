"""What makes a masked large net a small one: where a unit's makers give zero, its consumers' entries do not matter."""

import numpy as np
import prune_masks as masks
import prune_sizes
import pytest
from tiny_models import TINY

from jaxcls.prune import groups

QUICK = ("simple_cnn", "shufflenet", "resnet_cifar_a", "mobilenet_v3", "swin")


def units(group, rng):
    """Half of a group's units, at least one; all, where it has one."""
    return np.sort(rng.permutation(group.units)[: max(1, group.units // 2)])


def check(name, each):
    """Masks half of every prunable group, all at once or each by itself, and disturbs what consumes them."""
    constructor, fields, shape = TINY[name]
    model = constructor(**fields, num_classes=3)
    found, rng = groups.find(model, shape), np.random.default_rng(0)
    assert not found.unknown and not found.unused and found.prunable
    flat, answer = masks.variables(found.shapes, rng), masks.answers(model, shape)
    chosen = [(group, units(group, rng)) for group in found.prunable]
    assert all(any(m.consumes for m in group.members) for group in found.prunable)
    prune_sizes.check(found, np.concatenate([g.roots[some] for g, some in chosen if g.units > 1]))
    for some in [[one] for one in chosen] if each else [chosen]:
        small = masks.masked(flat, some)
        want, got = answer(small), answer(masks.disturbed(small, some, rng))
        scale = np.abs(want).max()
        assert np.isfinite(scale) and scale > 1e-3
        np.testing.assert_allclose(got, want, atol=1e-6 * max(1, scale), err_msg=f"{name}: {some[0][0].name}")
        # The members that consume units are used: their noise is seen where the units are not zero.
        all_units = [(group, np.arange(group.units)) for group, _ in some]
        noisy = np.abs(answer(masks.disturbed(flat, all_units, rng)) - answer(flat)).max()
        assert noisy > 1e-6, f"{name}: {some[0][0].name}"


@pytest.mark.parametrize("name", QUICK)
def test_zeros_reach_only_what_consumes_them(name):
    check(name, each=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(TINY) - {"convnext_v2"}))  # has means over all its channels
def test_zeros_reach_only_what_consumes_them_everywhere(name):
    check(name, each=True)


def test_nothing_of_a_response_norm_is_prunable():
    """Its mean over channels would be another without those that are nothing."""
    constructor, fields, shape = TINY["convnext_v2"]
    found = groups.find(constructor(**fields, num_classes=3), shape)
    hidden = {group.why for group in found.groups if group.units == 4 * fields["widths"][0]}
    assert not found.prunable and hidden == {"a sum, mean or norm is taken over its channels"}
