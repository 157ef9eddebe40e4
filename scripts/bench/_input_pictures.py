"""The JPEG files that input.py reads."""

from pathlib import Path

import numpy as np
from PIL import Image

from jaxcls.errors import UserError


def jpegs(folder: Path) -> list[str]:
    """Paths of the JPEGs of a folder."""
    paths = sorted(str(p) for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        raise UserError(f"--folder: there are no JPEGs in {folder}; name a folder of .jpg files.")
    return paths


def make_pictures(folder: Path, n: int = 64, size: tuple[int, int] = (256, 341)) -> Path:
    """JPEGs of smoothed noise of (height, width), about as hard to decode as photographs. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for i in range(n):
        coarse = Image.fromarray(draw.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC), np.int16)
        noisy = (smooth + draw.integers(-16, 17, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{i}.jpg", quality=90)
    return folder


def enlarge(paths: list[str], size: tuple[int, int], folder: Path) -> list[str]:
    """Pictures brought to width x height (upright ones to height x width), as JPEGs of quality 95. Returns paths."""
    folder.mkdir()
    new_paths = [str(folder / f"{i}.jpg") for i in range(len(paths))]
    for path, new in zip(paths, new_paths, strict=True):
        with Image.open(path) as file:
            wanted = size if file.width >= file.height else size[::-1]
            file.convert("RGB").resize(wanted, Image.Resampling.BICUBIC).save(new, quality=95)
    return new_paths
