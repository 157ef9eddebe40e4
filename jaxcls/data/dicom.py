"""DICOM through pydicom: the first frame as the numbers that are stored, and how its header says they are shown.

Only files with the preamble ("DICM" behind 128 bytes, PS3.10) are taken for DICOM.
"""

import io
import logging
import math
import warnings
import zlib
from typing import Any, NamedTuple

from jaxcls.data import bounds
from jaxcls.data.windows import LINEAR, SIGMOID, Stored
from jaxcls.errors import UserError

# Odd values in a header are no news for a terminal; at the import, as in `formats`.
warnings.filterwarnings("ignore", module=r"pydicom\b")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META = 144  # where the file meta information begins that group length counts
_END = b"\xfe\xff\xdd\xe0\0\0\0\0"  # of encapsulated pixels
_BIG = 64 * 2**20  # bytes that a deflated file may have, or FOR_EACH_BYTE of its own
_PLUGINS = {  # end of a transfer syntax's UID behind 1.2.840.10008.1.2 -> packages that decode it for pydicom
    **dict.fromkeys((".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81"), "pylibjpeg pylibjpeg-libjpeg"),
    **dict.fromkeys((".4.90", ".4.91", ".4.201", ".4.202", ".4.203"), "pylibjpeg pylibjpeg-openjpeg"),
    ".5": "pylibjpeg pylibjpeg-rle",
}
_FRAMES = (*(m for m in range(0xC0, 0xD0) if m not in (0xC4, 0xC8, 0xCC)), 0xF7)  # markers of frame headers
_GREY = ("MONOCHROME1", "MONOCHROME2")


class Facts(NamedTuple):
    """What may surprise of a file: whether it is grey, and has no window of its own then; how many frames it has."""

    grey: bool
    windowless: bool
    frames: int


def opened(encoded: bytes, name: str) -> Any:
    """pydicom's Dataset of a file, or of its beginning, without pixels. Raises UserError."""
    import pydicom

    try:
        if _DEFLATED in encoded[_META - 12 : _META + _meta_length(encoded)]:
            _check_deflated(encoded, name)
        found = pydicom.dcmread(io.BytesIO(encoded), stop_before_pixels=True)
        if min(shape(found)) < 1:
            raise ValueError("it has no pixels")
    except UserError:
        raise
    except Exception as error:  # pydicom raises nearly any kind for bytes that make no sense
        raise damaged(error, name) from error
    return found


def damaged(error: Exception, name: str) -> UserError:
    """The error of a file that can't be read."""
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return UserError(f"{name or 'picture'}: damaged DICOM file, or without a picture ({reason}); replace or remove it")


def shape(found: Any) -> tuple[int, int, int]:
    """(height, width, values a pixel) of a Dataset."""
    return int(found.Rows), int(found.Columns), int(found.get("SamplesPerPixel", 1) or 1)


def _meta_length(encoded):
    """Bytes of the file meta information behind its group length (0002,0000)."""
    known = encoded[132:140] == b"\2\0\0\0UL\4\0"
    return min(int.from_bytes(encoded[140:144], "little"), 2**16) if known else 2**10


def _check_deflated(encoded, name):
    """Raises UserError for a deflated file that would become too large: pydicom inflates it whole."""
    room = max(_BIG, bounds.FOR_EACH_BYTE * len(encoded))
    state, data, size = zlib.decompressobj(-zlib.MAX_WBITS), encoded[_META + _meta_length(encoded) :], 0
    while data and not state.eof:
        size += len(state.decompress(data, 2**20))
        data = state.unconsumed_tail
        if size > min(room, bounds.MEMORY):
            raise UserError(
                f"{name or 'picture'}: a deflated DICOM file of {len(encoded):,} bytes that becomes more than "
                f"{size / 2**20:,.0f} MiB; save it with another transfer syntax or move it away"
            )


