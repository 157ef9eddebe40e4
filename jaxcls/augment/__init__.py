"""Transforms of pictures, chosen by a readable list such as `("random_resized_crop(224)", "flip", "mixup(0.2)")`.

For sources in device memory the whole list runs inside the compiled step, batched: `(keys [n], batch) -> batch`. For
encoded pictures the leading crops and resizes run on the host, with the decoder, and the rest on the device. Both draw
a random box from the same (seed, epoch, draw) by the same formula.
"""

import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from jaxcls import call_strings
from jaxcls.call_strings import ONE_OF, Call
from jaxcls.errors import UserError

CLIPS = ("frames", "random_frames")  # what says which frames of a clip are taken

if TYPE_CHECKING:
    from jaxcls.augment.base import Context, Operation
    from jaxcls.augment.clips import ClipTransform
    from jaxcls.augment.host import HostTransform
    from jaxcls.data.windows import Window


def parse(spec: str, what: str = "config.data.augment") -> Call:
    """The call that an entry of the list is, `call_strings.parse` with alternatives: "mixup(0.2) | 3 * cutmix(1.0)".

    Raises:
      UserError: if it is no call, or there is no transform of that name.
    """
    from jaxcls.augment.host import HOST

    with contextlib.suppress(UserError):  # what the host does is read without JAX
        return call_strings.parse(spec, HOST, what=what, kind="transform", like="", alternatives=True)
    from jaxcls.augment.device import DEVICE

    like = "'crop(32, pad=4)', 'flip' or 'mixup(0.2) | cutmix(1.0)'"
    return call_strings.parse(spec, {*DEVICE, *HOST}, what=what, kind="transform", like=like, alternatives=True)


def split_list(
    specs: Iterable[str], *, encoded: bool, what: str = "config.data.augment"
) -> tuple[list[Call], list[Call]]:
    """The list as (host calls, device calls): the leading crops and resizes go to the host where pictures are encoded.

    Raises:
      UserError: for a bad call, or an encoded source whose list does not begin by giving pictures one size.
    """
    from jaxcls.augment.host import HOST

    calls = [parse(spec, what) for spec in specs]
    n = 0
    while encoded and n < len(calls) and calls[n][0] in HOST:
        n += 1
    if encoded and not any(_gives_one_size(*call) for call in calls[:n]):
        raise UserError(
            f"{what}: pictures of a folder differ in size, so the list must begin with 'random_resized_crop(224)', "
            "'resize(224, 224)', or 'resize(256)', 'center_crop(224)'."
        )
    if late := [call.name for call in calls[1:] if call.name in CLIPS]:
        raise UserError(f"{what}: {late[0]!r} says which frames are taken, so it comes first in the list, and once.")
    return calls[:n], calls[n:]


def clip_length(specs: Iterable[str], what: str = "config.data.augment") -> tuple[int, int]:
    """(frames of a clip, clips of a video) that a list takes by its first entry, `frames` or `random_frames`; (0, 0)
    where that is another.

    Raises:
      UserError: for a bad call.
    """
    from jaxcls.augment import clips

    first = next((parse(spec, what) for spec in specs), None)
    if first is None or first.name not in CLIPS:
        return 0, 0
    with call_strings.fitting(first.name, what):
        found = clips.HOST[first.name](*first.args, **first.kwargs)
    return found.length, found.clips


def shrunk(calls: Sequence[Call], side: int) -> list[Call]:
    """Device calls with a resize of the short side to `side`, before the first that mixes or erases pictures."""
    from jaxcls.augment.device import LAST

    ends = (i for i, call in enumerate(calls) if any(name in LAST for name in _names([call])))
    at = next(ends, len(calls))
    return [*calls[:at], Call("resize", (side,), {}), *calls[at:]]


def host_transform(
    calls: Sequence[Call], *, channels: int, window: "Window" = (), what: str = "config.data.augment"
) -> "HostTransform | ClipTransform":
    """(encoded bytes or uint8 array, name, generator) -> uint8 [h, w, channels]: decodes, then crops and resizes; of
    clips, where the first call is one of CLIPS, [t, h, w, channels]."""
    from jaxcls.augment.clips import ClipTransform
    from jaxcls.augment.host import HOST, HostTransform

    operations = []
    for name, args, kwargs in calls:
        with call_strings.fitting(name, what):
            operations.append(HOST[name](*args, **kwargs))
    if operations and calls[0].name in CLIPS:
        return ClipTransform(operations[0], HostTransform(operations[1:], channels, window))
    return HostTransform(operations, channels, window)


def smaller(size: int, *, channels: int, window: "Window" = ()) -> "HostTransform":
    """As `host_transform`, for packed files: the short side gets `size` pixels where it is longer."""
    from jaxcls.augment import host

    return host.smaller(size, channels, window)


