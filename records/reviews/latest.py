"""The review of each study that counts, with its draft and images: what a corpus is made of."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, exists, func, or_, select, true
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from records.database.draft_tables import Draft, DraftRequest
from records.database.review_tables import Review
from records.database.tables import Hold, Instance, Study
from records.states import Decision, InstanceState, ReviewDecision


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


_OF_DRAFTS = (ReviewDecision.SIGNED, ReviewDecision.REJECTED)
"""Reviews that say something of a draft; what follows a signature changes no signed text."""

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
        .where(Review.study_id.in_(studies.ids), Review.decision.in_(_OF_DRAFTS))
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
