"""The operations of augmentation policies, the ranges of their magnitudes, and AutoAugment's sub-policies, as data.

Values are torchvision's (`torchvision.transforms.autoaugment`), which follow the papers and their authors' code. Names
are the papers'. A magnitude is a position in a range of `bins` evenly spaced values: shares for shears, pixels for
translations, degrees for rotation, the distance of the factor from 1 for what Pillow's ImageEnhance does, bits for
Posterize and a level for Solarize.
"""

import numpy as np

OPS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
    "Invert",
)
INDEX = {name: i for i, name in enumerate(OPS)}
SIGNED = np.array([name in OPS[1:10] for name in OPS])  # these go either way, with even odds

# Which operations a policy draws from, all with the same probability
SPACES = {
    "rand_augment": OPS[:14],
    "trivial_augment_wide": OPS[:14],
    "augmix": OPS[1:14],
}


def ranges(policy: str, height: int, width: int) -> dict[str, tuple[float, float]]:
    """{operation: (first, last)} of the magnitudes of a policy on pictures of this size; others have none.

    policy: "auto_augment", "rand_augment" (the same), "trivial_augment_wide" or "augmix".
    """
    wide = policy == "trivial_augment_wide"
    moves = {
        "trivial_augment_wide": (32, 32),
        "augmix": (width / 3, height / 3),
    }.get(policy, (150 / 331 * width, 150 / 331 * height))  # AutoAugment's 150 pixels of 331
    shear, enhance = (0.99, 0.99) if wide else (0.3, 0.9)
    bits = {"trivial_augment_wide": (8, 2), "augmix": (4, 0)}.get(policy, (8, 4))
    return {
        "ShearX": (0, shear),
        "ShearY": (0, shear),
        "TranslateX": (0, moves[0]),
        "TranslateY": (0, moves[1]),
        "Rotate": (0, 135 if wide else 30),
        **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), (0, enhance)),
        "Posterize": bits,
        "Solarize": (255, 0),
    }


def magnitudes(policy: str, bins: int, height: int, width: int) -> np.ndarray:
    """float32 [operations, bins] of a policy's magnitudes, in the order of OPS; 0 where an operation has none."""
    table = np.zeros((len(OPS), bins), np.float32)
    for name, (first, last) in ranges(policy, height, width).items():
        table[INDEX[name]] = _evenly(first, last, bins)
    table[INDEX["Posterize"]] = np.round(table[INDEX["Posterize"]])
    return table


