"""Small clips in memory and as files, whose every frame is known."""

import io

import numpy as np
from PIL import Image


def clip(frames=6, height=12, width=16, seed=0):
    """uint8 [t, h, w, 3]: a block of the frame's own colour on grey that GIF's palettes hold exactly, moving right."""
    rng = np.random.default_rng(seed)
    out = np.full((frames, height, width, 3), 51 * rng.integers(0, 6), np.uint8)
    for t in range(frames):
        out[t, 2:8, (2 * t) % (width - 4) : (2 * t) % (width - 4) + 4] = (51 * (t % 6), 51 * ((t // 6) % 6), 204)
    return out


def encoded(frames, kind):
    """The bytes of an animated GIF, WebP or PNG, or of .npy and .npz, without loss."""
    file = io.BytesIO()
    if kind == "npy":
        np.save(file, frames)
    elif kind == "npz":
        np.savez_compressed(file, clip=frames)
    else:
        first, *others = [Image.fromarray(frame) for frame in frames]
        options = {"lossless": True} if kind == "webp" else {}
        form = {"apng": "png"}.get(kind, kind)
        first.save(file, form, save_all=True, append_images=others, duration=50, loop=0, **options)
    return file.getvalue()


def still(frame, kind="png"):
    """The bytes of one picture."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, kind)
    return file.getvalue()


def folder(root, classes=("left", "right"), each=4, frames=6):
    """A folder of clips, class by class, of each kind in turn: GIF, WebP, PNG, .npz, a folder of frames. Returns it."""
    kinds = ("gif", "webp", "apng", "npz", "frames")
    for label, name in enumerate(classes):
        place = root / name
        place.mkdir(parents=True, exist_ok=True)
        for i in range(each):
            pixels = clip(frames, seed=i)
            pixels = pixels[::-1] if label else pixels
            kind = kinds[i % len(kinds)]
            if kind == "frames":
                (place / f"{i}").mkdir()
                for t, frame in enumerate(pixels):
                    (place / f"{i}" / f"{t}.png").write_bytes(still(frame))
            else:
                (place / f"{i}.{'png' if kind == 'apng' else kind}").write_bytes(encoded(pixels, kind))
    return root
