"""What REST gives of quality, as pydantic models."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from api.quality.queries import Whose
from api.schemas import Decider
from records.database.site_tables import Site
from records.quality import drift, figures, intervals
from records.quality.counts import Dimension
from records.quality.figures import SMALL
from records.states import PeerScore, ReadingArm

NOTE = (
    "The figures do not say who was right, the model or the reader, and they rank nobody. Each "
    "interval is of 95 %."
)
"""What stands with every answer."""


class Estimate(BaseModel):
    """A figure with its interval of 95 %.

    value, low, high: null where nothing was counted. number: of how many. part: how many of them
    count in a share; null of a figure that is no share. few: whether they are too few to say much.
    """

    value: float | None
    low: float | None
    high: float | None
    number: int
    part: int | None
    few: bool

    @classmethod
    def of(cls, found: intervals.Estimate) -> Estimate:
        """The figure of `records`."""
        return cls(
            value=_rounded(found.value),
            low=_rounded(found.low),
            high=_rounded(found.high),
            number=found.number,
            part=found.part,
            few=found.number < SMALL,
        )


class Acceptance(BaseModel):
    """What became of drafts, as shares of those that were decided on.

    Reports that were begun without the draft do not count. small_edit: signed with a change of a
    tenth of the characters at most that changes none of the 14 observations. either: unedited or
    small_edit. differing: rejected, or signed with other observations, as a share of those that
    could be compared.
    """

    decided: int
    unedited: Estimate
    small_edit: Estimate
    either: Estimate
    rejected: Estimate
    differing: Estimate

    @classmethod
    def of(cls, found: figures.Acceptance) -> Acceptance:
        """The shares of `records`."""
        names = ("unedited", "small_edit", "either", "rejected", "differing")
        shares = {name: Estimate.of(getattr(found, name)) for name in names}
        return cls(decided=found.decided, **shares)


class SectionEdits(BaseModel):
    """How far signed texts are from drafts in one section, as shares of the longer text.

    lower, upper: the quartiles. untouched: reports in which the section was not changed.
    """

    section: str
    median: Estimate
    lower: float | None
    upper: float | None
    untouched: Estimate


class ReadingTime(BaseModel):
    """How long it took from opening a study, in seconds. lower, upper: the quartiles."""

    median: Estimate
    lower: float | None
    upper: float | None

    @classmethod
    def of(cls, found: figures.ReadingTime) -> ReadingTime:
        """The time of `records`."""
        return cls(
            median=Estimate.of(found.median),
            lower=_rounded(found.lower),
            upper=_rounded(found.upper),
        )


class ObservationAgreement(BaseModel):
    """What drafts and signed texts say of one of the 14 observations.

    precision: of drafts that say it, those whose signed text says it. recall: of signed texts that
    say it, those whose draft says it. kappa: Cohen's.
    """

    observation: str
    both: int
    draft_only: int
    signed_only: int
    neither: int
    precision: Estimate
    recall: Estimate
    kappa: Estimate


class PeerReview(BaseModel):
    """The scores of second readers on RADPEER's scale. significant: 2b or 3b, as a share."""

    by_score: Mapping[PeerScore, int]
    significant: Estimate


