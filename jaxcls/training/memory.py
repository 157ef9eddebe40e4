"""Memory that does not suffice: which settings to change, with what was asked for."""

import contextlib
import re
from collections.abc import Iterator

from jaxcls.errors import UserError

# What XLA says, by device: CUDA and CPU "Out of memory (while trying to allocate|allocating) 7406166528 bytes", "Failed
# to allocate request for 1.5GiB (1610612736B)", TPU "Used 21.95G of 15.48G hbm".
OUT = re.compile(r"RESOURCE_EXHAUSTED|[Oo]ut of memory|Ran out of memory|CUDA_ERROR_OUT_OF_MEMORY")
NEEDS = (
    re.compile(r"allocat\w+ (?:request for )?(?:[\d.]+[KMGT]?i?B \()?(\d+) ?(?:bytes|B\b)"),
    re.compile(r"Used ([\d.]+[KMGT]) of ([\d.]+[KMGT]) hbm"),
    re.compile(r"allocat\w+ (?:request for )?([\d.]+ ?[KMGT]i?B)"),
    re.compile(r"Unable to allocate ([\d.]+ [KMGT]iB)"),  # NumPy
)


@contextlib.contextmanager
def explained(batch_size: int, accumulate: int, precision: str, *, doing: str = "a training step") -> Iterator[None]:
    """Within this context an error for want of memory becomes a UserError that names the settings to change.

    Args:
      batch_size, accumulate, precision: as they are in the config.
      doing: what is under way.

    Raises:
      UserError: of one line, in place of XLA's RESOURCE_EXHAUSTED and of MemoryError.
    """
    try:
        yield
    except MemoryError as error:
        raise UserError(told(error, "this machine", batch_size, accumulate, precision, doing)) from error
    except RuntimeError as error:  # jaxlib's XlaRuntimeError is one
        if not OUT.search(str(error)):
            raise
        raise UserError(told(error, "the device", batch_size, accumulate, precision, doing)) from error


def told(error: BaseException, where: str, batch_size: int, accumulate: int, precision: str, doing: str) -> str:
    """The line: what was needed, as far as the message has it, and what to change."""
    micro = max(1, batch_size // (2 * accumulate))
    split = "" if batch_size // accumulate < 2 else f"config.accumulate={-(-batch_size // micro)} (same batch), or "
    halved = "" if batch_size < 2 else f"config.batch_size={batch_size // 2}, or "
    lower = "" if precision == "bfloat16" else "config.precision=bfloat16, or "
    return (
        f"the memory of {where} is not enough for {doing}{needed(str(error))} at config.batch_size={batch_size}, "
        f"config.accumulate={accumulate}, config.precision={precision}; set {split}{halved}{lower}"
        "config.model.fields.remat=True where the model has it"
    )


def needed(message: str) -> str:
    """What was asked for, in brackets, of a message of XLA or NumPy; "" where it has none."""
    for pattern in NEEDS:
        if found := pattern.search(message):
            if len(found.groups()) > 1:
                return f" ({found[1]}iB needed, {found[2]}iB there)"
            return f" ({_size(int(found[1])) if found[1].isdigit() else found[1]} asked for)"
    return ""


def _size(number):
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            return f"{number:.4g} {unit}"
        number /= 1024
