"""Which studies of a list are shown, and in which order.

Priority, site and time of arrival are in the indexes of the lists. Everything else is asked of a
bounded number of studies at a time, in the order of the list (`worklist.read_page`).
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Integer, and_, case, cast, func, or_, select
from sqlalchemy.sql.expression import Select

from records.database.draft_tables import Draft
from records.database.review_tables import Review, WorkingText
from records.database.tables import Hold, Series, Study
from records.states import HoldReason, Priority, Purpose, ReviewDecision


class ListOrder(StrEnum):
    """The order of a list of studies."""

    PRIORITY = "PRIORITY"  # those of the last hours by priority, then all; the newest first
    NEWEST = "NEWEST"  # the newest arrival first
    OLDEST = "OLDEST"  # the oldest arrival first


class AgeGroup(StrEnum):
    """How old a patient was at the date of the study, in years."""

    CHILD = "CHILD"  # 0 to 17
    ADULT = "ADULT"  # 18 to 64
    OLD = "OLD"  # 65 and more
    UNKNOWN = "UNKNOWN"  # a date is missing, or is none


_YEARS = {AgeGroup.CHILD: (0, 17), AgeGroup.ADULT: (18, 64), AgeGroup.OLD: (65, 200)}


class ReviewStage(StrEnum):
    """How far readers are with the current draft of a study."""

    OPEN = "OPEN"  # nobody has written or signed
    EDITED = "EDITED"  # somebody writes its text
    SIGNED = "SIGNED"


@dataclass(frozen=True, slots=True)
class WorklistFilter:
    """Which studies of a list are shown; what is None or "" leaves none out.

    Attributes:
        priority: the study's.
        site_id: the site that it belongs to.
        since: it arrived then or later.
        until: it arrived before then.
        modality: one of its series has this one, as DX.
        procedure: these characters are in its description, in any case.
        sex: as sent (0010,0040); "-" is none or another than M and F.
        age: the patient's at the date of the study.
        hold_reason: a hold for this reason is open.
        review: how far readers are.
        has_prior: whether the model got a prior report with it.
    """

    priority: Priority | None = None
    site_id: uuid.UUID | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    modality: str = ""
    procedure: str = ""
    sex: str = ""
    age: AgeGroup | None = None
    hold_reason: HoldReason | None = None
    review: ReviewStage | None = None
    has_prior: bool | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """What no index of the lists answers, as conditions on a row of `studies`."""
        found: list[ColumnElement[bool]] = []
        if self.modality:
            found.append(
                _one(
                    select(Series.id).where(
                        Series.study_id == Study.id, Series.modality == self.modality
                    )
                )
            )
        if self.procedure:
            found.append(Study.study_description.icontains(self.procedure, autoescape=True))
        if self.sex:
            sex = func.upper(func.btrim(Study.patient_sex))
            found.append(sex.not_in(("M", "F")) if self.sex == "-" else sex == self.sex)
        if self.age is not None:
            found.append(_of_age(self.age))
        if self.hold_reason is not None:
            found.append(
                _one(
                    select(Hold.id).where(
                        Hold.study_id == Study.id,
                        Hold.decision.is_(None),
                        Hold.reason == self.hold_reason,
                    )
                )
            )
        if self.review is not None:
            found.append(_of_stage(self.review))
        if self.has_prior is not None:
            has_prior = _one(_current_draft().where(Draft.prior_report.is_not(None)))
            found.append(has_prior if self.has_prior else ~has_prior)
        return found


def _one(query: Select[uuid.UUID]) -> ColumnElement[bool]:
    """Whether there is a row. An EXISTS might be planned to read the rows of all studies."""
    return query.limit(1).scalar_subquery().is_not(None)


def _current_draft() -> Select[uuid.UUID]:
    return select(Draft.id).where(
        Draft.study_id == Study.id,
        Draft.purpose == Purpose.PRIMARY,
        Draft.superseded_at.is_(None),
    )


def _of_age(group: AgeGroup) -> ColumnElement[bool]:
    dates = (Study.patient_birth_date, Study.study_date)
    are_dates = and_(*(date.regexp_match("^[0-9]{8}$") for date in dates))
    # The difference of 20260310 and 20080311 is 179999: 17 whole years.
    born, done = (cast(date, Integer) for date in dates)
    years = case((are_dates, (done - born) // 10_000), else_=None)
    is_known = years.between(0, 200)
    if group is AgeGroup.UNKNOWN:
        return or_(years.is_(None), ~is_known)
    return years.between(*_YEARS[group])


def _of_stage(stage: ReviewStage) -> ColumnElement[bool]:
    is_signed = _one(
        select(Review.id).where(
            Review.study_id == Study.id,
            Review.decision.in_((ReviewDecision.SIGNED, ReviewDecision.SIGNED_ELSEWHERE)),
        )
    )
    is_edited = _one(
        select(WorkingText.draft_id).where(
            WorkingText.study_id == Study.id,
            WorkingText.draft_id.in_(_current_draft()),
        )
    )
    if stage is ReviewStage.SIGNED:
        return is_signed
    return ~is_signed & (is_edited if stage is ReviewStage.EDITED else ~is_edited)
