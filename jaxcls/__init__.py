"""Image classification in JAX: from a folder of pictures to a trained and measured model.

Importing this package loads nothing heavy; import the part that you need (`jaxcls.models`, `jaxcls.data`, ...).
"""

__version__ = "0.1.0"
