"""`jaxcls models` lists what models.list_models knows."""

import json

from jaxcls import models
from jaxcls.cli.command import main


def run(capsys, *arguments):
    """(exit status, standard output, standard error)."""
    status = main(["models", *arguments])
    return status, *capsys.readouterr()


def test_every_model_has_a_line(capsys):
    status, out, _ = run(capsys)
    header, *lines = out.splitlines()
    assert status == 0 and header.split() == ["model", "picture", "GMACs", "top-1", "(source)"]
    assert [line.split()[0] for line in lines] == models.list_models()
    assert ["inception_v3", "299", "5.713", "77.29", "(TV)"] in [line.split() for line in lines]


def test_a_pattern_and_counts(capsys):
    status, out, _ = run(capsys, "lenet5*", "--count", "--json")
    rows = json.loads(out)
    assert status == 0 and [row["name"] for row in rows] == models.list_models("lenet5*")
    conv = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 150
    dense = 120 * 400 + 84 * 120 + 10 * 84
    assert rows[0]["parameters"] == 61_706 and rows[0]["gmacs"] == (conv + dense) / 1e9
    assert (rows[0]["size"], rows[0]["channels"], rows[0]["classes"]) == (32, 1, 10)


def test_a_name_that_is_none_is_one_line(capsys):
    status, out, err = run(capsys, "resnet189")
    assert (status, out) == (2, "") and err == "error: no model is called 'resnet189'; did you mean 'resnet18'?\n"
    assert "jaxcls models lists them all" in run(capsys, "*zzz*")[2]


def test_published_weights(capsys):
    status, out, _ = run(capsys, "--pretrained", "resnet18*")
    header, *lines = out.splitlines()
    assert status == 0 and header.startswith("weights ") and header.rstrip().endswith("licence")
    assert lines[0].split() == [
        "resnet18.IMAGENET1K_V1",
        "resnet18",
        "47",
        "224",
        "1000",
        "69.76",
        "(224)",
        "bsd-3-clause",
    ]
    assert any(line.endswith("cc-by-nc-4.0 (no commercial use)") for line in lines)
    rows = json.loads(run(capsys, "--pretrained", "--json", "alexnet")[1])
    assert rows[0]["sha256"] == "7be5be79" and not rows[0]["restricted"]
    status, out, err = run(capsys, "--pretrained", "resnet18.a9_in1k")
    assert (status, out) == (2, "") and "did you mean 'resnet18.a" in err
    assert "--count counts models" in run(capsys, "--pretrained", "--count")[2]
