"""Transforms of pictures, chosen by a readable list such as `("random_resized_crop(224)", "flip", "mixup(0.2)")`.

For sources in device memory the whole list runs inside the compiled step, batched: `(keys [n], batch) -> batch`. For
encoded pictures the leading crops and resizes run on the host, with the decoder, and the rest on the device. Both draw
a random box from the same (seed, epoch, draw) by the same formula.
"""

import ast
import difflib

from jaxcls.errors import UserError

ONE_OF = "a | b"  # the name of a call that stands for alternatives; its arguments are calls


def parse(spec, what="config.data.augment"):
    """`"crop(32, pad=4)"` as `("crop", (32,), {"pad": 4})`. Only literals are accepted; nothing is executed.

    Alternatives, `"mixup(0.2) | 3 * cutmix(1.0)"`, become `(ONE_OF, (call, call), {"weights": (1, 3)})`.

    Raises:
      UserError: if it is no such call, or there is no transform of that name (the nearest is suggested).
    """
    try:
        tree = ast.parse(spec.strip(), mode="eval").body
        choices = [_weighted(node) for node in _alternatives(tree)]
    except (SyntaxError, ValueError, AttributeError, TypeError):
        raise UserError(
            f"{what}: {spec!r} can't be read; write it like 'crop(32, pad=4)', 'flip' or 'mixup(0.2) | cutmix(1.0)'."
        ) from None
    for _, (name, *_) in choices:
        _check_name(name, what)
    if len(choices) == 1 and choices[0][0] == 1:
        return choices[0][1]
    return ONE_OF, tuple(call for _, call in choices), {"weights": tuple(weight for weight, _ in choices)}


def _alternatives(node):
    """The nodes of `a | b | c` in order."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_alternatives(node.left), *_alternatives(node.right)]
    return [node]


def _weighted(node):
    """(weight, call) of `3 * a(1)`; the weight is 1 where there is none."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        weight = ast.literal_eval(node.left)
        if isinstance(weight, bool) or not weight > 0:
            raise ValueError
        return weight, _call(node.right)
    return 1, _call(node)


def _call(node):
    """(name, args, kwargs) of `a(1, b=2)` or `a`."""
    if isinstance(node, ast.Name):
        return node.id, (), {}
    args = tuple(ast.literal_eval(a) for a in node.args)
    return node.func.id, args, {k.arg: ast.literal_eval(k.value) for k in node.keywords}


def _check_name(name, what):
    from jaxcls.augment.device import DEVICE
    from jaxcls.augment.host import HOST

    known = sorted({*DEVICE, *HOST})
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
        raise UserError(f"{what}: there is no transform {name!r}; {hint}")


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


def shrunk(calls, side):
    """Device calls with a resize of the short side to `side`, before the first that mixes or erases pictures."""
    from jaxcls.augment.device import LAST

    ends = (i for i, call in enumerate(calls) if any(name in LAST for name in _names([call])))
    at = next(ends, len(calls))
    return [*calls[:at], ("resize", (side,), {}), *calls[at:]]


def host_transform(calls, *, channels, what="config.data.augment"):
    """(encoded bytes or uint8 array, name, generator) -> uint8 [h, w, channels]: decodes, then crops and resizes."""
    from jaxcls.augment.host import HOST, HostTransform

    return HostTransform([_fitting(call, what, lambda n, a, k: HOST[n](*a, **k)) for call in calls], channels)


def smaller(size, *, channels):
    """As `host_transform`, for packed files: the short side gets `size` pixels where it is longer."""
    from jaxcls.augment import host

    return host.smaller(size, channels)


def device_transform(calls, *, random, context=None, what="config.data.augment", views=False):
    """(keys [n], batch) -> batch: the calls in order, then uint8 to float32 `(x / 255 - mean) / std`.

    Args:
      calls: from `parse`.
      random: whether keys are given; if not, keys may be None and a random transform in the list is an error.
      context: base.Context of the run, with the normalisation; None for one that leaves pictures in [0, 1].
      what: the list's name in messages.
      views: whether two further views are made of each picture (device.compose_views), from which `image` differs in
        being spared the policies of the list.

    Raises:
      UserError: for what has to run on the host, a random transform in evaluation, arguments that do not fit, a
        transform of pictures after one that mixes or erases, or views without a policy.
    """
    from jaxcls.augment import device
    from jaxcls.augment.base import Context

    context = context or Context()
    last = None
    for name in _names(calls):
        if name not in device.DEVICE:
            raise UserError(f"{what}: {name!r} must come first in the list, before what runs on the device.")
        if name not in device.FIXED and not random:
            raise UserError(f"{what}: {name!r} is random and can't be used in evaluation.")
        if last and name not in device.LAST:
            raise UserError(f"{what}: {name!r} must come before {last!r}, which mixes or erases the finished pictures.")
        last = name if name in device.LAST else last

    def make(name, args, kwargs):
        if name != ONE_OF:
            return device.build(device.DEVICE[name], args, kwargs, context)
        return device.one_of(*[_fitting(call, what, make) for call in args], **kwargs, context=context)

    operations = [_fitting(call, what, make) for call in calls]
    if not views:
        return device.compose(operations, context)
    policy = [any(name in device.POLICIES for name in _names([call])) for call in calls]
    if not any(policy):
        raise UserError(
            f"{what} has no policy, such as 'augmix', that views could differ by (config.loss.consistency)."
        )
    return device.compose_views(operations, policy, context)


def _names(calls):
    for name, args, _ in calls:
        yield from _names(args) if name == ONE_OF else (name,)


def _fitting(call, what, make):
    """make(*call), with a UserError where the arguments do not fit."""
    try:
        return make(*call)
    except (TypeError, ValueError) as error:
        raise UserError(f"{what}: the arguments of {call[0]!r} don't fit: {error}") from error


def _gives_one_size(name, args, kwargs):
    """Whether pictures of any size leave this host call with one size: `resize(256)` keeps their shape."""
    from jaxcls.augment.host import ONE_SIZE

    return name in ONE_SIZE or (name == "resize" and (len(args) > 1 or "width" in kwargs))
