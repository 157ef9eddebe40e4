"""SMOTE: new examples of small classes between old ones, for feature vectors (classical baselines, linear probes)."""

import numpy as np

from jaxcls.errors import UserError


def smote(features: np.ndarray, labels: np.ndarray, *, seed: int, neighbours: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """The examples with synthetic ones after them, so that every class has as many as the largest.

    A synthetic example lies at a random place between one of its class and one of that one's nearest neighbours.
    Source: Chawla et al., SMOTE: Synthetic Minority Over-sampling Technique, section 4.2; computed by imbalanced-learn
    (0.14.2 was tried). Use it on training examples alone: what is made from a test example gives that one away.

    Args:
      features: numbers [n, d], finite; whole numbers become floats.
      labels: [n].
      seed: of the choice of examples and places, from 0 to 2^32 - 1.
      neighbours: how many nearest ones of the same class one is chosen from.

    Returns:
      (features, labels) as NumPy arrays; the first n are those that were given.

    Raises:
      UserError: if imbalanced-learn is missing, a class that has to grow has no more examples than `neighbours`, or the
        features are no finite vectors.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(labels):
        raise UserError(f"SMOTE needs features [n, d] and labels [n], not {features.shape} and {labels.shape}.")
    if not np.all(np.isfinite(features)):
        raise UserError("SMOTE: some features are not finite; leave these examples out.")
    if neighbours < 1:
        raise UserError(f"SMOTE needs at least 1 neighbour, not {neighbours}.")
    features = features.astype(np.result_type(features, np.float32))
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() == counts.max():
        return features, labels
    small = (counts <= neighbours) & (counts < counts.max())
    if small.any():
        i = int(np.argmin(np.where(small, counts, counts.max())))
        have = "1 example" if counts[i] == 1 else f"{counts[i]} examples"
        remedy = f"take neighbours={counts[i] - 1}, or " if counts[i] > 1 else ""
        raise UserError(
            f"SMOTE with {neighbours} neighbours needs at least {neighbours + 1} examples of each class, but class "
            f"{classes[i]} has {have}; {remedy}leave the class out or use class weights."
        )
    try:
        from imblearn.over_sampling import SMOTE
    except ImportError:
        raise UserError("SMOTE needs imbalanced-learn: pip install imbalanced-learn.") from None
    return SMOTE(k_neighbors=neighbours, random_state=seed).fit_resample(features, labels)
