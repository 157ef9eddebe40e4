"""`python -m jaxcls VERB ...`, the same as `jaxcls VERB ...`."""

from jaxcls.main import cli

if __name__ == "__main__":
    cli()
