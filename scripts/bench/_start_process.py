"""A process of start.py: `python _start_process.py OUT ARGUMENTS` is `python -m jaxcls.main ARGUMENTS` with a clock.

It ends when the compiled training step would be called with its first batch, and leaves what it has measured in OUT.
"""

import builtins
import collections
import functools
import json
import os
import sys
import time
from pathlib import Path

STEPS = ("one", "step", "call")  # names of the functions that feeds compile
EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
# Function -> the stage that it is; what is called in another stage without being named here counts for that one.
STAGES = {
    "jaxcls.settings.config_file.load": "config",
    "jaxcls.training.data.read": "data",
    "jaxcls.training.build.build": "build",
    "jaxcls.training.preflight.check": "preflight",
    "jaxcls.training.preflight.check_data": "check of data",
    "jaxcls.training.preflight.check_model": "check of model",
    "jaxcls.training.begin.restore": "first state",
    "jaxcls.training.feeds.train": "feed",
    "jaxcls.training.feed.MemoryTrainFeed.__call__": "step",
    "jaxcls.training.feed.StreamTrainFeed.__call__": "step",
}


class Clock:
    """CPU seconds by stage and kind; each instant counts for the innermost pair alone."""

    def __init__(self, out: str):
        self.out, self.stages, self.kinds = out, ["start"], ["imports"]
        self.parts: dict[str, dict[str, float]] = {}
        self.functions: dict[str, list] = collections.defaultdict(lambda: [0.0, 0])
        self.since = 0.0  # CPU time of the process, from its start
        self.begun: list[float] = []

    def tick(self) -> float:
        """Books the time since the last call."""
        now = time.process_time()
        of = self.parts.setdefault(self.stages[-1], {})
        of[self.kinds[-1]] = of.get(self.kinds[-1], 0.0) + now - self.since
        self.since = now
        return now

    def push(self, stack: list[str], name: str) -> None:
        self.tick()
        stack.append(name)

    def pop(self, stack: list[str]) -> None:
        self.tick()
        stack.pop()

    def event_begins(self, event: str, value: float, **_: object) -> None:
        if event in EVENTS:
            self.push(self.kinds, EVENTS[event])
            self.begun.append(self.since)

    def event_ends(self, event: str, seconds: float, fun_name: str = "", **_: object) -> None:
        if event not in EVENTS:
            return
        self.pop(self.kinds)
        began = self.begun.pop()
        if not self.begun:
            name = fun_name.removeprefix("jit_").removeprefix("jit(").removesuffix(")")
            found = self.functions[f"{EVENTS[event]} {name}"]
            found[0], found[1] = found[0] + self.since - began, found[1] + 1
            if EVENTS[event] == "compile" and name in STEPS and self.stages[-1] == "step":
                self.leave()

    def leave(self) -> None:
        """Ends the process."""
        self.tick()
        children = os.times()
        cpu = self.since + children.children_user + children.children_system
        Path(self.out).write_text(json.dumps({"cpu_s": cpu, "parts": self.parts, "functions": self.functions}))
        os._exit(0)


def watch_imports(clock: Clock) -> None:
    """What the import of a module costs counts as such."""
    plain, depth = builtins.__import__, 0

    def importing(name, *args, **kwargs):
        nonlocal depth
        if depth or name in sys.modules:
            return plain(name, *args, **kwargs)
        depth += 1
        clock.push(clock.kinds, "imports")
        try:
            return plain(name, *args, **kwargs)
        finally:
            clock.pop(clock.kinds)
            depth -= 1

    builtins.__import__ = importing


def staged(clock: Clock, stage: str, function):
    """`function` as a stage."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        clock.push(clock.stages, stage)
        clock.kinds.append("rest")
        try:
            return function(*args, **kwargs)
        finally:
            clock.pop(clock.stages)
            clock.kinds.pop()

    return call


def follow(out: str, arguments: list[str]) -> None:
    """The run, which never returns."""
    clock = Clock(out)
    clock.tick()
    clock.stages[0], clock.kinds[0] = "imports", "imports"
    from jaxcls.cli import devices

    plain = devices.set_up

    def set_up(*args):
        plain(*args)
        from jax import monitoring

        import jaxcls.training.loop  # noqa: F401

        monitoring.register_scalar_listener(clock.event_begins)
        monitoring.register_event_duration_secs_listener(clock.event_ends)
        for path, stage in STAGES.items():
            wrap(clock, path, stage)
        watch_imports(clock)
        clock.tick()
        clock.stages[0], clock.kinds[0] = "other", "rest"

    devices.set_up = set_up
    from jaxcls import main as command

    command.cli(arguments)
    sys.exit("error: the run ended before a step")


def wrap(clock, path, stage):
    """Puts the stage in the place of the function."""
    words = path.split(".")
    holder = sys.modules.get(".".join(words[:-1]))
    if holder is None:  # a class
        holder = getattr(sys.modules[".".join(words[:-2])], words[-2])
    setattr(holder, words[-1], staged(clock, stage, getattr(holder, words[-1])))


if __name__ == "__main__":
    follow(sys.argv[1], sys.argv[2:])
