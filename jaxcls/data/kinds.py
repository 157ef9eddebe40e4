"""What a file is by its first bytes, what can be done about it, and the suffixes of pictures that are read here."""

import functools
import importlib.util

# Of the kinds that `decode` reads; those of _READERS only where their reader is installed.
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WebP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
    "HEIC": (".heic", ".heif", ".hif"),
    "DICOM": (".dcm", ".dicom"),
    "NumPy": (".npy",),
}
_READERS = {"AVIF": "PIL._avif", "HEIC": "pillow_heif", "DICOM": "pydicom"}  # modules
_HEAD = {  # first bytes -> kind, where nothing else has to be looked at
    b"\xff\xd8": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"II\xbc\x01": "JPEG XR",
    b"8BPS": "Photoshop",
    b"gimp xcf": "GIMP",
    b"%!PS": "EPS",
    b"\xc5\xd0\xd3\xc6": "EPS",
    b"%PDF": "PDF",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"DDS ": "DDS",
    b"\0\0\1\0": "icon",
    b"FUJIFILMCCD-RAW": "camera raw",
    b"IIRO": "camera raw",
    b"IIRS": "camera raw",
    b"IIU\0": "camera raw",
    b"FOVb": "camera raw",
    b"SIMPLE  =": "FITS",
    b"\x89HDF\r\n\x1a\n": "HDF5",
    b"\x93NUMPY": "NumPy",
    b"PK\3\4": "ZIP archive",
    b"PK\5\6": "ZIP archive",
    b"\x1f\x8b": "gzip archive",
    b"BZh": "bzip2 archive",
    b"\xfd7zXZ\0": "xz archive",
    b"\x28\xb5\x2f\xfd": "zstd archive",
    b"7z\xbc\xaf\x27\x1c": "7z archive",
    b"Rar!\x1a\7": "RAR archive",
    b"\x1aE\xdf\xa3": "video",  # Matroska, WebM
    b"\0\0\1\xba": "video",  # MPEG
    b"\0\0\1\xb3": "video",
    b"\0\5\x16\7": "macOS resource fork",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "thumbnail cache or Office document",
}
_POINTERS = {
    "version https://git-lfs": "Git LFS pointer",
    "version https://hawser": "Git LFS pointer",
    "version http://git-media": "Git LFS pointer",
    "/annex/objects/": "git-annex pointer",
}
_HEIC = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"])
_AVIF = frozenset([b"avif", b"avis"])
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes: OS/2 1 and 2, Windows 3 to 5
_CONVERT = "convert it to JPEG or PNG"
_REMEDIES = {
    "HEIC": "pip install pillow-heif, which then reads it",
    "AVIF": "pip install -U 'pillow>=11.3', which reads it",
    "DICOM": "pip install pydicom, which then reads it",
    "HTML": "it is a web page, probably an error page of a download; fetch the picture again",
    "XML": "probably the error message of a download; fetch the picture again, or move it away",
    "Git LFS pointer": "git lfs pull fetches the picture",
    "git-annex pointer": "git annex get fetches the picture",
    "PDF": "take the pictures out of it, e.g. with pdftoppm",
    "SVG": "render it to PNG",
    "EPS": "render it to PNG",
    "video": "take single frames out of it, e.g. with ffmpeg",
    "camera raw": "develop it to JPEG or 8-bit TIFF",
    "icon": "convert it to PNG, or move it away",
    "NumPy": "rename it to .npy where it holds a picture [h, w, c]",
    "HDF5": "save its pictures as PNG",
    "text": "move it away",
    "macOS resource fork": "move it away",
    "thumbnail cache or Office document": "move it away",
}


def of(head: bytes) -> str | None:
    """The kind of a file by its first bytes, of which 512 or more are wanted; None where it is not known.

    The kinds that can be read have the names in `readable`; "JPEG 2000", "SVG", "HTML", "Git LFS pointer", "text" are
    some of the others. Signatures: Garfinkel and others, as in the `magic` files of file(1); ISO 14496-12 for "ftyp".
    """
    if head[:4] in (b"II*\0", b"MM\0*") and head[8:10] == b"CR":
        return "camera raw"  # Canon's CR2, a TIFF of which Pillow sees a preview
    if kind := next((kind for start, kind in _HEAD.items() if head.startswith(start)), None):
        return kind
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head[4:8] in (b"moov", b"mdat", b"wide", b"pnot"):  # QuickTime before "ftyp"
        return "video"
    if head[:4] == b"RIFF":
        return {b"WEBP": "WebP", b"AVI ": "video"}.get(head[8:12])
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[:1] == b"P" and head[1:2] in tuple(b"%d" % i for i in range(1, 7)) and head[2:3].isspace():
        return "PPM"
    if head[128:132] == b"DICM":
        return "DICOM"
    if head[257:262] == b"ustar":
        return "tar archive"
    return _of_text(head)


def _of_brands(head: bytes) -> str:
    """The kind of a file of the ISO base media format: by its major brand, where that is general by the others."""
    end = min(int.from_bytes(head[:4]), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, end, 4))]
    if brands[0] == b"crx ":
        return "camera raw"  # Canon's CR3
    if brands[0] in _AVIF or (brands[0] in (b"mif1", b"msf1", b"miaf") and _AVIF.intersection(brands)):
        return "AVIF"
    return "HEIC" if brands[0] in _HEIC else "video"


def _of_text(head: bytes) -> str | None:
    """The kind of a text, None for other bytes. The last character may be cut off."""
    utf16 = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = head[: len(head) // 2 * 2].decode("utf-16") if utf16 else head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return None
        text = head[: error.start].decode("utf-16" if utf16 else "utf-8-sig")
    if not text.strip() or not all(c.isprintable() or c.isspace() for c in text):
        return None
    for start, kind in _POINTERS.items():
        if text.startswith(start):
            return kind
    lower = text.lstrip().lower()
    if not lower.startswith("<"):
        return "text"
    if "<svg" in lower or lower.startswith("<!doctype svg"):
        return "HTML" if 0 <= lower.find("<html") < lower.find("<svg") else "SVG"
    if "<html" in lower or lower.startswith(("<!doctype html", "<head", "<body", "<title", "<script")):
        return "HTML"
    return "XML" if lower.startswith("<?xml") else "text"


def remedy(kind: str) -> str:
    """What to do with a file of a kind that cannot be read, as half a sentence for a message."""
    if kind.endswith("archive"):
        return "unpack it"
    return _REMEDIES.get(kind, _CONVERT)


@functools.cache
def readable() -> frozenset[str]:
    """The kinds of pictures that can be read in this environment."""
    return frozenset(kind for kind in _SUFFIXES if kind not in _READERS or importlib.util.find_spec(_READERS[kind]))


@functools.cache
def suffixes() -> frozenset[str]:
    """The suffixes, in lower case and with the dot, of pictures that can be read in this environment."""
    return frozenset(suffix for kind in readable() for suffix in _SUFFIXES[kind])
