"""Running the files that `jaxcls export` writes, without JAX."""
