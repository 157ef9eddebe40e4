"""Pictures of all formats that are odd but whole: name -> bytes."""

import struct
import zlib

import numpy as np
from bombs import bmp, chunk, exif_tags, png, segments, tiff
from damage import pictures
from pictures import encode, noise, smooth
from PIL import Image, ImageCms

from jaxcls.data import kinds

ORIENTATIONS = (*range(10), 99, 255, 65_535)
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # PNG, colour type -> bits
PICTURE = Image.fromarray(smooth(40, 30))
NOISE = Image.fromarray(noise(40, 30))


def odd() -> dict[str, bytes]:
    """Whole pictures of all formats, in forms that are rare."""
    return {**_jpegs(), **_pngs(), **_tiffs(), **_others(), **_thin(), **_trailing()}


def orientations() -> dict[str, bytes]:
    """EXIF orientations that exist, that don't, and of wrong types, in each format that has EXIF."""
    made = {}
    for kind, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif"), ("AVIF", "avif")):
        if kind == "AVIF" and "AVIF" not in kinds.readable():
            continue
        for number in ORIENTATIONS:
            exif = Image.Exif()
            exif[0x0112] = number
            made[f"{number}.{suffix}"] = encode(PICTURE, kind, exif=exif)
    for form, value in {"byte": (1, b"\6"), "text": (2, b"6\0"), "long": (4, b"\6\0\0\0"), "real": (12, b"")}.items():
        entry = struct.pack("<HHI", 0x0112, value[0], 1) + value[1].ljust(4, b"\0")
        exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
        made[f"{form}.jpg"] = encode(PICTURE, exif=exif)
    made["two.jpg"] = encode(PICTURE, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\3\0\2\0\0\0\6\0\3\0\0\0\0\0")
    return made


def _jpegs():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    cmyk, flat = encode(PICTURE.convert("CMYK")), encode(PICTURE)
    adobe = cmyk.index(b"Adobe") + 11  # its last byte: 2 is YCCK
    options = {
        "plain": {},
        "progressive": {"progressive": True},
        "4-2-2": {"subsampling": "4:2:2"},
        "worst": {"quality": 1},
        "best": {"quality": 100, "subsampling": 0},
        "kept-rgb": {"keep_rgb": True},
        "comment": {"comment": b"c" * 65_000},
        "restarts": {"restart_marker_blocks": 1},
        "progressive-restarts": {"progressive": True, "restart_marker_rows": 1},
        "icc": {"icc_profile": profile},
        "long-icc": {"icc_profile": profile + bytes(600_000)},
        "icc-nonsense": {"icc_profile": b"x" * 99},
        "exif-nonsense": {"exif": b"Exif\0\0not a tiff header"},
        "exif-empty": {"exif": b"Exif\0\0"},
        "exif-tags": {"exif": exif_tags(50, 900)},
        "dpi": {"dpi": (0, 65_535)},
    }
    made = {f"{name}.jpg": encode(PICTURE, **more) for name, more in options.items()}
    made |= {
        "grey.jpg": encode(PICTURE.convert("L")),
        "progressive-grey.jpg": encode(PICTURE.convert("L"), progressive=True),
        "cmyk.jpg": cmyk,
        "ycck.jpg": cmyk[:adobe] + b"\2" + cmyk[adobe + 1 :],
        "dot.jpg": encode(smooth(1, 1)),
        "progressive-cmyk.jpg": encode(PICTURE.convert("CMYK"), progressive=True),
        "phone.jpg": _moving("MPO"),
        "arithmetic.jpg": _arithmetic(flat),
        "fill-bytes.jpg": flat[:2] + b"\xff" * 50 + flat[2:],
        "before-end.jpg": flat[:-2] + bytes(20) + b"\xff\xd9",
        "no-jfif.jpg": flat[:2] + flat[next(end for marker, _, end in segments(flat) if marker == 0xE0) :],
    }
    return made


def _arithmetic(baseline):
    """The JPEG with arithmetic coding and without its data, which then is zeros (ISO 10918-1, D.2)."""
    made = baseline[:2]
    for marker, start, end in segments(baseline):
        if marker == 0xC0:
            made += b"\xff\xc9" + baseline[start + 2 : end]
        elif marker != 0xC4:
            made += baseline[start : start + 2 + int.from_bytes(baseline[start + 2 : start + 4])]
    return made + b"\xff\xd9"


def _pngs():
    made = {
        f"colour-{colour}-bits-{bits}-{'interlaced' if interlaced else 'rows'}.png": png(
            13, 9, bits, colour, interlaced=interlaced
        )
        for colour, depths in DEPTHS.items()
        for bits in depths
        for interlaced in (0, 1)
    }
    made |= {
        f"key-{colour}-{bits}.png": png(13, 9, bits, colour, more=chunk(b"tRNS", bytes(2 if colour == 0 else 6)))
        for colour in (0, 2)
        for bits in DEPTHS[colour]
    }
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 3_000_000))
    more = {
        "text": chunk(b"tEXt", b"a\0" + b"x" * 1_500_000),
        "zipped-text": text,
        "text-of-wrong-sum": text[:-1] + b"\0",
        "long-icc": chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * 3_000_000)),
        "icc-nonsense": chunk(b"iCCP", b"a"),
        "unknown": chunk(b"juNk", b"x" * 99),
        "gamma-zero": chunk(b"gAMA", bytes(4)),
    }
    made |= {f"{name}.png": png(13, 9, more=content) for name, content in more.items()}
    made |= {
        "moving.png": _moving("PNG"),
        "la.png": encode(Image.new("LA", (9, 9), (0, 0)), "PNG"),
        "stored.png": encode(NOISE, "PNG", compress_level=0),
        "grey16.png": pictures()["deep.png"],
    }
    return made


