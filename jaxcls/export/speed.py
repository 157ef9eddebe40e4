"""How long one picture takes a network in ONNX Runtime: what a pruned net is made for."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxcls.tasks.networks import Network

TURNS, SECONDS = 5, 1.0  # at least so many, for about so long


def milliseconds(network: Network, seconds: float = SECONDS) -> float:
    """The least CPU milliseconds of one core for a batch of one, as a float32 file. Raises UserError.

    The least of several, over about `seconds`: what else runs on the machine only adds.
    """
    from jaxcls.export import float_file
    from jaxcls.runtime import session

    model = float_file.float_model(network, note=lambda line: None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.write_bytes(model.SerializeToString())
        opened = session.open(path, threads=1)
    shape: Any = opened.inputs[0].shape
    picture = np.random.default_rng(0).integers(0, 256, (1, *shape[1:])).astype(np.uint8)
    session.run(opened, picture)
    begun, least, turn = time.perf_counter(), float("inf"), 0
    while turn < TURNS or time.perf_counter() - begun < seconds:
        cpu = time.process_time()
        session.run(opened, picture)
        least, turn = min(least, time.process_time() - cpu), turn + 1
    return 1e3 * least
