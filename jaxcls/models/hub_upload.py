"""Files to a repository of the Hugging Face hub, in one commit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcls.errors import UserError
from jaxcls.models import download, hub


def check() -> None:
    """Raises UserError where nothing can be sent: the client lacks, HF_HUB_OFFLINE is set, or nobody is logged in."""
    if download.offline():
        raise UserError(f"{download.OFFLINE} forbids the network; unset it, or give --dry-run")
    try:
        from huggingface_hub import get_token
    except ImportError as error:
        raise UserError(
            "jaxcls push needs the client of the Hugging Face hub; install it with: pip install huggingface_hub"
        ) from error
    if not get_token():
        raise UserError(
            "nobody is logged in at the hub; run 'hf auth login', or set HF_TOKEN to a token that may write"
        )


def send(repo: str, paths: Sequence[Path], *, private: bool) -> str:
    """Puts files into a repository, which is made where it is not there yet; the address of the commit.

    Raises:
      UserError: where the hub does not take them, or is out of reach.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    try:
        with hub.quiet():
            api.create_repo(repo, private=private, exist_ok=True)
            files = [CommitOperationAdd(path.name, str(path)) for path in paths]
            done = api.create_commit(repo, files, commit_message="Upload of jaxcls push")
    except Exception as error:  # of a dozen types, by the version of the client and of what it uses
        raise UserError(_refused(repo, error)) from error
    return str(done.commit_url)


def _refused(repo: str, error: Any) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    if status == 401:
        return (
            f"the hub does not know the token (401); run 'hf auth login', or set HF_TOKEN to one that may write {repo}"
        )
    if status == 403:
        return f"the token may not write {repo} (403); take one of its owner that may write"
    if status is not None:
        return f"the hub refuses {repo} ({status}): {reason}"
    return f"{repo} can't be sent: {reason}; is there a network? Nothing is half there: it is one commit, so try again"
