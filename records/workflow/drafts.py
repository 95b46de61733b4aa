"""Drafts: saved once, superseded by newer ones, never changed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.bundle_tables import Bundle
from records.database.draft_tables import Draft
from records.errors import NightdraftError
from records.states import WARNING, EndReason, EventKind, Purpose
from records.workflow import events, leases, requests
from records.workflow.leases import Lease


@dataclass(frozen=True, slots=True)
class NewDraft:
    """What the model wrote and what it was made from; `text` is without the warning line.

    Attributes:
        sentences: how sure the model was of the words of each sentence; None where not known.
        finding_scores: the image model's probability by observation; None where it has no finding
            head.
        indications: every text that could have been the indication, best first; None where the
            draft knows none.
        support: what these scores say of the draft's sentences; None like `finding_scores`.
        prior_report: the prior report in the prompt, word for word, and what it is; None where the
            prompt holds none.
    """

    text: str
    findings: str
    impression: str
    model_name: str
    model_version: str
    bundle_digest: str
    settings_digest: str
    inputs_digest: str
    notice: str
    prompt: str
    indication: str
    indication_source: str
    views: list[dict[str, Any]]
    left_out: list[dict[str, Any]]
    notes: list[str]
    timings: dict[str, float]
    tokens: list[str]
    token_logprobs: list[float]
    cut: bool
    device: str
    dtype: str
    indications: list[dict[str, Any]] | None = None
    sentences: list[dict[str, Any]] | None = None
    finding_scores: dict[str, float] | None = None
    support: dict[str, Any] | None = None
    prior_report: dict[str, Any] | None = None


def save(session: Session, lease: Lease, new: NewDraft) -> uuid.UUID | None:
    """Save one draft and end its request.

    Where a draft of the same study, inputs, bundle and settings exists already, it is kept and the
    request gets that one.

    Returns:
        The draft's id; None where the lease is lost.
    """
    if not leases.lock_if_held(session, lease):
        return None
    draft_id = find_draft(session, lease, new.inputs_digest, new.bundle_digest, new.settings_digest)
    if lease.purpose is Purpose.PRIMARY:
        # This draft is now the current one. The older ones are kept and not shown.
        current = update(Draft).where(
            Draft.study_id == lease.study_id, Draft.purpose == Purpose.PRIMARY
        )
        session.execute(
            current.where(
                Draft.superseded_at.is_(None), Draft.id.is_distinct_from(draft_id)
            ).values(superseded_at=func.clock_timestamp())
        )
        if draft_id is not None:
            session.execute(current.where(Draft.id == draft_id).values(superseded_at=None))
    if draft_id is None:
        fields = asdict(new)
        session.execute(
            insert(Bundle)
            .values(digest=new.bundle_digest, name=new.model_name, version=new.model_version)
            .on_conflict_do_nothing()
        )
        fields["text"] = f"{WARNING}\n\n{new.text}"
        draft_id = session.scalar(
            insert(Draft)
            .values(
                study_id=lease.study_id,
                request_id=lease.request_id,
                revision=lease.revision,
                purpose=lease.purpose,
                **fields,
            )
            .returning(Draft.id)
        )
    if draft_id is None:
        raise NightdraftError("the database kept no draft and gave no reason")
    requests.mark_drafted(session, lease, draft_id)
    return draft_id


def withdraw(session: Session, study_id: uuid.UUID, detail: str, reason: EndReason) -> None:
    """Make the study's current draft an older one, with a line on the timeline.

    All drafts are kept. Where there is no current draft, nothing happens.
    """
    withdrawn = session.execute(
        update(Draft)
        .where(
            Draft.study_id == study_id,
            Draft.purpose == Purpose.PRIMARY,
            Draft.superseded_at.is_(None),
        )
        .values(superseded_at=func.clock_timestamp())
        .returning(Draft.request_id)
    ).scalars()
    events.append_events(
        session,
        EventKind.WITHDRAWN,
        [(study_id, request_id, detail) for request_id in withdrawn],
        reason=reason,
    )


def find_draft(
    session: Session, lease: Lease, inputs_digest: str, bundle_digest: str, settings_digest: str
) -> uuid.UUID | None:
    """The draft that was made before of exactly these digests; None where there is none."""
    return session.scalar(
        select(Draft.id).where(
            Draft.study_id == lease.study_id,
            Draft.inputs_digest == inputs_digest,
            Draft.bundle_digest == bundle_digest,
            Draft.settings_digest == settings_digest,
            Draft.purpose == lease.purpose,
        )
    )


def list_by_study(session: Session, study_id: uuid.UUID) -> Sequence[Draft]:
    """The study's drafts, newest first; the current primary one has no superseded_at."""
    return session.scalars(
        select(Draft).where(Draft.study_id == study_id).order_by(Draft.created_at.desc())
    ).all()
