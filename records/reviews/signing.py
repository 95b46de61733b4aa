"""A reader signs a draft, as corrected, or rejects it.

A draft stays what it is, unreviewed text of a model. The report that a reader signed is a row of
its own, written once; only the consent to train on it can change.
"""

from __future__ import annotations

import uuid

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from records.database.tables import Draft, Hold, Review, Study
from records.errors import NotAllowed, NotFound
from records.settings import settings
from records.states import WARNING, EventKind, ReviewDecision
from records.workflow import events, later_studies
from records.workflow.identifiers import PatientId

SIGNED_EARLIER = "a report of an earlier study was signed"
"""Why later studies of the patient are prepared again."""


def sign(
    session: Session,
    draft_id: uuid.UUID,
    reader: str,
    findings: str,
    impression: str,
    consent: bool | None = None,
) -> uuid.UUID:
    """Store the report that a reader made of a draft and signed.

    It is a prior report of the patient's later studies, which are prepared again with it.

    Args:
        session: the caller's transaction.
        draft_id: the draft that was read.
        reader: who signs.
        findings: the findings as signed.
        impression: the impression as signed.
        consent: whether the report may be trained on; None takes NIGHTDRAFT_TRAINING_CONSENT.

    Returns:
        The review's id.

    Raises:
        NotFound: no such draft.
        NotAllowed: no reader, no text, the draft's warning in the text, a draft that is superseded
            or signed already, or a study that waits for a person to decide.
    """
    if not (findings + impression).strip():
        raise NotAllowed("a report without text cannot be signed: write findings or an impression")
    if WARNING in findings or WARNING in impression:
        raise NotAllowed("a signed report is no draft any more: take the warning line out of it")
    draft = _reviewable(session, draft_id, reader)
    if draft.superseded_at is not None:
        raise NotAllowed("a newer draft stands in this one's place: review that one")
    if session.scalar(
        select(exists().where(Hold.study_id == draft.study_id, Hold.decision.is_(None)))
    ):
        raise NotAllowed("a person must decide about this study before its report can be signed")
    review_id = _keep(
        session,
        draft,
        ReviewDecision.SIGNED,
        reader,
        findings=findings,
        impression=impression,
        training_consent=settings().training_consent if consent is None else consent,
    )
    study = session.get_one(Study, draft.study_id)
    ids = [PatientId(study.patient_id, study.patient_id_issuer)]
    later_studies.apply_prior_report(session, ids, [study.id], SIGNED_EARLIER)
    return review_id


def reject(session: Session, draft_id: uuid.UUID, reader: str, note: str) -> uuid.UUID:
    """Record that a reader rejected a draft, and why.

    A draft that is superseded or held can be rejected too, for that makes no report of it.

    Returns:
        The review's id.

    Raises:
        NotFound: no such draft.
        NotAllowed: no reader, no reason, or a draft that is signed already.
    """
    if not note.strip():
        raise NotAllowed("a draft is rejected for a reason: say it")
    draft = _reviewable(session, draft_id, reader)
    return _keep(session, draft, ReviewDecision.REJECTED, reader, note=note)


def _reviewable(session: Session, draft_id: uuid.UUID, reader: str) -> Draft:
    """The draft, not signed yet; its study is locked, so that no newer draft replaces it now."""
    if not reader.strip():
        raise NotAllowed("a draft is reviewed by somebody: say who the reader is")
    study_id = session.scalar(select(Draft.study_id).where(Draft.id == draft_id))
    if study_id is None:
        raise NotFound("no draft has that id")
    # Lock the study first, as filing an image of it and deciding a hold do.
    session.get(Study, study_id, with_for_update={"key_share": True}, populate_existing=True)
    draft = session.get_one(Draft, draft_id, with_for_update={"read": True}, populate_existing=True)
    if session.scalar(
        select(
            exists().where(Review.draft_id == draft_id, Review.decision == ReviewDecision.SIGNED)
        )
    ):
        raise NotAllowed("this draft is signed already: a report is signed once")
    return draft


def _keep(
    session: Session, draft: Draft, decision: ReviewDecision, reader: str, **columns: object
) -> uuid.UUID:
    review = Review(
        study_id=draft.study_id, draft_id=draft.id, decision=decision, reader=reader, **columns
    )
    session.add(review)
    session.flush()
    # The event holds neither the text nor the reason, for either may name the patient.
    kind = EventKind[decision.name]
    events.append_event(session, draft.study_id, kind, f"by {reader}", draft.request_id)
    return review.id
