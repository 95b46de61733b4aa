"""Recall: every draft of a bundle, with who signed it, and where it went."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.draft_tables import Draft
from records.database.review_tables import Review
from records.database.session import unit_of_work
from records.database.site_tables import Site
from records.database.tables import Study
from records.errors import NotAllowed
from records.states import DraftUse, ReviewDecision
from records.workflow.site_scope import is_of_site


@dataclass(frozen=True, slots=True)
class RecalledDraft:
    """A draft of a bundle.

    Attributes:
        draft_id, purpose, created_at, superseded_at: of the draft.
        study: its study.
        site_code: the code of the study's site.
        reviews: what readers made of it, oldest first: signed reports and rejections.
    """

    draft_id: uuid.UUID
    purpose: str
    created_at: object
    superseded_at: object
    study: Study
    site_code: str
    reviews: Sequence[Review]

    @property
    def signed(self) -> Review | None:
        """The signed report of its study; None where there is none."""
        return next((one for one in self.reviews if one.decision == ReviewDecision.SIGNED), None)

    @property
    def is_in_report(self) -> bool:
        """Whether the signed report can have something of the draft, which was shown before it."""
        return self.signed is not None and self.signed.draft_use != DraftUse.WITHOUT_DRAFT


@dataclass(frozen=True, slots=True)
class RecallPage:
    """Some drafts of a bundle, newest first; `next` is the mark of the next page."""

    drafts: Sequence[RecalledDraft]
    next: str | None


def read_page(
    session: Session, digest: str, *, after: str | None = None, limit: int = 50
) -> RecallPage:
    """A page of the drafts of a bundle at the sites that are shown, newest first.

    Args:
        session: the caller's transaction.
        digest: the bundle's whole digest.
        after: the `next` of the page before.
        limit: drafts on the page, at most.

    Raises:
        NotAllowed: `after` is not a mark that this function gave.
    """
    query = (
        select(Draft.id, Draft.purpose, Draft.created_at, Draft.superseded_at, Study, Site.code)
        .join(Study, Study.id == Draft.study_id)
        .join(Site, Site.id == Study.site_id)
        .where(Draft.bundle_digest == digest, is_of_site(Study.site_id))
    )
    if after is not None:
        try:
            query = query.where(Draft.id < uuid.UUID(after))
        except ValueError:
            raise NotAllowed("`after` is not the mark of a page") from None
    rows = session.execute(query.order_by(Draft.id.desc()).limit(limit + 1)).all()
    shown = rows[:limit]
    reviews: dict[uuid.UUID, list[Review]] = {}
    for review in session.scalars(
        select(Review)
        .where(Review.draft_id.in_([row[0] for row in shown]))
        .order_by(Review.decided_at, Review.id)
    ):
        reviews.setdefault(review.draft_id, []).append(review)
    note_look(study_ids=[row[4].id for row in shown])
    return RecallPage(
        [RecalledDraft(*row, reviews.get(row[0], [])) for row in shown],
        str(shown[-1][0]) if len(rows) > limit else None,
    )


def walk(digest: str, at_once: int = 1000) -> Iterator[Sequence[RecalledDraft]]:
    """All drafts of a bundle, a part at a time, each in a transaction of its own."""
    after = None
    while True:
        with unit_of_work() as session:
            page = read_page(session, digest, after=after, limit=at_once)
        if page.drafts:
            yield page.drafts
        if page.next is None:
            return
        after = page.next
