"""What REST gives of differences between draft and final report, as pydantic models."""

from __future__ import annotations

import datetime as dt
import uuid
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel

from model.labels import OBSERVATIONS
from records.reports import model_errors, second_looks
from records.states import DiscrepancySide, DiscrepancyState

CLINICAL_WORTH = (
    "The clinical worth of this list is unproven. It is no alarm and no report, and it says "
    "nothing about the people who wrote the reports."
)
"""What stands above every list."""


Observation = StrEnum(  # type: ignore[misc]  # mypy wants names that are written out
    "Observation", {name.upper().replace(" ", "_"): name for name in OBSERVATIONS}
)
"""One of the 14 observations, as addresses name it."""


class DiscrepancyEntry(BaseModel):
    """A finding that a draft or a final report says is present, and the other does not.

    side: who is silent. certainty: of who is not, from 0 to 1. said: what the silent text says of
    it, "blank" or "absent". study, draft, report: our ids. mentioned_by: our id of the report that
    mentions it after all; null where that was signed here. campaign: the one that asked for the
    draft; null where none did.
    """

    id: uuid.UUID
    side: DiscrepancySide
    state: DiscrepancyState
    observation: str
    certainty: float
    said: str
    campaign: uuid.UUID | None
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
            campaign=row.campaign_id,
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


class ObservationErrors(BaseModel):
    """The model's errors in one of the 14 observations.

    said: drafts whose final report says that it is present. missed: those of them that do not name
    it. of_said, of_compared: missed as a share of said, and of all drafts that were compared; null
    where there are none.
    """

    observation: str
    said: int
    missed: int
    of_said: float | None
    of_compared: float | None


class ModelErrorTable(BaseModel):
    """The model's errors by observation. compared: drafts compared with a final report."""

    note: str = CLINICAL_WORTH
    compared: int
    observations: list[ObservationErrors]

    @classmethod
    def from_errors(cls, errors: model_errors.ModelErrors) -> ModelErrorTable:
        """The numbers of `records`, each of the 14 observations in their order."""
        rows = []
        for name in OBSERVATIONS:
            found = errors.by_observation.get(name, model_errors.ObservationErrors(0, 0))
            rows.append(
                ObservationErrors(
                    observation=name,
                    said=found.said,
                    missed=found.missed,
                    of_said=_share(found.missed, found.said),
                    of_compared=_share(found.missed, errors.compared),
                )
            )
        return cls(compared=errors.compared, observations=rows)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


class WeeklyBudget(BaseModel):
    """The reads of a week: how many are allowed, how many were made, how many are left.

    All sites share them. used: of studies of the sites that the caller sees. left: null where the
    caller sees some sites alone and not all reads are used up.
    """

    reads: int
    used: int
    left: int | None
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
    """Counts of the discrepancies of the sites that the caller sees, and the week's budget.

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
