"""Published weights by name: the table, what texts mean, files from addresses, and from a hub that runs here."""

import hashlib
import json
import os
import re
import stat

import hub_server
import numpy as np
import pytest

from jaxcls import models
from jaxcls.errors import UserError
from jaxcls.models import architectures, download, hub, hub_upload, weight_files, weights
from jaxcls.models.published import PUBLISHED

# Held against what others publish, not against the libraries that the table was made of: each place stands in public
# code or documentation of projects that fetch it from there.
SAMPLE = {
    "resnet50.a1_in1k": "timm/resnet50.a1_in1k",
    "vit_base_patch16_224.augreg2_in21k_ft_in1k": "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k",
    "convnext_tiny.fb_in1k": "timm/convnext_tiny.fb_in1k",
    "tf_efficientnet_b0.ns_jft_in1k": "timm/tf_efficientnet_b0.ns_jft_in1k",
    "mobilenetv3_large_100.ra_in1k": "timm/mobilenetv3_large_100.ra_in1k",
    "deit_small_patch16_224.fb_in1k": "timm/deit_small_patch16_224.fb_in1k",
    "swin_tiny_patch4_window7_224.ms_in1k": "timm/swin_tiny_patch4_window7_224.ms_in1k",
    "efficientnet_b0.ra_in1k": "timm/efficientnet_b0.ra_in1k",
    "resnet18.a1_in1k": "timm/resnet18.a1_in1k",
    "mixer_b16_224.goog_in21k_ft_in1k": "timm/mixer_b16_224.goog_in21k_ft_in1k",
    "resnet50.IMAGENET1K_V1": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    "resnet50.IMAGENET1K_V2": "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
    "resnet18.IMAGENET1K_V1": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "squeezenet1_1.IMAGENET1K_V1": "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
    "mobilenet_v2.IMAGENET1K_V1": "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
    "vgg16.IMAGENET1K_V1": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "densenet121.IMAGENET1K_V1": "https://download.pytorch.org/models/densenet121-a639ec97.pth",
    "alexnet.IMAGENET1K_V1": "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    "vit_b_16.IMAGENET1K_V1": "https://download.pytorch.org/models/vit_b_16-c867db91.pth",
    "inception_v3.IMAGENET1K_V1": "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
}


# The table


def test_twenty_places_are_those_that_the_libraries_tell():
    assert {name: weights.rows()[name].location for name in SAMPLE} == SAMPLE


def test_rows_are_of_our_models_and_agree_with_what_else_is_known():
    for row in weights.rows().values():
        assert row.model in models.list_models(), row
        known = None if row.is_url else architectures.find(row.name)
        assert known is None or (known.models[0] == row.model and dict(known.fields) == dict(row.fields)), row.name
        mean, std = row.moments
        assert len(mean) == len(std) == 3 and min(std) > 0 and 32 <= row.size <= min(row.resize) * 1.001, row.name
        assert not row.is_url or re.search(rf"-{row.sha256}\.pth$", row.location)
    published = {"resnet50.IMAGENET1K_V1": 76.13, "resnet50.IMAGENET1K_V2": 80.86, "squeezenet1_1.IMAGENET1K_V1": 58.18}
    assert {name: weights.rows()[name].top1 for name in published} == published
    assert all(str(value) in PUBLISHED[name.partition(".")[0]].top1 for name, value in published.items())


@pytest.mark.parametrize(
    "text, model, name",
    [
        ("resnet50.a1_in1k", "", "resnet50.a1_in1k"),
        ("resnet50.a1_in1k", "lenet5", "resnet50.a1_in1k"),
        ("IMAGENET1K_V1", "resnet50", "resnet50.IMAGENET1K_V1"),
        ("a1_in1k", "resnet50", "resnet50.a1_in1k"),
        ("ns_jft_in1k", "efficientnet_b0", "tf_efficientnet_b0.ns_jft_in1k"),
        ("True", "resnet50", "resnet50.IMAGENET1K_V2"),
        ("resnet50", "", "resnet50.IMAGENET1K_V2"),
        ("true", "vit_small_patch16_224", "vit_small_patch16_224.augreg_in21k_ft_in1k"),
        ("resnet50.pth", "", None),
        ("runs/mine", "resnet50", None),
        ("hf-hub:timm/resnet50.a1_in1k", "resnet50", None),
        ("mine", "resnet50", None),
        ("", "resnet50", None),
    ],
)
def test_what_a_text_means(text, model, name):
    found = weights.find(text, model)
    assert (found.name if found else None) == name


