"""Pictures for files to answer to."""

import numpy as np
import pytest
from PIL import Image

CLASSES = ("cat", "dog", "owl")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of pictures of several kinds and sizes in folders of their classes."""
    root, rng = tmp_path_factory.mktemp("files") / "pictures", np.random.default_rng(0)
    for k, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i, kind in enumerate(("png", "jpg", "webp", "bmp")):
            image = rng.integers(0, 120, (*rng.integers(20, 70, 2), 3)) + 130 * (np.arange(3) == k)
            Image.fromarray(image.astype(np.uint8)).save(root / name / f"{i}.{kind}")
    return root
