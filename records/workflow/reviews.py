"""Reviews: a reader signs a draft, as corrected, or rejects it.

A draft stays what it is, unreviewed text of a model. The report that a reader signed is a row of
its own, written once; only the consent to train on it can change.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, exists, func, or_, select, true
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from records.database.draft_tables import Draft, DraftRequest
from records.database.review_tables import Review
from records.database.tables import Hold, Instance, Study
from records.errors import NotAllowed, NotFound
from records.settings import settings
from records.states import WARNING, Decision, EventKind, InstanceState, ReviewDecision
from records.workflow import events, later_studies, showing
from records.workflow.identifiers import PatientId


@dataclass(frozen=True, slots=True)
class ReviewedImage:
    """An image that a draft was made from.

    Attributes:
        instance_id: our own id of the instance; None where the records no longer have it.
        blob: the key of its bytes; "" where the records no longer have it.
        position: frontal, lateral or unknown, as the draft took it.
    """

    instance_id: uuid.UUID | None
    blob: str
    position: str


@dataclass(frozen=True, slots=True)
class LatestReview:
    """The review that counts for one study: the latest signed report, else the latest rejection.

    Texts are as they were signed and sent. They and the patient's fields name a patient.

    Attributes:
        consent: whether the report may be trained on.
        held: a hold of the study is open, or was decided with CANCEL after the signature.
        images: those that the draft was made from, in its order.
    """

    study_id: uuid.UUID
    decision: ReviewDecision
    consent: bool
    held: bool
    findings: str
    impression: str
    indication: str
    indication_source: str
    procedure: str
    prior_report: str
    images: tuple[ReviewedImage, ...]
    patient_id: str  # (0010,0020)
    patient_name: str  # (0010,0010)
    birth_date: str  # (0010,0030), as sent
    accession_number: str  # (0008,0050)
    study_date: str  # (0008,0020), as sent


@dataclass(frozen=True, slots=True)
class StudyIds:
    """The studies that are looked at for a page, and where the next page begins."""

    ids: Sequence[uuid.UUID]
    next_after: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """A page of reviews.

    Attributes:
        reviews: those of the studies that were looked at; there may be none.
        next_after: the last study that was looked at; None where no page follows.
    """

    reviews: Sequence[LatestReview]
    next_after: uuid.UUID | None


SIGNED_EARLIER = "a report of an earlier study was signed"
"""Why later studies of the patient are prepared again."""

_PROVENANCE = DraftRequest.provenance

READ_FROM_DRAFT = (
    Draft.indication,
    Draft.indication_source,
    func.coalesce(_PROVENANCE["procedure"].astext, "").label("procedure"),
    func.coalesce(_PROVENANCE["prior_report"].astext, "").label("prior_report"),
    Study.patient_id,
    Study.patient_name,
    Study.patient_birth_date.label("birth_date"),
    Study.accession_number,
    Study.study_date,
    Draft.views,
)
"""The columns of a `LatestReview` that a draft, its request and its study give."""

# A request that was prepared again has the provenance of other inputs than the draft's.
WITH_PROVENANCE = (DraftRequest.id == Draft.request_id) & (
    DraftRequest.inputs_digest == Draft.inputs_digest
)


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


def set_consent(session: Session, review_id: uuid.UUID, consent: bool, by: str) -> None:
    """Change whether a signed report may be trained on; what was trained before is not undone.

    Raises:
        NotFound: no such review.
        NotAllowed: `by` is blank, or the review is a rejection.
    """
    if not by.strip():
        raise NotAllowed("consent is given or withdrawn by somebody: say by whom")
    review = session.get(Review, review_id, with_for_update=True, populate_existing=True)
    if review is None:
        raise NotFound("no review has that id")
    if review.decision != ReviewDecision.SIGNED:
        raise NotAllowed("a rejected draft has no report that could be trained on")
    if review.training_consent != consent:
        review.training_consent = consent
        session.flush()
        change = "given" if consent else "withdrawn"
        events.append_event(
            session, review.study_id, EventKind.CONSENT, f"to train: {change} by {by}"
        )


def list_by_study(session: Session, study_id: uuid.UUID) -> Sequence[Review]:
    """The study's reviews, newest first."""
    return session.scalars(
        select(Review)
        .where(Review.study_id == study_id)
        .order_by(Review.decided_at.desc(), Review.id.desc())
    ).all()


def find_signed(session: Session, study_id: uuid.UUID) -> Review | None:
    """The study's latest signed report; None where there is none."""
    return session.scalar(
        select(Review)
        .where(Review.study_id == study_id, Review.decision == ReviewDecision.SIGNED)
        .order_by(Review.decided_at.desc(), Review.id.desc())
        .limit(1)
    )


