"""Whether a draft may be shown: the one rule, which every query of drafts for people asks.

It reads rows each time, so that a stop holds from the second on in which it is committed.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection

from sqlalchemy import ColumnElement, SQLColumnExpression, String, case, exists, null, select
from sqlalchemy.orm import Session

from records.database.bundle_tables import BundleStop, ModeProposal
from records.database.draft_tables import Draft
from records.database.site_tables import Site
from records.database.tables import Study
from records.errors import NotAllowed
from records.states import WITHHELD_SENTENCES, ProposalState, SiteMode, Withheld


def why_withheld(
    bundle_digest: SQLColumnExpression[str], site_id: SQLColumnExpression[uuid.UUID]
) -> ColumnElement[str | None]:
    """Why a draft is shown to nobody, for a query that has these columns; NULL where it is shown.

    Args:
        bundle_digest: the digest of the draft's bundle.
        site_id: the site of the draft's study.
    """
    stopped = exists().where(
        BundleStop.bundle_digest == bundle_digest, BundleStop.lifted_at.is_(None)
    )
    mode = select(Site.mode).where(Site.id == site_id).scalar_subquery()
    agreed = exists().where(
        ModeProposal.site_id == site_id,
        ModeProposal.bundle_digest == bundle_digest,
        ModeProposal.state == ProposalState.IN_FORCE,
        ModeProposal.mode == SiteMode.CLINICAL,
    )
    return case(
        (stopped, Withheld.STOPPED.value),
        (mode == SiteMode.SHADOW, Withheld.SHADOW.value),
        ((mode == SiteMode.CLINICAL) & ~agreed, Withheld.NOT_AGREED.value),
        else_=null(),
    ).cast(String)


def find_withheld(session: Session, draft_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Withheld]:
    """Those of these drafts that are shown to nobody, each with why."""
    if not draft_ids:
        return {}
    why = why_withheld(Draft.bundle_digest, Study.site_id)
    rows = session.execute(
        select(Draft.id, why)
        .join(Study, Study.id == Draft.study_id)
        .where(Draft.id.in_(draft_ids), why.is_not(None))
    )
    return {draft_id: Withheld(reason) for draft_id, reason in rows if reason}


def refuse_withheld(session: Session, draft_id: uuid.UUID) -> None:
    """Refuse what is to be done with a draft that is shown to nobody.

    Raises:
        NotAllowed: the draft is shown to nobody.
    """
    withheld = find_withheld(session, [draft_id]).get(draft_id)
    if withheld is not None:
        raise NotAllowed(WITHHELD_SENTENCES[withheld].split(". ", maxsplit=1)[0].rstrip("."))
