"""Windows: levels by the formula in whole fractions, of every kind of picture, on every way to a model."""

import io
import struct
import warnings
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pictures import encode, noise
from PIL import Image

from jaxcls import augment
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.data import decode, folder, packing, unreadable, windows
from jaxcls.errors import UserError

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
GREY, RGB = RNG.integers(0, 4096, (9, 14)).astype(np.uint16), RNG.integers(0, 2**16, (9, 14, 3)).astype(np.uint16)
WINDOW = (300.0, 2500.5)


def exact(values, low, high):
    """Levels by whole fractions, halves to even as Python rounds them."""
    shares = [(Fraction(x) - Fraction(low)) / (Fraction(high) - Fraction(low)) for x in values.ravel().tolist()]
    return np.array([round(255 * min(1, max(0, x))) for x in shares]).reshape(values.shape)


def tiff(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, metadata=None, **options)
    return file.getvalue()


def png16(values, interlaced=False):
    """A PNG of 16 bits, grey or RGB(A), each row by another filter, by the definition (ISO 15948)."""
    values = values if values.ndim == 3 else values[..., None]
    colour, each = {1: 0, 3: 2, 4: 6}[values.shape[2]], 2 * values.shape[2]
    above, data = np.zeros(values.shape[1] * each, int), b""
    for i, row in enumerate(values.astype(">u2")):
        raw = np.frombuffer(row.tobytes(), np.uint8).astype(int)
        left, corner = (np.concatenate([np.zeros(each, int), x[:-each]]) for x in (raw, above))
        nearest = np.array([min((a, b, c), key=lambda v: abs(a + b - c - v)) for a, b, c in zip(left, above, corner)])  # noqa: B905
        guess = [0, left, above, (left + above) // 2, nearest][i % 5]
        data += bytes([i % 5]) + ((raw - guess) % 256).astype(np.uint8).tobytes()
        above = raw
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))  # noqa: E731
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def npy(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def pgm(values):
    kind = b"P6" if values.ndim == 3 else b"P5"
    return kind + b"\n%d %d\n65535\n" % values.shape[1::-1] + values.astype(">u2").tobytes()


MAKE = {
    "TIFF": tiff, "TIFF, compressed": lambda x: tiff(x, compression="zlib", predictor=True),
    "TIFF, big-endian": lambda x: tiff(x, byteorder=">"), "PNG": png16, "NumPy": npy, "PPM": pgm,
}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    arrays(st.sampled_from([np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float32]), (3, 4)),
    st.integers(-4000, 4000), st.integers(1, 5000),
)  # fmt: skip
def test_levels_are_those_of_whole_fractions(values, low, width):
    values = np.where(np.isfinite(values), values, 0).astype(values.dtype)
    got, wanted = windows.levels(values, (low, low + width)), exact(values, low, low + width)
    ties = np.abs((values.astype(np.float64) - low) / width * 255 % 1 - 0.5) < 1e-9
    assert (got == wanted)[~ties].all() and (np.abs(got - wanted) <= 1).all()


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "<i2", ">i2"])
def test_large_pictures_go_through_a_table_that_gives_the_same(dtype):
    dtype = np.dtype(dtype)
    values = RNG.integers(0, 2 ** (8 * dtype.itemsize), (300, 400)).astype(f"u{dtype.itemsize}").view(dtype)[:, ::2]
    how = {"slope": 0.5, "intercept": -3.0, "inverted": True}
    rows = [windows.levels(row, (-20, 90), **how) for row in values[:40]]
    assert (windows.levels(values, (-20, 90), **how)[:40] == np.stack(rows)).all()


def test_what_is_no_number_is_black_and_the_infinite_is_clipped():
    assert windows.levels(np.array([np.nan, np.inf, -np.inf, 0.5]), (0, 1)).tolist() == [0, 255, 0, 128]


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("values", [GREY, RGB], ids=["grey", "RGB"])
def test_every_kind_of_16_bits(kind, values):
    encoded = MAKE[kind](values)
    wanted = exact(values, *WINDOW)
    if values.ndim == 2:
        assert (decode.decode(encoded, channels=1, window=WINDOW)[..., 0] == wanted).all()
        assert (decode.decode(encoded, window=WINDOW) == wanted[..., None]).all()
    else:
        assert (decode.decode(encoded, window=WINDOW) == wanted).all()
        luma = np.asarray(Image.fromarray(wanted.astype(np.uint8)).convert("L"))
        assert (decode.decode(encoded, channels=1, window=WINDOW)[..., 0] == luma).all()


