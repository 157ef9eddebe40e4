"""The page about all models, of a few of them."""

import pytest

from jaxcls import models
from scripts import load

script = load("bench/model_page.py")


def test_the_page_has_a_row_for_each_model(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "list_models", lambda: ["lenet5", "resnet18", "resnet20_cifar", "simple_cnn_16_32"])
    errors = tmp_path / "errors.json"
    errors.write_text('{"resnet18": 3.24e-7, "resnet18_eca": 4e-7}')
    assert script.main(["--out", str(tmp_path / "models.md"), "--errors", str(errors)]) == 0
    page = (tmp_path / "models.md").read_text()
    titles = [line for line in page.splitlines() if line.startswith("#")]
    assert titles[0] == "# Models" and len(titles) == 5
    assert "| `resnet18` | 224 | 11,689,512 | 1.814 | 2.485 | torchvision | 3.2e-07 | 69.76 (TV) |" in page
    assert "| `lenet5` | 32, 1 channel, 10 classes | 61,706 | 0.0004165 | 0.006518 | own |  |  |" in page
    assert "resnet18_eca 4.0e-07" in page
    assert "{" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--out /no/folder/models.md", "no folder /no/folder"),
        ("--errors /no/errors.json", "--errors: /no/errors.json: No such file"),
        ("--errors {broken}", 'must hold {"name": number'),
    ],
)
def test_what_cannot_be_used_is_one_line(arguments, message, tmp_path, capsys):
    broken = tmp_path / "errors.json"
    broken.write_text("[1]")
    assert script.main(["--out", str(tmp_path / "models.md"), *arguments.format(broken=broken).split()]) == 2
    captured = capsys.readouterr().err
    assert captured.startswith("error: ") and message in captured and captured.count("\n") == 1
    assert not (tmp_path / "models.md").exists()
