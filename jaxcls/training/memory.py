"""Memory: how much there is, how much was used, and where it does not suffice, which settings to change."""

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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
CGROUP = Path("/sys/fs/cgroup")
STEP = "a training step"


class OutOfMemory(UserError):
    """What is under way needs more memory than there is. `doing` says what it was."""

    def __init__(self, line: str, doing: str = STEP):
        super().__init__(line)
        self.doing = doing


@contextlib.contextmanager
def explained(batch_size: int, accumulate: int, precision: str, *, doing: str = STEP) -> Iterator[None]:
    """Within this context an error for want of memory becomes a UserError that names the settings to change.

    Args:
      batch_size, accumulate, precision: as they are in the config.
      doing: what is under way.

    Raises:
      OutOfMemory: of one line, in place of XLA's RESOURCE_EXHAUSTED and of MemoryError.
    """
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory(told(error, "this machine", batch_size, accumulate, precision, doing), doing) from error
    except RuntimeError as error:  # jaxlib's XlaRuntimeError is one
        if not OUT.search(str(error)):
            raise
        raise OutOfMemory(told(error, "the device", batch_size, accumulate, precision, doing), doing) from error


def told(error: BaseException, where: str, batch_size: int, accumulate: int, precision: str, doing: str) -> str:
    """The line: what was needed, as far as the message has it, and what to change."""
    if doing != STEP and doing != "a trial":
        return (
            f"the memory of {where} is not enough for {doing}{needed(str(error))}; set config.eval.batch_size lower, "
            "which changes no result"
        )
    micro = max(1, batch_size // (2 * accumulate))
    split = "" if batch_size // accumulate < 2 else f"config.accumulate={-(-batch_size // micro)} (same batch), or "
    halved = "" if batch_size < 2 else f"config.batch_size={batch_size // 2}, or "
    lower = "" if precision == "bfloat16" else "config.precision=bfloat16, or "
    return (
        f"the memory of {where} is not enough for {doing}{needed(str(error))} at config.batch_size={batch_size}, "
        f"config.accumulate={accumulate}, config.precision={precision}; set {split}{halved}{lower}"
        "config.model.fields.remat=True (or products, which costs less) where the model has it"
    )


def needed(message: str) -> str:
    """What was asked for, in brackets, of a message of XLA or NumPy; "" where it has none."""
    for pattern in NEEDS:
        if found := pattern.search(message):
            if len(found.groups()) > 1:
                return f" ({found[1]}iB needed, {found[2]}iB there)"
            return f" ({size(int(found[1])) if found[1].isdigit() else found[1]} asked for)"
    return ""


def host() -> dict[str, int | None]:
    """`total` and `available` bytes of this machine, the `limit` of its container and the `free` part of that, which is
    never more than what is available; None where unknown."""
    figures: dict[str, int | None] = dict.fromkeys(("total", "available", "limit", "free"))
    try:
        rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        figures["total"] = int(rows["MemTotal"].split()[0]) * 1024
        figures["available"] = figures["free"] = available = int(rows["MemAvailable"].split()[0]) * 1024
        limit = (CGROUP / "memory.max").read_text().strip()
        if limit.isdigit():
            figures["limit"] = int(limit)
            used = int((CGROUP / "memory.current").read_text())
            figures["free"] = max(0, min(available, int(limit) - used))
    except (OSError, KeyError, ValueError):  # not Linux, or no such group: what is known so far stands
        pass
    return figures


def room(devices: Sequence[Any]) -> int | None:
    """Bytes that are free for each of some devices of one kind, on the one that has least; None where nobody says.

    Devices without a memory of their own, such as CPUs, share that of the host.
    """
    own = [stats for device in devices if (stats := device.memory_stats()) and "bytes_limit" in stats]
    if own:
        return min(stats["bytes_limit"] - stats.get("bytes_in_use", 0) for stats in own)
    free = host()["free"] if devices[0].platform == "cpu" else None
    return None if free is None else free // len(devices)


def most(devices: Sequence[Any]) -> int | None:
    """The most bytes that a device has had in use so far; of CPUs, this process; None where nobody says."""
    own = [stats["peak_bytes_in_use"] for x in devices if (stats := x.memory_stats()) and "peak_bytes_in_use" in stats]
    if own or devices[0].platform != "cpu":
        return max(own, default=None)
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def size(number: float) -> str:
    """Bytes for people: 1.5 GiB."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.4g} {unit}"
        number /= 1024
    return f"{number:.4g} GiB"
