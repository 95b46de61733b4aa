"""What REST gives of differences between draft and final report, as pydantic models."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Literal

from pydantic import BaseModel

from records.reports import second_looks
from records.states import DiscrepancySide, DiscrepancyState

CLINICAL_WORTH = (
    "The clinical worth of this list is unproven. It is no alarm and no report, and it says "
    "nothing about the people who wrote the reports."
)
"""What stands above every list."""


class DiscrepancyEntry(BaseModel):
    """A finding that a draft or a final report says is present, and the other does not.

    side: who is silent. certainty: of who is not, from 0 to 1. said: what the silent text says of
    it, "blank" or "absent". study, draft, report: our ids. mentioned_by: our id of the report that
    mentions it after all; null where that was signed here.
    """

    id: uuid.UUID
    side: DiscrepancySide
    state: DiscrepancyState
    observation: str
    certainty: float
    said: str
    study: uuid.UUID
    study_instance_uid: str
    patient_id: str
    accession_number: str
    study_date: str
    draft: uuid.UUID
    report: uuid.UUID
    mentioned_by: uuid.UUID | None
    found_at: dt.datetime
    read_at: dt.datetime | None

    @classmethod
    def from_entry(
        cls, entry: second_looks.ListedDiscrepancy | second_looks.DiscrepancyRecord
    ) -> DiscrepancyEntry:
        """The entry of a list, or of a record."""
        row, study = entry.discrepancy, entry.study
        return cls(
            id=row.id,
            side=DiscrepancySide(row.side),
            state=DiscrepancyState(row.state),
            observation=row.observation,
            certainty=round(row.certainty, 4),
            said=row.said,
            study=study.id,
            study_instance_uid=study.study_instance_uid,
            patient_id=study.patient_id,
            accession_number=study.accession_number,
            study_date=study.study_date,
            draft=row.draft_id,
            report=row.report_id,
            mentioned_by=row.mentioned_by,
            found_at=row.found_at,
            read_at=row.read_at,
        )


class DiscrepancyEntries(BaseModel):
    """Discrepancies, the most certain first; `next` is the `after` of the following page."""

    note: str = CLINICAL_WORTH
    discrepancies: list[DiscrepancyEntry]
    next: str | None

    @classmethod
    def from_page(cls, page: second_looks.DiscrepancyPage) -> DiscrepancyEntries:
        """The page of a list."""
        entries = [DiscrepancyEntry.from_entry(entry) for entry in page.entries]
        return cls(discrepancies=entries, next=page.next)


class DiscrepancyDetail(DiscrepancyEntry):
    """A discrepancy with both texts. It is not for who is asked blindly.

    draft_text: the draft, with its warning. report_text: the final report, word for word.
    """

    draft_text: str
    report_text: str

    @classmethod
    def from_record(cls, record: second_looks.DiscrepancyRecord) -> DiscrepancyDetail:
        """The discrepancy of a record."""
        return cls(
            **DiscrepancyEntry.from_entry(record).model_dump(),
            draft_text=record.draft.text,
            report_text=record.report.text,
        )


class WeeklyBudget(BaseModel):
    """The reads of a week: how many are allowed, how many were made, how many are left."""

    reads: int
    used: int
    left: int
    begins: dt.datetime
    ends: dt.datetime

    @classmethod
    def from_budget(cls, budget: second_looks.Budget) -> WeeklyBudget:
        """The budget of `records`."""
        return cls(
            reads=budget.reads,
            used=budget.used,
            left=budget.left,
            begins=budget.begins,
            ends=budget.ends,
        )


class SecondLookSummary(BaseModel):
    """Counts of all discrepancies, and the week's budget.

    counts: by side and state. reads, confirmed: second looks at what only the draft says.
    reads_per_confirmed: null where none was confirmed.
    """

    note: str = CLINICAL_WORTH
    counts: dict[DiscrepancySide, dict[DiscrepancyState, int]]
    reads: int
    confirmed: int
    reads_per_confirmed: float | None
    budget: WeeklyBudget

    @classmethod
    def make(
        cls, counts: second_looks.SecondLookCounts, budget: second_looks.Budget
    ) -> SecondLookSummary:
        """The summary of counts and budget."""
        side = DiscrepancySide.MISS_OF_REPORT
        return cls(
            counts=counts.numbers,
            reads=counts.reads(side),
            confirmed=counts.numbers[side][DiscrepancyState.CONFIRMED],
            reads_per_confirmed=counts.reads_per_confirmed,
            budget=WeeklyBudget.from_budget(budget),
        )


class SecondLookQuestion(BaseModel):
    """Whether the films of a study show a finding; who says so is not told.

    films: our ids of its films.
    """

    id: uuid.UUID
    question: str
    observation: str
    study_instance_uid: str
    patient_id: str
    accession_number: str
    study_date: str
    films: list[uuid.UUID]

    @classmethod
    def from_question(cls, question: second_looks.BlindQuestion) -> SecondLookQuestion:
        """The question of `records`."""
        study = question.study
        return cls(
            id=question.id,
            question=ask(question.observation),
            observation=question.observation,
            study_instance_uid=study.study_instance_uid,
            patient_id=study.patient_id,
            accession_number=study.accession_number,
            study_date=study.study_date,
            films=list(question.films),
        )


class NextQuestion(BaseModel):
    """The next question; null where nothing is open."""

    question: SecondLookQuestion | None


class SecondLookAnswer(BaseModel):
    """What a reader saw on the films: the finding is there, is not there, or cannot be told."""

    verdict: Literal["CONFIRMED", "DENIED", "UNCLEAR"]

    @property
    def state(self) -> DiscrepancyState:
        """The state that it gives the discrepancy."""
        return DiscrepancyState(self.verdict)


FINDING_WORDS = {
    "Pneumothorax": "a pneumothorax",
    "Lung Lesion": "a nodule or a mass",
    "Consolidation": "a consolidation",
}
"""The findings that are asked about, in words."""


def ask(observation: str) -> str:
    """The question of a second look, as a sentence."""
    return f"Do the films show {FINDING_WORDS.get(observation, observation.lower())}?"
