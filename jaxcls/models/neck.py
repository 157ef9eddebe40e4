"""What stands between a backbone and a classifier of its own: the base of pyramids, of cosines, of means of frames."""

import re
from collections.abc import Callable
from typing import Any, ClassVar

from jaxcls.models.base import Classifier


class Neck(Classifier, kw_only=True):
    """A backbone and what is put behind it.

    Fields:
      backbone: a model; its parameters are those of the module "backbone", and rules for published weights are its own.
    """

    backbone: Any
    prefix: ClassVar[str] = "backbone."  # of the backbone's names; published weights lack it

    @property
    def clips(self) -> bool:
        return self.backbone.clips

    @property
    def unused(self) -> tuple[str, ...]:
        """What the backbone has no place for, its own last layer included."""
        return (*self.backbone.unused, *(f"^{re.escape(layer)}\\." for layer in self.backbone.head))

    @property
    def renames(self) -> tuple[tuple[str, str], ...]:
        return self.backbone.renames

    @property
    def resized(self) -> dict[str, Callable]:
        return self.backbone.resized
