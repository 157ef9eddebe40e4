"""Weights on the Hugging Face hub, through its own client, which keeps what it has downloaded."""

import contextlib
import errno
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxcls.errors import UserError
from jaxcls.models import download
from jaxcls.models.origin import CONFIG

PREFIX = "hf-hub:"
FILES = ("model.safetensors", "pytorch_model.bin")
# Type of an error of the client, or of one that it comes from -> what to say; the first counts.
_SAID = {
    "GatedRepoError": "it is for those who accepted its terms: do that at {page}, then log in ('hf auth login')",
    "RepositoryNotFoundError": "the hub has no such repository, or it is private ('hf auth login'); look at {page}",
    "RevisionNotFoundError": "it has no such revision; look at {page}",
    "HFValidationError": "that is no name on the hub; write hf-hub:ORG/NAME",
}
_UNREACHED = {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectError", "ConnectTimeout", "ConnectionError"}
_DISK = (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EPERM)


def fetch(name: str) -> tuple[Path, Path | str]:
    """(weights, config.json) of `hf-hub:ORG/NAME[@revision]`; downloads them if they are not here yet.

    A reason in place of the second path where the repository has none, or it can't be had. The client minds
    HF_HUB_OFFLINE, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and the proxies of the environment.

    Raises:
      UserError: where the client is not installed, there is no network, the hub has no such weights or does not give
        them, the cache can't be written or is damaged.
    """
    repo, _, revision = name.removeprefix(PREFIX).partition("@")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise UserError(
            f"{name} needs the client of the Hugging Face hub; install it with: pip install huggingface_hub, "
            "or download the file by hand and give its path."
        ) from error

    def get(file):
        with quiet():
            return Path(hf_hub_download(repo, file, revision=revision or None, local_files_only=offline))

    first, offline = None, False
    for file in FILES:
        try:
            weights = get(file)
        except Exception as error:  # of a dozen types, by the version of the client and of what it uses
            first = first or error
            if _bases(error) & _SAID.keys():
                break
            # The client waits half a minute for a network, file by file; the second may be here already.
            offline = offline or "LocalEntryNotFoundError" in _bases(error)
            continue
        check_sum(name, weights)
        try:
            return weights, get(CONFIG)
        except Exception as error:
            return weights, f"its {CONFIG} can't be had ({_reason(error)})"
    assert first is not None
    raise UserError(failed(name, repo, first)) from first


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the client's lines about each of its attempts; what comes of them is told in one."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def check_sum(name: str, path: Path) -> None:
    """The client calls what it keeps by its SHA-256 where the hub tells one, and compares only sizes.

    Raises:
      UserError: where the file has another.
    """
    kept = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", kept.name) and download.digest(kept) != kept.name:
        raise UserError(f"{name} is damaged in the cache (another SHA-256 than the hub's); delete {kept} and try again")


def failed(name: str, repo: str, error: Any) -> str:
    """The line for an error of the client."""
    page, bases, reason = f"https://huggingface.co/{repo}", _bases(error), _reason(error)
    for kind, text in _SAID.items():
        if kind in bases:
            return f"{name}: {text.format(page=page)}"
    if "EntryNotFoundError" in bases and not bases & _UNREACHED:
        return f"{name}: it has neither of {', '.join(FILES)}; look at {page}"
    if isinstance(error, OSError) and error.errno in _DISK:
        where = f"the cache {error.filename or ''}".rstrip()
        return f"{name}: {where} can't be written ({error.strerror}); set HF_HUB_CACHE to a folder that can"
    if bases & _UNREACHED:
        folder = repo.rpartition("/")[2]
        return (
            f"{name} is not in the cache and can't be downloaded: no network ({reason}); where there is one, "
            f"'hf download {repo} --local-dir {folder}' fetches it: give that folder"
        )
    return (
        f"{name} can't be downloaded: {reason}; look whether {page} has one of "
        f"{', '.join(FILES)} and there is a network, or download the file by hand and give its path."
    )


def _bases(error):
    return {kind.__name__ for kind in type(error).__mro__}


def _reason(error):
    return " ".join(str(error).split())[:200] or type(error).__name__
