"""What a run tells: `logger` on the terminal; `records` through writers, of files in the workdir and of services."""

from jaxcls.logs.trackers import check_writers

__all__ = ["check_writers"]
