"""How each primitive of JAX is written, by kind; `table.RULES` has them all."""