@pytest.mark.parametrize("kind", MAKE)
def test_16_bits_of_grey_without_a_window_are_divided_by_257(kind):
    assert (decode.decode(MAKE[kind](GREY), channels=1)[..., 0] == np.rint(GREY / 257)).all()


def test_floats_and_signed_numbers_need_a_window():
    for values in (RNG.normal(size=(5, 6)).astype(np.float32), GREY.astype(np.int16) - 2000):
        for make in (tiff, npy):
            wanted = exact(values, -1, 2)
            assert (decode.decode(make(values), channels=1, window=(-1.0, 2.0))[..., 0] == wanted).all()
            if values.dtype == np.float32 or make is npy:
                with pytest.raises(UserError, match="set config.data.window"):
                    decode.decode(make(values), name="x")


def test_white_is_zero_is_inverted_and_opacity_lies_on_white():
    inverted = decode.decode(tiff(GREY, photometric="miniswhite"), channels=1, window=WINDOW)[..., 0]
    assert (inverted == 255 - exact(GREY, *WINDOW)).all()
    alpha = np.concatenate([RGB, RNG.integers(0, 2**16, (9, 14, 1)).astype(np.uint16)], axis=-1)
    for encoded in (png16(alpha), tiff(alpha, photometric="rgb", extrasamples=["unassalpha"])):
        colours, opaque = exact(RGB, *WINDOW), np.rint(alpha[..., 3:] / 257) / 255
        found = decode.decode(encoded, window=WINDOW)
        assert np.abs(found - (colours * opaque + 255 * (1 - opaque))).max() <= 0.51


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF"])
def test_8_bits_stay_as_they_are(kind):
    encoded = encode(noise(), kind)
    assert (decode.decode(encoded, window=(3.0, 9.0)) == decode.decode(encoded)).all()


@pytest.mark.parametrize(
    "value", [(5,), (5, 4), (5, 5), (1, 2, 3), ("a", 2), (float("nan"), 2), (0, float("inf")), (True, 2)]
)
def test_what_is_no_window(value):
    with pytest.raises(UserError, match=r"config.data.window=\(.*two numbers"):
        windows.checked(value)


def test_windows_are_checked():
    assert windows.checked(()) == () and windows.checked([-160, 240]) == (-160.0, 240.0)


def test_it_travels_with_the_preprocessing():
    deep = Preprocessing(("resize(6, 7)",), channels=1, window=WINDOW)
    assert Preprocessing.from_json(deep.to_json()) == deep
    assert "window" not in Preprocessing().to_json()  # as it was written before there were windows
    through = windows.levels(GREY, WINDOW)[..., None]
    assert (deep.prepare(tiff(GREY)) == deep.prepare(through)).all()
    assert (deep.prepare(GREY[..., None]) == deep.prepare(through)).all()  # pixels of 16 bits, from Python
    in_memory = Preprocessing(channels=1, picture=(9, 14, 1), window=WINDOW)
    assert (in_memory.prepare(tiff(GREY)) == through).all()
    with pytest.raises(UserError, match="pixels are uint8, not uint16"):
        Preprocessing(("resize(6, 7)",), channels=1).prepare(GREY[..., None])
    with pytest.raises(UserError, match="it has 3 channels, not the 1"):
        deep.prepare(RGB.astype(np.uint8), "x")


def test_packed_pictures_have_it_and_those_of_another_lie_beside(tmp_path):
    for name in ("a/1.tif", "b/2.tif"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / name).write_bytes(tiff(GREY))
    source = folder.scan(tmp_path / "in")["all"]
    found = {}
    for window in ((), WINDOW, (0.0, 9.0)):
        how = {"channels": 1, "window": window}
        found[window] = packing.pack(source, tmp_path, augment.smaller(20, **how), 20, note=lambda _: None, **how)
        wanted = windows.levels(GREY, window or (0, 65535))
        assert (found[window][1]["image"][..., 0] == wanted).all()
    assert len({x.path for x in found.values()}) == len({x.fingerprint for x in found.values()}) == 3


def test_what_it_does_not_do_is_told(tmp_path):
    files = {"a/1.tif": tiff(GREY), "a/2.png": png16(GREY), "a/3.jpg": encode(noise(), "JPEG"), "b/4.npy": npy(GREY)}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    source = folder.scan(tmp_path)["all"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for full in (True, False):
            (note,) = unreadable.check(source, full=full, window=WINDOW).notes
            assert note.endswith("1 of 4 pictures have 8 bits and stay as they are")