class Quality(BaseModel):
    """All figures of a choice.

    whose: "sites" or "own". since, until: the first and the last month. waiting: decisions that are
    not counted yet. own_texts: reports that were begun without the draft; they count in times,
    observations and scores alone. asked: readings drawn to be without a draft in which the reader
    was shown it before the decision. times: from opening a study to its signature, by what the
    reader saw first. to_draft: from opening a study to the draft, of who reads the films first.
    reject_reasons: NOTE is a reason that a note alone says.
    """

    note: str = NOTE
    whose: Whose
    since: dt.date
    until: dt.date
    waiting: int
    own_texts: int
    asked: int
    acceptance: Acceptance
    edits: list[SectionEdits]
    times: Mapping[ReadingArm, ReadingTime]
    to_draft: ReadingTime
    reject_reasons: Mapping[str, int]
    observations: list[ObservationAgreement]
    peer_review: PeerReview

    @classmethod
    def of(cls, found: figures.Figures) -> Quality:
        """The figures of `records`."""
        return cls(
            whose=Whose.SITES if found.choice.account_id is None else Whose.OWN,
            since=found.choice.since,
            until=found.choice.until,
            waiting=found.waiting,
            own_texts=found.own_texts,
            asked=found.asked,
            acceptance=Acceptance.of(found.acceptance),
            edits=[
                SectionEdits(
                    section=each.section,
                    median=Estimate.of(each.median),
                    lower=_rounded(each.lower),
                    upper=_rounded(each.upper),
                    untouched=Estimate.of(each.untouched),
                )
                for each in found.edits
            ],
            times={arm: ReadingTime.of(time) for arm, time in found.times.items()},
            to_draft=ReadingTime.of(found.to_draft),
            reject_reasons=found.reject_reasons,
            observations=[
                ObservationAgreement(
                    observation=each.observation,
                    both=each.both,
                    draft_only=each.draft_only,
                    signed_only=each.signed_only,
                    neither=each.neither,
                    precision=Estimate.of(each.precision),
                    recall=Estimate.of(each.recall),
                    kappa=Estimate.of(each.kappa),
                )
                for each in found.observations
            ],
            peer_review=PeerReview(
                by_score=found.peer_review.by_score,
                significant=Estimate.of(found.peer_review.significant),
            ),
        )


class BreakdownRow(BaseModel):
    """What became of the drafts of one month, model, site or group."""

    value: str
    acceptance: Acceptance


class Breakdown(BaseModel):
    """What became of drafts by one dimension; a month is YYYY-MM, a model its digest."""

    note: str = NOTE
    dimension: Dimension
    rows: list[BreakdownRow]


class DriftDay(BaseModel):
    """One day. low, high: what the baseline expects; null on a day of the baseline itself."""

    day: dt.date
    watched: int
    differing: int
    share: float
    low: float | None
    high: float | None
    outside: bool


class DriftBaseline(BaseModel):
    """The first days of a model at a site. share: with the bounds of its interval."""

    since: dt.date
    until: dt.date
    watched: int
    differing: int
    share: float
    low: float
    high: float


class DriftLine(BaseModel):
    """The drift of a model at a site. run: the last days running outside on the same side."""

    site: str
    model: str
    baseline: DriftBaseline | None
    run: int
    days: list[DriftDay]

    @classmethod
    def of(cls, line: drift.DriftLine, sites: Mapping[uuid.UUID, Site]) -> DriftLine:
        """The line of `records`."""
        base = line.baseline
        return cls(
            site=sites[line.site_id].code,
            model=line.bundle_digest,
            baseline=base
            and DriftBaseline(
                since=base.since,
                until=base.until,
                watched=base.watched,
                differing=base.differing,
                share=round(base.share, 4),
                low=round(base.low, 4),
                high=round(base.high, 4),
            ),
            run=line.run,
            days=[
                DriftDay(
                    day=day.day,
                    watched=day.watched,
                    differing=day.differing,
                    share=round(day.share, 4),
                    low=_rounded(day.low),
                    high=_rounded(day.high),
                    outside=day.side != 0,
                )
                for day in line.days
            ],
        )


class DriftLines(BaseModel):
    """The lines of all models and sites with drafts in the last 90 days, the busiest first."""

    note: str = NOTE
    lines: list[DriftLine]


class ScoreRequest(BaseModel):
    """What a second reader thinks of a signed report, on RADPEER's scale."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"score": "2a", "by": ""}]})

    score: PeerScore
    by: Decider = ""


class GivenScore(BaseModel):
    """The score that was kept. review: the signed report."""

    id: uuid.UUID
    review: uuid.UUID
    score: PeerScore


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
