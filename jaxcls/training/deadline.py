"""How long a run may take: `--max-time 3h`."""

import math
import re
import time

from jaxcls.errors import UserError

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def seconds(text: str) -> float:
    """Seconds of `3h`, `90m`, `2d`, `3600s`, `1h30m`.

    Raises:
      UserError: for whatever is no time above 0.
    """
    value = 0.0
    if re.fullmatch(r"([0-9]{1,9}(\.[0-9]{1,9})?[dhms])+", text):
        value = sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([dhms])", text))
    if value <= 0:
        raise UserError(f"--max-time={text} is no time above 0; write 3h, 90m, 2d, 3600s or 1h30m.")
    return value


def after(text: str | None) -> float:
    """The moment (of time.monotonic) that is so long from now; never for None. Raises UserError as `seconds` does."""
    return math.inf if text is None else time.monotonic() + seconds(text)
