"""Settings that can't be: each is one line, below 400 characters, that names it; nothing is compiled."""

import signal

import pytest

from jaxcls.defaults import default_config
from jaxcls.errors import UserError
from jaxcls.settings import config_file
from jaxcls.training import build, preflight

BIG = "9" * 400
MISTAKES = [
    # Listed: what came through, or ended in a traceback.
    ("model.fields.num_classes=3", "config.model.fields.num_classes can't be set: it follows from the data"),
    ("model.fields.dtype=int8", "config.model.fields.dtype can't be set: set config.precision"),
    ("model.fields.name=x", "config.model.fields.name can't be set: set config.model.name"),
    ("data.split_ratios=(nan, 0.5, 0.5)", "config.data.split_ratios holds 'nan'; it must be a number, or numbers"),
    ("data.split_ratios=(0.7, 0.2, 0.2)", "which sums to 1.1; write (0.636, 0.182, 0.182)"),
    ("data.mean=(nan,)", "config.data.mean holds 'nan'; it must be a number, or numbers"),
    ("data.mean=(1e999,)", "config.data.mean is inf; it must be at least -1000 and at most 1000"),
    ("data.std=(inf,)", "config.data.std holds 'inf'"),
    ("data.std=(0,)", "config.data.std is 0; it must be above 0"),
    ("data.std=('x',)", "config.data.std holds 'x'; it must be a number, or numbers"),
    ("data.name=synthetic/10x100000x3x10", "it is too large"),
    (f"data.name=synthetic/{10**20}x8x1x2", "there can be 100,000,000 pictures"),
    (f"duration={BIG} epochs", "which is inf steps; there can be 2,147,483,647"),
    ("duration=1e30 epochs", "config.duration is '1e30 epochs'; write it as"),
    ("duration=3000000000 steps", "which is 3e+09 steps; there can be 2,147,483,647"),
    (f"schedule.warmup={BIG}%", "config.schedule.warmup is '999"),
    (f"eval.every={BIG} steps", "config.eval.every is '999"),
    ("data.augment=random_resized_crop(28, scale=(2, 1))", "scale must be a pair (least, most), above 0 and at most 1"),
    ("data.augment=random_resized_crop(28, scale=(0, 0))", "scale must be a pair"),
    ("data.augment=random_resized_crop(28, scale=(0.5, 2))", "scale must be a pair"),
    ("data.augment=random_resized_crop(28, scale=1)", "scale must be a pair"),
    ("data.augment=random_resized_crop(28, ratio=(2, 1))", "ratio must be a pair (least, most), above 0, not (2, 1)"),
    ("data.augment=random_resized_crop(28, ratio=(0, 1))", "ratio must be a pair"),
    ("data.augment=random_resized_crop(28, ratio=('a', 1))", "ratio must be a pair"),
    ("data.augment=crop(28, pad=28)", "a pad of 28 is more than a picture of 28x28 has"),
    ("data.augment=crop(28, pad=-1)", "pad must be a whole number"),
    ("data.augment=crop(28, pad=True)", "pad must be a whole number"),
    ("data.augment=crop(28, pad=28, mode='reflect')", "a pad of 28 is more"),
    ("data.augment=crop(0)", "a size must be a whole number of at least 1"),
    ("data.augment=random_erasing(scale=(0, 2))", "scale must lie between 0 and 1"),
    ("data.augment=random_erasing(p=1e999)", "p is a probability"),
    ("data.augment=mixup(1e999)", "alpha must be a number above 0"),
    # Hints.
    ("lr=0.1", "did you mean 'config.schedule.peak'?"),
    ("optim.lr=0.1", "did you mean 'config.schedule.peak'?"),
    ("epochs=10", "did you mean 'config.duration'?"),
    ("model=resnet18", "config.model is a section; write --config.model.name=resnet18"),
    ("optim=adam", "write --config.optim.name=adam"),
    ("plateau=loss", "set one of its keys, such as --config.plateau.figure=..."),
    ("dataset=digits", "did you mean 'config.data.name'?"),
    ("weight_decay=0.1", "did you mean 'config.optim.weight_decay'?"),
    ("label_smoothing=0.1", "did you mean 'config.loss.label_smoothing'?"),
    ("seed.x=1", "config.seed is a value and has no keys"),
    (f"{'z' * 900}=1", "does not exist"),
    # Types: what the config has is named.
    ("batch_size=many", "'many' is not a whole number; the config has 8"),
    ("batch_size=8.5", "'8.5' is not a whole number; the config has 8"),
    (f"batch_size={'x' * 900}", "is not a whole number; the config has 8"),
    ("ema_decay=x", "'x' is not a number; the config has 0.0"),
    ("data.pack=True", "'True' is not a whole number"),
    ("model.fields=3", "config.model.fields is a section"),
    ("model.fields.a.b=3", "config.model.fields.a.b does not exist"),
    # Ranges.
    ("ema_decay=nan", "config.ema_decay is nan; it must be at least 0 and below 1."),
    ("batch_size=99999999999", "config.batch_size is 99999999999; it must be at least 1 and at most 2147483647."),
    ("optim.lookahead=1e30", "it must be at least 0 and at most 2147483647."),
    ("optim.weight_decay=1e300", "it must be at least 0 and at most 3.403e+38."),
    ("optim.weight_decay=-1", "it must be at least 0."),
    ("schedule.final=inf", "it must be at least 0, and finite."),
    ("data.channels=2000", "config.data.channels is 2000; it must be at least 0 and at most 1024."),
    ("data.channels=-1", "config.data.channels is -1"),
    ("seed=4294967296", "it must be at least 0 and at most 4294967295."),
    ("optim.multipliers=(('a', nan),)", "config.optim.multipliers"),
    ("loss.class_weight=nan, 1", "config.loss.class_weight"),
    # Names.
    ("model.name=nothing", "there is no model 'nothing'; there are: "),
    ("model.name=resnet19", "did you mean"),
    ("loss.name=hinge", "it can be cross_entropy"),
    ("optim.name=adamax", "config.optim.name is 'adamax'"),
    ("precision=int8", "config.precision is 'int8'"),
    ("data.name=synthetic/64x8x1x99999999", "it needs 2 classes, a picture per class"),
    ("data.name=", "no data set has the name ''"),
]
FIELDS = [  # of another model
    ("width=abc", "field 'width' of model 'resnet18' must be a whole number"),
    ("width=nan", "field 'width' of model 'resnet18' must be a whole number"),
    ("width=-1", "must be a whole number that is not negative"),
    (f"width={10**12}", "must be a whole number"),
    ("dropout=1.5", "field 'dropout' of model 'resnet18' must be a number from 0 and below 1, not 1.5"),
    ("dropout=nan", "must be a number from 0 and below 1"),
    ("stage_sizes=(2, nan)", "must be a tuple such as"),
    ("stage_sizes=3", "must be a tuple such as"),
    ("stem=3", "must be a text such as"),
    ("remat=3", "must be True or False"),
    ("remat=product", "must be True or False, or 'products' or 'projections'"),
    ("block=Bottleneck", "must be a function or class"),
    ("axis_name=x", "config.model.fields.axis_name can't be set"),
    ("parent=x", "config.model.fields.parent can't be set"),
    ("param_dtype=int8", "param_dtype must be a floating type"),
]


