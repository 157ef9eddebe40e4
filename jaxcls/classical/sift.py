"""Bags of SIFT words: how often each word of a learned vocabulary occurs in a picture.

Descriptors are Lowe's (IJCV 2004) by OpenCV, as RootSIFT: L1-normalised and square-rooted, so that Euclidean distances
compare them as histograms (Arandjelovic and Zisserman, CVPR 2012). The vocabulary is k-means' (Csurka et al., 2004).
"""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np

from jaxcls.classical.pictures import missing
from jaxcls.errors import UserError

KEYPOINTS = ("dense", "detected")
WEIGHTINGS = ("hellinger", "tfidf")
GRID = 16  # dense key points a row
PATCHES = (8, 4)  # dense patches are 1/8 and 1/4 of the short side wide
WIDTHS = 6  # a descriptor spans 4 bins of 1.5 key point sizes each
LEAST = 64  # side below which pictures are enlarged: SIFT blurs by 1.6 pixels before it looks
SAMPLE_PICTURES, SAMPLE_DESCRIPTORS = 2000, 200_000  # at most, for the vocabulary


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Visual words: centres float32 [words, 128]; idf float32 [words], the log of how rare each is among pictures."""

    centres: np.ndarray
    idf: np.ndarray


def check() -> None:
    """Raises UserError where OpenCV is not installed."""
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise missing("opencv-python-headless", "SIFT") from error


def descriptors(image: np.ndarray, *, keypoints: str = "dense") -> tuple[np.ndarray, np.ndarray]:
    """RootSIFT descriptors of one picture and where they lie.

    Args:
      image: uint8 [h, w, 1], grey.
      keypoints: `dense`, a grid of 16 x 16 upright patches in two sizes, sees every part of a picture. `detected`,
        Lowe's extrema with their scale and orientation, does not change when a picture is turned or scaled.

    Returns:
      (float32 [k, 128], each of unit length or zero; float32 [k, 2], x and y in [0, 1)). k is 0 for a picture in which
      nothing is detected.
    """
    import cv2

    grey, engine = np.ascontiguousarray(image[..., 0]), cv2.SIFT.create()
    height, width = grey.shape
    if keypoints == "dense":
        # The angle is given: OpenCV reads the default of -1 as a turn by one degree.
        cells = itertools.product(PATCHES, range(GRID), range(GRID))
        grid = [
            cv2.KeyPoint((j + 0.5) * width / GRID, (i + 0.5) * height / GRID, min(height, width) / part / WIDTHS, 0.0)
            for part, i, j in cells
        ]
        points, vectors = engine.compute(grey, grid)
    else:
        points, vectors = engine.detectAndCompute(grey, None)
    if vectors is None or not len(points):
        return np.zeros((0, 128), np.float32), np.zeros((0, 2), np.float32)
    places = np.array([point.pt for point in points], np.float32) / np.array([width, height], np.float32)
    root = np.sqrt(vectors / np.maximum(vectors.sum(axis=1, keepdims=True), 1e-12))
    return root.astype(np.float32), places


def sample_rows(n: int, seed: int) -> np.ndarray:
    """The training rows, at most `SAMPLE_PICTURES`, whose pictures the vocabulary is learned from; sorted."""
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 0], np.uint64)))
    return np.sort(rng.permutation(n)[:SAMPLE_PICTURES])


def learn(images: Iterable[np.ndarray], *, words: int, seed: int, keypoints: str = "dense") -> Vocabulary:
    """The vocabulary of some pictures, by k-means on at most `SAMPLE_DESCRIPTORS` of their descriptors.

    Args:
      images: uint8 [h, w, 1] each; training pictures only.
      words: how many.
      seed: of the choice of descriptors and of k-means.
      keypoints: as in `descriptors`.

    Raises:
      UserError: where the pictures have fewer descriptors than there shall be words.
    """
    from sklearn.cluster import MiniBatchKMeans

    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 1], np.uint64)))
    each = [descriptors(image, keypoints=keypoints)[0].astype(np.float16) for image in images]
    everything = np.concatenate(each)
    chosen = rng.permutation(len(everything))[:SAMPLE_DESCRIPTORS]
    if len(chosen) < words:
        raise UserError(
            f"SIFT: the training pictures have {len(chosen)} descriptors, too few for {words} words; lower --words"
            + (" or use --keypoints dense" if keypoints == "detected" else "")
        )
    kmeans = MiniBatchKMeans(words, batch_size=4096, n_init=1, max_iter=20, random_state=seed)
    centres = kmeans.fit(everything[chosen].astype(np.float32)).cluster_centers_.astype(np.float32)
    occurs = np.zeros(words)
    for vectors in each:
        occurs[np.unique(nearest(vectors.astype(np.float32), centres))] += 1
    return Vocabulary(centres, (np.log((1 + len(each)) / (1 + occurs)) + 1).astype(np.float32))


def nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The number of the nearest centre of each vector, int [k]."""
    return np.argmin((centres**2).sum(axis=1) - 2 * vectors @ centres.T, axis=1)


def describe(
    image: np.ndarray,
    vocabulary: Vocabulary,
    *,
    keypoints: str = "dense",
    pyramid: bool = False,
    weighting: str = "hellinger",
) -> np.ndarray:
    """The bag of words of one picture.

    Args:
      image: uint8 [h, w, 1].
      vocabulary: from `learn`.
      keypoints: as in `descriptors`.
      pyramid: also the bags of the four quarters, after that of the whole (Lazebnik et al., CVPR 2006, two levels,
        which weigh the same there).
      weighting: `hellinger`, the square root of shares, or `tfidf`, counts times the idf of their words; both scaled
        to unit length.

    Returns:
      float32 [words], or [5 * words] with the pyramid; zeros for a picture without key points.
    """
    vectors, places = descriptors(image, keypoints=keypoints)
    words = len(vocabulary.centres)
    word = nearest(vectors, vocabulary.centres)
    bags = [np.bincount(word, minlength=words)]
    if pyramid:
        quarter = 2 * (places[:, 1] >= 0.5) + (places[:, 0] >= 0.5)
        bags += [np.bincount(word[quarter == number], minlength=words) for number in range(4)]
    counts = np.stack(bags).astype(np.float32)
    bag = np.sqrt(counts).ravel() if weighting == "hellinger" else (counts * vocabulary.idf).ravel()
    return bag / max(np.linalg.norm(bag), 1e-12)
