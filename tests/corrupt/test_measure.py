"""Measuring robustness: the errors of a run against predictions made one by one, their means, the command line."""

import json

import jax
import numpy as np
import pytest
from fixtures import toys
from fixtures.toys import ConvNet

from jaxcls import corrupt
from jaxcls.checkpoints import view
from jaxcls.cli.command import main
from jaxcls.corrupt import errors, measure, page
from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.training import build, loop

pytestmark = pytest.mark.usefixtures("bare_end")

NAMES, STRENGTHS = ("contrast", "impulse_noise"), (2, 5)


def make_config(**settings):
    config = default_config()
    config.data.name, config.data.workers, config.data.validation = "synthetic/256x20x3x4", 0, 0.0
    config.data.normalize, config.data.eval_transform = "cifar10", ("center_crop(16)",)
    config.data.augment = ("center_crop(16)",)
    config.model.name = "toy_conv"
    config.batch_size, config.duration, config.parallel.devices = 16, "100 steps", 1
    config.eval.batch_size, config.schedule.name, config.schedule.peak = 24, "constant", 0.3
    for key, value in settings.items():
        config[key] = value
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the workdir "a" of a short run."""
    with toys.registered(toy_conv=ConvNet):
        folder = tmp_path_factory.mktemp("robust")
        loop.run(make_config(ema_decay=0.5), folder / "a")
        yield folder


@pytest.fixture(scope="module")
def two_trained(trained):
    """The folder with another run "b" in it."""
    loop.run(make_config(duration="8 steps"), trained / "b")
    return trained


def test_errors_are_those_of_pictures_corrupted_and_predicted_by_hand(trained):
    options = measure.Options(corruptions=NAMES, strengths=STRENGTHS, seed=3)
    report = measure.run(make_config(ema_decay=0.5), trained / "a", options, note=lambda line: None)
    job = build.build(make_config(ema_decay=0.5))
    source = job.data.sources["test"]
    images, n = source.images[:, 2:18, 2:18], len(source)
    variables, averaged = view.read_variables(view.find_step(trained / "a"))
    assert averaged and report["count"] == n
    predict = jax.jit(lambda x: ConvNet(num_classes=4).apply(variables, x, train=False)[0].argmax(-1))
    mean, std = (np.array(value, np.float32) for value in job.data.normalize)

    def error(x):
        return float(np.mean(np.asarray(predict((x / np.float32(255) - mean) / std)) != source.labels))

    assert report["error"] == pytest.approx(error(images)) and report["error"] < 0.7
    for name in NAMES:
        number = list(corrupt.CORRUPTIONS).index(name)

        def key(row, number=number):
            return jax.random.fold_in(jax.random.fold_in(jax.random.key(3), row), number)

        make = jax.jit(lambda keys, x, s, name=name: corrupt.corrupted(name, keys, x, s))
        for strength in STRENGTHS:
            changed = np.asarray(make(jax.vmap(key)(np.arange(n)), images, np.int32(strength)))
            assert report["errors"][name][str(strength)] == pytest.approx(error(changed))
    assert json.loads((trained / "a" / "robustness.json").read_text()) == report


@pytest.mark.slow
def test_errors_are_the_same_on_eight_devices(trained):
    options = measure.Options(corruptions=("impulse_noise",), strengths=(5,), limit=40)
    found = []
    for devices in (1, 8):
        config = make_config(ema_decay=0.5)
        config.parallel.devices = devices
        found.append(measure.run(config, trained / "a", options, note=lambda line: None))
    assert found[0] == found[1] and found[0]["count"] == 40


def test_means_are_their_closed_forms():
    """CE is the ratio of the sums over strengths, mCE the mean of the CEs; 1 for the baseline itself."""
    ours = {"fog": {"1": 0.2, "5": 0.4}, "snow": {"1": 0.5, "5": 0.7}}
    theirs = {"fog": {"1": 0.5, "5": 0.7}, "snow": {"1": 0.1, "5": 0.5}}
    assert errors.mean_error(ours) == pytest.approx((0.3 + 0.6) / 2)
    ratios = errors.against(errors.means(ours), errors.means(theirs), 0.1, 0.2)
    assert ratios["ce"] == {"fog": pytest.approx(0.3 / 0.6), "snow": pytest.approx(0.6 / 0.3)}
    assert ratios["mce"] == pytest.approx((0.5 + 2) / 2)
    assert ratios["relative_mce"] == pytest.approx((0.2 / 0.4 + 0.5 / 0.1) / 2)
    same = errors.against(errors.means(ours), errors.means(ours), 0.1, 0.1)
    assert same["mce"] == same["relative_mce"] == pytest.approx(1)
    assert "relative_mce" not in errors.against(errors.means(ours), errors.means(theirs))
    assert errors.against({"fog": 0.3}, {"fog": 0.0}) == {"ce": {"fog": None}, "mce": None}


def test_alexnets_errors_are_of_all_corruptions():
    """And their mean unnormalised, which the paper's table gives as 100 mCE."""
    assert set(errors.ALEXNET) == set(corrupt.CORRUPTIONS)
    assert errors.against(errors.ALEXNET, errors.ALEXNET)["mce"] == 1


