"""The operations of augmentation policies written with Pillow, as torchvision calls it for Pillow pictures."""

import math

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

RESAMPLE = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR}
SPATIAL = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
ENHANCE = ("Brightness", "Color", "Contrast", "Sharpness")


def to_pillow(array):
    """uint8 [h, w, 1 or 3] as a picture."""
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def to_array(image):
    """The picture as uint8 [h, w, c]."""
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def apply(array, name, magnitude=0.0, interpolation="nearest", fill=0):
    """One operation on uint8 [h, w, c]; the magnitude is signed."""
    image, magnitude = to_pillow(array), float(magnitude)

    def warp(*coefficients):
        kind = Image.Transform.AFFINE
        return image.transform(image.size, kind, coefficients, RESAMPLE[interpolation], fillcolor=fill)

    def enhance():
        return getattr(ImageEnhance, name)(image).enhance(1.0 + magnitude)

    def posterize(bits):
        """Pillow refuses 0 bits since version 13; AugMix has them."""
        return ImageOps.posterize(image, bits) if bits else image.point(lambda _: 0)

    # torchvision goes from the slope to degrees and back
    slope = math.tan(math.radians(math.degrees(math.atan(magnitude))))
    calls = {
        "Identity": lambda: image,
        "ShearX": lambda: warp(1, slope, 0, 0, 1, 0),
        "ShearY": lambda: warp(1, 0, 0, slope, 1, 0),
        "TranslateX": lambda: warp(1, 0, -int(magnitude), 0, 1, 0),
        "TranslateY": lambda: warp(1, 0, 0, 0, 1, -int(magnitude)),
        "Rotate": lambda: image.rotate(magnitude, RESAMPLE[interpolation], fillcolor=fill),
        **dict.fromkeys(ENHANCE, enhance),
        "Posterize": lambda: posterize(int(magnitude)),
        "Solarize": lambda: ImageOps.solarize(image, magnitude),
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Equalize": lambda: ImageOps.equalize(image),
        "Invert": lambda: ImageOps.invert(image),
    }
    return to_array(calls[name]())
