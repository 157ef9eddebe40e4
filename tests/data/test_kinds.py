"""Files are known by their first bytes, and what folders leave out is named by them."""

import gzip
import importlib.util
import io
import os
import re
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from jaxcls.data import folder, kinds, listing
from jaxcls.predict import reading


def by_pillow(form):
    file = io.BytesIO()
    Image.new("RGB", (20, 30), (200, 100, 50)).save(file, form)
    return file.getvalue()


def packed(make):
    file = io.BytesIO()
    make(file)
    return file.getvalue()


@pytest.mark.parametrize(
    "form, kind",
    [
        ("JPEG", "JPEG"),
        ("PNG", "PNG"),
        ("WEBP", "WebP"),
        ("BMP", "BMP"),
        ("GIF", "GIF"),
        ("TIFF", "TIFF"),
        ("PPM", "PPM"),
        ("AVIF", "AVIF"),
        ("JPEG2000", "JPEG 2000"),
        ("PDF", "PDF"),
        ("EPS", "EPS"),
        ("ICO", "icon"),
        ("DDS", "DDS"),
        ("MPO", "JPEG"),
    ],
)
def test_what_pillow_writes(form, kind):
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    assert kinds.of(by_pillow(form)[:512]) == kind


HEADS = {  # of other programs: kind, first bytes
    "HEIC of an iPhone": ("HEIC", b"\0\0\0\x24ftypheic\0\0\0\0mif1MiHEmiafMiHBheic" + bytes(400)),
    "HEIF of a general brand": ("HEIC", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(400)),
    "AVIF of a general brand": ("AVIF", b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf" + bytes(400)),
    "AVIF behind the brands": ("HEIC", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heicavif" + bytes(400)),
    "MP4": ("video", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(400)),
    "live photo": ("video", b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(400)),
    "AVI": ("video", b"RIFF\0\0\1\0AVI LIST" + bytes(400)),
    "CR3": ("camera raw", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(400)),
    "CR2": ("camera raw", b"II*\0\x10\0\0\0CR\2\0" + bytes(400)),
    "JPEG XL": ("JPEG XL", b"\xff\x0a\xf8\x14\x13" + bytes(400)),
    "JPEG XL in boxes": ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl " + bytes(400)),
    "Photoshop": ("Photoshop", b"8BPS\0\1" + bytes(400)),
    "DICOM": ("DICOM", bytes(128) + b"DICM\2\0\0\0UL\4\0" + bytes(300)),
    "SVG": ("SVG", b'<svg xmlns="http://www.w3.org/2000/svg" width="10">'),
    "SVG of Inkscape": ("SVG", b'<?xml version="1.0"?>\n<!-- Created with Inkscape -->\n<svg\n   width="10">'),
    "HTML": ("HTML", b"\n <!DOCTYPE html>\n<html lang=en><title>404</title>"),
    "HTML with an SVG": ("HTML", b"<html><body><svg width=1>"),
    "HTML, BOM": ("HTML", b"\xef\xbb\xbf<HTML><head>"),
    "XML of a bucket": ("XML", b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>'),
    "Git LFS": ("Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n"),
    "git-annex": ("git-annex pointer", b"/annex/objects/SHA256E-s12--ab.jpg\n"),
    "text": ("text", b"path,group\r\na/1.jpg,1\n"),
    "text in UTF-16": ("text", "p\u00e5th\tgroup\n".encode("utf-16")),
    "JSON": ("text", b'{"a": "\xc3\xa4"}'),
    "ZIP": ("ZIP archive", packed(lambda f: zipfile.ZipFile(f, "w").writestr("a", "b"))),
    "gzip": ("gzip archive", gzip.compress(b"x" * 100)),
    "tar": (
        "tar archive",
        packed(lambda f: tarfile.open(fileobj=f, mode="w").addfile(tarfile.TarInfo("a"))) + bytes(512),  # noqa: SIM115
    ),
    "NumPy": ("NumPy", packed(lambda f: np.save(f, np.zeros((3, 4))))),
    "macOS": ("macOS resource fork", b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(400)),
    "zeros": (None, bytes(512)),
    "noise": (None, np.random.default_rng(0).bytes(512)),
    "nothing": (None, b""),
}


@pytest.mark.parametrize("name", HEADS)
def test_kinds_by_their_first_bytes(name):
    kind, head = HEADS[name]
    assert kinds.of(head[:512]) == kind
    if kind:
        assert "\n" not in kinds.remedy(kind) and 5 < len(kinds.remedy(kind)) < 90


@settings(max_examples=100)
@given(st.binary(max_size=600), st.sampled_from([b"", b"RIFF", b"\0\0\0\x18ftyp", b"BM", b"<", b"\xff\xfe", b"P6"]))
def test_any_bytes_have_a_kind_or_none(rest, start):
    kind = kinds.of(start + rest)
    assert kind is None or kinds.remedy(kind)


@given(st.text(st.characters(min_codepoint=32, exclude_categories=("C", "Z")), min_size=200), st.integers(100, 400))
@settings(max_examples=30)
def test_a_text_may_be_cut_within_a_character(text, length):
    assert kinds.of(("x" + text).encode()[:length]) == "text"


def test_suffixes_are_those_of_what_is_read():
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".ppm"} < kinds.suffixes()
    assert (".avif" in kinds.suffixes()) == features.check("avif") == ("AVIF" in kinds.readable())
    assert (".heic" in kinds.suffixes()) == bool(importlib.util.find_spec("pillow_heif"))


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
LEFT_OUT = {  # name, content -> how it is told
    "IMG_1.HEIC": (HEIC, r"1 HEIC file\(s\) \(pip install pillow-heif, which then reads it\), e.g. a/IMG_1.HEIC"),
    "x.jp2": (by_pillow("JPEG2000"), r"JPEG 2000 file\(s\) \(convert it to JPEG or PNG\)"),
    "x.svg": (HEADS["SVG"][1], r"SVG file\(s\) \(render it to PNG\)"),
    "x.nef": (by_pillow("TIFF"), r"camera raw file\(s\) \(develop it"),
    "x.dcm": (HEADS["DICOM"][1], r"DICOM file\(s\) \(pip install pydicom"),
    "x.zip": (HEADS["ZIP"][1], r"ZIP archive file\(s\) \(unpack it\)"),
    "x.lfs": (HEADS["Git LFS"][1], r"Git LFS pointer file\(s\) \(git lfs pull"),
    "x.jpg.part": (by_pillow("JPEG"), r"JPEG file\(s\) with the suffix \.part \(probably unfinished downloads"),
    "x.dat": (by_pillow("PNG"), r"PNG file\(s\) with the suffix \.dat \(if they are pictures, rename them to \.png\)"),
    "noext": (by_pillow("JPEG"), r"JPEG file\(s\) without a suffix \(if they are pictures, rename them to \.jpg\)"),
    "x.0001": (by_pillow("TIFF"), r"TIFF file\(s\) without a suffix \(if they are pictures, rename them to \.tif\)"),
    "notes.txt": (b"hello", r"1 text file\(s\), e.g. a/notes.txt"),
    "x.xml": (b"<?xml version='1.0'?><annotation>", r"1 XML file\(s\), e.g. a/x.xml"),
    "empty": (b"", r"1 empty file\(s\), e.g. a/empty"),
    "x.bin": (bytes(600), r"1 \.bin file\(s\), e.g. a/x.bin"),
    ".x.jpg": (b"", r"1 hidden file\(s\) or folder\(s\), e.g. a/.x.jpg"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_is_told_by_kind(tmp_path, name):
    content, told = LEFT_OUT[name]
    kind = {"IMG_1.HEIC": "HEIC", "x.dcm": "DICOM"}.get(name)
    if kind in kinds.readable():
        pytest.skip(f"{kind} is read here")
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "1.jpg").write_bytes(b"x")
    (tmp_path / "a" / name).write_bytes(content)
    (line,) = listing.told(folder.scan(tmp_path)["all"].left_out)
    assert line.startswith("left out: 1 ") and re.search(told, line), line
    others = listing.Others()  # and for predictions, with the path as it was given
    assert [path for path, _ in reading.paths([str(tmp_path)], others)] == [str(tmp_path / p / "1.jpg") for p in "ab"]
    assert listing.told(others.reasons("")) == [line.replace("e.g. a/", f"e.g. {tmp_path}/a/")]
    (tmp_path / "a/1.jpg").unlink()  # a folder without any picture is a row, with what is there instead
    ((path, problem),) = reading.paths([str(tmp_path / "a")])
    assert (
        path == str(tmp_path / "a") and "no pictures in this folder" in problem and line.split(", e.g.")[0] in problem
    )
    assert list(reading.paths([str(tmp_path / "a" / name)])) == [(str(tmp_path / "a" / name), None)]  # by its name


def test_many_files_are_counted_and_few_are_looked_into(tmp_path, monkeypatch):
    for place in ("a", "b", "a/deep"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "1.jpg").write_bytes(b"x")
        for i in range(200):
            (tmp_path / place / f"{i}.jp2").write_bytes(b"\xff\x4f\xff\x51" + bytes(20))
            (tmp_path / place / f"{i}.x{i}").write_bytes(b"text")
    looked = []
    of = kinds.of
    monkeypatch.setattr(kinds, "of", lambda head: looked.append(head) or of(head))
    left_out = folder.scan(tmp_path)["all"].left_out
    assert left_out["JPEG 2000 file(s) (convert it to JPEG or PNG)"] == (600, "a/0.jp2")
    assert sum(count for count, _ in left_out.values()) == 1200 and len(looked) <= 4 * 64
    assert os.path.isfile(tmp_path / left_out["text file(s)"][1])
