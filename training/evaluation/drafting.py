"""Drafts the studies of a corpus with an engine, in one prior mode, for scores. Knows no scores.

Films are read as they are drafted: an example costs its words alone, so a corpus never stands in
memory. What fails is counted and scored as an empty draft; to leave it out would flatter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from model.case import Case, FailedCase, Priors
from model.errors import PixelError, TemplateError
from model.inference.engine import Engine
from model.manifest import Manifest
from model.prompting.oracle import Oracle, build_oracle_instruction
from model.prompting.prompt import Fits, build_instruction, choose_template, has_prior
from training.corpus.example import Example

Done = Callable[[str, int, int], None]
"""Hears what is being done, how much of it is done, and of how much."""


class Mode(StrEnum):
    """Where the priors in the prompt are from."""

    NONE = "none"
    CONTEXT = "context"
    PREDICTED = "predicted"
    ORACLE = "oracle"


ABOUT = {
    Mode.NONE: "no priors",
    Mode.CONTEXT: "what a hospital has before the film is read; this is what is served",
    Mode.PREDICTED: "what a classifier saw in the film",
    Mode.ORACLE: "read out of the very report to be written, as the paper does; never served",
}


@dataclass(frozen=True)
class Failure:
    """A study without a draft. key: its id in the corpus."""

    key: str
    reason: str


@dataclass(frozen=True)
class Drafts:
    """What was written for each study, in order; "" where it failed.

    prior_report: whether the prompt held a report of an earlier film. seconds: of all of them.
    """

    mode: Mode
    template: str
    texts: tuple[str, ...]
    prior_report: tuple[bool, ...]
    failures: tuple[Failure, ...]
    seconds: float


Instructing = Callable[[Example, Case], str]


@dataclass(frozen=True)
class ModePrompt:
    """How a bundle is asked in a mode. template: its prompt template."""

    mode: Mode
    template: str
    instruct: Instructing


def prompt_for(
    mode: Mode, manifest: Manifest, examples: Sequence[Example], fits: Fits
) -> ModePrompt:
    """How to ask the bundle in this mode.

    `none` takes the template of that name; a bundle that was not trained with it is given its
    context template without any prior, which leaves our own words about the views.

    Raises:
        TemplateError: the bundle was not trained with the mode's template, or nothing fills it.
    """
    if mode is Mode.ORACLE:
        return _oracle(manifest, examples, fits)
    if mode is Mode.NONE:
        own = str(Mode.NONE if Mode.NONE in _trained(manifest) else Mode.CONTEXT)
        template = choose_template(manifest, own, evaluation=True)
        return ModePrompt(
            mode,
            template,
            lambda _, case: build_instruction(replace(case, priors=Priors()), template, fits),
        )
    template = choose_template(manifest, str(mode), evaluation=True)
    return ModePrompt(mode, template, lambda _, case: build_instruction(case, template, fits))


def draft(
    engine: Engine,
    manifest: Manifest,
    examples: Sequence[Example],
    how: ModePrompt,
    told: Done,
    beside: str = "",
) -> Drafts:
    """Draft every example. told: hears of it, named by the mode and `beside`.

    Raises:
        DeviceError: the device failed.
    """
    texts = [""] * len(examples)
    failures: dict[int, str] = {}
    told_before = [False] * len(examples)

    def asked() -> Iterator[tuple[Case, str]]:
        for place, example in enumerate(examples):
            try:
                case = example.case(manifest.preprocessing)
            except PixelError as error:
                failures[place] = str(error)
                continue
            instruction = how.instruct(example, case)
            told_before[place] = has_prior(instruction, "prior_report")
            # A corpus's own ids need not be unique; places are.
            yield replace(case, key=str(place)), instruction

    started = time.monotonic()
    what = f"drafting, {how.mode}{beside}"
    told(what, 0, len(examples))
    for done, written in enumerate(engine.write(asked()), 1):
        place = int(written.key)
        if isinstance(written, FailedCase):
            failures[place] = str(written.error)
        else:
            texts[place] = written.text
        told(what, done, len(examples))
    told(what, len(examples), len(examples))
    return Drafts(
        mode=how.mode,
        template=how.template,
        texts=tuple(texts),
        prior_report=tuple(told_before),
        failures=tuple(Failure(examples[n].key, why) for n, why in sorted(failures.items())),
        seconds=time.monotonic() - started,
    )


def _oracle(manifest: Manifest, examples: Sequence[Example], fits: Fits) -> ModePrompt:
    """The paper's template of this corpus."""
    templates = sorted({one.oracle_template for one in examples if one.oracle is not None})
    if len(templates) != 1 or not templates[0]:
        raise TemplateError(
            "the corpus gives no priors out of its reports, so nothing fills the paper's template"
        )
    template = choose_template(manifest, templates[0], evaluation=True)
    return ModePrompt(
        Mode.ORACLE,
        template,
        lambda one, case: build_oracle_instruction(case, one.oracle or Oracle(), template, fits),
    )


def _trained(manifest: Manifest) -> tuple[str, ...]:
    return (manifest.template, *manifest.templates)