def run(*arguments):
    return main(["robustness", *map(str, arguments), "--corruptions", *NAMES, "--strengths", "2", "5", "--limit", "32"])


@pytest.mark.slow
def test_the_command_prints_and_writes_a_table_with_a_baseline(two_trained, capsys):
    trained = two_trained
    assert run(trained / "a", "--baseline", trained / "b") == 0
    told = capsys.readouterr().out
    assert f"measuring {trained / 'b'}" in told and "mCE against b" in told
    report = json.loads((trained / "a" / "robustness.json").read_text())
    other = json.loads((trained / "b" / "robustness.json").read_text())
    for name in NAMES:
        ratio = sum(report["errors"][name].values()) / sum(other["errors"][name].values())
        assert report["baseline"]["ce"][name] == pytest.approx(ratio)
        row = next(line for line in told.splitlines() if line.startswith(name.replace("_", " "))).split()
        assert row[-1] == f"{100 * ratio:.1f}" and row[-4] == f"{100 * (1 - report['errors'][name]['2']):.1f}"
    written = (trained / "a" / "robustness.md").read_text()
    assert "| corruption | 2 | 5 | mean | CE |" in written and "| impulse noise |" in written
    assert (trained / "a" / "robustness.png").read_bytes().startswith(b"\x89PNG")
    assert run(trained / "a", "--baseline", trained / "b") == 0
    assert f"measuring {trained / 'b'}" not in capsys.readouterr().out  # its file is of the same pictures


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--corruptions", "fogg"], "--corruptions is 'fogg'; did you mean 'fog'?"),
        (["--strengths", "0", "3"], "--strengths are whole numbers from 1 to 5"),
        (["--split", "validation"], "there is no validation split to measure on; there is train, test"),
        (["--step", "3"], "holds no step 3"),
        (["--config.data.nam", "x"], "config.data.nam does not exist"),
    ],
)
def test_a_wrong_option_is_told_in_a_line(trained, capsys, arguments, message):
    assert main(["robustness", str(trained / "a"), *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and message in told and told.count("\n") == 1


def test_a_folder_without_a_run_is_told(tmp_path, capsys):
    assert main(["robustness", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_alexnet_is_a_baseline_for_imagenet_only(trained):
    report = {"errors": {"fog": {"1": 0.5}}, "data": {"classes": 10}}
    with pytest.raises(UserError, match="1,000 classes"):
        measure.compare(report)
    whole = {name: {str(s): 0.5 for s in corrupt.STRENGTHS} for name in corrupt.CORRUPTIONS}
    found = measure.compare({"errors": whole, "data": {"classes": 1000}})["baseline"]
    assert found["mce"] == pytest.approx(np.mean([0.5 / x for x in errors.ALEXNET.values()]))


def test_a_report_of_other_pictures_is_no_baseline(tmp_path):
    report = {"split": "test", "count": 9, "limit": 0, "seed": 0, "data": {}, "errors": {"snow": {"1": 0.5}}}
    (tmp_path / measure.FILE).write_text(json.dumps(report))
    assert measure.read(tmp_path, report) == report
    for other in ({"seed": 9}, {"count": 1}, {"errors": {"fog": {"1": 0.5}}}):
        assert measure.read(tmp_path, {**report, **other}) is None
    assert measure.read(tmp_path / "nothing", report) is None


def test_a_ratio_that_is_not_defined_is_a_dash():
    assert page.percent(None) == "-" and page.percent(0.1234) == "12.3"
