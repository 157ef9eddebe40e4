"""A run keeps a copy of its tree of classes, and needs the file no more."""

import json

import pytest

from jaxcls.data import tree_file
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.training import begin, build, preflight, same_run


@pytest.fixture
def config(tmp_path):
    (tmp_path / "tree.csv").write_text("".join(f"{i},{'odd' if i % 2 else 'even'}\n" for i in range(10)))
    config = default_config()
    config.data.tree = str(tmp_path / "tree.csv")
    config.data.augment = config.data.eval_transform = ("resize(28)",)
    config.parallel.devices = 1
    return config


def test_the_copy_stands_in_for_a_file_that_is_gone(config, tmp_path):
    run, workdir = build.build(config, workdir=tmp_path / "run"), tmp_path / "run"
    assert "class tree: 10 classes in 2 > 10 groups by level" in preflight.about_data(run.data)
    begin.store_data(run, workdir, 0)
    assert tree_file.of_workdir(workdir, run.data.classes).groups(1)[0] == ("even", "odd")
    (tmp_path / "tree.csv").unlink()
    again = build.build(config, workdir=workdir).data.tree
    assert again.nodes == run.data.tree.nodes
    with pytest.raises(UserError, match="config.data.tree: .*tree.csv cannot be read"):
        build.build(config, workdir=tmp_path / "another")


def test_a_run_goes_on_with_another_tree_or_none(config, tmp_path):
    """It has no influence on the result."""
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    config.data.tree = ""
    assert same_run.differences(json.loads(json.dumps(config.to_dict())), tmp_path) == {}


def test_where_it_can_have_no_effect_it_is_refused(config, tmp_path):
    config.ssl.method = "simclr"
    with pytest.raises(UserError, match="config.data.tree=.* has no effect: no labels are learnt; remove it"):
        build.build(config)
