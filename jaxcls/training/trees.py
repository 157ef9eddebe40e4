"""The tree of a run's classes (config.data.tree)."""

from typing import Any

from jaxcls.data import metadata, tree_file
from jaxcls.data.base import Source, multilabel
from jaxcls.data.class_tree import ClassTree
from jaxcls.errors import UserError
from jaxcls.types import PathLike


def read(config: Any, source: Source, workdir: PathLike | None = None) -> ClassTree | None:
    """The tree of config.data.tree over the classes of a source; None without one. Where the file is gone the copy in
    the workdir counts.

    Raises:
      UserError: for a file that can't be used, or pictures that have not one label each.
    """
    key, name = "config.data.tree", config.data.tree
    if not name:
        return None
    if config.ssl.method or not source.classes:
        raise UserError(f"{key}={name!r} has no effect: no labels are learnt; remove it.")
    if multilabel(source):
        raise UserError(f"{key}={name!r} is for pictures of one label each, and these have sets of labels; remove it.")
    root, classes = metadata.root(source), list(map(str, source.classes))
    if workdir is not None and not tree_file.exists(name, root) and (tree := tree_file.of_workdir(workdir, classes)):
        return tree
    return tree_file.read(name, classes, key, root)
