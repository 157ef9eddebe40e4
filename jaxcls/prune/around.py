"""A model around a model: asked like a Linen module, and like the one within for all that it does not do itself."""

import dataclasses
from typing import Any, Self

from jaxcls.types import PyTree


@dataclasses.dataclass(frozen=True)
class Around:
    """What models around others share; each adds `init` and `apply`, as Linen's.

    Fields:
      module: a Linen module, or another model around one.
    """

    module: Any

    def __getattr__(self, name: str) -> Any:
        """The module's."""
        if name.startswith("_") or name == "module":
            raise AttributeError(name)
        return getattr(self.module, name)

    def clone(self, **fields: Any) -> Self:
        """With other fields of the module."""
        return dataclasses.replace(self, module=self.module.clone(**fields))

    def init_with_output(self, rngs: Any, images: Any, **settings: Any) -> tuple[Any, PyTree]:
        """(what `apply` gives with it, `init`)."""
        variables = self.init(rngs, images, **settings)
        return self.apply(variables, images, **settings), variables
