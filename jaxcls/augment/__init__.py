"""Transforms of pictures, chosen by a readable list such as `("random_resized_crop(224)", "flip")`.

For sources in device memory the whole list runs inside the compiled step, batched: `(keys [n], batch) -> batch`. For
encoded pictures the leading crops and resizes run on the host, with the decoder, and the rest on the device. Both draw
a random box from the same (seed, epoch, draw) by the same formula.
"""

import ast
import difflib

from jaxcls.errors import UserError


def parse(spec, what="config.data.augment"):
    """`"crop(32, pad=4)"` as `("crop", (32,), {"pad": 4})`. Only literals are accepted; nothing is executed.

    Raises:
      UserError: if it is no such call, or there is no transform of that name (the nearest is suggested).
    """
    from jaxcls.augment.device import DEVICE
    from jaxcls.augment.host import HOST

    try:
        call = ast.parse(spec.strip(), mode="eval").body
        if isinstance(call, ast.Name):
            name, args, kwargs = call.id, (), {}
        else:
            name, args = call.func.id, tuple(ast.literal_eval(a) for a in call.args)
            kwargs = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, AttributeError, TypeError):
        raise UserError(f"{what}: {spec!r} can't be read; write it like 'crop(32, pad=4)' or 'flip'.") from None
    known = sorted({*DEVICE, *HOST})
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
        raise UserError(f"{what}: there is no transform {name!r}; {hint}")
    return name, args, kwargs


def build(registry, call, what):
    """The transform of a parsed call. Raises UserError where its arguments do not fit."""
    name, args, kwargs = call
    try:
        return registry[name](*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise UserError(f"{what}: the arguments of {name!r} don't fit: {error}") from error


def split_list(specs, *, encoded, what="config.data.augment"):
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
    return calls[:n], calls[n:]


def host_transform(calls, *, channels, what="config.data.augment"):
    """(encoded bytes or uint8 array, name, generator) -> uint8 [h, w, channels]: decodes, then crops and resizes."""
    from jaxcls.augment.host import HOST, HostTransform

    return HostTransform([build(HOST, call, what) for call in calls], channels)


def device_transform(calls, *, random, mean=(0.0,), std=(1.0,), what="config.data.augment"):
    """(keys [n], batch) -> batch: the calls in order, then uint8 to float32 `(x / 255 - mean) / std`.

    With `random=False` keys may be None, and a random transform in the list is an error.
    """
    from jaxcls.augment.device import DEVICE, RANDOM, compose

    for name, *_ in calls:
        if name not in DEVICE:
            raise UserError(f"{what}: {name!r} must come first in the list, before what runs on the device.")
        if name in RANDOM and not random:
            raise UserError(f"{what}: {name!r} is random and can't be used in evaluation.")
    return compose([build(DEVICE, call, what) for call in calls], mean, std)


def _gives_one_size(name, args, kwargs):
    """Whether pictures of any size leave this host call with one size: `resize(256)` keeps their shape."""
    from jaxcls.augment.host import ONE_SIZE

    return name in ONE_SIZE or (name == "resize" and (len(args) > 1 or "width" in kwargs))