def _tiffs():
    packed = ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "jpeg", "lzma", "zstd")
    made = {f"{name}.tif": encode(PICTURE, "TIFF", compression=name) for name in packed}
    bits = {f"{name}.tif": encode(PICTURE.convert("1"), "TIFF", compression=name) for name in ("group3", "group4")}
    modes = {
        f"{mode}.tif": encode(PICTURE.convert(mode), "TIFF")
        for mode in ("L", "1", "P", "CMYK", "RGBA", "LA", "YCbCr", "LAB")
    }
    rgb = np.full((9, 13, 3), 120)
    tags = {
        256: (4, (13,)),
        257: (4, (9,)),
        259: (3, (1,)),
        262: (3, (2,)),
        273: (4, (8,)),
        277: (3, (3,)),
        278: (4, (9,)),
    }
    deep = tiff({**tags, 258: (3, (16,) * 3), 279: (4, (rgb.size * 2,))}, (rgb * 257).astype("<u2").tobytes())
    planes = {273: (4, (8, 125, 242)), 279: (4, (117,) * 3), 284: (3, (2,)), 258: (3, (8,) * 3)}
    return (
        made
        | bits
        | modes
        | {
            "pages.tif": _moving("TIFF"),
            "grey16.tif": pictures()["deep.tif"],
            "big.tif": encode(PICTURE, "TIFF", big_tiff=True),
            "rgb16.tif": deep,
            "planes.tif": tiff(tags | planes, rgb.astype(np.uint8).transpose(2, 0, 1).tobytes()),
        }
    )


def _others():
    eight = PICTURE.quantize(8)
    made = {
        "palette.gif": encode(eight, "GIF"),
        "invisible.gif": encode(eight, "GIF", transparency=0),
        "interlaced.gif": encode(eight, "GIF", interlace=1),
        "moving.gif": _moving("GIF"),
        "disposal.gif": _moving("GIF", disposal=2),
        "comment.gif": encode(eight, "GIF", comment=b"c" * 9999),
        "lossy.webp": encode(PICTURE, "WEBP"),
        "lossless.webp": encode(PICTURE, "WEBP", lossless=True),
        "alpha.webp": encode(PICTURE.convert("RGBA"), "WEBP"),
        "moving.webp": _moving("WEBP"),
        "rgb.bmp": encode(PICTURE, "BMP"),
        "grey.bmp": encode(PICTURE.convert("L"), "BMP"),
        "rgba.bmp": encode(PICTURE.convert("RGBA"), "BMP"),
        "1.bmp": encode(PICTURE.convert("1"), "BMP"),
        "palette.bmp": encode(eight, "BMP"),
        "upside-down.bmp": bmp(4, -3, data=bytes(36)),
        "runs.bmp": bmp(4, 2, 8, 1, b"\4\0\0\0\4\1\0\1"),
        "rgb.ppm": encode(PICTURE, "PPM"),
        "grey.pgm": encode(PICTURE.convert("L"), "PPM"),
        "1.pbm": encode(PICTURE.convert("1"), "PPM"),
        "comment.ppm": b"P6 # made\n# by hand\n2 1\n255\n" + bytes(6),
        "plain.ppm": b"P3 3 2 255 " + b"17 " * 18,
        "plain.pgm": b"P2\n2 1\n15\n0 15\n",
        "plain.pbm": b"P1\n2 2\n0 1\n10\n",
        "deep.pgm": pictures()["deep.pgm"],
        "few.ppm": b"P6 2 1 7\n" + bytes(6),
    }
    if "AVIF" in kinds.readable():
        made |= {"plain.avif": encode(PICTURE, "AVIF"), "alpha.avif": encode(PICTURE.convert("RGBA"), "AVIF")}
        made["moving.avif"] = _moving("AVIF")
    return made


def _thin():
    sizes = [(1, 1), (1, 2), (1, 7), (1, 1000), (2, 1), (3, 1), (1000, 1), (3000, 2)]
    return {
        f"{height}x{width}.{kind.lower()}": encode(smooth(height, width), kind)
        for height, width in sizes
        for kind in ("PNG", "BMP", "WEBP", "GIF", "JPEG")
    }


def _trailing():
    """What stands behind a picture's end, and the suffix of another kind, are no fault."""
    made = {
        f"trailing-{name}": encoded + b"\0junk" * 1000 for name, encoded in pictures().items() if name != "plain.ppm"
    }
    return made | {
        f"really-{name}.{'png' if '.jpg' in name else 'jpg'}": encoded for name, encoded in pictures().items()
    }


def _moving(kind, **options):
    first, *rest = (Image.new("RGB", (30, 20), colour) for colour in ("red", "green", "blue"))
    return encode(first, kind, save_all=True, append_images=rest, duration=50, **options)
