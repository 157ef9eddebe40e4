"""Weights & Biases as a writer. `WANDB_MODE`, `WANDB_ENTITY` and the like count, as everywhere."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcls.errors import UserError
from jaxcls.logs import run_ids

PROJECT = "jaxcls"
FINISH_SECONDS = 300.0  # how long the end of a run waits for values that are not sent yet


class WandbWriter:
    """A run of the project "jaxcls", named after the workdir, with its files in `<workdir>/wandb`.

    Values go by their step as `split/name`. wandb's own count of calls is left alone, since it refuses to go back,
    which a resumed run does. Sending is up to a process of wandb, which retries by itself: a network that is gone
    does not hold the training up.

    Args:
      workdir: of the run.
      start_step: above 0 the run whose id is in the workdir goes on; where it is gone, a new one begins.
      config: recorded as the run's config.
    """

    name, essential = "wandb", False

    def __init__(self, workdir: Path, start_step: int, config: Mapping[str, Any]):
        import wandb

        run_id = run_ids.stored(workdir, "wandb", start_step) or secrets.token_hex(8)
        run_ids.store(workdir, "wandb", run_id)
        self._run = wandb.init(
            project=PROJECT,
            name=workdir.resolve().name,
            id=run_id,
            resume="allow",
            dir=str(workdir),
            config=dict(config),
            reinit="create_new",  # whoever called us may have a run of their own
            settings=wandb.Settings(
                silent=True,
                console="off",  # it would stand between the progress bar and the terminal
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
            ),
        )
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, split: str, epoch: float, time: float, values: Mapping[str, float]) -> None:
        """Hands the values to wandb's process; it takes NaN and infinities."""
        figures = {f"{split}/{name}": value for name, value in values.items()}
        self._run.log({"step": step, "epoch": epoch, **figures})

    def close(self, finished: bool = True) -> None:
        """Waits until all is sent, five minutes at most; raises TimeoutError after that."""
        self._run.finish(exit_code=0 if finished else 1)


def check() -> None:
    """Whether wandb could send, so that it asks nobody for a key in the middle of a start.

    Raises:
      UserError: where no key is known and the mode is not an offline one.
    """
    import wandb

    if wandb.setup().settings.mode in ("offline", "dryrun", "disabled"):
        return
    if not wandb.login(prompt=False, verify=False):
        raise UserError("config.log_to=wandb: there is no API key; run `wandb login`, or set WANDB_MODE=offline.")
