"""Clips of files: exact frames, folders of them, and what is none in a line."""

import io

import clip_files_made as made
import numpy as np
import pytest
from PIL import Image

from jaxcls.data import base, bounds, clip_files, kinds, sources, unreadable
from jaxcls.errors import UserError

PIXELS = made.clip(8)


@pytest.mark.parametrize("kind", ["gif", "webp", "apng", "npy", "npz"])
def test_frames_are_exact_whichever_are_asked_for(kind):
    clip = clip_files.opened(made.encoded(PIXELS, kind), 3, "a")
    assert clip.count == 8
    for rows in ([0], [3, 6], range(8), [7]):
        found = clip.read(np.array(rows))
        assert list(found) == list(rows) and all((found[row] == PIXELS[row]).all() for row in rows)


def test_a_folder_has_clips_of_files_and_of_folders(tmp_path):
    made.folder(tmp_path, each=5)
    (tmp_path / "left" / "notes.txt").write_text("x")
    source = sources.find(f"clips/{tmp_path}")["all"]
    files = ["0.gif", "1.webp", "2.png", "3.npz", "4"]
    assert list(source.ids) == [f"{name}/{file}" for name in ("left", "right") for file in files]
    assert source.labels.tolist() == [0] * 5 + [1] * 5 and base.clips(source)
    assert source.left_out == {"text file(s)": (1, "left/notes.txt")} or "notes.txt" in str(source.left_out)
    for row in range(10):
        clip = clip_files.opened(source[row]["image"], 3, source.ids[row])
        assert clip.count == 6
    before = source.fingerprint
    (tmp_path / "right" / "4" / "3.png").write_bytes(made.still(255 - PIXELS[3]))
    assert sources.find(f"clips/{tmp_path}")["all"].fingerprint != before
    assert not base.clips(sources.find("synthetic/8x8x1x2")["train"])


def test_frames_are_in_natural_order_and_splits_are_folders(tmp_path):
    for split in ("train", "val"):
        made.folder(tmp_path / split, each=1)
    for t in range(12):  # 2 before 10
        (tmp_path / "train" / "left" / "deep").mkdir(exist_ok=True)
        frame = made.still(np.full((8, 8, 3), 20 * t, np.uint8), "jpeg")
        (tmp_path / "train" / "left" / "deep" / f"{t}.jpg").write_bytes(frame)
    found = sources.find(f"clips/{tmp_path}")
    assert list(found) == ["train", "validation"] and list(found["train"].ids)[:2] == [
        "train/left/0.gif",
        "train/left/deep",
    ]
    frames = clip_files.opened(found["train"][1]["image"], 3, "deep")
    assert list(frames.read(np.arange(12)).values()) == [
        (tmp_path / "train" / "left" / "deep" / f"{t}.jpg").read_bytes() for t in range(12)
    ]


GIF = made.encoded(PIXELS, "gif")


@pytest.mark.parametrize("given, message", [
    (made.still(PIXELS[0]), r"a PNG \(APNG\) of one frame is a still picture"),
    (made.still(PIXELS[0], "jpeg"), r"a still picture \(JPEG\), and the model takes clips; clips are"),
    (made.encoded(PIXELS[:1], "gif"), "a GIF of one frame is a still picture"),
    (made.encoded(PIXELS[:1], "npy"), "it has one frame"),
    (made.encoded(PIXELS.astype(np.float32), "npy"), r"float32 .* is no clip; it is uint8"),
    (made.encoded(np.zeros((4, 8, 8, 2), np.uint8), "npy"), "2 channels"),
    (np.zeros((8, 8, 3), np.uint8), "is no clip"),
    (clip_files.FrameFiles(("a.png",)), "a folder of 1 frame"),
    (b"", "not a clip"), (b"hello", "not a clip, but text"), (b"PK\3\4" + bytes(99), "damaged archive"),
    (GIF[:300], "."), (GIF[:-200], "."), (made.encoded(PIXELS, "webp")[:90], "."),
    (made.encoded(PIXELS, "npz")[:99], "."),
    (b"\x93NUMPY" + bytes(200), "damaged NumPy"),
])  # fmt: skip
def test_what_is_no_clip_is_one_line(given, message):
    with pytest.raises(UserError, match=f"^f: .*{message}") as caught:
        clip = clip_files.opened(given, 3, "f")
        clip.read(np.arange(clip.count))
    assert "\n" not in str(caught.value)


def test_objects_of_python_are_not_read():
    file = io.BytesIO()
    np.save(file, np.array([print], object), allow_pickle=True)
    with pytest.raises(UserError, match="damaged NumPy file"):
        clip_files.opened(file.getvalue(), 3, "f")


def test_a_small_file_of_very_many_frames_is_refused(monkeypatch):
    monkeypatch.setattr(bounds, "MAX_PASSES", 10**6)
    frames = [Image.new("L", (300, 300), t % 2) for t in range(20)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=50)
    clip = clip_files.opened(file.getvalue(), 1, "a")
    assert len(clip.read(np.array([3, 5]))) == 2
    with pytest.raises(UserError, match=r"a: 20 frames of 300 x 300 pixels in .* would take too long"):
        clip.read(np.array([19]))


def test_frames_of_two_sizes_are_one_line(tmp_path):
    made.folder(tmp_path, each=5)
    (tmp_path / "left" / "4" / "2.png").write_bytes(made.still(PIXELS[0, :5]))
    source = sources.find(f"clips/{tmp_path}")["all"]
    problems = unreadable.check(source, full=True).problems
    assert problems == [("left/4", "its frames differ in size (16 x 5, 16 x 12); make them alike")]


def test_still_pictures_and_videos_without_a_reader_are_refused_at_once(tmp_path, monkeypatch):
    made.folder(tmp_path, each=1)
    (tmp_path / "left" / "x.mp4").write_bytes(bytes(99))
    monkeypatch.setattr(clip_files.importlib.util, "find_spec", lambda name: None)
    kinds.readable.cache_clear(), kinds.suffixes.cache_clear()
    with pytest.raises(UserError, match=r"1 video\(s\), e.g. 'left/x.mp4'; videos need PyAV: pip install"):
        sources.find(f"clips/{tmp_path}")
    monkeypatch.undo()
    kinds.readable.cache_clear(), kinds.suffixes.cache_clear()
    (tmp_path / "left" / "still.jpg").write_bytes(made.still(PIXELS[0], "jpeg"))
    with pytest.raises(UserError, match=r"1 still picture\(s\) right in class folders, e.g. 'left/still.jpg'"):
        sources.find(f"clips/{tmp_path}")


def test_videos_have_exact_frames_wherever_reading_begins():
    """Each frame of an MP4 with key frames every 5 is the one that was encoded there, as its brightness tells."""
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 32, 32, "yuv420p", 5
        for t in range(20):
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 12 * t, np.uint8), format="rgb24"))
            )
        container.mux(stream.encode())
    clip = clip_files.opened(file.getvalue(), 3, "v")
    assert clip.count == 20
    for rows in ([0], [7, 12], [19], range(20)):
        found = clip.read(np.array(rows))
        assert all(abs(found[t].mean() - 12 * t) < 5 for t in rows)
    assert clip_files.opened(file.getvalue(), 1, "v").read(np.array([9]))[9].shape == (32, 32, 1)
    for damaged in (file.getvalue()[:200], file.getvalue()[:32] + bytes(500)):
        with pytest.raises(UserError, match="^v: ") as caught:
            clip_files.opened(damaged, 3, "v").read(np.array([9]))
        assert "\n" not in str(caught.value)
