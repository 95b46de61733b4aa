"""Compares what a draft says with what the image model's finding head sees.

A sentence that names a finding whose score is too low for studies that have it is "not supported".
A finding whose score only studies that have it reach, and that the draft does not name, is an
omission. Neither is proof: at the calibration's error rate of 10%, one in ten findings that are
really there is called not supported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from model.labels.base import (
    ATELECTASIS,
    CARDIOMEGALY,
    CONSOLIDATION,
    EDEMA,
    ENLARGED_CARDIOMEDIASTINUM,
    LUNG_LESION,
    LUNG_OPACITY,
    NO_FINDING,
    OBSERVATIONS,
    PNEUMONIA,
    Label,
    Labeller,
    Labels,
)
from model.prompting.sections import sentence_spans
from model.support.calibration import Calibration, Reading

NAMED = (Label.PRESENT, Label.UNCERTAIN)
"""Labels with which a draft names a finding as possibly there."""


GENERAL_OBSERVATIONS = {
    LUNG_OPACITY: (EDEMA, CONSOLIDATION, PNEUMONIA, ATELECTASIS, LUNG_LESION),
    ENLARGED_CARDIOMEDIASTINUM: (CARDIOMEGALY,),
}
"""An observation and those that are kinds of it, as in CheXpert's hierarchy (Irvin et al. 2019).
A draft that names the kind does not omit the general one."""

_PRESENCE = {Label.PRESENT: True, Label.ABSENT: False, Label.BLANK: False, Label.UNCERTAIN: None}


def presence_of(labels: Labels) -> dict[str, bool | None]:
    """Return by observation whether a study has it, by its report; None where that is uncertain.

    What a report does not name is taken to be absent, as CheXpert's classifiers do.
    """
    return {name: _PRESENCE[label] for name, label in labels.items()}


class Verdict(StrEnum):
    """Whether the image model supports a statement of a draft."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    UNDECIDED = "undecided"
    NOT_ASSESSED = "not assessed"


_VERDICTS = {
    Reading.PRESENT: Verdict.SUPPORTED,
    Reading.ABSENT: Verdict.NOT_SUPPORTED,
    Reading.UNDECIDED: Verdict.UNDECIDED,
    Reading.NOT_ASSESSED: Verdict.NOT_ASSESSED,
}


@dataclass(frozen=True, slots=True)
class Statement:
    """A finding that a sentence names.

    Attributes:
        section: "findings" or "impression".
        sentence: The sentence.
        observation: The finding, one of CheXpert's observations.
        verdict: Whether the image model supports it.
        score: The finding head's probability; not calibrated by itself.
    """

    section: str
    sentence: str
    observation: str
    verdict: Verdict
    score: float | None


@dataclass(frozen=True, slots=True)
class Omission:
    """A finding that the image model sees and the draft does not name.

    Attributes:
        observation: The finding.
        is_denied: Whether the draft says that it is absent; otherwise the draft is silent.
        score: The finding head's probability.
    """

    observation: str
    is_denied: bool
    score: float


@dataclass(frozen=True, slots=True)
class Support:
    """What the image model says about a draft.

    Attributes:
        statements: The findings that the draft names, sentence by sentence.
        omissions: The findings that it does not name.
        undecided_share: Share of the assessed observations that are undecided, for drift.
        studies: Studies that the thresholds were made from.
        error_rate: The share of errors that the thresholds allow.
    """

    statements: tuple[Statement, ...]
    omissions: tuple[Omission, ...]
    undecided_share: float | None
    studies: int
    error_rate: float

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)


def assess(
    text: str, scores: Mapping[str, float], calibration: Calibration, labeller: Labeller
) -> Support:
    """Compare a draft with the scores of its study.

    Args:
        text: The draft.
        scores: The finding head's probability by observation.
        calibration: The thresholds.
        labeller: Says which findings a text names.
    """
    spans = list(sentence_spans(text))
    sentences = [text[span.start : span.end] for span in spans]
    *by_sentence, whole = labeller.label([*sentences, text])
    statements = tuple(
        Statement(
            span.section,
            sentence,
            name,
            _VERDICTS[calibration.read(name, scores.get(name))],
            scores.get(name),
        )
        for span, sentence, labels in zip(spans, sentences, by_sentence, strict=True)
        for name in OBSERVATIONS
        if name != NO_FINDING and labels[name] in NAMED
    )
    named = {statement.observation for statement in statements}
    omissions = tuple(
        Omission(name, whole[name] is Label.ABSENT, scores[name])
        for name in OBSERVATIONS
        if name != NO_FINDING
        and name not in named
        and whole[name] not in NAMED
        and not named.intersection(GENERAL_OBSERVATIONS.get(name, ()))
        and calibration.read(name, scores.get(name)) is Reading.PRESENT
    )
    return Support(
        statements,
        omissions,
        calibration.undecided_share(scores),
        calibration.studies,
        calibration.error_rate,
    )