def read(encoded: bytes, max_pixels: int, name: str) -> Stored:
    """The numbers of the first frame; colours as pydicom makes RGB of them.

    What is shown without a window is the header's own: the first of its windows (VOI LUT function LINEAR, LINEAR_EXACT
    or SIGMOID, PS3.3 C.11.2.1), or all that its stored bits can hold. Look-up tables for display (VOI LUT Sequence,
    presentation states) are not applied; a modality's table is, in place of slope and intercept.

    Raises:
      UserError: one that is too large, damaged, or compressed as pydicom can't decode without a plug-in.
    """
    import pydicom
    from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder

    header = opened(encoded, name)
    height, width, samples = shape(header)
    bounds.check_size(height, width, max_pixels, name)
    allocated = max(1, -(-int(header.get("BitsAllocated", 8) or 8) // 8))
    each = samples * (3 * allocated + 8) + (12 if "PALETTE" in _colours(header) else 0)
    bounds.check_memory(height, width, each, len(encoded), name)
    syntax = _decodable(header, name)
    try:
        found = pydicom.dcmread(io.BytesIO(encoded))
        _check_frame(found, height, width, syntax, name)
        values, how = get_decoder(syntax).as_array(found, index=0)
        bits = int(how.get("bits_stored", 8 * allocated))
        if _colours(header) == "PALETTE COLOR":
            values = apply_color_lut(values, found)
            bits = 8 * values.dtype.itemsize
        grey = values.ndim == 2
        slope, intercept = _rescale(found) if grey else (1.0, 0.0)
        if grey and "ModalityLUTSequence" in found:
            values, slope, intercept = apply_modality_lut(values, found), 1.0, 0.0
        values = values.reshape(height, width, -1)
        return _stored(found, values, bits, slope, intercept)
    except UserError:
        raise
    except Exception as error:
        raise _undecoded(error, syntax, name) from error


def _stored(found, values, bits, slope, intercept):
    if values.shape[-1] > 1:
        whole = (0.0, float(2 ** min(bits, 8 * values.dtype.itemsize) - 1))
        return Stored(values, whole, takes=False)
    known = _own_window(found)
    own, curve = known or (_whole(values.dtype, bits, slope, intercept), LINEAR)
    inverted = _colours(found) == "MONOCHROME1"
    return Stored(values, own, True, slope, intercept, inverted, curve)


def _whole(dtype, bits, slope, intercept):
    """What the lowest and the highest number of the stored bits stand for; None of floating-point ones."""
    if dtype.kind == "f":
        return None
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype.kind == "i" else (0, 2**bits - 1)
    ends = sorted((slope * low + intercept, slope * high + intercept))
    return ends[0], ends[1]


def _colours(found):
    return str(found.get("PhotometricInterpretation", "")).strip()


def _value(found, group, keyword):
    """A value of the header; of an enhanced file that of all frames, or of the first one. None where there is none."""
    if (value := found.get(keyword)) not in (None, ""):
        return value
    for shared in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for frame in list(found.get(shared) or [])[:1]:
            for item in list(frame.get(group) or [])[:1]:
                if (value := item.get(keyword)) not in (None, ""):
                    return value
    return None


def _number(value):
    """The first of one or several values as a finite float; None where it is none."""
    several = value is not None and not isinstance(value, (str, bytes)) and hasattr(value, "__len__")
    first = (value[0] if len(value) else None) if several else value
    number = math.nan if first is None else float(first)
    return number if math.isfinite(number) else None


def _rescale(found):
    group = "PixelValueTransformationSequence"
    slope, intercept = (_number(_value(found, group, key)) for key in ("RescaleSlope", "RescaleIntercept"))
    return slope or 1.0, intercept or 0.0


def _own_window(found):
    """((low, high), curve) of the header's first window; None where it has none that makes sense."""
    group = "FrameVOILUTSequence"
    centre, width = (_number(_value(found, group, key)) for key in ("WindowCenter", "WindowWidth"))
    function = str(_value(found, group, "VOILUTFunction") or "LINEAR").strip()
    if centre is None or width is None or width <= 0 or (function == "LINEAR" and width < 1):
        return None
    if function == "LINEAR":  # equation C.11-1: black up to c - 0.5 - (w - 1) / 2, white above c - 0.5 + (w - 1) / 2
        centre, width = centre - 0.5, width - 1
    return (centre - width / 2, centre + width / 2), SIGMOID if function == "SIGMOID" else LINEAR


def facts(encoded: bytes, name: str = "") -> Facts:
    """What may surprise of a file, by its header. Raises UserError."""
    found = opened(encoded, name)
    try:
        grey = _colours(found) in _GREY
        return Facts(grey, grey and _own_window(found) is None, int(found.get("NumberOfFrames", 1) or 1))
    except Exception as error:
        raise damaged(error, name) from error


def whole(head: bytes, tail: bytes, length: int) -> bool:
    """Whether a file of this length, with these ends, has all of its pixels, as far as it says. Raises UserError."""
    found = opened(head, "")
    if _decodable(found, "").is_encapsulated:
        return _END in tail
    height, width, samples = shape(found)
    need = height * width * samples * int(found.BitsAllocated) // 8 * int(found.get("NumberOfFrames", 1) or 1)
    return "PixelRepresentation" in found and need <= length - _META


def _decodable(header, name):
    """The transfer syntax. Raises UserError where pydicom can't decode it as it is installed."""
    from pydicom.pixels import get_decoder

    syntax = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        raise UserError(f"{name or 'picture'}: a DICOM file that doesn't name its transfer syntax; convert it to PNG")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UserError(
            f"{name or 'picture'}: DICOM compressed as {syntax.name}, which pydicom doesn't decode; save it with "
            "another transfer syntax"
        ) from None
    deep = str(syntax).endswith(".4.51") and int(header.get("BitsStored", 8) or 8) > 8  # Pillow's JPEG has 8 bits
    if not decoder.is_available or (deep and decoder.available_plugins == ("pillow",)):
        raise _lacking(syntax, name)
    return syntax


def _lacking(syntax, name):
    return UserError(
        f"{name or 'picture'}: DICOM compressed as {syntax.name}, which pydicom decodes with a plug-in: pip install "
        f"{_PLUGINS.get(str(syntax).removeprefix('1.2.840.10008.1.2'), 'python-gdcm')}"
    )


def _undecoded(error, syntax, name):
    if syntax.is_encapsulated and isinstance(error, ImportError):
        return _lacking(syntax, name)
    return damaged(error, name)


def _check_frame(found, height, width, syntax, name):
    """Compressed pixels of the first frame are of the size that the header says, which was judged, and of few scans.

    Raises:
      ValueError, UserError: where they are not.
    """
    if not syntax.is_encapsulated or str(syntax).endswith("1.2.5"):
        return
    from pydicom.encaps import get_frame

    frame = get_frame(found.PixelData, 0, number_of_frames=int(found.get("NumberOfFrames", 1) or 1))
    size = _jpeg_size(frame) if frame[:2] == b"\xff\xd8" else _jpeg2000_size(frame)
    if size not in (None, (height, width)):
        raise ValueError(f"its frame is {size[1]} x {size[0]}, its header says {width} x {height}")
    bounds.check_scans(frame.count(b"\xff\xda"), height, width, len(frame), name)


def _jpeg_size(frame):
    """(height, width) of a JPEG or JPEG-LS, by its frame header; None where there is none."""
    at = 2
    while at + 9 <= len(frame):
        marker = frame[at + 1]
        if frame[at] == 0xFF and marker in _FRAMES:
            return int.from_bytes(frame[at + 5 : at + 7]), int.from_bytes(frame[at + 7 : at + 9])
        if frame[at] != 0xFF or marker in (0x00, 0xFF):
            at += 1
        else:
            at += 2 + int.from_bytes(frame[at + 2 : at + 4])
    return None


def _jpeg2000_size(frame):
    """(height, width) of a JPEG 2000 code stream, in a file of its own or not; None where there is none."""
    at = frame.find(b"\xff\x4f\xff\x51", 0, 2**12)
    if at < 0:
        return None
    x, y, left, top = (int.from_bytes(frame[at + 8 + 4 * i : at + 12 + 4 * i]) for i in range(4))
    return y - top, x - left
