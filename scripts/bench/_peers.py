"""The peers of step.py: the same net in other libraries."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from _jaxnn_peer import JaxnnPeer
from _keras_peer import KerasPeer
from _torch_peer import TorchPeer

from jaxcls.errors import UserError
from jaxcls.training.run import Run

PEERS = {"torch": ("PyTorch", TorchPeer), "keras": ("Keras", KerasPeer), "jaxnn": ("jaxnn", JaxnnPeer)}
CALLED = {name: called for name, (called, _) in PEERS.items()}


def peers_of(names: Sequence[str], run: Run, images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[str, Any]]:
    """(name, peer) of each that has the net of the run, with a batch. Of several peers one that lacks it is told.

    Raises:
      UserError: where none has it.
    """
    failed: list[UserError] = []
    for name in names:
        try:
            peer = PEERS[name][1].of_run(run, images, labels)
        except UserError as error:
            failed.append(error)
            if len(failed) == len(names):
                raise
            print(f"left out: {error}", file=sys.stderr)
        else:
            yield name, peer
