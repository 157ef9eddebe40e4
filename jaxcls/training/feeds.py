"""The feeds of a run (feed.py): from a set in device memory where it is kept there, else from a stream."""

import functools
from collections.abc import Callable

import jax

from jaxcls.data import pipeline, workers
from jaxcls.data.base import Source
from jaxcls.parallel import Parallel
from jaxcls.tasks.base import Task
from jaxcls.training.data import Data, say
from jaxcls.training.feed import (
    ChangingFeed,
    EvalFeed,
    MemoryEvalFeed,
    MemoryTrainFeed,
    StreamEvalFeed,
    StreamTrainFeed,
    TrainFeed,
)
from jaxcls.training.step import TrainStep, make_eval_step, make_train_step
from jaxcls.training.training import Training

STEPS_PER_CALL = 32  # on accelerators, for sets in device memory


def train(data: Data, training: Training, parallel: Parallel) -> TrainFeed:
    """The training split, feeding the compiled training step."""
    options = {"accumulate": training.accumulate, "axis_name": parallel.axis_name, "platform": parallel.platform}
    starts, tasks = zip(*(training.phases or [(0, training.task)]), strict=True)
    steps = [make_train_step(task, training.tx, **options) for task in tasks]
    feed = _train(data, training, parallel, steps[0])
    if len(steps) == 1:
        return feed
    return ChangingFeed(zip(starts, [feed, *map(feed.with_step, steps[1:])], strict=True))


def _train(data: Data, training: Training, parallel: Parallel, step: TrainStep) -> TrainFeed:
    source, sampler = data.sources["train"], training.sampler
    numbers = {"batch_size": training.batch_size, "seed": data.seed}
    if data.in_memory(source):
        length = 1 if parallel.platform == "cpu" else STEPS_PER_CALL
        return MemoryTrainFeed(step, source, parallel, length=length, sampler=sampler, **numbers)
    assert data.augmentation is not None
    rows = functools.partial(pipeline.train_rows, n=len(sampler), order=sampler, **numbers)
    stream = pipeline.Stream(
        source,
        data.augmentation.host,
        rows,
        seed=data.seed,
        share=parallel.local_rows(training.batch_size),
        workers=max(0, data.workers),
        views=data.augmentation.host_views,
        skipped=data.skipped,
    )
    return StreamTrainFeed(step, _staffed(stream, data.workers, training.total_steps, training.batch_size), parallel)


def evaluation(data: Data, parallel: Parallel, source: Source, task: Task) -> EvalFeed:
    """Every picture of a source, feeding the compiled predictions of a task; without training pictures' changes."""
    step, batch_size = make_eval_step(task, axis_name=parallel.axis_name), data.eval_batch_size
    if data.in_memory(source):
        return MemoryEvalFeed(step, source, parallel, batch_size=batch_size)
    rows = functools.partial(pipeline.eval_rows, n=len(source), batch_size=batch_size)
    share = parallel.local_rows(batch_size)
    stream = pipeline.Stream(
        source,
        data.evaluation.host,
        rows,
        seed=data.seed,
        share=share,
        workers=max(0, data.workers),
        skipped=data.skipped,
    )
    stream = _staffed(stream, data.workers, -(-len(source) // batch_size), batch_size)
    return StreamEvalFeed(step, stream, parallel, n=len(source), batch_size=batch_size)


def predictor(data: Data, parallel: Parallel) -> Callable:
    """(source, task, what the task takes for a state) -> predictions of all pictures, as host arrays."""
    return lambda source, task, state: evaluation(data, parallel, source, task)(parallel.place(state))


def _staffed(stream: pipeline.Stream, processes: int, batches: int, batch_size: int) -> pipeline.Stream:
    """The stream with as many readers as a measurement says, where the config leaves it to one."""
    if processes < 0:
        chosen = workers.of_stream(stream, batches * batch_size // jax.process_count())
        stream.workers, stream.threads = chosen.processes, chosen.threads
        if chosen.why:
            say(chosen.why)
    return stream
