"""The trail as REST gives it."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Literal

from pydantic import BaseModel

from records.audit.lines import TrailLine as Line
from records.audit.lines import TrailPage as Page
from records.states import ActorKind, AuditOutcome


class TrailPatient(BaseModel):
    """A patient of a line. patient_id and issuer are "" where the patient was erased."""

    pseudonym: uuid.UUID
    patient_id: str
    issuer: str


class TrailStudy(BaseModel):
    """A study of a line. study_instance_uid is "" where the study is not here any more."""

    id: uuid.UUID
    study_instance_uid: str


class TrailLine(BaseModel):
    """Who did what, when, from where, and about whom.

    kind: `entry` of the trail, or `event` of a study's timeline. id: its number among these.
    action: what an entry is about, or the kind of an event. reasons: why patients of other sites
    were opened, where the line is of an emergency; those of patients who were erased are gone.
    """

    kind: Literal["entry", "event"]
    id: int
    at: dt.datetime
    action: str
    outcome: AuditOutcome
    actor_kind: ActorKind
    actor_name: str
    actor_id: str
    actor_address: str
    patients: list[TrailPatient]
    studies: list[TrailStudy]
    detail: str
    reasons: list[str]

    @classmethod
    def from_line(cls, line: Line) -> TrailLine:
        """The line as it is given."""
        return cls(
            kind="event" if line.is_event else "entry",
            id=line.id,
            at=line.at.astimezone(dt.UTC),
            action=line.action,
            outcome=AuditOutcome(line.outcome),
            actor_kind=ActorKind(line.actor_kind),
            actor_name=line.actor_name,
            actor_id=line.actor_id,
            actor_address=line.actor_address,
            patients=[
                TrailPatient(pseudonym=one.pseudonym, patient_id=one.patient_id, issuer=one.issuer)
                for one in line.patients
            ],
            studies=[
                TrailStudy(id=one.id, study_instance_uid=one.study_instance_uid)
                for one in line.studies
            ],
            detail=line.detail,
            reasons=list(line.reasons),
        )


class TrailLines(BaseModel):
    """Some lines of the trail, newest first. next: the `after` of the following page, or null."""

    lines: list[TrailLine]
    next: str | None

    @classmethod
    def from_page(cls, page: Page) -> TrailLines:
        """The page as it is given."""
        return cls(lines=[TrailLine.from_line(line) for line in page.lines], next=page.next)
