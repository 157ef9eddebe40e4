"""What a supernet's shared weights say of nets, and the searches that ask nothing else: random search (Li and Talwalkar
2019, arXiv 1902.07638, section 4) and regularised evolution (Real et al. 2019, 1802.01548), with as many questions.

    python -m jaxcls.architect.shared WORKDIR/supernet WORKDIR/shared.json

A process of its own, since it computes. The score is the controller's reward, of pictures that taught no weight.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcls.architect.nets import SEARCHES
from jaxcls.checkpoints.store import Checkpoints
from jaxcls.choices.samplers import SAMPLERS, Choice
from jaxcls.errors import UserError
from jaxcls.files import read_json, write_json
from jaxcls.nas import controller, costs
from jaxcls.settings.reader import resolve

FILE = "shared.json"
PICTURES, BATCH = 2000, 250  # of the reward's rows that judge a net, and at once: statistics are a batch's
Score = Callable[[Choice], float]


def ask(supernet: Path, file: Path) -> dict[str, Any]:
    """What the searches of a supernet's run have found, from its file or from a process that asks now.

    Raises:
      UserError: where that process fails.
    """
    if (found := read_json(file)) is None:
        command = [sys.executable, "-m", "jaxcls.architect.shared", str(supernet), str(file)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        found = read_json(file)
        if found is None:
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise UserError(f"the supernet's weights could not be asked: {last.removeprefix('error: ')}")
    return found


def searched(sizes: tuple[int, ...], score: Score, count: int, seed: int) -> dict[str, Any]:
    """name of SEARCHES -> {"choice", "score", "asked"}: the best of `count` nets that each search asks for."""
    known: dict[Choice, float] = {}
    found = {}
    for name in SEARCHES:
        sampler, told = SAMPLERS[name](sizes, seed), dict[Choice, float]()
        while len(told) < count and (choice := sampler.ask()) is not None:
            if choice not in known:
                known[choice] = score(choice)
            told[choice] = known[choice]
            sampler.tell(choice, known[choice])
        best = max(told, key=lambda choice: told[choice])
        found[name] = {"choice": list(best), "score": told[best], "asked": len(told)}
    return found


def scored(folder: Path) -> tuple[Any, tuple[int, ...], Score]:
    """(config of a supernet's run, sizes of its space, the reward of a choice with its weights).

    Raises:
      UserError: for a run that has no supernet.
    """
    from jaxcls.tasks.architecture import Architecture
    from jaxcls.training import architecture, build

    config: Any = resolve(read_json(folder / "config.json") or {})
    run = build.build(config, workdir=folder)
    task: Any = run.task
    while not isinstance(task, Architecture):
        task = task.inner
    store = Checkpoints(folder, transient=run.task.transient, read_only=True)
    restored = store.restore(run.blank_state(), lambda line: None)
    if restored is None:
        raise UserError(f"{folder} holds no checkpoint of a supernet; train it first.")
    params = restored[0].params
    source = run.data.sources["train"]
    rows = architecture.held_rows(np.asarray(source.labels), config.nas.holdout, config.seed)
    rows = np.random.default_rng(config.seed).permutation(rows)[:PICTURES]
    rows = rows[: max(len(rows) // BATCH, 1) * BATCH]
    evaluation, labels = run.data.evaluation, np.asarray(source.labels)[rows]
    images = np.stack([evaluation.prepare(source[int(row)]["image"], "") for row in rows])

    @jax.jit
    def right(image, label, choice):
        logits, _ = task.run(params, {"image": evaluation.device(image), "label": label}, choice)
        return jnp.sum(jnp.argmax(logits, -1) == label)

    def score(choice):
        given = jnp.asarray(choice, jnp.int32)
        parts = [slice(i, i + BATCH) for i in range(0, len(rows), BATCH)]
        accuracy = sum(int(right(images[part], labels[part], given)) for part in parts) / len(rows)
        if task.cost is None:
            return accuracy
        ratio = float(costs.total(task.model.space, task.cost, choice)) / task.target
        return float(controller.reward(task.reward, accuracy, ratio, config.nas.beta))

    return config, task.model.space.sizes, score


def main(argv: list[str]) -> int:
    """Asks; returns the exit status."""
    folder, file = map(Path, argv)
    try:
        config, sizes, score = scored(folder)
        write_json(file, {"pictures": PICTURES, **searched(sizes, score, config.nas.asked, config.seed)})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
