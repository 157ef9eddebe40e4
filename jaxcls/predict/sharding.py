"""Pictures divided among machines: which of `--shard i/n` a picture belongs to, by its path alone."""

import argparse
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import Self

Entry = tuple[int, str, str | None]  # number in the input, from 1; path; what is wrong with it, or None


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of `count` parts of any input, `number` from 1 on.

    A path belongs to the part that a hash of it says. By its position a picture would change parts as soon as two
    machines list one file more or less; by its path each has its part whatever else is in the list, and a list that
    streams needs no second look. Parts are equal but for chance (of 1,000,000 pictures in 8 parts by 0.6 %); machines
    must spell paths alike.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """That of "2/8". Raises argparse.ArgumentTypeError for anything else."""
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise argparse.ArgumentTypeError(f"{text!r} is no part such as 2/8, from 1/8 to 8/8")
        return cls(int(number), int(count))

    def __contains__(self, path: str) -> bool:
        digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def numbered(entries: Iterable[tuple[str, str | None]], shard: Shard | None = None) -> Iterator[Entry]:
    """Those of a shard (all without one), with their numbers in the whole input: two shards have none in common."""
    for number, (path, problem) in enumerate(entries, 1):
        if shard is None or path in shard:
            yield number, path, problem
