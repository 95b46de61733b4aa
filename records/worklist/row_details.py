"""What a row of the worklist tells beside the study itself, read for a whole page at once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ARRAY, Uuid, any_, literal, select
from sqlalchemy.orm import Session

from records.database.draft_tables import Draft
from records.database.review_tables import Review, WorkingText
from records.database.tables import Series
from records.states import Purpose, ReviewDecision, TextState
from records.workflow.worklist_rows import WorklistRow
from records.worklist import locks
from records.worklist.ages import age_at
from records.worklist.locks import Lock

_NOT_PICTURES = ("SR", "PR", "KO", "DOC")


@dataclass(frozen=True, slots=True)
class RowDetails:
    """What a row of the worklist tells beside the study itself.

    Attributes:
        age: at the date of the study, in words; "" where it is not known.
        indication: that of the draft; "" where there is none.
        has_prior: whether the model got a prior report.
        contradictions: statements and omissions in which image and draft contradict each other.
        is_cut: whether the draft ends at the limit of its length.
        review: what readers made of it, as a word or two; "" where nothing.
        reader: who reads it now.
        modalities: of its series, without those that hold no images.
    """

    age: str = ""
    indication: str = ""
    has_prior: bool = False
    contradictions: int = 0
    is_cut: bool = False
    review: str = ""
    reader: Lock | None = None
    modalities: tuple[str, ...] = ()


def describe(session: Session, rows: Sequence[WorklistRow]) -> dict[uuid.UUID, RowDetails]:
    """The details of each row, by study; four questions however many rows there are."""
    ids = [row.id for row in rows]
    if not ids:
        return {}
    listed = any_(literal(ids, ARRAY(Uuid)))
    drafts = {
        draft.study_id: draft
        for draft in session.execute(
            select(
                Draft.study_id,
                Draft.indication,
                Draft.prior_report.is_not(None).label("has_prior"),
                Draft.support,
                Draft.cut,
            ).where(
                Draft.study_id == listed,
                Draft.purpose == Purpose.PRIMARY,
                Draft.superseded_at.is_(None),
            )
        )
    }
    modalities: dict[uuid.UUID, set[str]] = {}
    for study_id, modality in session.execute(
        select(Series.study_id, Series.modality).where(Series.study_id == listed)
    ):
        if modality and modality not in _NOT_PICTURES:
            modalities.setdefault(study_id, set()).add(modality)
    reviews = _reviews(session, ids)
    readers = locks.find(session, ids)
    described = {}
    for row in rows:
        draft = drafts.get(row.id)
        # Who may not see the draft, or not yet, is not told what it contradicts.
        is_hidden = row.withheld is not None or not (row.findings or row.impression)
        support = (draft.support or {}) if draft is not None and not is_hidden else {}
        unsupported = [
            one for one in support.get("statements", ()) if one["verdict"] == "not supported"
        ]
        described[row.id] = RowDetails(
            age=age_at(row.patient_birth_date, row.study_date),
            indication=draft.indication
            if draft is not None and draft.indication != "Not provided"
            else "",
            has_prior=bool(draft is not None and draft.has_prior),
            contradictions=len(unsupported) + len(support.get("omissions", ())),
            is_cut=bool(draft is not None and draft.cut and not is_hidden),
            review=reviews.get(row.id, ""),
            reader=readers.get(row.id),
            modalities=tuple(sorted(modalities.get(row.id, ()))),
        )
    return described


def _reviews(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """What readers made of each study, in words: a signature before a text in work."""
    listed = any_(literal(ids, ARRAY(Uuid)))
    found: dict[uuid.UUID, str] = {}
    sent = {TextState.SUBMITTED: "submitted", TextState.SECOND_READER: "for a second reader"}
    for study_id, state, name in session.execute(
        select(WorkingText.study_id, WorkingText.state, WorkingText.saved_by).where(
            WorkingText.study_id == listed
        )
    ):
        found[study_id] = sent.get(TextState(state), f"edited by {name}" if name else "edited")
    words = {
        ReviewDecision.REJECTED: "rejected",
        ReviewDecision.SIGNED_ELSEWHERE: "signed elsewhere",
        ReviewDecision.SIGNED: "signed",
    }
    # The last one wins: who signs after a rejection has signed.
    for decision, word in words.items():
        for study_id in session.scalars(
            select(Review.study_id).where(Review.study_id == listed, Review.decision == decision)
        ):
            found[study_id] = word
    return found
