"""The figures of quality, with intervals, made of the kept numbers."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from records.quality import cells, counts, intervals
from records.quality.counts import Choice, Dimension
from records.quality.intervals import Estimate
from records.states import PeerScore, ReadingArm, RejectReason

SMALL = 30
"""Fewer than so many are few: the page says so beside the figure."""

_ACCEPTED = ("signed", "own_text", "rejected", "unedited", "small_edit", "watched", "differing")


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What became of drafts, as shares of those that were decided on.

    Attributes:
        decided: drafts that were signed or rejected, without reports that were not made of one.
        unedited: signed without a change.
        small_edit: signed with a change of `cells.SMALL_EDIT` of the characters at most, which
            changes none of the observations.
        either: one of these two.
        rejected: rejected.
        differing: of those whose texts were compared, rejected or signed with other observations.
    """

    decided: int
    unedited: Estimate
    small_edit: Estimate
    either: Estimate
    rejected: Estimate
    differing: Estimate


@dataclass(frozen=True, slots=True)
class SectionEdits:
    """How far signed texts are from drafts in one section, as shares of the characters.

    Attributes:
        median: with its interval.
        lower, upper: the quartiles; None where nothing was counted.
        untouched: reports in which the section was not changed.
    """

    section: str
    median: Estimate
    lower: float | None
    upper: float | None
    untouched: Estimate


@dataclass(frozen=True, slots=True)
class ReadingTime:
    """How long readings took, in seconds.

    Attributes:
        median: with its interval.
        lower, upper: the quartiles; None where nothing was counted.
    """

    median: Estimate
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True)
class ObservationAgreement:
    """What drafts and signed texts say of one observation.

    Attributes:
        both, draft_only, signed_only, neither: in how many reports who says it.
        precision: of the drafts that say it, those whose signed text says it too.
        recall: of the signed texts that say it, those whose draft says it too.
        kappa: Cohen's.
    """

    observation: str
    both: int
    draft_only: int
    signed_only: int
    neither: int
    precision: Estimate
    recall: Estimate
    kappa: Estimate

    @property
    def said(self) -> int:
        """In how many reports one of the two says it."""
        return self.both + self.draft_only + self.signed_only


@dataclass(frozen=True, slots=True)
class PeerReview:
    """The scores of second readers.

    Attributes:
        by_score: how many reports got each.
        significant: 2b or 3b, as a share of all.
    """

    by_score: Mapping[PeerScore, int]
    significant: Estimate


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of a choice.

    Attributes:
        choice: of what they are.
        waiting: outcomes that a worker is still to complete.
        own_texts: reports that were begun without the draft. They count in times, observations and
            scores, and in nothing of how far drafts are accepted or edited.
        asked: readings without a draft in which the reader was shown it before the decision.
        acceptance: what became of drafts.
        edits: by section.
        times: from opening a study to its signature, by arm; only arms with readings.
        to_draft: from opening a study to the draft, of who reads first.
        reject_reasons: how many were rejected for each, the most frequent first; `cells.NO_REASON`
            is a reason that only a note says.
        observations: the 14.
        peer_review: the scores of second readers.
    """

    choice: Choice
    waiting: int
    own_texts: int
    asked: int
    acceptance: Acceptance
    edits: Sequence[SectionEdits]
    times: Mapping[ReadingArm, ReadingTime]
    to_draft: ReadingTime
    reject_reasons: Mapping[str, int]
    observations: Sequence[ObservationAgreement]
    peer_review: PeerReview


def read(session: Session, choice: Choice) -> Figures:
    """The figures of a choice, at the sites that are shown."""
    numbers = counts.read(session, choice)
    timed = [name for name in cells.CELLS if name.startswith("sign:")]
    by_arm = counts.read_by(session, choice, Dimension.ARM, timed)
    times = {arm: make_time(by_arm[arm], "sign") for arm in ReadingArm if arm in by_arm}
    return Figures(
        choice,
        counts.count_waiting(session),
        numbers["own_text"],
        numbers["asked"],
        make_acceptance(numbers),
        [_make_edits(numbers, section) for section in cells.SECTIONS],
        {arm: time for arm, time in times.items() if time.median.number},
        make_time(numbers, "to_draft"),
        _make_reasons(numbers),
        [_make_agreement(numbers, place) for place in range(len(cells.OBSERVATIONS))],
        _make_peer_review(numbers),
    )


def read_breakdown(session: Session, choice: Choice, by: Dimension) -> dict[Any, Acceptance]:
    """What became of drafts by the values of a dimension, in their order.

    A month is its first day, a model its digest, and a site our id of it.
    """
    found = counts.read_by(session, choice, by, _ACCEPTED)
    return {value: make_acceptance(found[value]) for value in sorted(found, key=_as_key)}


def make_acceptance(numbers: Counter[str]) -> Acceptance:
    """The acceptance of what was counted."""
    decided = numbers["signed"] - numbers["own_text"] + numbers["rejected"]
    either = numbers["unedited"] + numbers["small_edit"]
    return Acceptance(
        decided,
        intervals.share(numbers["unedited"], decided),
        intervals.share(numbers["small_edit"], decided),
        intervals.share(either, decided),
        intervals.share(numbers["rejected"], decided),
        intervals.share(numbers["differing"], numbers["watched"]),
    )


def make_time(numbers: Counter[str], name: str) -> ReadingTime:
    """The time of what was counted in the classes of `SECOND_BOUNDS`.

    Args:
        numbers: what was counted.
        name: which time: "sign" or "to_draft".
    """
    bounds = cells.SECOND_BOUNDS
    in_classes = [numbers[f"{name}:{place}"] for place in range(len(bounds) - 1)]
    return ReadingTime(
        intervals.median(in_classes, bounds),
        intervals.quantile(in_classes, bounds, 0.25),
        intervals.quantile(in_classes, bounds, 0.75),
    )


def _make_edits(numbers: Counter[str], section: str) -> SectionEdits:
    bounds = cells.SHARE_BOUNDS
    in_classes = [numbers[f"{section}:{place}"] for place in range(len(bounds) - 1)]
    return SectionEdits(
        section,
        intervals.median(in_classes, bounds),
        intervals.quantile(in_classes, bounds, 0.25),
        intervals.quantile(in_classes, bounds, 0.75),
        intervals.share(in_classes[0], sum(in_classes)),
    )


def _make_reasons(numbers: Counter[str]) -> dict[str, int]:
    reasons = {
        str(reason): numbers[f"reject:{reason}"] for reason in (*RejectReason, cells.NO_REASON)
    }
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return {reason: number for reason, number in ordered if number}


def _make_agreement(numbers: Counter[str], place: int) -> ObservationAgreement:
    both, draft, signed, neither = (numbers[f"says:{place}:{pair}"] for pair in cells.PAIRS)
    return ObservationAgreement(
        cells.OBSERVATIONS[place],
        both,
        draft,
        signed,
        neither,
        intervals.share(both, both + draft),
        intervals.share(both, both + signed),
        intervals.kappa(both, draft, signed, neither),
    )


def _make_peer_review(numbers: Counter[str]) -> PeerReview:
    by_score = {score: numbers[f"peer:{score}"] for score in PeerScore}
    significant = by_score[PeerScore.MISSED_B] + by_score[PeerScore.EXPECTED_B]
    return PeerReview(by_score, intervals.share(significant, sum(by_score.values())))


def _as_key(value: Any) -> str:
    return value.hex if isinstance(value, uuid.UUID) else str(value)
