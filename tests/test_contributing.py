"""The diffs of CONTRIBUTING.md apply to the code as it is, and what they add works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
USE = """
import types
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from jaxcls import losses, models, pytree
from jaxcls.augment import flips
from jaxcls.cli.command import main
from jaxcls.data import sources
from jaxcls.settings import config_file
from jaxcls.state import Aux
from jaxcls.tasks.base import Task
from jaxcls.tasks.starting_point import StartingPoint
from jaxcls.training import build

model = models.create("perceptron_300", num_classes=10)
params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
assert pytree.count(params) == 784 * 300 + 300 + 300 * 10 + 10

assert np.allclose(losses.brier(jnp.zeros((1, 4)), jnp.array([1])), 3 / 4)  # (1 - 1/4)^2 + 3 (1/4)^2

images = np.arange(18, dtype=np.uint8).reshape(1, 3, 3, 2)
for p, expected in ((1.0, images.swapaxes(1, 2)), (0.0, images)):
    batch = flips.transpose(p)(jax.random.split(jax.random.key(0), 1), {"image": images})
    assert (np.asarray(batch["image"]) == expected).all()

inner = Task()
inner.loss = lambda *_: (0.0, Aux({}, 3.0, {}))  # a batch of 3 examples
state = types.SimpleNamespace(extra={"start": {"w": jnp.zeros(5)}})
total, _ = StartingPoint(inner, 0.5).loss({"w": jnp.full(5, 2.0)}, state, {}, None)
assert total == 3 * 0.5 / 2 * 5 * 2**2

Path("set").mkdir()
for name, array in (("images", np.zeros((40, 28, 28), np.uint8)), ("labels", (np.arange(40) % 4).astype(np.uint8))):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    Path(f"set/{name}.idx").write_bytes(head + array.tobytes())
assert len(sources.load("idx/set")["train"]) == 28
assert main(["classes", "--data=idx/set"]) == 0

config = config_file.load("lenet5_digits")
settings = {"model.name": "perceptron_300", "loss.name": "brier", "loss.starting_point": "0.5", "ema_decay": "0"}
config_file.override(config, [*settings.items(), ("data.name", "idx/set"), ("batch_size", "8")])
assert isinstance(build.build(config).task.inner, StartingPoint)
print("all of it works")
"""


def diffs():
    """The diffs of the page, by heading."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    sections = (part.partition("\n") for part in text.split("\n## ")[1:])
    blocks = {title: re.search(r"^```diff\n(.*?)^```$", body, re.MULTILINE | re.DOTALL) for title, _, body in sections}
    return {title: block[1] for title, block in blocks.items() if block}


def test_every_kind_has_its_example_and_they_work(tmp_path):
    kinds = diffs()
    assert list(kinds) == ["A model", "A loss", "An augmentation", "A task", "A source", "A command"]
    for part in ("jaxcls", "configs", "docs"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "images"))
    for title, diff in kinds.items():
        apply = subprocess.run(
            ["git", "apply", "-p0", "--unidiff-zero", "-"], input=diff, text=True, cwd=tmp_path, capture_output=True
        )
        assert apply.returncode == 0, f"{title}: {apply.stderr}"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    use = subprocess.run([sys.executable, "-c", USE], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert use.returncode == 0 and "all of it works" in use.stdout, use.stderr
