"""How processes find each other at the start of a run: all of them come to process 0, in any order (`watch.py`)."""

import socket
import threading
import time

from jaxcls.errors import UserError
from jaxcls.training import relay
from jaxcls.training.relay import Link

PATIENCE = 10.0  # seconds until process 0 tells for whom it waits


def gather(address: str, number: int, timeout: float, service: str) -> dict[int, Link]:
    """On process 0: the links of all others, which reach `service` from here on.

    Raises UserError that names who has not come.
    """
    links: dict[int, Link] = {}
    complete, began = threading.Event(), threading.Lock()

    def come(link: Link, words: list[str]) -> None:
        numbers = [int(word) for word in words]
        if len(numbers) != 2 or numbers[1] != number or not 0 < numbers[0] < number:
            link.send(f"refused process 0 was started with --num_processes={number}")
            return link.close()
        with began:
            old = links.get(numbers[0])
            if old is not None and (complete.is_set() or old.open()):
                link.send(f"refused there is a process with --process_id={numbers[0]} already")
                return link.close()
            links[numbers[0]] = link
            if len(links) == number - 1 and all(other.open() for other in links.values()):
                complete.set()

    relay.listen(address, come, service)

    def missing():
        return ", ".join(str(i) for i in range(1, number) if i not in links or not links[i].open())

    if not complete.wait(min(timeout, PATIENCE)):
        print(f"waiting for process {missing()} of {number}, {timeout:.0f} s at most ...", flush=True)
    if not complete.wait(max(0.0, timeout - PATIENCE)):
        absent = missing()
        for link in links.values():
            link.send(f"refused process {absent} of {number} did not come within {timeout:.0f} s")
        raise UserError(
            f"process {absent} of {number} did not come within {timeout:.0f} s; start it with "
            f"--coordinator_address={address} as well, or wait longer with --initialization-timeout=SECONDS."
        )
    for link in links.values():
        link.send("go")
    return links


def join(address: str, number: int, index: int, timeout: float) -> Link:
    """On another process: the link to process 0, once all have come. Raises UserError where they have not."""
    deadline, reason = time.monotonic() + timeout, "nothing answers"
    while True:
        try:
            link = relay.connect(address, f"watch {index} {number}")
            break
        except socket.gaierror as error:
            raise UserError(f"--coordinator_address={address}: {error.strerror}.") from error
        except OSError as error:
            reason = error.strerror or "nothing answers"
        if time.monotonic() > deadline:
            raise UserError(
                f"process 0 of {number} did not come within {timeout:.0f} s ({address}: {reason}); start it, or wait "
                "longer with --initialization-timeout=SECONDS."
            )
        time.sleep(0.2)
    try:
        line = link.line(timeout + 2 * PATIENCE)
    except OSError:
        line = ""
    if line != "go":
        reason = (
            line.removeprefix("refused ") if line.startswith("refused ") else "it has ended, or is no run of jaxcls"
        )
        raise UserError(f"process 0 of {number} at {address} does not begin: {reason}.")
    return link
