"""DICOM: levels by the formulas of PS3.3 in float64, colours, compressions, and what is broken."""

import io
import warnings
import zlib

import dicom_files
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcls.data import decode, dicom, ends, folder, kinds, unreadable
from jaxcls.errors import UserError

pydicom = dicom_files.pydicom
RNG = np.random.default_rng(0)
CT = RNG.integers(0, 4096, (20, 30)).astype(np.uint16)
MR = RNG.integers(-1000, 1000, (20, 30)).astype(np.int16)
KINDS = {  # of VOI LUT function: level of value x by centre c and width w, PS3.3 C.11.2.1
    "LINEAR": lambda x, c, w: np.select(
        [x <= c - 0.5 - (w - 1) / 2, x > c - 0.5 + (w - 1) / 2], [0, 255], ((x - (c - 0.5)) / max(w - 1, 1) + 0.5) * 255
    ),
    "LINEAR_EXACT": lambda x, c, w: np.select(
        [x <= c - w / 2, x > c + w / 2], [0, 255], ((x - c) / w + 0.5) * 255
    ),
    "SIGMOID": lambda x, c, w: 255 / (1 + np.exp((-4 * (x - c) / w).clip(None, 700))),
}  # fmt: skip


def grey(encoded, **options):
    return decode.decode(encoded, channels=1, name="x.dcm", **options)[..., 0]


def problem(encoded, **options):
    with pytest.raises(UserError) as error:
        decode.decode(encoded, name="x.dcm", **options)
    assert str(error.value).startswith("x.dcm: ") and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("values, slope, intercept", [(CT, 1, -1024), (MR, 1, 0), (CT, 0.5, 10), (CT, -1, 100)])
def test_a_window_counts_in_what_slope_and_intercept_make(values, slope, intercept):
    encoded = dicom_files.make(values, RescaleSlope=slope, RescaleIntercept=intercept, WindowCenter=3, WindowWidth=9)
    x = values.astype(np.float64) * slope + intercept
    wanted = np.rint(((x + 160) / 400).clip(0, 1) * 255)
    assert (grey(encoded, window=(-160.0, 240.0)) == wanted).all()
    three = decode.decode(encoded, window=(-160.0, 240.0))
    assert three.shape == (20, 30, 3) and (three == wanted[..., None]).all()
    inverted = dicom_files.dataset(values, RescaleSlope=slope, RescaleIntercept=intercept)
    inverted.PhotometricInterpretation = "MONOCHROME1"
    assert (grey(dicom_files.encoded(inverted), window=(-160.0, 240.0)) == 255 - wanted).all()


@pytest.mark.parametrize("function", KINDS)
@pytest.mark.parametrize("centre, width", [(40, 400), (2047.5, 1), (-100.25, 33), ([700, 40], [900, 400])])
def test_its_own_window_is_used(function, centre, width):
    encoded = dicom_files.make(
        CT, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=centre, WindowWidth=width, VOILUTFunction=function
    )
    c, w = (np.atleast_1d(x)[0] for x in (centre, width))
    wanted = KINDS[function](CT.astype(np.float64) - 1024, c, w)
    assert (grey(encoded) == np.rint(wanted)).all()


@pytest.mark.parametrize("values, bits, low, high", [(CT, 12, 0, 4095), (MR, 12, -2048, 2047), (CT, 16, 0, 65535)])
def test_without_a_window_all_that_the_stored_bits_can_hold(values, bits, low, high):
    x = values.astype(np.float64)
    assert (grey(dicom_files.make(values, BitsStored=bits)) == np.rint(255 * (x - low) / (high - low))).all()


def test_8_bits_stay_as_they_are_and_1_bit_is_black_and_white():
    values = RNG.integers(0, 256, (6, 8)).astype(np.uint8)
    assert (grey(dicom_files.make(values)) == values).all()
    flags = RNG.integers(0, 2, (8, 8)).astype(np.uint8)
    packed = dicom_files.make(
        flags, BitsAllocated=1, BitsStored=1, PixelData=np.packbits(flags, bitorder="little").tobytes()
    )
    assert (grey(packed) == 255 * flags).all()


