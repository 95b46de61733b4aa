"""What REST takes and gives of the worklist, as pydantic models."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas import ONE_LINE, Decider, FromRow
from api.study_schemas import StudySummary
from api.worklist.query import PriorityName
from records.states import Priority, VisibleState
from records.workflow.worklist import WorklistPage
from records.worklist import changes, locks, views
from records.worklist.changes import BulkAction, Verdict
from records.worklist.row_details import RowDetails

_STUDY = "0199c2f0-5a1e-7c1b-9a51-2f6f0f3f7a10"


class ReadBy(FromRow):
    """Who reads a study now; `expires_at` is when that ends if it is not renewed."""

    name: str
    since: dt.datetime
    expires_at: dt.datetime

    @classmethod
    def from_lock(cls, lock: locks.Lock) -> ReadBy:
        """The lock of `records`."""
        return cls.model_validate(lock)


class WorklistEntry(StudySummary):
    """A study as the worklist shows it.

    age: at the date of the study, as `73 y`; "" where a date is missing. indication: of the draft.
    prior_used: whether the model got a prior report. contradictions: statements and omissions of
    the draft that the image model contradicts. review: what readers made of it, in words. read_by:
    who reads it now.
    """

    age: str
    indication: str
    prior_used: bool
    contradictions: int
    cut_short: bool
    review: str
    read_by: ReadBy | None
    modalities: list[str]


class WorklistAnswer(BaseModel):
    """Studies in the order of the list.

    next, previous: the marks of the neighbouring pages. looked_at: how many studies were compared
    with what was chosen, where no index answers it; a page may then be short, or empty, although
    another follows. capped: the search found more studies than it gives.
    """

    studies: list[WorklistEntry]
    next: str | None
    previous: str | None
    looked_at: int
    capped: bool

    @classmethod
    def from_page(
        cls, page: WorklistPage, details: Mapping[uuid.UUID, RowDetails]
    ) -> WorklistAnswer:
        """The page of a worklist, with the details of its rows."""
        entries = []
        for row in page.rows:
            told = details.get(row.id, RowDetails())
            entries.append(
                WorklistEntry(
                    **StudySummary.from_row(row).model_dump(),
                    age=told.age,
                    indication=told.indication,
                    prior_used=told.has_prior,
                    contradictions=told.contradictions,
                    cut_short=told.is_cut,
                    review=told.review,
                    read_by=ReadBy.from_lock(told.reader) if told.reader else None,
                    modalities=list(told.modalities),
                )
            )
        return cls(
            studies=entries,
            next=page.next,
            previous=page.previous,
            looked_at=page.looked_at,
            capped=page.matches is not None and page.matches.capped,
        )


class Neighbours(BaseModel):
    """Our ids of the studies before and after one in a list; null at its ends."""

    previous: uuid.UUID | None
    next: uuid.UUID | None


class ViewRequest(BaseModel):
    """A view of the worklist to be saved; one of the same name is replaced.

    query: of the worklist's address, without a page.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "Held tonight", "query": "state=HELD&order=OLDEST", "is_default": True}
            ]
        },
    )

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=views.MOST_NAME, pattern=ONE_LINE)
    ]
    query: Annotated[str, StringConstraints(max_length=views.MOST_QUERY, pattern=ONE_LINE)] = ""
    is_default: bool = False


class View(FromRow):
    """A saved view of the worklist. is_default: the worklist opens with it."""

    id: uuid.UUID
    name: str
    query: str
    is_default: bool
    saved_at: dt.datetime


class StudyChangeRequest(BaseModel):
    """What is done to several studies.

    action: RETRY takes FAILED and SKIPPED ones up again, CANCEL lets no draft be made, PRIORITY
    gives another priority, which no later film and no order changes.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"studies": [_STUDY], "action": "PRIORITY", "priority": "STAT"}]
        },
    )

    studies: Annotated[list[uuid.UUID], Field(min_length=1, max_length=changes.MOST_STUDIES)]
    action: BulkAction
    priority: PriorityName | None = None
    by: Decider = ""

    def change(self) -> changes.Change:
        """The change of `records`."""
        priority = None if self.priority is None else Priority[self.priority]
        return changes.Change(self.action, priority, self.by)


class ChangedStudy(BaseModel):
    """What becomes of one study. why_not: why it is not changed; "" where it is."""

    study: uuid.UUID
    label: str
    state: VisibleState | None
    why_not: str


class ChangeAnswer(BaseModel):
    """What becomes of the studies, in their sequence. changed: how many are changed."""

    changed: int
    studies: list[ChangedStudy]

    @classmethod
    def from_verdicts(cls, verdicts: Sequence[Verdict]) -> ChangeAnswer:
        """What `records` said of each study."""
        return cls(
            changed=sum(not verdict.why_not for verdict in verdicts),
            studies=[
                ChangedStudy(
                    study=verdict.study_id,
                    label=verdict.label,
                    state=verdict.state,
                    why_not=verdict.why_not,
                )
                for verdict in verdicts
            ],
        )
