"""To which site a study belongs: what says so, and what follows where two say different sites.

A site is known where something says it: the calling AE title, the sender of an order or a report,
the campaign, or a person. The first site is also that of everything of which nothing is known. What
is known gives its site to what is not: an order to its study, and a study to its order.
"""

from __future__ import annotations

import uuid

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from records.database.order_tables import Order
from records.database.report_tables import ReceivedReport
from records.database.site_tables import DEFAULT_SITE_ID, Site
from records.database.tables import Study
from records.states import EventKind, SiteBasis
from records.workflow import events


def is_known(study: Study) -> bool:
    """Whether anything says to which site a study belongs."""
    return study.site_id != DEFAULT_SITE_ID or study.site_basis == SiteBasis.PERSON


def are_of_two_sites(study: Study, site_id: uuid.UUID) -> bool:
    """Whether a study and an order or a report are known to belong to different sites.

    Args:
        study: the study.
        site_id: the site of the order or the report.
    """
    return is_known(study) and site_id not in (study.site_id, DEFAULT_SITE_ID)


def move(session: Session, study: Study, site_id: uuid.UUID, basis: SiteBasis, detail: str) -> None:
    """Let a study belong to another site; its place in the worklist and its numbers follow.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        site_id: the site.
        basis: what says so.
        detail: the same in words; the timeline keeps them behind the site's code.
    """
    study.site_id, study.site_basis = site_id, basis
    session.flush()
    code = session.scalars(select(Site.code).where(Site.id == site_id)).one()
    events.append_event(session, study.id, EventKind.SITE, f"belongs to site {code}: {detail}")


def share_site(session: Session, study: Study, other: Order | ReceivedReport) -> bool:
    """Give the site of an order or a report to its study where nothing says that of the study.

    Where nothing says that of the order or the report, it gets the study's.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        other: an order that counts for it, or a report about it.

    Returns:
        Whether the order or the report has another site now.
    """
    is_order = isinstance(other, Order)
    if other.site_id == study.site_id or are_of_two_sites(study, other.site_id):
        return False
    if not is_known(study):
        basis = SiteBasis.ORDER if is_order else SiteBasis.REPORT
        what = "its order" if is_order else "a report about it"
        move(session, study, other.site_id, basis, f"that is the site of {what}")
        return False
    table = Order if is_order else ReceivedReport
    # Who takes an order in has locked it before the study, and shares the site after us.
    free = (
        select(table.id)
        .where(table.id == other.id)
        .with_for_update(key_share=True, skip_locked=True)
        .scalar_subquery()
    )
    changed = session.scalar(
        update(table)
        .where(table.id == free, table.site_id == DEFAULT_SITE_ID)
        .values(site_id=study.site_id)
        .returning(table.id)
        .execution_options(synchronize_session=False)
    )
    session.refresh(other, ["site_id"])
    return changed is not None
