"""Times real steps of a stage on this machine, without keeping anything."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from model.errors import PixelError
from model.manifest import Preprocessing
from model.prompting.prompt import Symptoms
from records.errors import CorpusError
from training.corpus.example import Example
from training.corpus.prepared_dataset import PreparedImage
from training.finetuning.config import TrainingConfig
from training.finetuning.loop import VALIDATION_BATCHES, Run
from training.finetuning.pipeline import Pipeline
from training.finetuning.stages import Stage

TIMED_STEPS = 10
WARM_UP_STEPS = 1
"""Steps before the timed ones: the first one also allocates memory and loads code."""
LEAST_TIMED_STEPS = 3
MOST_SECONDS = 600.0
"""Seconds after which no further step is timed, once the least number of them is."""
MAX_DECODED_EXAMPLES = 256
"""Examples that are decoded for the timed steps; with larger batches they come again."""


@dataclass(frozen=True)
class DecodedExamples:
    """Examples with their films in memory.

    Args:
        examples: The examples.
        seconds: Time to decode one, in one process.
        films: Films of an example, on average.
        unreadable: Examples that had a film that cannot be read.
    """

    examples: list[Example]
    seconds: float
    films: float
    unreadable: int


@dataclass(frozen=True)
class StepTimes:
    """What was measured of a stage.

    Args:
        seconds: Of each timed step of the optimizer.
        validation: Seconds of one validation; 0 where there is none.
    """

    seconds: tuple[float, ...]
    validation: float


def decode(drawn: Sequence[Example], preprocessing: Preprocessing) -> DecodedExamples:
    """Decode the films of some examples into memory.

    Raises:
        CorpusError: No film can be read.
    """
    examples, films = [], 0
    started = time.monotonic()
    for example in drawn:
        try:
            views = np.stack([image.pixels(preprocessing) for image in example.images])
        except PixelError:
            continue
        images = tuple(
            PreparedImage(views, row, image.position, image.source)
            for row, image in enumerate(example.images)
        )
        # What would fill the template `predicted` is not known before the heads are fitted.
        examples.append(replace(example, images=images, symptoms=Symptoms()))
        films += len(images)
    if not examples:
        raise CorpusError(f"no film of {len(drawn):,} examples can be read")
    seconds = time.monotonic() - started
    return DecodedExamples(
        examples, seconds / len(drawn), films / len(examples), len(drawn) - len(examples)
    )


def examples_needed(config: TrainingConfig, processes: int) -> int:
    """The number of examples to decode for the timed steps of all processes."""
    in_all = (WARM_UP_STEPS + TIMED_STEPS) * config.batch * config.accumulation * processes
    return min(MAX_DECODED_EXAMPLES, in_all)


def time_steps(
    pipeline: Pipeline,
    stage: Stage,
    config: TrainingConfig,
    examples: Sequence[Example],
    validation: int,
    on_step: Callable[[int], None],
) -> StepTimes:
    """Take real steps of a stage on the base, with real examples.

    Nothing is written. A second stage is timed on the base as well: its network is as large.

    Args:
        pipeline: The training.
        stage: The stage.
        config: Its settings.
        examples: What the steps learn from.
        validation: The number of validation examples.
        on_step: Is called with the number of each step that was timed.
    """
    run = Run(
        Path(),
        pipeline.network((), config.precision),
        stage,
        examples,
        pipeline.transform,
        config,
        validation=examples[: config.batch] if validation else (),
        device=pipeline.device,
        log=lambda _: None,
    )
    seconds: list[float] = []
    started = time.monotonic()
    for number, taken in enumerate(run.timed_steps(WARM_UP_STEPS + TIMED_STEPS), start=1):
        if number > WARM_UP_STEPS:
            seconds.append(taken)
            on_step(len(seconds))
        if len(seconds) >= LEAST_TIMED_STEPS and time.monotonic() - started > MOST_SECONDS:
            break
    if not validation:
        return StepTimes(tuple(seconds), 0.0)
    started = time.monotonic()
    run.validate()
    limit = math.inf if config.best_checkpoint else VALIDATION_BATCHES
    batches = min(limit, math.ceil(validation / config.batch))
    return StepTimes(tuple(seconds), (time.monotonic() - started) * batches)
