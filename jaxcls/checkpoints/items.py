"""JSON that comes with a checkpoint, of whatever hand: bounded, and a mistake in it is a ValueError."""

import json
from pathlib import Path
from typing import Any

LARGEST = 16 << 20  # bytes; the largest of the shipped models' items has 0.2 MB


def read(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
      OSError: where it can't be read.
      ValueError: where it is no JSON, too large or nested too deeply.
    """
    if not path.is_file():
        path.stat()  # tells of one that is not there
        raise ValueError("is no file")
    with open(path, "rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"has more than {LARGEST >> 20} MiB")
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as error:  # of JSON, UTF-8 or a number of thousands of digits
        raise ValueError(f"is no JSON ({str(error)[:100]})") from None
