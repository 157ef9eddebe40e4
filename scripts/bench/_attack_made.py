"""Makes the folder of `attack.py pictures` in a process of its own, since what that takes would count as a command's.

    python scripts/bench/_attack_made.py FOLDER [every]    # writes FOLDER/clean, FOLDER/attack and FOLDER/made.json

made.json: [kind, path below FOLDER/attack, what is expected] of every file; expected: "read", "refused", "left out" (it
is no file, and folders leave it out), or "" for damage and bombs, which may be either. With `every` = 9 only every
ninth file of a kind is made.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import _attack_names as names
import _attack_odd as odd
import numpy as np
from bombs import BOMBS
from damage import damaged, pictures
from pictures import encode

KINDS = {  # how tables call them -> what is expected
    "small files that ask for much": "",
    "cut at ten places": "",
    "bytes flipped, missing": "",
    "holes of zeros, parts twice": "",
    "odd, but whole": "read",
    "EXIF orientations": "read",
    "names": "read",
    "no pictures": "refused",
    "no files": "left out",
}
Content = bytes | Callable[[], bytes] | Callable[[Path], object]


def contents() -> dict[str, dict[str, Content]]:
    """Kind -> name -> bytes, or a function that makes them, or the file (those of "no pictures" and "no files")."""
    made = pictures()
    some = {f"{i}-{name}": x for k, (name, y) in enumerate(made.items()) for i, x in enumerate(damaged(y, 12, k))}
    values = (
        dict(BOMBS),
        {f"cut-{i}-{name}": x[: len(x) * i // 11] for name, x in made.items() for i in range(1, 11)},
        {f"bytes-{name}": x for name, x in some.items()},
        {f"part-{i}-{name}": y for name, x in made.items() for i, y in enumerate(_parts(x))},
        {f"odd-{name}": x for name, x in odd.odd().items()},
        {f"exif-{name}": x for name, x in odd.orientations().items()},
        names.named(),
        names.no_pictures(),
        names.no_files(),
    )
    return dict(zip(KINDS, values, strict=True))


def _parts(encoded: bytes) -> Iterator[bytes]:
    """Zeros in place of 64 bytes in the middle and of an eighth, and those parts twice."""
    middle = len(encoded) // 2
    for end in (middle + 64, middle + len(encoded) // 8):
        yield encoded[:middle] + bytes(end - middle) + encoded[end:]
        yield encoded[:end] + encoded[middle:]


def make(folder: Path, every: int = 1) -> None:
    """See the module."""
    random = np.random.default_rng(0)
    for name in ("attack/a", "attack/b", "clean/a", "clean/b"):
        (folder / name).mkdir(parents=True)
    for i in range(80):
        level = random.integers(0, 256, 3) // (2 if i % 2 else 1)
        picture = (level + random.integers(0, 20, (40, 48, 3))).clip(0, 255).astype(np.uint8)
        (folder / "clean" / "ab"[i % 2] / f"{i}.jpg").write_bytes(encode(picture))
    made, number = [], 0
    for kind, files in contents().items():
        expected = KINDS[kind]
        for name, content in list(files.items())[::every] if expected != "left out" else files.items():
            path = f"{'ab'[number % 2 if expected != 'left out' else 0]}/{name}"
            place, number = folder / "attack" / path, number + 1
            if isinstance(content, bytes):
                place.write_bytes(content)
            elif kind == "small files that ask for much":
                place.write_bytes(content())
            else:
                content(place)
            made.append([kind, path, expected])
    (folder / "made.json").write_text(json.dumps(made))


if __name__ == "__main__":
    make(Path(sys.argv[1]), *map(int, sys.argv[2:]))
