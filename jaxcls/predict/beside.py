"""What a net takes beside each picture, of the sets that are predicted: columns of a table. Without JAX."""

from collections.abc import Sequence

from jaxcls import columns
from jaxcls.columns import Column
from jaxcls.errors import UserError, listed
from jaxcls.predict.named import Pictures


def join(pictures: Sequence[str | Pictures], wanted: Sequence[Column], title: str) -> list[str]:
    """Joins to each entry of the sets the numbers of its columns (`Told.beside`); returns lines about them.

    Args:
      pictures: as `answering.run` takes them.
      wanted: the columns of the net; without any nothing is done.
      title: of the net, for messages.

    Raises:
      UserError: for pictures without columns, or where one is not there or can't be read.
    """
    lines: list[str] = []
    for given in pictures if wanted else ():
        what = f"{title} takes the column(s) {listed([repr(c.name) for c in wanted])} beside each picture"
        if not isinstance(given, Pictures):
            raise UserError(f"{what}, which {given!r:.80} does not have; give a table that has them (table/FILE.csv).")
        cells = given.cells()
        for column in wanted:
            if column.name not in cells:
                columns.named(column.name, list(cells), what, {})
            lines += column.remarks(cells[column.name])
        given.beside = columns.encoded(wanted, cells)
    return lines