def test_usual_weights_are_free_where_any_are():
    for model in {row.model for row in weights.rows().values()}:
        free = [row for row in weights.of_model(model) if not row.restricted and row.classes]
        assert not free or not weights.usual(model).restricted, model
    assert weights.rows()["resnet18.fb_swsl_ig1b_ft_in1k"].restricted
    assert "cc-by-nc-4.0, forbids commercial use" in weights.licence_note("cc-by-nc-4.0")


@pytest.mark.parametrize(
    "text, model, message",
    [
        ("resnet50.a9_in1k", "", "there are no weights 'resnet50.a9_in1k'; did you mean"),
        (
            "IMAGENET1K_V9",
            "resnet50",
            "there are no weights 'resnet50.IMAGENET1K_V9'; did you mean 'resnet50.IMAGENET1K",
        ),
        ("IMAGENET1K_V1", "", "alone does not say of which net; write it like"),
        ("True", "", "which is not set"),
        ("True", "lenet5", "neither timm nor torchvision publishes weights of lenet5"),
    ],
)
def test_names_that_are_none(text, model, message):
    with pytest.raises(UserError, match=message) as error:
        weights.find(text, model)
    assert "\n" not in str(error.value)


def test_a_file_of_that_name_goes_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet50.a1_in1k").write_bytes(b"mine")
    assert weights.find("resnet50.a1_in1k") is None


# Files from an address


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A Hub; the client and all caches look there and below tmp_path."""
    with hub_server.running() as running:
        hub_server.point(monkeypatch, running, tmp_path)
        yield running


CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA = hashlib.sha256(CONTENT).hexdigest()


def fetch(server, digest=SHA[:8], path="/models/net.pth"):
    return download.fetch(f"{server.url}{path}", digest, "net.V1")


def test_a_file_is_fetched_once_and_whole(server, capsys):
    server.paths["/models/net.pth"] = CONTENT
    path = fetch(server)
    assert path.read_bytes() == CONTENT and path == download.folder() / "net.pth" and fetch(server) == path
    assert server.asked == ["GET /models/net.pth"] and capsys.readouterr().err == "fetching net.V1, 3 MB\n"
    path.write_bytes(CONTENT[:1000])  # half-written by something else
    assert fetch(server).read_bytes() == CONTENT and [x.name for x in path.parent.iterdir()] == ["net.pth"]


def test_the_cache_of_pytorch_counts(server, tmp_path):
    place = tmp_path / "torch/hub/checkpoints/net.pth"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    assert fetch(server) == place and not server.asked


def test_nothing_half_there_is_left(server, monkeypatch):
    server.paths["/models/net.pth"] = CONTENT
    server.short.add("/models/net.pth")
    with pytest.raises(UserError, match=r"net.V1 broke off after 1,\d+,\d+ (of 3,000,000 )?bytes"):
        fetch(server)
    server.short.clear()
    with pytest.raises(UserError, match=f"has the SHA-256 {SHA[:16]}.., where 00000000.. is known"):
        fetch(server, "00000000")
    with pytest.raises(UserError, match=r"answers 404 .*; fetch it where there is one \(curl -LO"):
        fetch(server, path="/models/none.pth")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE forbids the network; fetch it where there is one"):
        fetch(server)
    assert not [*download.folder().iterdir()]


def test_no_network_is_one_line(server):
    with pytest.raises(UserError, match="net.V1 can't be fetched: no network") as error:
        download.fetch("http://127.0.0.1:9/net.pth", SHA, "net.V1")
    assert "\n" not in str(error.value) and "curl -LO http://127.0.0.1:9/net.pth" in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into anything")
def test_a_cache_that_is_read_only(server, tmp_path):
    server.paths["/models/net.pth"] = CONTENT
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(UserError, match="can't be written: Permission denied; set XDG_CACHE_HOME"):
        fetch(server)


def test_a_cache_that_is_no_folder(server, tmp_path):
    (tmp_path / "jaxcls").write_text("in the way")
    with pytest.raises(
        UserError, match=r"the cache .* can't be written: (Not a directory|File exists); set XDG_CACHE_H"
    ):
        fetch(server)


def test_the_bar_of_a_terminal():
    class Terminal(list):
        isatty = staticmethod(lambda: True)
        flush = staticmethod(lambda: None)
        write = list.append

    terminal = Terminal()
    tell = download.progress("net", 4_000_000, terminal)
    tell(2_000_000), tell(4_000_000)
    assert "".join(terminal).split("\r")[1:] == [
        f"fetching net [{'=' * 15:<30}] 2 of 4 MB",
        f"fetching net [{'=' * 30}] 4 of 4 MB\n",
    ]


# The hub


TENSORS = {"fc.weight": np.eye(3, dtype=np.float32)}
TIMM = {"architecture": "resnet18", "pretrained_cfg": {"input_size": [3, 160, 160], "crop_pct": 0.95, "mean": [0.5] * 3,
        "std": [0.5] * 3, "license": "cc-by-nc-4.0"}}  # fmt: skip


@pytest.fixture
def timm(server, tmp_path):
    """A server with one repository of timm's."""
    weight_files.write(tmp_path / "x.safetensors", TENSORS, {})
    content = (tmp_path / "x.safetensors").read_bytes()
    server.repos["timm/resnet18.a1_in1k"] = {"model.safetensors": content, "config.json": json.dumps(TIMM).encode()}
    return server


