"""What the threads and processes that read pictures need of the system: memory, signals, flags."""

import ctypes
import functools
import multiprocessing
import os
import signal
import threading
from typing import Any


def start_worker(*_: Any) -> None:
    """Sets up a reading process: it answers no signal, and ends with the process that started it.

    Ctrl-C and SIGTERM often go to all processes of a group, but the training process alone answers them. If that one
    is killed, Grain's workers would wait for it for ever.
    """
    keep_freed_memory()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

    def end_with_parent():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


@functools.cache
def keep_freed_memory() -> None:
    """Lets glibc reuse the memory of decoded pictures in place of returning it to the system after each.

    Getting it back costs a page fault every 4 KiB, as much as a third of the time of decoding and cropping. The limits
    are those at which glibc's own rule arrives after the first large block was freed (mallopt(3), M_MMAP_THRESHOLD);
    without them it depends on chance. Does nothing where the C library is another.
    """
    trim_threshold, mmap_threshold, limit = -1, -3, 32 * 2**20
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    mallopt(mmap_threshold, limit)
    mallopt(trim_threshold, 2 * limit)


def mark_flags_parsed() -> None:
    """Grain's worker processes read absl flags, which stay unparsed outside `absl.app.run`."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