def refused(*settings, workdir="never"):
    """The message that settings get, of a run of few steps."""
    config = default_config()
    config.data.name, config.duration, config.batch_size = "synthetic/64x28x1x2", "4 steps", 8
    config.parallel.devices = 1
    with pytest.raises(UserError) as found:
        config_file.override(config, [setting.split("=", 1) for setting in settings])
        preflight.check(build.build(config), workdir, lambda line: None)
    return str(found.value)


@pytest.mark.parametrize("setting, message", MISTAKES, ids=[setting[:50] for setting, _ in MISTAKES])
def test_a_setting_that_cannot_be(setting, message):
    text = refused(setting)
    assert message in text and "\n" not in text
    assert len(text) < 400


@pytest.mark.parametrize("field, message", FIELDS)
def test_a_field_that_cannot_be(field, message):
    text = refused("model.name=resnet18", f"model.fields.{field}")
    assert message in text and "\n" not in text and len(text) < 400


def test_rates_among_the_fields_of_a_model():
    assert "must be a number from 0 and below 1" in refused(
        "model.name=convnext_tiny", "model.fields.stochastic_depth=-1"
    )


BROKEN = {
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "raise SystemExit(3)": "SystemExit: 3",
    "import sys; sys.exit()": "SystemExit",
    "get_config = lambda arg='': get_config(arg)": "RecursionError",
    "raise MemoryError": "MemoryError",
    "raise BaseException('x')": "BaseException: x",
    "x = '\\udcff'.encode()": "UnicodeEncodeError",
    "raise ValueError('x' * 9999)": "ValueError: xxx",
    "(" * 300: "too many nested parentheses",
}


@pytest.mark.parametrize("code, message", BROKEN.items(), ids=lambda text: text[:40])
def test_a_config_that_ends_python(tmp_path, monkeypatch, code, message):
    monkeypatch.setattr("signal.getsignal", lambda number: None)  # below an entry point Ctrl-C has a handler of ours
    path = tmp_path / "c.py"
    path.write_text(code)
    with pytest.raises(UserError) as found:
        config_file.load(str(path))
    assert message in str(found.value) and f"{path}, line 1" in str(found.value) and len(str(found.value)) < 600


def test_ctrl_c_in_a_notebook_is_its_own(tmp_path):
    path = tmp_path / "c.py"
    path.write_text("raise KeyboardInterrupt")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has another one
    try:
        with pytest.raises(KeyboardInterrupt):
            config_file.load(str(path))
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_config_that_takes_long_says_so(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(config_file, "SLOW", 0.05)
    path = tmp_path / "c.py"
    path.write_text("import time; time.sleep(0.3); raise ValueError")
    with pytest.raises(UserError):
        config_file.load(str(path))
    assert "Ctrl-C ends it" in capfd.readouterr().err


@pytest.mark.parametrize(
    "name, parts",
    [
        ("{}/c:d/x.py", ("{}/c:d/x.py", None)),
        ("{}/c:d/x.py:tiny", ("{}/c:d/x.py", "tiny")),
        ("{}/c:d/x.py:a:b", ("{}/c:d/x.py", "a:b")),
        ("{}/c:d/y.py", ("{}/c:d/y.py", None)),
        ("resnet18:tiny", ("resnet18", "tiny")),
        ("x.py:a/b", ("x.py", "a/b")),
        ("x.py:", ("x.py", "")),
    ],
)
def test_where_the_argument_of_a_config_begins(tmp_path, name, parts):
    (tmp_path / "c:d").mkdir()
    (tmp_path / "c:d" / "x.py").write_text("")
    assert config_file.split(name.format(tmp_path)) == (parts[0].format(tmp_path), parts[1])
