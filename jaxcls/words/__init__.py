"""Words beside pictures: tokenisers, and sentences that name a class. Without JAX."""
