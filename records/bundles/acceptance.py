"""Acceptance: how a bundle's drafts compare with the signed reports of one site."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from records.database.draft_tables import Draft
from records.database.report_tables import FinalComparison
from records.database.review_tables import Review
from records.database.tables import Study
from records.states import DraftUse, ReviewDecision

NEWEST = 2_000
"""So many of the newest drafts of the bundle at the site are looked at."""

ENOUGH = 50
"""With fewer signed studies the figures say little, and the proposal says so."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The figures of an acceptance run, as a proposal keeps them.

    Attributes:
        drafts: drafts of the bundle at the site that were looked at.
        signed: those of them with a report that was signed, here or elsewhere.
        unchanged: of those signed here, how many were signed as the model wrote them. The words of
            a house style are no change.
        signed_here: how many were signed here, without those that were not made of the draft.
        rejected: how many a reader rejected.
        compared: how many were compared with a final report from elsewhere.
        changed_share: of those, the characters to change as a share of those of the longer texts;
            None where nothing was compared.
        agreeing_share: of those, the share of observations of which both say the same; None where
            nothing was compared.
        is_enough: whether at least `ENOUGH` of them are signed.
    """

    drafts: int
    signed: int
    unchanged: int
    signed_here: int
    rejected: int
    compared: int
    changed_share: float | None
    agreeing_share: float | None
    is_enough: bool


def measure(session: Session, site_id: uuid.UUID, digest: str) -> Acceptance:
    """Compare a bundle's newest drafts at a site with what was signed.

    Drafts of comparison campaigns count: so a bundle is tried on a site's studies before its drafts
    are shown there.
    """
    newest = (
        select(Draft.id)
        .join(Study, Study.id == Draft.study_id)
        .where(Draft.bundle_digest == digest, Study.site_id == site_id)
        .order_by(Draft.id.desc())
        .limit(NEWEST)
    )
    ids = session.scalars(newest).all()
    if not ids:
        return Acceptance(0, 0, 0, 0, 0, 0, None, None, is_enough=False)
    rows = session.execute(
        select(
            Review.draft_id,
            Review.decision,
            or_(
                and_(Review.findings == Draft.findings, Review.impression == Draft.impression),
                and_(
                    Review.style_id.is_not(None),
                    Review.distances["findings"][0].as_integer() == 0,
                    Review.distances["impression"][0].as_integer() == 0,
                ),
            ),
            Review.draft_use,
        )
        .join(Draft, Draft.id == Review.draft_id)
        .where(Review.draft_id.in_(ids))
    ).all()
    reports = [row for row in rows if row[1] == ReviewDecision.SIGNED]
    signed_here = {row[0]: bool(row[2]) for row in reports if row[3] == DraftUse.FROM_DRAFT}
    rejected = {row[0] for row in rows if row[1] == ReviewDecision.REJECTED}
    compared: set[uuid.UUID] = set()
    changes: Counter[str] = Counter()
    for draft_id, distances, observations in session.execute(
        select(
            FinalComparison.draft_id, FinalComparison.distances, FinalComparison.observations
        ).where(
            FinalComparison.draft_id.in_(ids),
            FinalComparison.distances.is_not(None),
            ~FinalComparison.distances.has_key("error"),
        )
    ):
        compared.add(draft_id)
        for changed, longest in distances.values():
            changes["changed"] += changed
            changes["longest"] += longest
        for one, other in (observations or {}).values():
            changes["observations"] += 1
            changes["agreeing"] += one == other
    signed = len({row[0] for row in reports} | compared)
    return Acceptance(
        drafts=len(ids),
        signed=signed,
        unchanged=sum(signed_here.values()),
        signed_here=len(signed_here),
        rejected=len(rejected),
        compared=len(compared),
        changed_share=_share(changes["changed"], changes["longest"]),
        agreeing_share=_share(changes["agreeing"], changes["observations"]),
        is_enough=signed >= ENOUGH,
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
