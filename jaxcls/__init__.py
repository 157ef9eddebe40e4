"""Image classification in JAX: from a folder of pictures to a trained and measured model.

    import jaxcls

    jaxcls.train(data="pictures")  # with a recipe that is chosen for them, in runs/pictures
    jaxcls.train("finetune", data="pictures", workdir="runs/mine")  # split -> figures
    jaxcls.train("cifar10", data={"train": (images, labels), "test": (others, theirs)}, workdir="runs/arrays")
    predictor = jaxcls.load("runs/mine")  # a checkpoint as a function of pictures
    predictor("a.jpg")  # a path, bytes, an array, a picture of Pillow, or a list of these
    jaxcls.JaxClassifier(settings={"duration": "5 epochs"}).fit(images, labels)  # as scikit-learn has it
    jaxcls.models.create("resnet50", num_classes=10)

Nothing heavy is loaded before it is used; docs/python.md goes through a session.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxcls import data as data
    from jaxcls import models as models
    from jaxcls.api import load as load
    from jaxcls.api import train as train
    from jaxcls.estimator import JaxClassifier as JaxClassifier

__version__ = "0.1.0"
__all__ = ["JaxClassifier", "__version__", "data", "load", "models", "train"]


def __getattr__(name: str) -> Any:
    if name in ("data", "models"):
        return importlib.import_module(f"jaxcls.{name}")
    if name in ("load", "train"):
        return getattr(importlib.import_module("jaxcls.api"), name)
    if name == "JaxClassifier":
        return importlib.import_module("jaxcls.estimator").JaxClassifier
    raise AttributeError(f"module 'jaxcls' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
