"""Weights on the Hugging Face hub, through its own client, which keeps what it has downloaded."""

from pathlib import Path

from jaxcls.errors import UserError
from jaxcls.models.origin import CONFIG

PREFIX = "hf-hub:"
FILES = ("model.safetensors", "pytorch_model.bin")


def fetch(name: str) -> tuple[Path, Path | str]:
    """(weights, config.json) of `hf-hub:ORG/NAME[@revision]`; downloads them if they are not here yet.

    A reason in place of the second path where the repository has none, or it can't be had.

    Raises:
      UserError: where the client is not installed, there is no network, or the hub has no such weights.
    """
    repo, _, revision = name.removeprefix(PREFIX).partition("@")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise UserError(
            f"{name} needs the client of the Hugging Face hub; install it with: pip install huggingface_hub, "
            "or download the file by hand and give its path."
        ) from error
    problems, offline = [], False
    for file in FILES:
        try:
            weights = Path(hf_hub_download(repo, file, revision=revision or None, local_files_only=offline))
            break
        except Exception as error:  # of a dozen types, by the version of the client and of what it uses
            problems.append(_reason(error))
            # The client waits half a minute for a network, file by file; the second may be here already.
            offline = offline or type(error).__name__ == "LocalEntryNotFoundError"
    else:
        raise UserError(_failed(name, repo, problems[0]))
    try:
        return weights, Path(hf_hub_download(repo, CONFIG, revision=revision or None, local_files_only=offline))
    except Exception as error:
        return weights, f"its {CONFIG} can't be had ({_reason(error)})"


def _reason(error):
    return " ".join(str(error).split())[:200] or type(error).__name__


def _failed(name, repo, problem):
    return (
        f"{name} can't be downloaded: {problem}; look whether https://huggingface.co/{repo} has one of "
        f"{', '.join(FILES)} and there is a network, or download the file by hand and give its path."
    )
