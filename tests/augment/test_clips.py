"""Which frames a clip has, on the host and on the device, and that all are changed by one draw."""

import clip_files_made as made
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcls import augment
from jaxcls.augment import clips, contact_sheet, device_clips
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.data import pipeline
from jaxcls.errors import UserError

SIZES = (st.integers(1, 60), st.integers(1, 16), st.integers(1, 5))


def host(*specs):
    return augment.host_transform([augment.parse(spec) for spec in specs], channels=3)


@given(*SIZES, st.integers(1, 4))
def test_frames_are_in_the_clip_and_in_order(count, length, stride, several):
    """Of a clip that is long enough they are `stride` apart, the first clip begins at the start, the last ends at the
    end; of a shorter one they begin again behind the last frame."""
    frames = clips.Frames(length, stride, several)
    rows = frames.plan(count, None).reshape(several, length)
    assert rows.min() >= 0 and rows.max() < count
    if count >= frames.span:
        assert (np.diff(rows, axis=1) == stride).all() and (np.diff(rows[:, 0]) >= 0).all()
        starts = [round(i * (count - frames.span) / (several - 1)) for i in range(several)] if several > 1 else None
        assert rows[:, 0].tolist() == (starts or [(count - frames.span) // 2])
    else:
        assert (rows == (stride * np.arange(length)) % count).all()


@given(*SIZES, st.integers(0, 3), st.integers(0, 99))
def test_a_random_start_depends_on_three_numbers_and_is_anywhere_it_fits(count, length, stride, epoch, draw):
    frames = clips.RandomFrames(length, stride)
    first, again = (frames.plan(count, pipeline.generator(0, epoch, draw)) for _ in range(2))
    assert (first == again).all() and first.shape == (length,)
    assert 0 <= first[0] <= max(0, count - frames.span)


def test_every_start_is_as_likely_on_the_host_and_on_the_device():
    frames, n = clips.RandomFrames(4, 2), 4000  # 10 frames, of which a clip spans 7: it begins at 0 to 3
    of_host = [frames.plan(10, pipeline.generator(0, 0, i))[0] for i in range(n)]
    numbered = np.broadcast_to(np.arange(10, dtype=np.uint8)[None, :, None, None, None], (n, 10, 1, 1, 1))
    keys = jax.random.split(jax.random.key(0), n)
    taken = device_clips.random_frames(4, 2)(keys, {"image": numbered})["image"][..., 0, 0, 0]
    assert (np.diff(np.asarray(taken, int), axis=1) == 2).all()
    for starts in (of_host, taken[:, 0]):
        counts = np.bincount(starts, minlength=4)
        assert len(counts) == 4 and ((counts - n / 4) ** 2 / (n / 4)).sum() < 16.3  # chi2 of 3, p = .001


def test_on_the_device_frames_are_those_of_the_host():
    numbered = np.arange(10, dtype=np.uint8)[None, :, None, None, None]
    taken = device_clips.frames(3, 2, clips=2)(None, {"image": numbered})["image"].reshape(-1)
    assert taken.tolist() == clips.Frames(3, 2, clips=2).plan(10, None).tolist() == [0, 2, 4, 5, 7, 9]


@pytest.mark.parametrize("kind", ["gif", "webp", "apng", "npy", "npz"])
def test_the_host_changes_all_frames_by_one_draw(kind):
    """A clip becomes what its frames become alone, drawn from the same numbers behind those of the start."""
    pixels = made.clip(9)
    got = host("random_frames(4, stride=2)", "random_resized_crop(8)")(
        made.encoded(pixels, kind), "a", pipeline.generator(1, 2, 3)
    )
    random = pipeline.generator(1, 2, 3)
    rows = clips.RandomFrames(4, 2).plan(9, random)
    each, state = host("random_resized_crop(8)"), random.bit_generator.state
    for row, frame in zip(rows, got, strict=True):
        random.bit_generator.state = state
        np.testing.assert_array_equal(frame, each(pixels[row], "a", random))


def test_views_are_drawn_each_by_itself():
    transform, pixels = host("random_frames(2)", "random_resized_crop(8)"), made.clip(9)
    views = transform.views(pixels, "a", [pipeline.generator(0, 0, v) for v in range(3)])
    for v in range(3):
        np.testing.assert_array_equal(views[v], transform(pixels, "a", pipeline.generator(0, 0, v)))
    assert views.shape == (3, 2, 8, 8, 3) and (views[0] != views[1]).any()


@pytest.mark.parametrize("specs, random, message", [
    (("frames(8, short='refuse')", "resize(8, 8)"), None, "a: 5 frames, and 8 at stride 1 span 8; take less"),
    (("random_frames(2)", "resize(8, 8)"), None, "'random_frames' is random"),
    (("frames(0)", "resize(8, 8)"), None, "at least 1"),
    (("frames(4, short='stop')", "resize(8, 8)"), None, "'loop' or 'refuse'"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(specs, random, message):
    with pytest.raises(UserError, match=message) as caught:
        host(*specs)(made.clip(5), "a", random)
    assert "\n" not in str(caught.value)


def test_frames_come_first_in_a_list():
    with pytest.raises(UserError, match="'frames' says which frames are taken, so it comes first"):
        augment.split_list(("resize(8, 8)", "frames(2)"), encoded=True)


def test_evaluation_of_clips_is_kept_as_data_and_takes_any_clip():
    """Of files by the list; of clips in memory by their shape, to which others are brought."""
    pixels = made.clip(9)
    of_files = Preprocessing(("frames(4, clips=2)", "resize(8, 8)"))
    again = Preprocessing.from_json(of_files.to_json())
    assert again == of_files and again.clips and again.prepare(again.blank()).shape == (8, 8, 8, 3)
    got = again.prepare(made.encoded(pixels, "gif"))
    np.testing.assert_array_equal(
        got[[0, 3, 4, 7]], host("frames(4, clips=2)", "resize(8, 8)")(pixels, "", None)[[0, 3, 4, 7]]
    )
    in_memory = Preprocessing(picture=(3, 12, 16, 3))
    np.testing.assert_array_equal(in_memory.prepare(made.encoded(pixels, "gif")), pixels[[0, 4, 8]])
    assert in_memory.clips and not Preprocessing(picture=(12, 16, 3)).clips
    for stills in (Preprocessing(("resize(8, 8)",)), Preprocessing(picture=(12, 16, 3))):
        with pytest.raises(UserError, match="a clip, and the model takes single pictures"):
            stills.prepare(pixels)
    for wrong in (made.still(pixels[0]), pixels[0]):
        with pytest.raises(UserError, match="still picture|is no clip"):
            of_files.prepare(wrong)


def test_a_contact_sheet_shows_several_frames_of_a_clip():
    assert contact_sheet.fitted(np.zeros((8, 10, 20, 3), np.uint8), 166).size == (166, 42)
