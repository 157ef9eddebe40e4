"""`--config.model.fields.KEY.N`: one item of a model's field."""

import pytest

from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.settings import config_file

BLOCKS = ((3, 1, 8, 1), (3, 6, 16, 2), "skip")


def with_blocks(*settings, blocks=BLOCKS):
    config = default_config()
    config.model.name, config.model.fields = "mbconv_net", {"blocks": blocks}
    config_file.override(config, settings)
    return config.model.fields.blocks


def test_an_item_is_replaced_and_the_others_stay():
    assert with_blocks(("model.fields.blocks.1", "skip")) == (BLOCKS[0], "skip", "skip")
    assert with_blocks(("model.fields.blocks.2", "(7,6,16,1)")) == (*BLOCKS[:2], (7, 6, 16, 1))
    both = with_blocks(("model.fields.blocks.0", "skip"), ("model.fields.blocks.2", "(7, 1, 8, 1)"))
    assert both == ("skip", BLOCKS[1], (7, 1, 8, 1))
    stored = with_blocks(("model.fields.blocks.0", "skip"), blocks=list(BLOCKS))  # as JSON has them
    assert tuple(stored) == ("skip", *BLOCKS[1:])


def test_an_item_that_is_not_there_is_refused():
    with pytest.raises(
        UserError, match=r"blocks.3=skip: there is no such item; config.model.fields.blocks has 3 items"
    ):
        with_blocks(("model.fields.blocks.3", "skip"))
    with pytest.raises(UserError, match="config.model.fields.stem is None"):
        with_blocks(("model.fields.stem.0", "skip"))
    with pytest.raises(UserError, match="optim.name is a value and has no keys"):
        with_blocks(("optim.name.0", "skip"))