def _evenly(first, last, bins):
    """float32 [bins] from first to last, with the last bit as torch.linspace has it: a level may depend on it.

    It steps from both ends in float32, and rounds once after multiplying and adding.
    """
    first, last = np.float32(first), np.float32(last)
    step, place = float((last - first) / np.float32(bins - 1)), np.arange(bins)
    upwards, downwards = float(first) + step * place, float(last) - step * (bins - 1 - place)
    return np.where(place < bins // 2, upwards, downwards).astype(np.float32)


# Cubuk et al., AutoAugment, tables 7 to 9: 25 pairs of (operation, probability, magnitude out of 0..9)
AUTO_AUGMENT = {
    "imagenet": (
        (("Posterize", 0.4, 8), ("Rotate", 0.6, 9)),
        (("Solarize", 0.6, 5), ("AutoContrast", 0.6, None)),
        (("Equalize", 0.8, None), ("Equalize", 0.6, None)),
        (("Posterize", 0.6, 7), ("Posterize", 0.6, 6)),
        (("Equalize", 0.4, None), ("Solarize", 0.2, 4)),
        (("Equalize", 0.4, None), ("Rotate", 0.8, 8)),
        (("Solarize", 0.6, 3), ("Equalize", 0.6, None)),
        (("Posterize", 0.8, 5), ("Equalize", 1.0, None)),
        (("Rotate", 0.2, 3), ("Solarize", 0.6, 8)),
        (("Equalize", 0.6, None), ("Posterize", 0.4, 6)),
        (("Rotate", 0.8, 8), ("Color", 0.4, 0)),
        (("Rotate", 0.4, 9), ("Equalize", 0.6, None)),
        (("Equalize", 0.0, None), ("Equalize", 0.8, None)),
        (("Invert", 0.6, None), ("Equalize", 1.0, None)),
        (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
        (("Rotate", 0.8, 8), ("Color", 1.0, 2)),
        (("Color", 0.8, 8), ("Solarize", 0.8, 7)),
        (("Sharpness", 0.4, 7), ("Invert", 0.6, None)),
        (("ShearX", 0.6, 5), ("Equalize", 1.0, None)),
        (("Color", 0.4, 0), ("Equalize", 0.6, None)),
        (("Equalize", 0.4, None), ("Solarize", 0.2, 4)),
        (("Solarize", 0.6, 5), ("AutoContrast", 0.6, None)),
        (("Invert", 0.6, None), ("Equalize", 1.0, None)),
        (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
        (("Equalize", 0.8, None), ("Equalize", 0.6, None)),
    ),
    "cifar10": (
        (("Invert", 0.1, None), ("Contrast", 0.2, 6)),
        (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
        (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
        (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
        (("AutoContrast", 0.5, None), ("Equalize", 0.9, None)),
        (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
        (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
        (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
        (("Equalize", 0.6, None), ("Equalize", 0.5, None)),
        (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
        (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
        (("Equalize", 0.3, None), ("AutoContrast", 0.4, None)),
        (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
        (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
        (("Solarize", 0.5, 2), ("Invert", 0.0, None)),
        (("Equalize", 0.2, None), ("AutoContrast", 0.6, None)),
        (("Equalize", 0.2, None), ("Equalize", 0.6, None)),
        (("Color", 0.9, 9), ("Equalize", 0.6, None)),
        (("AutoContrast", 0.8, None), ("Solarize", 0.2, 8)),
        (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
        (("Solarize", 0.4, 5), ("AutoContrast", 0.9, None)),
        (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
        (("AutoContrast", 0.9, None), ("Solarize", 0.8, 3)),
        (("Equalize", 0.8, None), ("Invert", 0.1, None)),
        (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, None)),
    ),
    "svhn": (
        (("ShearX", 0.9, 4), ("Invert", 0.2, None)),
        (("ShearY", 0.9, 8), ("Invert", 0.7, None)),
        (("Equalize", 0.6, None), ("Solarize", 0.6, 6)),
        (("Invert", 0.9, None), ("Equalize", 0.6, None)),
        (("Equalize", 0.6, None), ("Rotate", 0.9, 3)),
        (("ShearX", 0.9, 4), ("AutoContrast", 0.8, None)),
        (("ShearY", 0.9, 8), ("Invert", 0.4, None)),
        (("ShearY", 0.9, 5), ("Solarize", 0.2, 6)),
        (("Invert", 0.9, None), ("AutoContrast", 0.8, None)),
        (("Equalize", 0.6, None), ("Rotate", 0.9, 3)),
        (("ShearX", 0.9, 4), ("Solarize", 0.3, 3)),
        (("ShearY", 0.8, 8), ("Invert", 0.7, None)),
        (("Equalize", 0.9, None), ("TranslateY", 0.6, 6)),
        (("Invert", 0.9, None), ("Equalize", 0.6, None)),
        (("Contrast", 0.3, 3), ("Rotate", 0.8, 4)),
        (("Invert", 0.8, None), ("TranslateY", 0.0, 2)),
        (("ShearY", 0.7, 6), ("Solarize", 0.4, 8)),
        (("Invert", 0.6, None), ("Rotate", 0.8, 4)),
        (("ShearY", 0.3, 7), ("TranslateX", 0.9, 3)),
        (("ShearX", 0.1, 6), ("Invert", 0.6, None)),
        (("Solarize", 0.7, 2), ("TranslateY", 0.6, 7)),
        (("ShearY", 0.8, 4), ("Invert", 0.8, None)),
        (("ShearX", 0.7, 9), ("TranslateY", 0.8, 3)),
        (("ShearY", 0.8, 5), ("AutoContrast", 0.7, None)),
        (("ShearX", 0.7, 2), ("Invert", 0.1, None)),
    ),
}