def test_colours():
    rgb = RNG.integers(0, 256, (12, 10, 3)).astype(np.uint8)
    assert (decode.decode(dicom_files.make(rgb), window=(0.0, 10.0)) == rgb).all()  # a window is for grey
    ycc = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    found = decode.decode(dicom_files.make(ycc, PhotometricInterpretation="YBR_FULL"))
    assert np.abs(found.astype(int) - rgb).max() <= 3  # two roundings
    apart = dicom_files.make(rgb, PlanarConfiguration=1, PixelData=np.moveaxis(rgb, -1, 0).tobytes())
    assert (decode.decode(apart) == rgb).all()
    table = RNG.integers(0, 256, (256, 3)).astype(np.uint8)
    found = dicom_files.dataset(CT.astype(np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for i, name in enumerate(("Red", "Green", "Blue")):
        setattr(found, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 8])
        setattr(found, f"{name}PaletteColorLookupTableData", table[:, i].tobytes())
    assert (decode.decode(dicom_files.encoded(found)) == table[CT.astype(np.uint8)]).all()


def test_the_first_frame_counts_and_enhanced_headers_are_looked_into():
    frames = np.stack([CT, CT[::-1]])
    encoded = dicom_files.make(frames, BitsStored=12)
    assert (grey(encoded) == grey(dicom_files.make(CT, BitsStored=12))).all()
    assert dicom.facts(encoded) == (True, True, 2)
    found = dicom_files.dataset(frames, BitsStored=12)
    values, window, shared = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    values.RescaleSlope, values.RescaleIntercept = 2, -100
    window.WindowCenter, window.WindowWidth = 1000, 501
    shared.PixelValueTransformationSequence, shared.FrameVOILUTSequence = [values], [window]
    found.SharedFunctionalGroupsSequence = [shared]
    wanted = KINDS["LINEAR"](CT * 2.0 - 100, 1000, 501)
    assert (grey(dicom_files.encoded(found)) == np.rint(wanted)).all()


@pytest.mark.parametrize("end", ["", ".1", ".1.99", ".5"])
def test_transfer_syntaxes_give_the_same(end):
    found = dicom_files.dataset(CT, BitsStored=12)
    if end == ".5":
        found.compress(pydicom.uid.RLELossless)
    else:
        found.file_meta.TransferSyntaxUID = pydicom.uid.UID(f"1.2.840.10008.1.2{end}")
    encoded = dicom_files.encoded(found)
    assert (grey(encoded) == grey(dicom_files.make(CT, BitsStored=12))).all()
    assert decode.size(encoded) == decode.upright_size(encoded) == (20, 30)


def jpeg(size=None):
    from pydicom.encaps import encapsulate

    values = np.add.outer(np.arange(20), 5 * np.arange(30)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).resize(size or (30, 20)).save(file, "JPEG", quality=90)
    syntax = pydicom.uid.JPEGBaseline8Bit
    return file.getvalue(), dicom_files.make(values, syntax, PixelData=encapsulate([file.getvalue()]))


def test_a_jpeg_within_is_that_of_pillow_and_must_have_the_size_of_the_header():
    inner, encoded = jpeg()
    assert (grey(encoded) == np.asarray(Image.open(io.BytesIO(inner)))).all()
    assert "its frame is 60 x 20, its header says 30 x 20" in problem(jpeg((60, 20))[1])


@pytest.mark.parametrize(
    "end, packages",
    [(".4.80", "pylibjpeg pylibjpeg-libjpeg"), (".4.70", "pylibjpeg pylibjpeg-libjpeg"),
     (".4.201", "pylibjpeg pylibjpeg-openjpeg"), (".4.100", None)],
)  # fmt: skip
def test_what_needs_a_plug_in_names_it(end, packages, monkeypatch):
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import Decoder

    monkeypatch.setattr(Decoder, "is_available", property(lambda self: False))
    encoded = dicom_files.make(CT, pydicom.uid.UID(f"1.2.840.10008.1.2{end}"), PixelData=encapsulate([b"x" * 64]))
    assert "transfer syntax" in problem(
        encoded.replace(f"1.2.840.10008.1.2{end}".encode(), b"1.2.840.10008.1.9" + end.encode())
    )
    text = problem(encoded)
    assert text.endswith(f"pip install {packages}" if packages else "save it with another transfer syntax")


def test_floats_want_a_window():
    values = RNG.normal(size=(5, 6)).astype(np.float32)
    found = dicom_files.dataset(values, BitsAllocated=32, BitsStored=32, FloatPixelData=values.tobytes())
    del found.PixelData, found.BitsStored, found.HighBit, found.PixelRepresentation
    file = io.BytesIO()
    found.save_as(file, enforce_file_format=True)
    assert "set config.data.window" in problem(file.getvalue())
    wanted = np.rint(255 * ((values.astype(np.float64) + 1) / 2).clip(0, 1))
    assert (grey(file.getvalue(), window=(-1.0, 1.0)) == wanted).all()


def test_what_is_too_large_is_told_by_the_header():
    assert "65535 x 65535" in problem(dicom_files.make(CT, Rows=65535, Columns=65535))
    assert "more than 100;" in problem(dicom_files.make(CT), max_pixels=100)
    assert "MiB to decode" in problem(dicom_files.make(CT, Rows=10_000, Columns=10_000))
    head = dicom_files.make(CT, pydicom.uid.DeflatedExplicitVRLittleEndian)
    start = 144 + int.from_bytes(head[140:144], "little")
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = head[:start] + compressor.compress(bytes(dicom._BIG + 2**20)) + compressor.flush()
    assert "a deflated DICOM file of" in problem(bomb)


@pytest.mark.parametrize("lacks", ["Rows", "BitsAllocated", "PhotometricInterpretation", "PixelData"])
def test_what_lacks_something(lacks):
    found = dicom_files.dataset(CT)
    delattr(found, lacks)
    assert "damaged DICOM file, or without a picture" in problem(dicom_files.encoded(found))


@pytest.mark.filterwarnings("ignore")
@given(st.integers(0, 3000), st.binary(min_size=0, max_size=6), st.booleans())
@settings(max_examples=150, deadline=None)
def test_damage_gives_an_array_or_a_line(at, put, cut):
    whole = WHOLE
    damaged = whole[:at] if cut else whole[: at % len(whole)] + put + whole[at % len(whole) + len(put) :]
    try:
        assert decode.decode(damaged, name="x.dcm").dtype == np.uint8
    except UserError as error:
        assert "\n" not in str(error)


WHOLE = dicom_files.make(CT, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)


def test_truncated_pixels_are_told_without_decoding_too(tmp_path):
    assert "damaged DICOM file" in problem(WHOLE[:-100])
    assert ends.look_whole(WHOLE, WHOLE[-2048:], len(WHOLE))
    assert not ends.look_whole(WHOLE[:-600], WHOLE[-2648:-600], len(WHOLE) - 600)
    inside = jpeg()[1]
    assert ends.look_whole(inside, inside[-2048:], len(inside))
    assert not ends.look_whole(inside, inside[-2048:-20], len(inside) - 20)


def test_a_folder_of_them(tmp_path):
    assert ".dcm" in kinds.suffixes() and kinds.of(WHOLE[:512]) == "DICOM"
    files = {"a/1.dcm": WHOLE, "a/2.dcm": dicom_files.make(CT), "b/3.dcm": dicom_files.make(np.stack([CT, CT]))}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    source = folder.scan(tmp_path)["all"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for full in (True, False):
            bare, several = unreadable.check(source, full=full).notes
            assert bare.startswith("2 of 3 pictures are DICOM files without a window of their own")
            assert several == "1 of 3 pictures have several frames, of which the first is used"
        assert unreadable.check(source, window=(0.0, 9.0)).notes == [several]
