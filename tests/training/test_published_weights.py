"""What weights of others are evaluated with, without a run."""

import pytest

from jaxcls.models.published import KINETICS
from jaxcls.training import published_weights


@pytest.mark.parametrize(
    "name, data, transforms",
    [
        ("s3d", "clips/there", ("frames(16)", "resize(256)", "center_crop(224)")),
        ("r2plus1d_18", "clips/there", ("frames(16)", "resize(128)", "center_crop(112)")),
        ("resnet18", "folder/there", ("resize(256)", "center_crop(224)")),
    ],
)
def test_clips_are_prepared_as_those_of_kinetics(name, data, transforms):
    config = published_weights.config_of(name, data)
    assert config.data.eval_transform == transforms
    assert ((config.data.mean, config.data.std) == KINETICS) == data.startswith("clips/")
