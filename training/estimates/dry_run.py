"""What a training takes, before it starts: examples, steps, hours, memory and disk.

Nothing is written. Examples are counted, memory is planned, and ten steps of each stage are really
taken on this machine. Hours are an estimate: they say what the machine does now.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from model.errors import DeviceError
from training.corpus.example import TEST, TRAIN, VALIDATE
from training.estimates.disk import DiskUse, plan_disk
from training.estimates.example_counts import ExampleCounts, count_examples
from training.estimates.machine import DeviceMemory, device_memory, free_disk, peak_memory
from training.estimates.step_timing import (
    TIMED_STEPS,
    DecodedExamples,
    StepTimes,
    decode,
    examples_needed,
    time_steps,
)
from training.finetuning.config import TrainingConfig
from training.finetuning.pipeline import Pipeline
from training.finetuning.processes import process_state
from training.finetuning.stages import Stage
from training.memory.gpu_fit import Suggestion, required_bytes, suggest_settings
from training.memory.plan import MemorySettings

PROGRESS_SECONDS = 5.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True)
class Hours:
    """A span of time that is estimated from steps.

    Args:
        expected: By the mean step.
        fastest, slowest: If all steps were like the fastest or the slowest of the timed ones.
    """

    expected: float
    fastest: float
    slowest: float

    def __add__(self, other: Hours) -> Hours:
        return Hours(
            self.expected + other.expected,
            self.fastest + other.fastest,
            self.slowest + other.slowest,
        )


@dataclass(frozen=True)
class StageEstimate:
    """What one stage takes.

    Args:
        name: The stage's name.
        examples: Examples that it learns from.
        validation_examples: Examples of its validation loss.
        steps: Steps of the optimizer.
        examples_per_step: Examples that a step reads, over all processes.
        memory_bytes: What it needs, with a margin.
        memory_fits: Whether so much is free.
        memory_advice: Whether it fits, and what would make it fit.
        step_seconds: What was measured: seconds of each timed step.
        hours: Its time; None where no step was timed.
    """

    name: str
    examples: int
    validation_examples: int
    steps: int
    examples_per_step: int
    memory_bytes: int
    memory_fits: bool
    memory_advice: str
    step_seconds: tuple[float, ...] = ()
    hours: Hours | None = None


@dataclass(frozen=True)
class DryRun:
    """What a training takes.

    Args:
        examples: Split -> examples that are read of it.
        left_out: Reason -> studies of the corpus that give no example.
        unreadable: Of the examples whose films were decoded here, those with one that cannot be.
        decoded: The number of examples whose films were decoded here.
        stages: What each stage takes.
        preparing_hours: Time to decode the films of all examples.
        device: The device that trains.
        memory: Its memory.
        measured_memory_bytes: The most that this process had in use; 0 where no step was timed.
        disk: Bytes that are written.
        folder: Where they are written.
        disk_free_bytes: What is free there.

    Attributes:
        memory_fits: Whether the memory is enough for every stage as it is set.
        disk_fits: Whether the disk is enough.
        fits: Whether both are.
        hours: The time of all stages and of preparing; None where no step was timed.
    """

    examples: dict[str, int]
    left_out: dict[str, int]
    unreadable: int
    decoded: int
    stages: tuple[StageEstimate, ...]
    preparing_hours: float
    device: str
    memory: DeviceMemory
    measured_memory_bytes: int
    disk: DiskUse
    folder: Path
    disk_free_bytes: int
    memory_fits: bool = field(init=False)
    disk_fits: bool = field(init=False)
    fits: bool = field(init=False)
    hours: Hours | None = field(init=False)

    def __post_init__(self) -> None:
        memory_fits = all(stage.memory_fits for stage in self.stages)
        disk_fits = self.disk.peak_bytes <= self.disk_free_bytes
        object.__setattr__(self, "memory_fits", memory_fits)
        object.__setattr__(self, "disk_fits", disk_fits)
        object.__setattr__(self, "fits", memory_fits and disk_fits)
        object.__setattr__(self, "hours", self._hours())

    def _hours(self) -> Hours | None:
        preparing = self.preparing_hours
        total = Hours(preparing, preparing, preparing)
        for stage in self.stages:
            if stage.hours is None:
                return None
            total += stage.hours
        return total


def estimate(pipeline: Pipeline, stages: Sequence[Stage], log: Callable[[str], None]) -> DryRun:
    """Count, plan and measure what a training takes; write nothing.

    Args:
        pipeline: The training.
        stages: Its stages.
        log: Gets lines of progress.

    Raises:
        BundleError, TemplateError, SettingsError, CorpusError: As `Pipeline.check` and
            `count_examples`.
        DeviceError: The device has no room for a step although the plan fits.
    """
    pipeline.check()
    state = process_state(pipeline.device)
    device, processes = state.device, state.num_processes
    memory, preprocessing = device_memory(device), pipeline.manifest.preprocessing
    log(f"counting the examples of {pipeline.corpus.name}")
    counts = count_examples(pipeline.data, examples_needed(pipeline.config, processes))
    decoded = decode(counts.drawn, preprocessing)
    training, held_out = counts.by_split.get(TRAIN, 0), _validation_examples(pipeline, counts)
    config = pipeline.config_for(training)
    suggestions = [_plan(pipeline, stage, config, device, memory) for stage in stages]
    fits = all(suggestion.chosen is suggestion.tried[0] for suggestion in suggestions)
    estimates = []
    for stage, suggestion in zip(stages, suggestions, strict=True):
        planned = StageEstimate(
            stage.name,
            training,
            held_out,
            config.steps,
            config.batch * config.accumulation * processes,
            required_bytes(suggestion.tried[0]),
            suggestion.chosen is suggestion.tried[0],
            suggestion.summary,
        )
        estimates.append(
            _measured(pipeline, stage, config, decoded, planned, log) if fits else planned
        )
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    in_all = training + held_out
    return DryRun(
        examples={
            split: n for split, n in counts.by_split.items() if split != VALIDATE or held_out
        },
        left_out=counts.left_out,
        unreadable=decoded.unreadable,
        decoded=len(counts.drawn),
        stages=tuple(estimates),
        preparing_hours=in_all * decoded.seconds / cores / 3600,
        device=str(device),
        memory=memory,
        measured_memory_bytes=peak_memory(device) if fits else 0,
        disk=plan_disk(
            pipeline.network_config,
            [(config, suggestion.tried[0]) for suggestion in suggestions],
            in_all,
            decoded.films,
            preprocessing.size**2,
        ),
        folder=pipeline.work_folder,
        disk_free_bytes=free_disk(pipeline.work_folder),
    )


def _validation_examples(pipeline: Pipeline, counts: ExampleCounts) -> int:
    wanted = pipeline.corpus_options.validate or pipeline.data.endless
    return counts.by_split.get(VALIDATE, 0) if wanted else 0


def _plan(
    pipeline: Pipeline,
    stage: Stage,
    config: TrainingConfig,
    device: torch.device,
    memory: DeviceMemory,
) -> Suggestion:
    on_gpu = device.type == "cuda"
    settings = MemorySettings(
        batch=config.batch,
        accumulation=config.accumulation,
        precision=config.precision,
        checkpointed=config.checkpointed,
        target_tokens=config.most_target,
        # On a CPU the frozen weights are float32, whatever autocast computes in.
        weights=None if on_gpu else "float32",
    )
    return suggest_settings(
        stage,
        pipeline.network_config,
        memory.free_bytes,
        settings,
        rules="cuda" if on_gpu else "cpu",
        memory=f"free {memory.kind}",
    )


def _measured(
    pipeline: Pipeline,
    stage: Stage,
    config: TrainingConfig,
    decoded: DecodedExamples,
    planned: StageEstimate,
    log: Callable[[str], None],
) -> StageEstimate:
    log(f"{stage.name}: taking ten steps to time them")
    try:
        times = time_steps(
            pipeline,
            stage,
            config,
            decoded.examples,
            planned.validation_examples,
            _slow_progress(log, stage.name),
        )
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{stage.name}: there was no room for a step, although its plan "
            f"({size(planned.memory_bytes)}) fits: end other programs on the device, or take "
            "--gradient-checkpointing or a smaller --batch-size"
        ) from error
    return replace(planned, step_seconds=times.seconds, hours=hours_of(times, config))


def _slow_progress(log: Callable[[str], None], stage: str) -> Callable[[int], None]:
    """What logs a timed step, at most every few seconds."""
    last = time.monotonic()

    def on_step(number: int) -> None:
        nonlocal last
        if time.monotonic() - last > PROGRESS_SECONDS:
            last = time.monotonic()
            log(f"{stage}: step {number} of {TIMED_STEPS}")

    return on_step


def hours_of(times: StepTimes, config: TrainingConfig) -> Hours:
    """The hours of a stage whose steps take as long as the timed ones."""
    validations = 0.0
    if times.validation:
        validations = (
            math.ceil(config.steps / config.validate_every) if config.validate_every else 1
        )
    fixed = validations * times.validation

    def hours(step: float) -> float:
        return (config.steps * step + fixed) / 3600

    mean = sum(times.seconds) / len(times.seconds)
    return Hours(hours(mean), hours(min(times.seconds)), hours(max(times.seconds)))


# ---- As text ----


def render(dry_run: DryRun) -> str:
    """What a training takes, as lines for a person."""
    memory, disk = dry_run.memory, dry_run.disk
    lines = [f"examples  {_counts(dry_run.examples)}"]
    if dry_run.left_out:
        lines.append(f"left out  {_counts(dry_run.left_out)}")
    if dry_run.unreadable:
        lines.append(
            f"          {dry_run.unreadable:,} of {dry_run.decoded:,} examples that were tried "
            "have a film that cannot be read: such examples are left out as well"
        )
    for stage in dry_run.stages:
        lines += _stage_lines(stage)
    if dry_run.hours is not None:
        lines.append(
            f"in all    {_span(dry_run.hours)}, {_duration(dry_run.preparing_hours)} of it to "
            "prepare the films; an estimate, without finding head, predicted priors, bundle and "
            "scores"
        )
    else:
        lines.append("in all    no hours: steps are timed only where the memory is enough")
    needed = max(stage.memory_bytes for stage in dry_run.stages)
    lines.append(
        f"memory    {size(needed)} of {memory.kind} at most, {size(memory.free_bytes)} of "
        f"{size(memory.total_bytes)} free: {_verdict(dry_run.memory_fits)}"
    )
    if dry_run.measured_memory_bytes:
        lines.append(
            f"          {size(dry_run.measured_memory_bytes)} were in use at most while steps were "
            "timed"
        )
    lines.append(
        f"disk      {size(disk.peak_bytes)} at most, {size(dry_run.disk_free_bytes)} free at "
        f"{dry_run.folder.absolute().parent}: {_verdict(dry_run.disk_fits)}"
    )
    lines.append(
        f"          checkpoints {size(disk.checkpoints_bytes)} and the prepared films "
        f"{size(disk.prepared_bytes)}, removed at the end; adapters "
        f"{size(disk.adapters_bytes)} and the bundle {size(disk.bundle_bytes)} stay"
    )
    return "\n".join(lines)


def _stage_lines(stage: StageEstimate) -> list[str]:
    held_out = f", {stage.validation_examples:,} held out" if stage.validation_examples else ""
    lines = [
        f"{stage.name:<9} {stage.examples:,} examples{held_out}; {stage.steps:,} steps of "
        f"{stage.examples_per_step:,} examples",
        f"          memory: {stage.memory_advice}",
    ]
    if stage.hours is not None:
        times = stage.step_seconds
        mean = sum(times) / len(times)
        lines.append(
            f"          {_span(stage.hours)}: {len(times)} steps were timed, of {mean:.2f} s on "
            f"average, from {min(times):.2f} to {max(times):.2f} s"
        )
    return lines


def _counts(counts: dict[str, int]) -> str:
    names = {TRAIN: "to train on", VALIDATE: "held out for validation", TEST: "to be scored on"}
    return ", ".join(f"{count:,} {names.get(name, name)}" for name, count in counts.items())


def _verdict(fits: bool) -> str:
    return "it fits" if fits else "it does not fit"


def _span(hours: Hours) -> str:
    return (
        f"about {_duration(hours.expected)} ({_duration(hours.fastest)} to "
        f"{_duration(hours.slowest)})"
    )


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{hours * 60:.0f} min" if hours >= 1 / 60 else f"{hours * 3600:.0f} s"


def size(count: int) -> str:
    """A number of bytes for a person, such as 3.2 GB; a GB is 10**9 bytes."""
    return f"{count / 10**9:,.1f} GB" if count >= 10**9 else f"{count / 10**6:,.0f} MB"
