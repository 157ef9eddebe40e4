"""The part of the report that says which weights a run began with."""

import json
import re
from types import SimpleNamespace

import pytest

from jaxcls.checkpoints.meta import Meta
from jaxcls.models import basis
from jaxcls.models.origin import Says
from jaxcls.models.pretrained import Report
from jaxcls.report import record

REPORT = Report(
    "a<b>.pth",
    "f00d",
    loaded=["conv.weight", "conv.bias"],
    kept={"fc.weight": "the file has 9 classes, the model 3", "fc.bias": "the file has 9 classes, the model 3"},
    basis=[
        basis._row("padding", "torch", "", "config.model.fields.padding"),
        basis._row("mean", "0.5", "its config.json", "config.data.normalize"),
    ],
    notes=["the names are timm's"],
)


def shown(workdir, pretrained):
    """The section's text, cells apart by bars, and its markup."""
    meta = Meta(3, {}, pretrained=pretrained)
    evidence = SimpleNamespace(meta=meta, rows=None, split="test", workdir=workdir, step=3, with_logits=True)
    body = record.environment(evidence).body
    return re.sub(r"[\s|]*\|[\s|]*", "|", re.sub(r"<[^>]+>", "|", body)), body


def test_a_table_of_what_was_loaded_and_what_it_rests_on(tmp_path):
    (tmp_path / "pretrained.json").write_text(json.dumps(REPORT.to_dict()))
    text, body = shown(tmp_path, REPORT.source)
    assert "|Started from weights|File|a&lt;b&gt;.pth|SHA-256|f00d|Tensors loaded|2 of 4|" in text
    assert (
        "|As initialised|fc.weight, fc.bias (the file has 9 classes, the model 3)|Note|the names are timm&#39;s|"
        in text
    )
    assert "|padding|torch|assumed, for nothing says it|config.model.fields.padding|" in text
    assert "|mean|0.5|its config.json|config.data.normalize|" in text
    assert "{" not in body and "b>.pth" not in body


@pytest.mark.parametrize("content", ["{", "[]", '{"sha256": "of other weights", "loaded": ["a"]}', None])
def test_without_the_report_the_file_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "pretrained.json").write_text(content)
    text, _ = shown(tmp_path, REPORT.source)
    assert "|Started from weights|File|a&lt;b&gt;.pth|SHA-256|f00d|" in text and "Tensors" not in text
    assert "Started from weights" not in shown(tmp_path, None)[0]


def test_reports_of_older_runs_have_less_in_them(tmp_path):
    old = {key: value for key, value in REPORT.to_dict().items() if key not in ("basis", "notes", "names")}
    (tmp_path / "pretrained.json").write_text(json.dumps(old))
    assert "Tensors loaded|2 of 4" in shown(tmp_path, REPORT.source)[0]
    assert basis.as_text([]) == [] and Says().note == ""
