"""Finds what a draft says with certainty and its final report does not, and the other way round.

Of what the draft alone says, only findings are looked for that a person would want to know of at
once. What the report alone says is looked for in all 14 observations. Who calls the shadow by
another name has seen it: so each finding has the observations that count as naming it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model.labels import OBSERVATIONS, Label, Labels
from model.labels.base import (
    ATELECTASIS,
    CARDIOMEGALY,
    CONSOLIDATION,
    EDEMA,
    ENLARGED_CARDIOMEDIASTINUM,
    LUNG_LESION,
    LUNG_OPACITY,
    PNEUMONIA,
)
from records.database.session import unit_of_work
from records.errors import PartError, safe_text
from records.reports import discrepancies, second_looks
from records.reports.discrepancies import FoundDiscrepancy, OtherReport
from records.states import SECOND_LOOK_FINDINGS, DiscrepancySide
from records.telemetry import logger
from worker.text_labels import (
    draft_sections,
    label_sections,
    label_sentences,
    names_it,
    report_sections,
)

NAMED_BY: dict[str, tuple[str, ...]] = {name: (name,) for name in OBSERVATIONS} | {
    ENLARGED_CARDIOMEDIASTINUM: (ENLARGED_CARDIOMEDIASTINUM, CARDIOMEGALY),
    CARDIOMEGALY: (CARDIOMEGALY, ENLARGED_CARDIOMEDIASTINUM),
    LUNG_OPACITY: (LUNG_OPACITY, LUNG_LESION, EDEMA, CONSOLIDATION, PNEUMONIA, ATELECTASIS),
    LUNG_LESION: (LUNG_LESION, LUNG_OPACITY),
    CONSOLIDATION: (CONSOLIDATION, PNEUMONIA, LUNG_OPACITY, ATELECTASIS),
    PNEUMONIA: (PNEUMONIA, CONSOLIDATION, LUNG_OPACITY),
    ATELECTASIS: (ATELECTASIS, CONSOLIDATION, LUNG_OPACITY),
}
"""The observations, each with those that name it in the other text."""

HEDGED_FACTOR = 0.5
"""A draft that also hedges or denies a finding is taken for half as certain of it."""

AT_ONCE = 200
"""Checks of one bell, so that studies do not wait to be prepared for a long list."""


def find_discrepancies(
    draft: Labels,
    report: Labels,
    sentences: Sequence[dict[str, Any]] | None,
    scores: Mapping[str, float] | None,
) -> list[FoundDiscrepancy]:
    """What one of the two texts says is present, without a hedge, and the other does not name.

    Args:
        draft: the labels of the draft.
        report: the labels of the final report.
        sentences: the draft's sentences, as `drafts.sentences` has them; None where not known.
        scores: its `drafts.finding_scores`; None where the bundle has no finding head.
    """
    found = []
    # Those first that a reader may be asked about.
    for observation in dict.fromkeys((*SECOND_LOOK_FINDINGS, *NAMED_BY)):
        names = NAMED_BY[observation]
        pairs = [(DiscrepancySide.MISS_OF_MODEL, report, draft)]
        if observation in SECOND_LOOK_FINDINGS:
            pairs.insert(0, (DiscrepancySide.MISS_OF_REPORT, draft, report))
        for side, says, silent in pairs:
            if says[observation] is not Label.PRESENT or any(names_it(silent[n]) for n in names):
                continue
            # A report has no confidence: one that does not hedge is taken as certain.
            is_draft = side is DiscrepancySide.MISS_OF_REPORT
            certainty = certainty_of(observation, sentences, scores) if is_draft else 1.0
            found.append(FoundDiscrepancy(observation, side, certainty, silent[observation].value))
    return found


def certainty_of(
    observation: str,
    sentences: Sequence[dict[str, Any]] | None,
    scores: Mapping[str, float] | None = None,
) -> float:
    """How certain a draft is of a finding that it says is present, from 0 to 1.

    It is the model's confidence in the wording of the sentence that says so, of the surest one
    where there are several. Where another sentence hedges or denies the finding, it is half of
    that. Where the bundle has a finding head, which scores the films without the text, it is
    multiplied by that score. A draft without confidences has 0, and stands last in the list.

    Args:
        observation: the finding.
        sentences: the draft's sentences, as `drafts.sentences` has them; None where not known.
        scores: its `drafts.finding_scores`; None where the bundle has no finding head.
    """
    sentences = sentences or ()
    sure = 0.0
    is_hedged = False
    labels = label_sentences([str(sentence["text"]) for sentence in sentences])
    for sentence, label in zip(sentences, labels, strict=True):
        if label[observation] is Label.PRESENT:
            sure = max(sure, float(sentence["confidence"]))
        elif label[observation] is not Label.BLANK:
            is_hedged = True
    if is_hedged:
        sure *= HEDGED_FACTOR
    return sure * float((scores or {}).get(observation, 1.0))


def check_waiting(is_stopping: Callable[[], bool] = lambda: False) -> int:
    """Check discrepancies that wait for it, AT_ONCE at most, each in a transaction of its own.

    Returns:
        How many were checked.
    """
    with unit_of_work() as session:
        discrepancies.take_up_rechecks(session, AT_ONCE)
        waiting = discrepancies.list_unchecked(session, AT_ONCE)
    count = 0
    for discrepancy_id, patient_id in waiting:
        if is_stopping():
            break
        with unit_of_work() as session:
            check = discrepancies.begin_check(session, discrepancy_id, patient_id)
            if check is None:
                continue
            discrepancies.end_check(session, check, _find_mention(check))
        count += 1
    if count:
        with unit_of_work() as session:
            second_looks.fold_counts(session)
        logger().info("discrepancies were checked", count=count)
    return count


def _find_mention(check: discrepancies.Check) -> OtherReport | None:
    """The first report that names what the draft says, certain or not."""
    for report in check.reports:
        sections = (
            report_sections(report.findings, report.impression, report.text)
            if report.text
            else draft_sections(report.findings, report.impression)
        )
        try:
            (labels,) = label_sections([sections])
        except PartError:
            raise
        except Exception as error:  # a text from outside may hold anything
            logger().warning("a report could not be read", error=safe_text(error))
            continue
        if any(names_it(labels[name]) for name in NAMED_BY[check.observation]):
            return report
    return None
