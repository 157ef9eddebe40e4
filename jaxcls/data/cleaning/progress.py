"""Progress of a search on the terminal."""

import sys
import time


class Progress:
    """Called as progress(done, total): a line on stderr every few seconds, and none for what is done sooner."""

    def __init__(self, what: str, unit: str, every: float = 5.0):
        self.what, self.unit, self.every = what, unit, every
        self.start = self.last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            left = (now - self.start) / done * (total - done)
            print(f"{self.what}: {done:,} of {total:,} {self.unit}, {left:,.0f} s left", file=sys.stderr)
