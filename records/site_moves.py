"""A person moves a study to another site: what belongs to it follows.

Its drafts, reviews, holds, discrepancies and comparisons are its own and follow by themselves, as
do its place in the worklist and the kept numbers. Its orders and reports are rows with sites of
their own.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session, aliased

from records.database.fhir_tables import FhirResource
from records.database.order_tables import Order, StudyOrder
from records.database.report_tables import ReceivedReport
from records.database.site_tables import Site
from records.database.tables import Study
from records.errors import NotAllowed, NotFound
from records.orders import effects, matching
from records.orders.receiving import note_change
from records.patient_rows import locked_reports
from records.reports.reading import list_by_study
from records.states import ChangeOrigin, MatchState, OrderChangeKind, SiteBasis
from records.workflow import sites, study_sites
from records.workflow.site_scope import shows
from records.workflow.study_lookup import study_keys
from records.workflow.withdrawals import lock_study


@dataclass(frozen=True, slots=True)
class MovedStudy:
    """What a move changed.

    Attributes:
        study_instance_uid: (0020,000D).
        id: our id of the study.
        from_site, to_site: codes of the sites.
        orders, reports: how many followed; of a report each version counts.
    """

    study_instance_uid: str
    id: uuid.UUID
    from_site: str
    to_site: str
    orders: int
    reports: int


def list_targets(session: Session, study_id: uuid.UUID) -> list[Site]:
    """The sites to which who asks may move a study: those that he or she sees, but its own."""
    own = session.get_one(Study, study_id).site_id
    return [site for site in sites.list_all(session) if site.id != own and shows(site.id)]


def move_study(
    session: Session, study_id: uuid.UUID, code: str, by: str, because: str
) -> MovedStudy:
    """Move a study to another site; only who sees both sites may.

    An order follows where it counts for no study of a third site; else it stays, and still counts
    for this study, as a person has just decided.

    Args:
        session: the caller's transaction, which has locked nothing.
        study_id: the study.
        code: the site that it is to belong to.
        by: who moves it.
        because: why; the timeline keeps it.

    Raises:
        NotFound: who asks sees no such study, or no such site.
        NotAllowed: no name, no reason, or it belongs there already.
    """
    by, because = by.strip(), because.strip()
    if not by or not because:
        raise NotAllowed("a study is moved by somebody and for a reason: say both")
    site = sites.get(session, code)
    study = session.get(Study, study_id)
    if study is None or not shows(study.site_id):
        raise NotFound("no study has that id")
    if not shows(site.id):
        raise NotFound(f"you see no site {code!r}")
    # As in every transaction: orders, then reports, then the study.
    orders = session.scalars(
        select(Order)
        .join(StudyOrder, StudyOrder.order_id == Order.id)
        .where(StudyOrder.study_id == study_id, StudyOrder.state.in_(matching.COUNTING))
        .order_by(Order.identity)
        .with_for_update(of=Order, key_share=True)
    ).all()
    locked_reports(session, sorted(study_keys(study)))
    study = lock_study(session, study_id)
    old = session.get_one(Site, study.site_id)
    if old.id == site.id:
        raise NotAllowed(f"the study belongs to site {code} already")
    reports = [report for report in list_by_study(session, study) if report.site_id != site.id]
    moved = [
        order for order in orders if order.site_id != site.id and not _stays(session, study, order)
    ]
    stay = [order.id for order in orders if order.site_id != site.id and order not in moved]
    for order in moved:
        before = {"site_id": order.site_id}
        order.site_id = site.id
        note_change(
            session,
            order,
            OrderChangeKind.CHANGED,
            ChangeOrigin.PERSON,
            by,
            None,
            before,
            {"site_id": site.id},
        )
    session.execute(
        update(FhirResource)
        .where(FhirResource.order_id.in_([order.id for order in moved]))
        .values(site_id=site.id)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(StudyOrder)
        .where(StudyOrder.study_id == study.id, StudyOrder.order_id.in_(stay))
        .values(state=MatchState.ACCEPTED, decided_by=by, matched_at=func.clock_timestamp())
        .execution_options(synchronize_session=False)
    )
    versions = session.scalars(
        update(ReceivedReport)
        .where(ReceivedReport.identity.in_([report.identity for report in reports]))
        .values(site_id=site.id)
        .returning(ReceivedReport.id)
        .execution_options(synchronize_session=False)
    ).all()
    study_sites.move(
        session, study, site.id, SiteBasis.PERSON, f"moved from {old.code} by {by}: {because}"
    )
    session.expire_all()
    # An order of the new site with its numbers may be its own now.
    effects.match_and_apply(session, study)
    return MovedStudy(
        study.study_instance_uid, study.id, old.code, site.code, len(moved), len(versions)
    )


def _stays(session: Session, study: Study, order: Order) -> bool:
    """Whether an order counts for another study that stays at the order's site."""
    other = aliased(StudyOrder)
    return bool(
        session.scalar(
            select(
                exists().where(
                    other.order_id == order.id,
                    other.study_id != study.id,
                    other.state.in_(matching.COUNTING),
                    Study.id == other.study_id,
                    Study.site_id == order.site_id,
                )
            )
        )
    )
