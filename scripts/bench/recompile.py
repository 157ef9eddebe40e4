"""What it costs and saves that numbers of a recipe are arguments of the compiled step, and no constants in it.

    taskset -c 0 python scripts/bench/recompile.py --config lenet5_digits

Both forms of the step run in turns within one process, the order reversed every round; the ratio is the median of the
rounds. Then the first steps of runs with other rates, decays, smoothings, seeds and durations, in both forms, each with
a cache of compiled programs that is empty at the beginning: seconds from a config to the end of the first step.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time

import jax
from gpu import commit
from jax.experimental.compilation_cache import compilation_cache

from jaxcls import hyperparameters
from jaxcls.cli.entry import entry_point
from jaxcls.settings import config_file
from jaxcls.training import build

TRIALS = (
    {},
    {"schedule.peak": 0.03},
    {"optim.weight_decay": 3e-4},
    {"loss.label_smoothing": 0.2},
    {"seed": 1},
    {"seed": 2},
    {"duration": "70 epochs"},
)


@contextlib.contextmanager
def constants():
    """Within it numbers find no room, and are constants."""
    room, hyperparameters.ROOM = hyperparameters.ROOM, dict.fromkeys(hyperparameters.ROOM, 0)
    try:
        yield
    finally:
        hyperparameters.ROOM = room


def first_step(config):
    """(feed, state after the first step) of a run."""
    run = build.build(config)
    feed, state = run.train_feed(), run.parallel.replicate(run.init_state())
    state, values, _ = feed(state, 0, 1)
    jax.block_until_ready(values)
    return feed, state


def compare(config, steps, rounds):
    """The ratio of the times of a step: {"ratio", "quartiles", "last_ms"}."""
    forms, ratios = {"arguments": first_step(config)}, []
    with constants():
        forms["constants"] = first_step(config)
    for turn in range(rounds):
        seconds = {}
        for name in sorted(forms, reverse=bool(turn % 2)):
            feed, state = forms[name]
            began = time.perf_counter()
            for i in range(steps):
                state, values, _ = feed(state, i + 1, i + 2)
            jax.block_until_ready(state)
            seconds[name], forms[name] = time.perf_counter() - began, (feed, state)
        ratios.append(seconds["arguments"] / seconds["constants"])
    q = statistics.quantiles(ratios, n=4) if rounds > 1 else ratios * 3
    milliseconds = {name: value / steps * 1e3 for name, value in seconds.items()}
    return {"ratio": statistics.median(ratios), "quartiles": [q[0], q[2]], "last_ms": milliseconds}


def trials(load):
    """form: seconds until the end of the first step, trial by trial."""
    result = {}
    for name, form in (("constants", constants), ("arguments", contextlib.nullcontext)):
        with tempfile.TemporaryDirectory() as cache, form():
            jax.config.update("jax_compilation_cache_dir", cache)
            compilation_cache.reset_cache()
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
            seconds = []
            for changes in TRIALS:
                jax.clear_caches()
                config = load()
                config.update_from_flattened_dict(changes)
                began = time.perf_counter()
                first_step(config)
                seconds.append(time.perf_counter() - began)
            result[name] = seconds
    return result


def lines(r):
    """The result as lines of text."""
    yield f"Commit {r['commit'] or 'unknown'}, {r['config']}"
    low, high = r["quartiles"]
    last = ", ".join(f"{name} {ms:.2f} ms" for name, ms in r["last_ms"].items())
    yield f"a step, arguments / constants: {r['ratio']:.3f} (quartiles {low:.3f} to {high:.3f}); at last {last}"
    for name, seconds in r["first_steps_s"].items():
        yield f"first steps of trials, {name}: {', '.join(f'{s:.2f}' for s in seconds)}; {sum(seconds):.1f} s"


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, metavar="CONFIG")
    parser.add_argument("--steps", type=int, default=20, help="of a round (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    args = parser.parse_args(argv)
    result = {"commit": commit(), "config": args.config}
    result |= compare(config_file.load(args.config), args.steps, args.rounds)
    result["first_steps_s"] = trials(lambda: config_file.load(args.config))
    print(json.dumps(result, indent=1) if args.json else "\n".join(lines(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
