"""What happens to a picture before the model sees it: the lists of transforms of a config, and its normalisation."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from jaxcls import augment
from jaxcls.augment.base import Context, Operation
from jaxcls.augment.clips import ClipTransform
from jaxcls.augment.host import HostTransform
from jaxcls.augment.preprocessing import Preprocessing
from jaxcls.data import windows
from jaxcls.data.base import Source
from jaxcls.errors import UserError
from jaxcls.settings.reader import choose

# Mean and standard deviation of the training pictures, on the scale of [0, 1].
NORMALIZE = {
    "unit": ((0.0,), (1.0,)),
    "symmetric": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How training pictures are changed.

    Attributes:
      host: what the host does with an item (`augment.host_transform`).
      device: short side of the pictures, None to leave it -> (keys [n], batch) -> batch, inside the compiled step.
      views: of each picture in `batch["views"]`, each drawn wholly anew; 0 for none.
      specs: the list config.data.augment, for messages.
    """

    host: HostTransform | ClipTransform
    device: Callable[[int | None], Operation]
    views: int
    specs: tuple[str, ...]

    @property
    def host_views(self) -> int:
        """How many of the views the host makes: where nothing is drawn there, the device makes all of one picture."""
        return self.views if self.host.operations else 0


def preprocessing(config: Any, source: Source, *, pack: int = 0) -> Preprocessing:
    """What evaluation does to the pictures of a source; not checked.

    Args:
      config: a Reader.
      source: the pictures.
      pack: side to which files are made smaller (`Preprocessing`); pictures in memory are not.

    Raises:
      UserError: for a normalisation or a window that can't be.
    """
    arrays = getattr(source, "arrays", None)
    return Preprocessing(
        tuple(config.data.eval_transform),
        *normalization(config),
        channels=config.data.channels or 3,
        picture=None if arrays is None else arrays["image"].shape[1:],
        pack=pack if arrays is None else 0,
        window=windows.checked(config.data.window),
    )


def normalization(config: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of the config, each a tuple."""
    mean, std = tuple(config.data.mean), tuple(config.data.std)
    if mean or std:
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise UserError("config.data.mean and config.data.std must have as many values as each other, std above 0.")
        return mean, std
    return NORMALIZE[choose("config.data.normalize", config.data.normalize, NORMALIZE)]


def augmentation(config: Any, source: Source, evaluation: Preprocessing, views: int = 0) -> Augmentation:
    """What the config does with training pictures.

    Raises:
      UserError: for a list that can't be.
    """
    what, specs = "config.data.augment", tuple(config.data.augment)
    encoded = not hasattr(source, "arrays")
    host, device = augment.split_list(specs, encoded=encoded, what=what)
    second = _second(config, host, encoded) if views == 2 else None
    if views and second is None:
        augment.check_random(host + device, what)
    context = Context(
        len(source.classes), evaluation.mean, evaluation.std, seed=config.seed, batch_size=config.batch_size
    )
    consistent = config.loss.consistency > 0
    transform = functools.partial(
        augment.device_transform, random=True, context=context, what=what, views=consistent, anew=views
    )

    def for_side(side: int | None = None) -> Operation:
        own, other = (of if side is None or of is None else augment.shrunk(of, side) for of in (device, second))
        return transform(own or [], other=other)

    for_side()  # a list that can't be is told now
    on_host = augment.host_transform(host, channels=evaluation.channels, window=evaluation.window, what=what)
    return Augmentation(on_host, for_side, views, specs)


def _second(config, host, encoded):
    """The device's part of config.data.augment_second; None where both views have one list. Raises UserError."""
    what, specs = "config.data.augment_second", tuple(config.data.augment_second)
    if not specs:
        return None
    first, device = augment.split_list(specs, encoded=encoded, what=what)
    if first != host:
        raise UserError(f"{what}: both views are cut by one decoding, so it must begin as config.data.augment does.")
    augment.check_random(first + device, what)
    return device