def test_weights_by_name_come_from_the_hub_with_what_it_says(timm):
    found = weight_files.read("resnet18.a1_in1k")
    assert found.name == "resnet18.a1_in1k" and np.array_equal(found.tensors["fc.weight"], np.eye(3))
    assert found.says.mean == (0.5,) * 3 and found.says.transforms == ("resize(168)", "center_crop(160)")
    assert found.says.note == "their licence, cc-by-nc-4.0, forbids commercial use"
    del timm.repos["timm/resnet18.a1_in1k"]["config.json"]
    timm.repos["timm/resnet18.a2_in1k"] = timm.repos["timm/resnet18.a1_in1k"]
    table = weight_files.read("resnet18.a2_in1k").says  # in the place of a config.json
    assert table.where == "the table of weights" and table.architecture == "resnet18" and table.licence == "apache-2.0"
    assert table.mean == weights.NORMALIZE["imagenet"][0]
    assert table.transforms == ("resize(235, resample='bicubic')", "center_crop(224)")


def test_what_the_hub_refuses_is_one_line(timm):
    timm.gated.add("timm/gated")
    timm.repos["timm/empty"] = {"README.md": b""}
    for name, message in {
        "timm/none": "the hub has no such repository, or it is private",
        "timm/gated": "accepted its terms: do that at https://huggingface.co/timm/gated, then log in",
        "timm/resnet18.a1_in1k@v9": "it has no such revision",
        "timm/empty": "it has neither of model.safetensors, pytorch_model.bin",
        "a b/c": "that is no name on the hub",
    }.items():
        with pytest.raises(UserError, match=re.escape(message)) as error:
            hub.fetch(f"hf-hub:{name}")
        assert "\n" not in str(error.value) and name in str(error.value)


def test_another_sum_than_the_hub_tells(timm):
    timm.lies["model.safetensors"] = "0" * 64
    with pytest.raises(UserError, match=r"is damaged in the cache .*; delete .*0000 and try again"):
        weight_files.read("resnet18.a1_in1k")


def test_offline_what_is_there_serves_and_what_is_not_says_where_to_get_it(timm, tmp_path, monkeypatch):
    weight_files.read("resnet18.a1_in1k")
    hub_server.point(monkeypatch, timm, tmp_path, HF_HUB_OFFLINE="1")
    asked = len(timm.asked)
    assert weight_files.read("resnet18.a1_in1k").tensors and len(timm.asked) == asked
    with pytest.raises(
        UserError, match=r"no network .*'hf download timm/resnet18.a2_in1k --local-dir resnet18.a2_in1k'"
    ):
        weight_files.read("resnet18.a2_in1k")


def test_files_are_sent_in_one_commit(server, tmp_path, monkeypatch):
    paths = [tmp_path / "model.safetensors", tmp_path / "README.md"]
    paths[0].write_bytes(CONTENT)
    paths[1].write_text("---\nlicense: mit\n---\n# x\n")
    with pytest.raises(UserError, match="nobody is logged in"):
        hub_upload.check()
    hub_server.point(monkeypatch, server, tmp_path, HF_TOKEN=server.token)
    hub_upload.check()
    assert hub_upload.send("someone/x", paths, private=True) == f"{server.url}/someone/x/commit/{hub_server.COMMIT}"
    assert server.repos["someone/x"] == {path.name: path.read_bytes() for path in paths} and server.private["someone/x"]
    hub_server.point(monkeypatch, server, tmp_path, HF_TOKEN="hf_wrong")
    with pytest.raises(UserError, match=r"does not know the token \(401\)"):
        hub_upload.send("someone/x", paths, private=True)