def list_signed_studies(session: Session, study_ids: Collection[uuid.UUID]) -> Sequence[Study]:
    """Those of these studies of which a report is signed."""
    if not study_ids:
        return []
    is_signed = exists().where(
        Review.study_id == Study.id, Review.decision == ReviewDecision.SIGNED
    )
    return session.scalars(
        select(Study).where(Study.id.in_(study_ids), is_signed).order_by(Study.id)
    ).all()


def latest_reviews(
    session: Session,
    after: uuid.UUID | None = None,
    limit: int = 500,
    *,
    consented: bool = False,
) -> ReviewPage:
    """One page of the reviews that count, one a study, by the study's id.

    This gives pages and not a cursor, because whoever trains on the rows takes hours, and a
    transaction that is open so long keeps the database from clearing up.

    Args:
        session: the caller's transaction.
        after: `next_after` of the page before; None begins at the first study.
        limit: studies that are looked at for the page. Fewer may be on it.
        consented: give only what may be trained on. A signature without consent hides an older one
            that had it, because a text that was corrected later is not trained on.
    """
    studies = list_distinct_studies(session, Review.study_id, after, limit)
    latest = (
        select(Review)
        .where(Review.study_id.in_(studies.ids))
        .ext(distinct_on(Review.study_id))
        .order_by(
            Review.study_id,
            (Review.decision == ReviewDecision.SIGNED).desc(),
            Review.decided_at.desc(),
            Review.id.desc(),
        )
        .subquery()
    )
    last = aliased(Review, latest)
    held = exists().where(
        Hold.study_id == last.study_id,
        or_(
            Hold.decision.is_(None),
            (Hold.decision == Decision.CANCEL) & (Hold.decided_at > last.decided_at),
        ),
    )
    query = (
        select(
            last.study_id,
            last.decision,
            last.training_consent.label("consent"),
            held.label("held"),
            last.findings,
            last.impression,
            *READ_FROM_DRAFT,
        )
        .join(Study, Study.id == last.study_id)
        .join(Draft, Draft.id == last.draft_id)
        .outerjoin(DraftRequest, WITH_PROVENANCE)
        .where(last.training_consent & ~held if consented else true())
        .order_by(last.study_id)
    )
    return read_page(session, query, studies)


def list_distinct_studies(
    session: Session,
    column: InstrumentedAttribute[uuid.UUID],
    after: uuid.UUID | None,
    limit: int,
) -> StudyIds:
    """The next studies that a column with an index names, each once, by their ids.

    A page that ends after so many studies costs the same whether all or none of them count.
    """
    ids = session.scalars(
        select(column)
        .where(true() if after is None else column > after)
        .distinct()
        .order_by(column)
        .limit(limit)
    ).all()
    return StudyIds(ids, next_after=ids[-1] if len(ids) == limit else None)


def read_page(session: Session, query: Select[Any], studies: StudyIds) -> ReviewPage:
    """The reviews that a query of `LatestReview`'s columns finds among some studies."""
    rows = [dict(row) for row in session.execute(query).mappings()]
    images = _kept_images(session, [row["study_id"] for row in rows])
    return ReviewPage([_to_latest_review(row, images) for row in rows], studies.next_after)


def _reviewable(session: Session, draft_id: uuid.UUID, reader: str) -> Draft:
    """The draft, not signed yet; its study is locked, so that no newer draft replaces it now."""
    if not reader.strip():
        raise NotAllowed("a draft is reviewed by somebody: say who the reader is")
    study_id = session.scalar(select(Draft.study_id).where(Draft.id == draft_id))
    if study_id is None:
        raise NotFound("no draft has that id")
    showing.refuse_withheld(session, draft_id)
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


def _kept_images(
    session: Session, study_ids: Sequence[uuid.UUID]
) -> dict[tuple[uuid.UUID, str], tuple[uuid.UUID, str]]:
    """(study, SOP instance UID) -> (our own id, blob) of the images that are kept."""
    rows = session.execute(
        select(Instance.study_id, Instance.sop_instance_uid, Instance.id, Instance.blob).where(
            Instance.study_id.in_(study_ids), Instance.state == InstanceState.KEPT
        )
    )
    return {(study_id, uid): (instance_id, blob) for study_id, uid, instance_id, blob in rows}


def _to_latest_review(
    row: dict[str, Any], stored_images: dict[tuple[uuid.UUID, str], tuple[uuid.UUID, str]]
) -> LatestReview:
    """The review of a row that has its fields, and the views of its draft in place of images."""
    images = []
    for view in row.pop("views"):
        instance_id, blob = stored_images.get(
            (row["study_id"], view["sop_instance_uid"]), (None, "")
        )
        images.append(ReviewedImage(instance_id, blob, view["position"]))
    return LatestReview(
        **row | {"decision": ReviewDecision(row["decision"]), "images": tuple(images)}
    )
