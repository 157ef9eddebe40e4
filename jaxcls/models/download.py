"""Files from an address into the cache of this user: whole, with the sum that is known of them, or not there."""

import hashlib
import os
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from jaxcls import files
from jaxcls.errors import UserError

OFFLINE = "HF_HUB_OFFLINE"  # as the client of the hub has it
_CHUNK = 2**20
_TIMEOUT = 30.0  # seconds without a byte
_ON = ("1", "ON", "YES", "TRUE")


def folder() -> Path:
    """Where files are kept: `jaxcls/weights` in the user's cache (XDG_CACHE_HOME moves it)."""
    return files.cache() / "jaxcls" / "weights"


def offline() -> bool:
    """Whether the user forbids the network (HF_HUB_OFFLINE)."""
    return os.environ.get(OFFLINE, "").upper() in _ON


def fetch(url: str, sha256: str, what: str) -> Path:
    """The file of an address, downloaded where it is not here yet.

    PyTorch's own cache counts too (TORCH_HOME). urllib takes proxies from the environment (https_proxy, no_proxy).

    Args:
      url: of the file, whose last part is its name.
      sha256: its sum, or the first digits of it.
      what: what messages call it.

    Raises:
      UserError: where there is no network or no such file, the cache can't be written, or the sum is another.
    """
    name = url.rpartition("/")[2]
    for place in (folder() / name, _torch_hub() / name):
        if place.is_file() and digest(place).startswith(sha256):
            return place
    path = folder() / name
    elsewhere = f"fetch it where there is one (curl -LO {url}) and give the file's path"
    if offline():
        raise UserError(f"{what} is not in {folder()}, and {OFFLINE} forbids the network; {elsewhere}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f"{name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise UserError(_unwritable(error)) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            found = _copied(url, file, what, elsewhere)
        if not found.startswith(sha256):
            raise UserError(
                f"{what}: {url} has the SHA-256 {found[:16]}.., where {sha256}.. is known: it is cut off or another "
                "file; try again, and do not use it if that comes again"
            )
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(_unwritable(error)) from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copied(url, file, what, elsewhere):
    """Writes what lies at an address; its SHA-256. OSError is the disk's alone."""
    total = hashlib.sha256()
    try:
        answer = urllib.request.urlopen(url, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        raise UserError(f"{what}: {url} answers {error.code} {error.reason}; {elsewhere}") from error
    except (OSError, ValueError) as error:  # URLError is one, as are timeouts
        raise UserError(f"{what} can't be fetched: no network ({_reason(error)}); {elsewhere}") from error
    with answer:
        size = int(answer.headers.get("Content-Length") or 0)
        tell, done = progress(what, size), 0
        while True:
            try:
                part = answer.read(_CHUNK)
            except Exception as error:  # http.client has its own types for what breaks off
                raise UserError(f"{what} broke off after {done:,} bytes ({_reason(error)}); try again") from error
            if not part:
                break
            file.write(part)
            total.update(part)
            done += len(part)
            tell(done)
    if size and done < size:
        raise UserError(f"{what} broke off after {done:,} of {size:,} bytes; try again")
    return total.hexdigest()


def progress(what: str, size: int, stream: IO[str] | None = None) -> Callable[[int], None]:
    """Shows bytes that are done, as a bar where a terminal reads, and as one line at the start where none does."""
    stream = sys.stderr if stream is None else stream
    shown = f"{size / 1e6:,.0f} MB" if size else "a file"
    if not stream.isatty():
        print(f"fetching {what}, {shown}", file=stream, flush=True)
        return lambda done: None

    def tell(done):
        share = min(done / size, 1) if size else 0
        bar = "=" * round(30 * share)
        print(f"\rfetching {what} [{bar:<30}] {done / 1e6:,.0f} of {shown}", end="", file=stream, flush=True)
        if size and done >= size:
            print(file=stream, flush=True)

    return tell


def _torch_hub():
    home = os.environ.get("TORCH_HOME") or files.cache() / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


def _reason(error):
    return " ".join(str(getattr(error, "reason", None) or error).split())[:200] or type(error).__name__


def _unwritable(error):
    return (
        f"the cache {folder()} can't be written: {error.strerror or error}; "
        "set XDG_CACHE_HOME to a folder with some space that can"
    )
