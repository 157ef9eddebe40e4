"""A key whose name and values have changed, `parallel.sync_batchnorm`, is read wherever configs are."""

import json

import pytest
from ml_collections import ConfigDict

from jaxcls.defaults import _say_renamed, default_config
from jaxcls.errors import UserError
from jaxcls.settings import config_file
from jaxcls.settings.reader import resolve
from jaxcls.training import same_run


def old_config(value):
    """As a run of before has stored it."""
    stored = json.loads(json.dumps(default_config().to_dict()))
    del stored["parallel"]["batch_norm"]
    stored["parallel"]["sync_batchnorm"] = value
    return stored


@pytest.mark.parametrize("before, now", [(True, "global"), (False, "local")])
def test_a_former_value_is_translated(tmp_path, capsys, before, now):
    _say_renamed.cache_clear()
    config = default_config()
    config.parallel.sync_batchnorm = before  # as in a config file
    assert config.parallel.batch_norm == now
    config = default_config()
    for text in (str(before), str(int(before)), str(before).lower()):
        config_file.override(config, [("parallel.sync_batchnorm", text)])
        assert config.parallel.batch_norm == now
    stored = ConfigDict(old_config(before))
    assert resolve(stored).parallel.batch_norm == now
    config_file.override(stored, [("parallel.batch_norm", "groups(2)")])
    assert resolve(stored).parallel.batch_norm == "groups(2)"  # what was set now counts
    (tmp_path / "config.json").write_text(json.dumps(old_config(before)))
    assert not same_run.differences(same_run.to_json(config), tmp_path)
    config.parallel.batch_norm = "groups(8)"
    assert same_run.differences(same_run.to_json(config), tmp_path) == {"parallel.batch_norm": (now, "groups(8)")}
    assert capsys.readouterr().err == (
        "note: config.parallel.sync_batchnorm is called config.parallel.batch_norm now "
        "(True is 'global', False is 'local')\n"
    )


def test_what_is_no_text_is_refused_in_a_line():
    for value in (8, True, None):
        stored = old_config(True)
        stored["parallel"] = {"batch_norm": value}
        with pytest.raises(UserError, match=r"^config.parallel.batch_norm is .*, but must be a str\.$"):
            resolve(stored)
