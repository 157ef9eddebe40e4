"""Several views of a picture, each drawn anew: crops on the host from one decoding, whole lists on the device."""

import io

import jax
import numpy as np
import pytest
from fixtures.streams import Encoded, Rows
from PIL import Image

from jaxcls import augment
from jaxcls.augment import device, host
from jaxcls.augment.base import Context, fold
from jaxcls.data import decode, pipeline
from jaxcls.data.base import ArraySource
from jaxcls.errors import UserError

LIST = ("crop(6, pad=1)", "flip", "rotate(20)", "solarize((20, 220)) | invert", "random_erasing(0.5)")
CONTEXT = Context(3, (0.4, 0.5, 0.6), (0.2,))


def host_of(*specs, channels=3):
    return augment.host_transform([augment.parse(spec) for spec in specs], channels=channels)


def device_of(*specs, **options):
    calls = [augment.parse(spec) for spec in specs or LIST]
    return augment.device_transform(calls, random=True, context=CONTEXT, **options)


def randoms(*seeds):
    return [np.random.default_rng(seed) for seed in seeds]


def encoded(image, kind):
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind, quality=95)
    return out.getvalue()


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def photograph():
    """A real picture that scikit-learn carries, enlarged: uint8 [854, 1280, 3]."""
    from sklearn.datasets import load_sample_image

    return np.asarray(Image.fromarray(load_sample_image("china.jpg")).resize((1280, 854), Image.Resampling.BICUBIC))


@pytest.fixture
def decoded(monkeypatch):
    """The shapes of the pictures that are decoded, of all of each, whatever part of it was."""
    shapes, plain, plain_part = [], decode.decode, decode.decode_part

    def spied(*args, **kwargs):
        image = plain(*args, **kwargs)
        shapes.append(image.shape[:2])
        return image

    def spied_part(image, *args, **kwargs):
        part = plain_part(image, *args, **kwargs)
        shapes.append(decode.shrunk(decode.upright_size(image), part.shrink))
        return part

    monkeypatch.setattr(decode, "decode", spied)
    monkeypatch.setattr(decode, "decode_part", spied_part)
    return shapes


@pytest.mark.parametrize("kind", ["PNG", "JPEG", None])
@pytest.mark.parametrize("specs", [("random_resized_crop(40)",), ("resize(40)", "random_resized_crop(40)")])
def test_host_views_are_single_pictures_from_one_decoding(photograph, decoded, specs, kind):
    image = photograph[:60, :80] if kind is None else encoded(photograph[:60, :80], kind)
    transform = host_of(*specs)
    views = transform.views(image, "x", randoms(1, 2, 3))
    assert len(decoded) == (kind is not None)
    assert views.shape == (3, 40, 40, 3) and views.dtype == np.uint8
    for view, random in zip(views, randoms(1, 2, 3), strict=True):
        np.testing.assert_array_equal(view, transform(image, "x", random))
    assert all(np.any(a != b) for a, b in zip(views, views[1:], strict=False))


def test_a_jpeg_is_decoded_at_the_scale_that_its_smallest_box_needs(photograph, decoded):
    """A large and a small box: the first would do with a fourth of the pixels, the second needs all of them."""
    image, transform = encoded(photograph, "JPEG"), host_of("random_resized_crop(224)")
    whole = decode.decode(image)
    alone = {}
    for seed in range(40):
        decoded.clear()
        transform(image, "x", np.random.default_rng(seed))
        alone.setdefault(decoded[0], seed)
    full, half = (854, 1280), (427, 640)
    assert {full, half} <= set(alone)
    decoded.clear()
    views = transform.views(image, "x", randoms(alone[half], alone[full]))
    assert decoded == [full]
    for view, random in zip(views, randoms(alone[half], alone[full]), strict=True):
        np.testing.assert_array_equal(view, host.RandomResizedCrop(224)(whole, random))
    decoded.clear()
    views = transform.views(image, "x", randoms(alone[half], alone[half] + 1000, alone[half]))
    assert len(decoded) == 1
    np.testing.assert_array_equal(views[0], views[2])


@pytest.mark.parametrize("spec, entry", [("random_resized_crop(2)", "random_resized_crop"), ("resize(2)", "resize")])
def test_the_host_refuses_what_is_no_picture(spec, entry):
    with pytest.raises(UserError, match=rf"^x: '{entry}' takes a picture \[h, w, c\], not .* \(2, 5, 4, 3\)\.$"):
        host_of(spec)(noise(2, 5, 4, 3), "x", np.random.default_rng(0))
    clip = noise(2, 5, 4, 3)
    np.testing.assert_array_equal(host_of()(clip, "x", None), clip)  # nothing is done to it


def stream(views, source=None, batch_size=4, **options):
    source = source or Encoded()
    transform = host_of("random_resized_crop(8)")
    return pipeline.Stream(source, transform, Rows(len(source), batch_size), seed=3, views=views, **options)


