"""MLflow as a writer: the server of `MLFLOW_TRACKING_URI`, or a database in the workdir."""

import importlib.util
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxcls.errors import UserError
from jaxcls.logs import run_ids

EXPERIMENT = "jaxcls"
URI = "MLFLOW_TRACKING_URI"
PARAMS, LENGTH = 100, 6000  # what MLflow takes: parameters a call, characters a value
# Its own patience (7 retries of ever longer waits, 120 s each) would hold the training up for many minutes.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


class MlflowWriter:
    """A run of the experiment "jaxcls", named after the workdir.

    Values go with step and time as `split/name`; characters that MLflow refuses in a name become "_".

    Args:
      workdir: of the run; without `MLFLOW_TRACKING_URI` the values go to `mlflow.db` in it.
      start_step: above 0 the run whose id is in the workdir goes on; where it is gone, a new one begins.
      config: recorded as parameters, sections joined by dots.
    """

    name, essential = "mlflow", False

    def __init__(self, workdir: Path, start_step: int, config: Mapping[str, Any]):
        for key, value in PATIENCE.items():
            os.environ.setdefault(key, value)
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.ERROR)  # it tells how it makes the tables of a database
        uri = os.environ.get(URI) or f"sqlite:///{workdir.resolve() / 'mlflow.db'}"
        self._metric, self._client = Metric, MlflowClient(tracking_uri=uri)
        self._id = run_ids.stored(workdir, "mlflow", start_step)
        if self._id and self._exists(self._id):
            self._client.update_run(self._id, status="RUNNING")
            return
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)
        self._id = self._client.create_run(number, run_name=workdir.resolve().name).info.run_id
        run_ids.store(workdir, "mlflow", self._id)
        params = [Param(key, str(value)[:LENGTH]) for key, value in _flat(config)]
        for first in range(0, len(params), PARAMS):
            self._client.log_batch(self._id, params=params[first : first + PARAMS])

    def scalars(self, step: int, split: str, epoch: float, time: float, values: Mapping[str, float]) -> None:
        """Sends the values; NaN and infinities as they are (a database keeps the largest float for an infinity)."""
        moment = int(time * 1000)
        named = {re.sub(r"[^\w\-. :/]", "_", f"{split}/{name}"): value for name, value in values.items()}
        self._client.log_batch(self._id, metrics=[self._metric(key, v, moment, step) for key, v in named.items()])

    def close(self, finished: bool = True) -> None:
        """Marks the run as finished, or as killed."""
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")

    def _exists(self, run_id):
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check() -> None:
    """Whether there is a server, or what a database needs.

    Raises:
      UserError: where there is neither.
    """
    missing = [name for name in ("sqlalchemy", "alembic") if importlib.util.find_spec(name) is None]
    if missing and not os.environ.get(URI):
        raise UserError(f"config.log_to=mlflow: set {URI}, or pip install {' '.join(missing)} for a database here.")
