"""Guards around everything that trains in these tests."""

import jax
import pytest

from jaxcls.training.feed import MemoryTrainFeed, StreamTrainFeed


@pytest.fixture(scope="module", autouse=True)
def guards(bare_end):
    """Arrays of different rank never meet unasked; once a step is compiled, nothing goes to the devices unasked."""
    rank_promotion = jax.config.jax_numpy_rank_promotion
    jax.config.update("jax_numpy_rank_promotion", "raise")
    with pytest.MonkeyPatch.context() as patch:
        for feed in (MemoryTrainFeed, StreamTrainFeed):
            patch.setattr(feed, "__call__", without_transfers(feed.__call__))
        yield
    jax.config.update("jax_numpy_rank_promotion", rank_promotion)


def without_transfers(call):
    """A feed's `__call__` under JAX's transfer guard, from the second call of a compiled step on."""

    def guarded(self, state, step, stop):
        known = getattr(self, "guarded_step", None) is self.compiled
        self.guarded_step = self.compiled
        with jax.transfer_guard("disallow" if known else "allow"):
            return call(self, state, step, stop)

    return guarded
