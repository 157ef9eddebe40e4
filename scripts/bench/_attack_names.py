"""Names that make trouble, and what has the name of a picture and is none: name -> content."""

import io
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from damage import pictures
from pictures import encode, noise, smooth


def named() -> dict[str, bytes]:
    """One small picture under names that make trouble. Names are as the file system gives them (surrogates)."""
    stems = ["new\nline", "tab\tcr\r", "it's", '"quoted"', "`id`", "$HOME", "a;b&c|d", "%s%d{}{0}", "[1]", "*?", "-rf"]
    stems += [
        " blank ",
        "two..dots.",
        "back\\slash",
        "colon:",
        "comma,",
        "#hash",
        "<b>html&amp;",
        "=1+1",
        "\x1b[31mred",
    ]
    stems += ["caf\u00e9", "cafe\u0301", "\U0001f600", "\u4e2d\u6587", "\u202egpj.", "\u200bnothing", "\u2028line"]
    stems += ["\udcff\udcfe", "\udce9t\udce9", "x" * 250, "\U0001f600" * 62, "NUL", "nan", "null", "0", "1e9"]
    return {stem + ".png": encode(smooth(8 + i, 9), "PNG") for i, stem in enumerate(stems)}


def no_pictures() -> dict[str, bytes | Callable[[Path], object]]:
    """Files with the suffix of a picture that are none, as bytes or as a function that makes them."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("picture.png", encode(smooth(), "PNG"))
    array = io.BytesIO()
    np.save(array, smooth())
    made: dict[str, bytes | Callable[[Path], object]] = {
        "empty.jpg": b"", "one-byte.png": b"\x89", "zeros.jpg": bytes(5000), "random.png": noise().tobytes()[:5000],
        "ones.tif": b"\xff" * 5000, "text.jpg": b"hello\n", "utf16.jpg": "hello".encode("utf-16"),
        "html.jpg": b"<!DOCTYPE html><html><body>404</body></html>", "xml.png": b"<?xml version='1.0'?><Error/>",
        "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "json.jpg": b'{"error": 404}',
        "lfs.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "annex.jpg": b"/annex/objects/SHA256E-s1--00.jpg\n", "pdf.jpg": b"%PDF-1.7\n%%EOF", "eps.png": b"%!PS\n",
        "zip.jpg": archive.getvalue(), "gzip.png": b"\x1f\x8b\x08" + bytes(50), "numpy.png": array.getvalue(),
        "jxl.jpg": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "psd.png": b"8BPS\0\1" + bytes(99),
        "video.jpg": b"\0\0\0\x18ftypisom\0\0\0\0isomavc1" + bytes(200), "dicom.jpg": bytes(128) + b"DICM" + bytes(99),
        "heic.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "riff.webp": b"RIFF\4\0\0\0WEBP",
        "jp2.jpg": encode(smooth(), "JPEG2000"), "icon.png": encode(smooth(), "ICO"),
        "tga.bmp": encode(smooth(), "TGA"),
        "\x1b[31mempty.jpg": b"", "\nempty.png": b"", "\udcffempty.jpg": b"", "\u2028empty.png": b"",
        "broken-link.jpg": lambda path: path.symlink_to("nowhere.jpg"),
        "cannot-be-read.jpg": lambda path: path.symlink_to("/proc/self/mem"),
        "circle.png": lambda path: path.symlink_to(path.name),
    }  # fmt: skip
    for name, encoded in pictures().items():
        made[f"first-bytes-{name}"] = encoded[:12]
    return made


def no_files() -> dict[str, Callable[[Path], object]]:
    """What has a picture's name in a folder and is no file: it is left out there."""
    return {
        "folder.jpg": lambda path: path.mkdir(),
        "pipe.jpg": os.mkfifo,
        "socket.png": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
        "link-to-pipe.jpg": lambda path: path.symlink_to(path.name.replace("link-to-", "")),
        "link-to-zeros.png": lambda path: path.symlink_to("/dev/zero"),
        "link-to-nothing.tif": lambda path: path.symlink_to("/dev/null"),
    }
