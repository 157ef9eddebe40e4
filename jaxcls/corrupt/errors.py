"""Errors under corruptions, and their means: Hendrycks and Dietterich 2019, section 4.3.

`errors` are shares of wrong answers, corruption -> {strength: share}.
"""

import numpy as np

from jaxcls.types import Figures

Errors = dict[str, dict[str, float]]

# Of AlexNet (torchvision's) on ImageNet-C, means over the five strengths; published with the authors' code.
ALEXNET = {
    "gaussian_noise": 0.886428, "shot_noise": 0.894468, "impulse_noise": 0.922640, "defocus_blur": 0.819880,
    "glass_blur": 0.826268, "motion_blur": 0.785948, "zoom_blur": 0.798360, "snow": 0.866816, "frost": 0.826572,
    "fog": 0.819324, "brightness": 0.564592, "contrast": 0.853204, "elastic_transform": 0.646056,
    "pixelate": 0.717840, "jpeg_compression": 0.606500,
}  # fmt: skip


def means(errors: Errors) -> dict[str, float]:
    """Corruption -> mean error over its strengths."""
    return {name: float(np.mean(list(by_strength.values()))) for name, by_strength in errors.items()}


def mean_error(errors: Errors) -> float:
    """The mean corruption error without a baseline: the mean over corruptions of the means over strengths."""
    return float(np.mean(list(means(errors).values())))


def against(
    ours: dict[str, float], theirs: dict[str, float], clean: float | None = None, their_clean: float | None = None
) -> Figures:
    """Errors by those of a baseline.

    Args:
      ours, theirs: mean errors, from `means`; theirs may have further corruptions.
      clean, their_clean: errors without a corruption, or None where one of them is not known.

    Returns:
      dict with `ce` (corruption -> ours / theirs), `mce` (the mean of it) and, where the clean errors are given,
      `relative_mce`: the mean of (ours - clean) / (theirs - their_clean). 1 is as good as the baseline. None where the
      baseline makes no errors, or no more of them than without the corruption.
    """
    ratio = {name: _ratio(error, theirs[name]) for name, error in ours.items()}
    out = {"ce": ratio, "mce": _mean(ratio.values())}
    if clean is not None and their_clean is not None:
        out["relative_mce"] = _mean(_ratio(error - clean, theirs[name] - their_clean) for name, error in ours.items())
    return out


def _ratio(ours, theirs):
    return ours / theirs if theirs > 0 else None


def _mean(values):
    values = list(values)
    return None if None in values else float(np.mean(values))
