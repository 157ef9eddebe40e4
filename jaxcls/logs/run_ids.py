"""Under which id a tracker keeps the run of a workdir, so that a resumed run goes on there: `<tracker>_run_id.txt`."""

from pathlib import Path


def stored(workdir: Path, tracker: str, start_step: int) -> str:
    """The id that `store` left, or "" where the run begins anew."""
    path = _path(workdir, tracker)
    return path.read_text().strip() if start_step and path.is_file() else ""


def store(workdir: Path, tracker: str, run_id: str) -> None:
    """Keeps an id; raises OSError."""
    _path(workdir, tracker).write_text(f"{run_id}\n")


def _path(workdir, tracker):
    return workdir / f"{tracker}_run_id.txt"