def test_a_streams_views_are_functions_of_seed_epoch_draw_and_view():
    batch, plain = stream(3)(3), stream(0)(3)
    assert batch["views"].shape == (4, 3, 8, 8, 3) and batch["views"].dtype == np.uint8
    for key, value in plain.items():
        np.testing.assert_array_equal(batch[key], value)  # view 0 is the picture without views
    crop, pictures = host.RandomResizedCrop(8), Encoded()
    for i, (index, epoch, draw) in enumerate(zip(batch["index"], batch["epoch"], batch["draw"], strict=True)):
        image = decode.decode(pictures[index]["image"])
        for v, numbers in enumerate([(3, epoch, draw), (3, epoch, draw, 1), (3, epoch, draw, 2)]):
            expected = crop(image, pipeline.generator(*map(int, numbers)))
            np.testing.assert_array_equal(batch["views"][i, v], expected)
    assert all(np.any(a != b) for views in batch["views"] for a, b in zip(views, views[1:], strict=False))


def test_a_streams_views_are_the_same_by_batches_threads_shares_and_restarts():
    whole = [stream(2)(step) for step in range(4)]
    read = list(stream(2, threads=2).batches(2, 4))
    for a, b in zip(whole[2:], read, strict=True):
        np.testing.assert_array_equal(a["views"], b["views"])
    shares = [stream(2, share=share)(3)["views"] for share in (slice(0, 2), slice(2, 4))]
    np.testing.assert_array_equal(np.concatenate(shares), whole[3]["views"])


ordinary = jax.jit(device_of())


def keys(n=6):
    return jax.random.split(jax.random.key(5), n)


def batch_of(image):
    n = len(image)
    return {"image": image, "label": np.arange(n) % 3, "index": np.arange(n), "epoch": np.zeros(n, np.int32)}


def test_device_views_are_the_list_drawn_anew_and_the_first_is_the_ordinary_picture():
    batch = batch_of(noise(6, 7, 7, 3))
    out = jax.jit(device_of(anew=3))(keys(), batch)
    single = ordinary(keys(), batch)
    assert sorted(out) == ["epoch", "image", "index", "label", "views"] and out["views"].shape == (6, 3, 6, 6, 3)
    np.testing.assert_array_equal(out["image"], single["image"])
    np.testing.assert_array_equal(out["views"][:, 0], single["image"])
    again = ordinary(fold(keys(), device.VIEW + 2), batch)
    np.testing.assert_array_equal(out["views"][:, 2], again["image"])
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.all(np.any(np.asarray(out["views"][:, a] != out["views"][:, b]), axis=(1, 2, 3)))


def test_device_views_are_made_of_those_that_come_from_the_host():
    views = noise(6, 2, 7, 7, 3)
    out = jax.jit(device_of(anew=2))(keys(), {**batch_of(views[:, 0]), "views": views})
    for v, own in enumerate([keys(), fold(keys(), device.VIEW + 1)]):
        expected = ordinary(own, batch_of(views[:, v]))["image"]
        np.testing.assert_array_equal(out["views"][:, v], expected)
    np.testing.assert_array_equal(out["image"], out["views"][:, 0])
    with pytest.raises(ValueError, match="3 views can't be made"):
        device_of(anew=3)(keys(), {**batch_of(views[:, 0]), "views": views})


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_batch_has_views_whether_it_is_looked_up_or_streamed(in_memory):
    """Each differs in every picture, and in none of a batch that is made again."""
    images = noise(11, 8, 8, 3)
    source = ArraySource(images, np.arange(11) % 3, ("a", "b", "c"), [str(i) for i in range(11)])

    def batch(step):
        if in_memory:
            return pipeline.lookup(source.arrays, Rows(11, 4)(step))
        return stream(2, source)(step)

    transform = jax.jit(device_of("flip", "color_jitter(0.4)", anew=2))

    def views(step):
        return np.asarray(transform(keys(4), batch(step))["views"])

    first = views(1)
    np.testing.assert_array_equal(first, views(1))
    assert np.all(np.any(first[:, 0] != first[:, 1], axis=(1, 2, 3))) and np.any(first != views(2))


def test_views_that_can_not_be_drawn_anew_are_refused():
    with pytest.raises(UserError, match="nothing may mix examples"):
        device_of("flip", "mixup(0.2) | cutmix(1.0)", anew=2)
    with pytest.raises(UserError, match="beside those of a policy"):
        device_of("augmix", views=True, anew=2)
    with pytest.raises(UserError, match="config.data.eval_transform: .* in evaluation"):
        augment.device_transform([], random=False, what="config.data.eval_transform", anew=2)


def test_lists_of_their_own_see_the_keys_of_views_drawn_anew():
    """View v of several lists is view v of its list alone, of pictures as of views that the host has cut."""
    lists = [("flip",), ("flip", "invert")]
    single = [device_of(*specs) for specs in lists]
    keys = jax.random.split(jax.random.key(5), 4)
    plain = {"image": noise(4, 6, 6, 3), "label": np.arange(4)}
    for batch in (plain, {**plain, "views": noise(4, 2, 6, 6, 3)}):
        apart = device.views_apart(single)(keys, batch)
        for v, transform in enumerate(single):
            alone = device.views_anew(transform, 2)(keys, batch)
            np.testing.assert_array_equal(apart["views"][:, v], alone["views"][:, v])
        np.testing.assert_array_equal(apart["image"], apart["views"][:, 0])
    smaller = device_of("center_crop(5)")
    with pytest.raises(UserError, match="same size"):
        device.views_apart([single[0], smaller])(keys, plain)
