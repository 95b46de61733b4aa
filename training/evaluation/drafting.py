"""Drafts the studies of a corpus with an engine, in one prior mode, to be scored.

Images are read while drafting, so a corpus never stands in memory. A study that fails is counted
and scored as an empty draft; leaving it out would flatter the bundle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from model.case import Case, FailedCase, Priors
from model.errors import PixelError, TemplateError
from model.inference.engine import Engine
from model.manifest import Manifest
from model.progress import ProgressCallback
from model.prompting.oracle import Oracle, build_oracle_instruction
from model.prompting.prompt import Fits, build_instruction, choose_template, has_prior
from model.support.predicted import PredictedInstructions, ScoreFunction
from training.corpus.example import Example


class PriorMode(StrEnum):
    """Where the priors in the prompt are from."""

    NONE = "none"
    CONTEXT = "context"
    PREDICTED = "predicted"
    ORACLE = "oracle"


MODE_DESCRIPTIONS = {
    PriorMode.NONE: "no priors",
    PriorMode.CONTEXT: "what a hospital has before the film is read; this is what is served",
    PriorMode.PREDICTED: "what the finding head saw in the film",
    PriorMode.ORACLE: "read out of the very report to be written, as the paper does; never served",
}


@dataclass(frozen=True)
class Failure:
    """A study without a draft; `key` is its id in the corpus."""

    key: str
    reason: str


@dataclass(frozen=True)
class Drafts:
    """The drafts of all studies.

    Attributes:
        mode: The prior mode.
        template: The prompt template.
        texts: One for each study, in order; "" where it failed.
        prior_report: Whether the prompt of each study held a prior report.
        failures: The studies that failed.
        seconds: The time for all of them.
        finding_scores: What the finding head saw of each study, by observation; empty where it
            failed, where the bundle has no head, and where the prompt held findings of the report.
    """

    mode: PriorMode
    template: str
    texts: tuple[str, ...]
    prior_report: tuple[bool, ...]
    failures: tuple[Failure, ...]
    seconds: float
    finding_scores: tuple[Mapping[str, float], ...] = ()


InstructionFunction = Callable[[Example, Case], tuple[str, Mapping[str, float] | None]]
"""Returns the instruction of a study, and the scores that filled it; None where none did."""


@dataclass(frozen=True)
class ModePrompt:
    """How a bundle is prompted in a prior mode: the template, and the instruction of a study."""

    mode: PriorMode
    template: str
    instruct: InstructionFunction


def prompt_for(
    mode: PriorMode,
    manifest: Manifest,
    examples: Sequence[Example],
    fits: Fits,
    score: ScoreFunction = lambda _case, _instruction: {},
) -> ModePrompt:
    """Return how to prompt a bundle in a prior mode.

    `none` takes the template of that name. A bundle that was not trained with it gets its context
    template without any prior, which leaves only our own words about the views.

    Raises:
        TemplateError: the bundle was not trained with the mode's template, or nothing fills it.
    """
    if mode is PriorMode.ORACLE:
        return _oracle_prompt(manifest, examples, fits)
    if mode is PriorMode.NONE:
        trained_with_none = PriorMode.NONE in (manifest.template, *manifest.templates)
        name = str(PriorMode.NONE if trained_with_none else PriorMode.CONTEXT)
        template = choose_template(manifest, name, evaluation=True)
        return ModePrompt(
            mode,
            template,
            lambda _, case: (
                build_instruction(replace(case, priors=Priors()), template, fits),
                None,
            ),
        )
    template = choose_template(manifest, str(mode), evaluation=True)
    if mode is PriorMode.PREDICTED:
        instruct = PredictedInstructions.of(manifest, score, fits)
        return ModePrompt(mode, template, lambda _, case: instruct(case))
    return ModePrompt(
        mode, template, lambda _, case: (build_instruction(case, template, fits), None)
    )


def draft(
    engine: Engine,
    manifest: Manifest,
    examples: Sequence[Example],
    prompt: ModePrompt,
    progress: ProgressCallback,
    suffix: str = "",
) -> Drafts:
    """Draft every example.

    Args:
        engine: The loaded bundle.
        manifest: Its manifest.
        examples: The studies.
        prompt: How to prompt it.
        progress: Is called for each draft; the step is named by the mode and `suffix`.
        suffix: Distinguishes this step from another one in the same mode.

    Raises:
        DeviceError: the device failed.
    """
    texts = [""] * len(examples)
    failures: dict[int, str] = {}
    prior_report = [False] * len(examples)
    scores: list[Mapping[str, float]] = [{}] * len(examples)
    scores_of_prompt: dict[int, Mapping[str, float]] = {}

    def prompted_cases() -> Iterator[tuple[Case, str]]:
        for index, example in enumerate(examples):
            try:
                case = example.case(manifest.preprocessing)
            except PixelError as error:
                failures[index] = str(error)
                continue
            instruction, filled_by = prompt.instruct(example, case)
            if filled_by is not None:
                scores_of_prompt[index] = filled_by
            prior_report[index] = has_prior(instruction, "prior_report")
            # The ids of a corpus need not be unique; indices are.
            yield replace(case, key=str(index)), instruction

    started = time.monotonic()
    step = f"drafting, {prompt.mode}{suffix}"
    progress(step, 0, len(examples))
    for done, result in enumerate(engine.write(prompted_cases()), 1):
        index = int(result.key)
        if isinstance(result, FailedCase):
            failures[index] = str(result.error)
        else:
            texts[index] = result.text
            scores[index] = scores_of_prompt.get(index, result.finding_scores)
        progress(step, done, len(examples))
    progress(step, len(examples), len(examples))
    return Drafts(
        mode=prompt.mode,
        template=prompt.template,
        texts=tuple(texts),
        prior_report=tuple(prior_report),
        failures=tuple(Failure(examples[n].key, reason) for n, reason in sorted(failures.items())),
        seconds=time.monotonic() - started,
        finding_scores=tuple(scores),
    )


def _oracle_prompt(manifest: Manifest, examples: Sequence[Example], fits: Fits) -> ModePrompt:
    """Return the prompt with the paper's template of this corpus."""
    templates = sorted({e.oracle_template for e in examples if e.oracle is not None})
    if len(templates) != 1 or not templates[0]:
        raise TemplateError(
            "the corpus gives no priors out of its reports, so nothing fills the paper's template"
        )
    template = choose_template(manifest, templates[0], evaluation=True)
    return ModePrompt(
        PriorMode.ORACLE,
        template,
        lambda example, case: (
            build_oracle_instruction(case, example.oracle or Oracle(), template, fits),
            {},  # a head that read this instruction has seen the answer
        ),
    )
