"""What a run tells: notes, waiting times, a progress bar and the closing summary, and its records on disk."""

import contextlib
import math
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from jaxcls.logs.display import SHARES, bar, format_value, rate, spinner, time_left
from jaxcls.logs.records import Records, read_metrics
from jaxcls.text import lines

__all__ = ["Logger", "format_value", "read_metrics"]

REDRAW_SECONDS = 0.25  # how often the bar is drawn on a terminal
LINE_SECONDS = 10.0  # how often a line of progress is printed elsewhere
TOLD_SECONDS = 1.0  # a wait shorter than this is not reported


class Logger:
    """Console, `metrics.jsonl`, event files and further writers of one run; `records.py` has the writers.

    Use it as a context manager, so that an exception leaves the terminal as it was. Values may be anything `float`
    takes; those of `progress` are converted only when they are shown, so a step does not wait for the device.

    Args:
      workdir: folder of the run; made if absent.
      total_steps: the step at which training ends.
      steps_per_epoch: to show and record steps as epochs.
      start_step: the step the run resumes from; later records of a killed run are dropped (`Records`).
      writes: False on processes other than 0, where every method does nothing.
      console: a `rich.console.Console`; by default one on the standard output.
      to: names of further writers (`config.log_to`); one that fails is left out, with a warning.
      config: the run's config as JSON, for those.
      shares: names of figures shown in percent (`format_value`).

    Raises:
      UserError: from the constructor and `scalars`, once, if the workdir cannot be written; from the constructor, if a
        further writer is not known, not installed or not set up.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        *,
        total_steps: int,
        steps_per_epoch: int,
        start_step: int = 0,
        writes: bool = True,
        console: Any = None,
        to: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        shares: Collection[str] = SHARES,
    ):
        self._total, self._per_epoch = total_steps, max(1, steps_per_epoch)
        self._writes, self._to, self._shares = writes, to, shares
        self._live: Any = None  # what moves on the terminal at present
        self._began: tuple[float, int] | None = None  # (time, step) of the first progress
        self._shown, self._line = -math.inf, ""  # when progress was shown last, and as what
        if not writes:
            return
        if console is None:
            from rich.console import Console

            console = Console()
        self._console = console
        steps = {"steps_per_epoch": steps_per_epoch, "start_step": start_step}
        with self._waiting_for_writers("starting"):
            self._records = Records(workdir, **steps, to=to, config=config, warn=self.warn)

    def __enter__(self) -> "Logger":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self.close(finished=kind is None)

    @property
    def live(self) -> bool:
        """Whether progress is drawn in place, on a terminal, rather than printed line by line."""
        return self._writes and self._console.is_interactive

    def note(self, text: str) -> None:
        """Prints one line, above the bar where there is one."""
        if self._writes:
            self._print(text)

    def warn(self, text: str) -> None:
        """Prints one line that begins with "warning:", in yellow on a terminal."""
        if self._writes:
            self._print(f"warning: {text}", style="yellow")

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Says at once what is being waited for, and afterwards how long it took if that was above a second.

        On a terminal a spinner with the elapsed time stands in for the bar meanwhile.
        """
        if not self._writes:
            yield
            return
        began = time.monotonic()
        if self._console.is_interactive:
            with self._instead_of_bar(spinner(self._console, text)):
                yield
        else:
            self._print(f"{text} ...")
            yield
        took = time.monotonic() - began
        if took > TOLD_SECONDS:
            self._print(f"{text}: {took:.1f} s")

    def scalars(self, step: int, values: Mapping[str, Any], split: str = "train") -> None:
        """Records the values of one step with every writer.

        Raises:
          ValueError: if a value bears a name of the format itself (`records.RESERVED`).
          UserError: if the disk is full or the workdir cannot be written; later calls record nothing.
        """
        if self._writes:
            self._records.scalars(step, values, split)

    def progress(self, step: int, values: Mapping[str, Any], pictures_per_second: float) -> None:
        """Shows the step, the epoch, the values, the speed (0: not known yet) and the time left.

        Call it as often as you like: on a terminal the bar is drawn at most every 0.25 s; elsewhere a line is printed
        for the first call, for the last step and at most every 10 s between. The time left follows from the mean pace
        since the first call, so it counts evaluations and saving too.
        """
        if not self._writes:
            return
        now = time.monotonic()
        interactive = self._console.is_interactive
        if now - self._shown < (REDRAW_SECONDS if interactive else LINE_SECONDS) and step < self._total:
            return
        self._began = self._began or (now, step)
        self._shown = now
        left = time_left(now - self._began[0], step - self._began[1], self._total - step)
        position = f"epoch {step / self._per_epoch:.1f}/{self._total / self._per_epoch:.4g}"
        shown = [format_value(name, value, self._shares) for name, value in values.items()]
        if pictures_per_second or not interactive:
            shown.append(f"{rate(pictures_per_second)} pictures/s")
        self._line = "  ".join([f"step {step}/{self._total}", position, *shown, *([left] if left else [])])
        if interactive:
            self._draw(bar(position, step, self._total, left, "  ".join(shown)))
        else:
            self._print(self._line)

    def summary(self, title: str, rows: Sequence[tuple[str, str]], next_commands: Sequence[tuple[str, str]]) -> None:
        """Prints the result of a run: (name, value) rows, then (what it does, command) lines ready to be copied."""
        if not self._writes:
            return
        from rich.text import Text

        self._clear()
        self._line = ""  # the summary takes its place
        self._print("")
        self._print(title, style="bold")
        width = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            self._print(Text.assemble((f"  {name:<{width}}  ", "dim"), lines(value)))
        if next_commands:
            self._print("")
            self._print("Next", style="bold")
        for what, command in next_commands:
            self._print(f"  {what}", style="dim")
            self._print(f"    {command}", style="cyan")

    def close(self, finished: bool = True) -> None:
        """Takes the bar off the terminal, leaves its last state as a line and closes the writers. Twice does no harm.

        `finished`: whether the run came to its end; services show it.
        """
        if not self._writes:
            return
        self._clear()
        if self._line and self._console.is_interactive:
            self._print(self._line)
        with self._waiting_for_writers("closing"):
            self._records.close(finished)
        self._writes = False

    def _waiting_for_writers(self, what):
        return self.waiting(f"{what} {', '.join(self._to)}") if self._to else contextlib.nullcontext()

    def _print(self, text, style=""):
        from rich.text import Text

        # soft_wrap: the terminal wraps, so that a copied command or a line in a file stays one line.
        line = text if isinstance(text, Text) else Text(lines(text), style=style)
        self._console.print(line, soft_wrap=True)

    def _draw(self, renderable):
        if self._live is None:
            from rich.live import Live

            # No thread of its own: on a machine with few cores it would take time from the training.
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(renderable, refresh=True)

    @contextlib.contextmanager
    def _instead_of_bar(self, live):
        # rich below 14.1 refuses a second live display, so the bar goes away meanwhile and comes back when drawn.
        self._clear()
        self._live = live
        live.start()
        try:
            yield
        finally:
            live.stop()
            self._live = None if self._live is live else self._live
            self._shown = -math.inf

    def _clear(self):
        if self._live is not None:
            self._live.stop()
            self._live = None
