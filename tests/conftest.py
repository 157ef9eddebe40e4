"""Fixtures of the whole suite. JAX is set up before any test imports it: eight virtual CPU devices, no accelerator."""

import gc
import importlib.metadata
import os
import sys
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
# The workers of xdist have the environment of the process that starts them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    if "--slow" not in sys.argv:
        # XLA leaves out what makes programs faster, here and in processes that tests start: most of the time goes into
        # compiling, and this takes three quarters of it. (The slow tests have large nets, and compute more than they
        # compile.) Set here, since JAX reads it when it is imported, which the conftest of a folder may do.
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        if importlib.metadata.version("jaxlib").startswith("0.10."):  # XLA ends the process for a flag it doesn't know
            # The emitters of before 2025, whose programs compile in a third of the time.
            os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

# pytest imports it when a destructor fails, and that may be in the middle of `import tensorflow_datasets`, whose
# imports are lazy: a first import of tracemalloc fails there, and with it the next test (seen with etils 1.15).
import tracemalloc  # noqa: F401

import hypothesis
import pytest

# Tracing makes millions of objects and hardly any garbage: a tenth of its time was spent on looking for some.
gc.set_threshold(50_000, 20, 20)

# Time is no property: an example may compile something, or run beside other jobs.
hypothesis.settings.register_profile("jaxcls", deadline=None)
hypothesis.settings.load_profile("jaxcls")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="takes minutes; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures and reference outputs beside the project."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder 'shared' (real pictures and reference outputs) beside the project")
    return SHARED


@pytest.fixture(scope="module")
def bare_end():
    """Runs end without curves and report, which have tests of their own (tests/report, tests/cli): they take seconds,
    and the heat maps compile the net once more.
    """
    from jaxcls.report import curves, of_run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "write_curves", lambda workdir, *_: [workdir])
        patch.setattr(of_run, "write", lambda *_, **__: None)
        yield
