"""Two processes in network namespaces, each with an address of its own: what a bad network does to a run."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import runs

NAMES = ("jaxcls-a", "jaxcls-b")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
HOSTS = Path("/etc/netns")  # `ip netns exec` shows a namespace its own /etc/hosts from there
ARGUMENTS = ["--config.duration=60 steps", "--config.eval.every=30 steps", "--config.checkpoint.every=20 steps"]
SLOW = ["tbf", "rate", "5mbit", "burst", "16kb", "latency", "400ms"]  # a step sends a quarter of a MB to and fro
SOME = "numgen random mod 100 < 2"  # of packets


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def namespaces():
    """Makes both, linked by a pair of virtual devices. Raises CalledProcessError where that is not allowed."""
    for name in NAMES:
        ip("netns", "add", name)
    ip("link", "add", "jaxcls0", "type", "veth", "peer", "name", "jaxcls1")
    for i, name in enumerate(NAMES):
        ip("link", "set", f"jaxcls{i}", "netns", name)
        ip("-n", name, "addr", "add", f"{ADDRESSES[i]}/24", "dev", f"jaxcls{i}")
        ip("-n", name, "link", "set", f"jaxcls{i}", "up")
        ip("-n", name, "link", "set", "lo", "up")
        (HOSTS / name).mkdir(parents=True)
        lines = ["127.0.0.1 localhost", *map(" ".join, zip(ADDRESSES, NAMES, strict=True))]
        (HOSTS / name / "hosts").write_text("\n".join(lines) + "\n")


def remove():
    for name in NAMES:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
        shutil.rmtree(HOSTS / name, ignore_errors=True)


@pytest.fixture
def network():
    if os.geteuid() or not all(map(shutil.which, ("ip", "tc", "nft", "unshare"))):
        pytest.skip("needs root, and the commands ip, tc, nft and unshare")
    remove()
    try:
        namespaces()
        yield
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces can't be made here: {error.stderr.decode().strip()}")
    finally:
        remove()


def slow():
    for i, name in enumerate(NAMES):
        subprocess.run(
            ["ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", f"jaxcls{i}", "root", *SLOW], check=True
        )


def drop(packets):
    """Drops packets that come in, at both ends: those that a rule of nftables matches, "" for all."""
    chain = f"type filter hook input priority 0; {packets} drop;"
    rules = f"table inet spoilt {{ chain come {{ {chain} }}; }}"
    for name in NAMES:
        subprocess.run(["ip", "netns", "exec", name, "nft", "-f", "-"], input=rules.encode(), check=True)


def start_both(folder, *arguments):
    """A run's two processes, one a namespace; their outputs go to `folder/INDEX.log`."""
    address = f"--coordinator_address={ADDRESSES[0]}:9911"
    common = (f"--workdir={folder}/run", *arguments, address, "--num_processes=2")
    named = 'hostname "$0" && exec "$@"'  # the library of collectives takes the address of the host's name
    return [
        runs.start(folder / str(i), *common, f"--process_id={i}", report=False,
                   within=["ip", "netns", "exec", name, "unshare", "-u", "sh", "-c", named, name])
        for i, name in enumerate(NAMES)
    ]  # fmt: skip


def saved(folder):
    return max((int(path.stem) for path in (folder / "run" / "manifests").glob("*.json")), default=0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_slow_network_that_loses_packets_changes_no_bit(tmp_path, network):
    found = []
    for name, spoil in (
        ("good", contextlib.nullcontext),
        ("slow", slow),
        ("slow and lossy", lambda: drop(SOME)),
    ):
        spoil()
        (tmp_path / name).mkdir()
        for process in start_both(tmp_path / name, *ARGUMENTS):
            runs.finish(process, tmp_path / name / "0", timeout=400)
        found.append({key: value.tobytes() for key, value in runs.final_arrays(tmp_path / name / "run").items()})
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
def test_a_network_that_is_cut_ends_both_with_a_line(tmp_path, network):
    both = start_both(tmp_path, "--config.duration=100000 steps", "--config.checkpoint.every=20 steps")
    try:
        deadline = time.monotonic() + 200
        while saved(tmp_path) < 20:
            assert time.monotonic() < deadline and not any(p.poll() for p in both), (tmp_path / "0.log").read_text()
            time.sleep(0.05)
        drop("")
        statuses = [process.wait(90) for process in both]
    finally:
        for process in both:
            process.send_signal(signal.SIGKILL)
    texts = [(tmp_path / f"{i}.log").read_text() for i in range(2)]
    assert statuses == [1, 1], texts
    for i, text in enumerate(texts):
        assert f"error: process {1 - i} of 2 is lost" in text and "Traceback" not in text
    assert saved(tmp_path) >= 20  # what was written is there
