"""Where rows go, and what is said where they can't."""

from pathlib import Path

import pytest

from jaxcls.errors import UserError
from jaxcls.predict.output import FORMATS, open_output
from jaxcls.predict.progress import Interruption


@pytest.mark.parametrize("form", ["csv", "table"])
def test_a_full_disk_is_a_line_that_names_the_file(form):
    full = Path("/dev/full")
    message = "^/dev/full can't be written: No space left on device$"
    with (
        pytest.raises(UserError, match=message),
        open_output(FORMATS[form](classes=("a", "b"), top=1, heatmap=False), full, Interruption()) as output,
    ):
        output.write([])