def device_transform(
    calls: Sequence[Call],
    *,
    random: bool,
    context: "Context | None" = None,
    what: str = "config.data.augment",
    views: bool = False,
    anew: int = 0,
    other: "Sequence[Call] | None" = None,
) -> "Operation":
    """(keys [n], batch) -> batch: the calls in order, then uint8 to float32 `(x / 255 - mean) / std`.

    Args:
      calls: from `parse`.
      random: whether keys are given; if not, keys may be None and a random transform in the list is an error.
      context: base.Context of the run, with the normalisation; None for one that leaves pictures in [0, 1].
      what: the list's name in messages.
      views: whether two further views are made of each picture (device.compose_views), from which `image` differs in
        being spared the policies of the list.
      anew: k >= 1 for k views of each picture, for each of which the whole list is drawn anew (device.views_anew).
      other: with `anew` 2, the calls of the second view where they differ from the first one's.

    Raises:
      UserError: for what has to run on the host, a random transform in evaluation, arguments that do not fit, a
        transform of pictures after one that mixes or erases, views without a policy, or a list that mixes examples
        where views are drawn anew. Later, while the transform is traced, for pictures of a rank that one can't take.
    """
    from jaxcls.augment import device
    from jaxcls.augment.base import Context

    context = context or Context()
    operations, names = _operations(calls, random, context, what)
    if anew:
        _check_anew(operations, what, random=random, views=views)
        transform = device.compose(operations, context, names)
        if other is None:
            return device.views_anew(transform, anew)
        second = _operations(other, random, context, f"{what}_second")
        _check_anew(second[0], f"{what}_second", random=random, views=views)
        return device.views_apart([transform, device.compose(second[0], context, second[1])])
    if not views:
        return device.compose(operations, context, names)
    policy = [any(name in device.POLICIES for name in _names([call])) for call in calls]
    if not any(policy):
        raise UserError(
            f"{what} has no policy, such as 'augmix', that views could differ by (config.loss.consistency)."
        )
    return device.compose_views(operations, policy, context, names)


def _operations(calls, random, context, what):
    """(operations, their names for checks of the rank) of a list of calls. Raises UserError."""
    from jaxcls.augment import device

    last = None
    for name in _names(calls):
        if name not in device.DEVICE:
            raise UserError(f"{what}: {name!r} must come first in the list, before what runs on the device.")
        if name not in device.FIXED and not random:
            raise UserError(f"{what}: {name!r} is random and can't be used in evaluation.")
        if last and name not in device.LAST:
            raise UserError(f"{what}: {name!r} must come before {last!r}, which mixes or erases the finished pictures.")
        last = name if name in device.LAST else last

    def build(call):
        with call_strings.fitting(call.name, what):
            if call.name != ONE_OF:
                return device.build(device.DEVICE[call.name], call.args, call.kwargs, context)
            names = [other.name for other in call.args]
            return device.one_of(*map(build, call.args), **call.kwargs, context=context, names=names)

    return [build(call) for call in calls], [None if call.name == ONE_OF else call.name for call in calls]


def check_random(calls: Sequence[Call], what: str) -> None:
    """Raises UserError for a list that draws nothing: all views of a picture would be the same."""
    from jaxcls.augment.device import FIXED

    if all(name in FIXED for name in _names(calls)):
        raise UserError(
            f"{what} draws nothing at random, so both views of a picture would be the same; add for example "
            "'random_resized_crop(32)', 'flip', 'color_jitter(0.4, 0.4, 0.4, 0.1)'."
        )


def mixing_in(specs: Iterable[str], what: str = "config.data.augment") -> str:
    """The first transform of a list that mixes examples (mixup, cutmix), alternatives included; "" for none.

    Raises:
      UserError: for a bad call.
    """
    from jaxcls.augment import mixing

    names = _names([parse(spec, what) for spec in specs])
    return next((name for name in names if name in mixing.OPERATIONS), "")


def _check_anew(operations, what, *, random, views):
    """Raises UserError where views can't be drawn anew, each with one picture's label."""
    if views or not random:
        raise UserError(
            f"{what}: views can't be drawn anew {'beside those of a policy' if views else 'in evaluation'}."
        )
    if any(getattr(operation, "mixes", None) for operation in operations):
        raise UserError(
            f"{what}: views that are drawn anew have one label, so nothing may mix examples (mixup, cutmix)."
        )


def _names(calls):
    for name, args, _ in calls:
        yield from _names(args) if name == ONE_OF else (name,)


def _gives_one_size(name, args, kwargs):
    """Whether pictures of any size leave this host call with one size: `resize(256)` keeps their shape."""
    from jaxcls.augment.host import ONE_SIZE

    return name in ONE_SIZE or (name == "resize" and (len(args) > 1 or "width" in kwargs))
