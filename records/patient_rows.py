"""The rows of a patient: which they are, and how another patient is written into them.

Orders are locked first, then reports, then studies, each by their id, as receiving does.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from records.database.draft_tables import DraftRequest
from records.database.order_tables import Order, OrderKey
from records.database.report_tables import ReceivedReport, ReportKey
from records.database.tables import Instance, Study
from records.orders import effects, matching
from records.orders.receiving import note_change, write_keys
from records.reports import receiving as report_receiving
from records.reviews import lookup
from records.states import (
    ChangeOrigin,
    EndReason,
    EventKind,
    InstanceState,
    OrderChangeKind,
    Origin,
    RequestState,
)
from records.workflow import corrections, events, later_studies, withdrawals
from records.workflow.identifiers import PatientId, patient_ids
from records.workflow.site_scope import is_visible
from records.workflow.study_lookup import find_study_ids
from records.workflow.withdrawals import lock_study

_ASIDE = (InstanceState.MISMATCH, InstanceState.CONFLICT, InstanceState.UNCOMPARED)

Values = dict[str, Any]
"""A patient by column of `studies`, `orders` and `received_reports`."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a change came from: an interface or a person, who sent it, the row of its message."""

    origin: Origin | ChangeOrigin
    sender: str
    message_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class PatientChange:
    """How many orders, received reports and studies have another patient now."""

    orders: int
    reports: int
    studies: int


@dataclass(slots=True)
class ChangedRows:
    """The older values of what was changed, by table and our id."""

    orders: dict[uuid.UUID, Values] = field(default_factory=dict)
    reports: dict[uuid.UUID, Values] = field(default_factory=dict)
    studies: dict[uuid.UUID, Values] = field(default_factory=dict)

    def count(self) -> PatientChange:
        """How many rows were changed."""
        return PatientChange(len(self.orders), len(self.reports), len(self.studies))

    def as_json(self) -> dict[str, dict[str, Values]]:
        """The older values, as an alias keeps them."""
        return {
            table: {str(id_): old for id_, old in rows.items()}
            for table, rows in (
                ("orders", self.orders),
                ("reports", self.reports),
                ("studies", self.studies),
            )
        }


def write_patient(
    session: Session,
    source: Source,
    orders: Sequence[Order],
    reports: Sequence[ReceivedReport],
    study_ids: Sequence[uuid.UUID],
    values_for: Callable[[Any], Values],
    kind: OrderChangeKind,
    old_ids: Sequence[PatientId] = (),
) -> ChangedRows:
    """Write a patient into rows that have another one, and let orders and reports take effect anew.

    Args:
        session: the caller's transaction.
        source: where the change came from.
        orders: the orders, locked.
        reports: the reports, locked.
        study_ids: the studies that are changed, too.
        values_for: the new values of a row; empty where it stays.
        kind: what happens to the patient.
        old_ids: ids that are no further ids of a row that gets another id.
    """
    changed = ChangedRows()
    for order in orders:
        old = _change_order(session, source, order, values_for(order), kind, old_ids)
        if old:
            changed.orders[order.id] = old
    for report in reports:
        if old := _set(report, values_for(report), old_ids):
            changed.reports[report.id] = old
            session.flush()
            report_receiving.write_keys(session, report)
    affected = {*study_ids}
    for order in orders:
        if order.id in changed.orders:
            affected |= set(matching.find_studies(session, order))
    for study_id in sorted(affected):
        study = lock_study(session, study_id)
        values = values_for(study) if study_id in study_ids else {}
        if kind is OrderChangeKind.MOVED and values:
            values = _leave_drafted(session, study, values)
        old = {name: getattr(study, name) for name in values if name != "other_patient_ids"}
        for name in old:
            if not values[name]:  # what is blank is shown as blank only here
                setattr(study, name, "")
        corrections.update_shown(session, study, values, source.sender, origin=source.origin)
        if any(getattr(study, name) != value for name, value in old.items()):
            changed.studies[study_id] = old
            # A separation is a person's decision; what else there is comes by an interface.
            by = source.sender if kind is OrderChangeKind.PATIENT_SEPARATED else source.origin
            detail = f"{kind.lower().replace('_', ' ')} by {by}"
            events.append_event(session, study.id, EventKind.PATIENT_CHANGED, detail)
        _change_aside(session, study, values_for)
        effects.match_and_apply(session, study)
    if kind is not OrderChangeKind.PATIENT_CORRECTED:
        for report in reports:
            if report.id in changed.reports:
                numbers, uid = report.accession_numbers, report.study_instance_uid
                own = set(find_study_ids(session, numbers, [uid]))
                later_studies.apply_prior_report(
                    session, patient_ids(report), own, report_receiving.PRIOR_CAME
                )
        for study in lookup.list_signed_studies(session, changed.studies):
            given = PatientId(study.patient_id, study.patient_id_issuer)
            later_studies.apply_prior_report(
                session, [given], [study.id], report_receiving.PRIOR_CAME
            )
    return changed


def _leave_drafted(session: Session, study: Study, values: Values) -> Values:
    """What a moved visit changes of a study: nothing where a report of it is signed."""
    if withdrawals.has_signed_report(session, study.id):
        return {}
    state = session.scalar(select(DraftRequest.state).where(DraftRequest.id == study.request_id))
    if state in (RequestState.PREPARED, RequestState.DRAFTED):
        withdrawals.start_anew(
            session, study, EndReason.CORRECTED, "the visit belongs to another patient"
        )
    return values


def _change_order(
    session: Session,
    source: Source,
    order: Order,
    values: Values,
    kind: OrderChangeKind,
    old_ids: Sequence[PatientId],
) -> Values:
    old = _set(order, values, old_ids)
    if old:
        order.version += 1
        order.changed_at = func.clock_timestamp()
        session.flush()
        session.refresh(order)
        write_keys(session, [order])
        new = {name: getattr(order, name) for name in old}
        note_change(session, order, kind, source.origin, source.sender, source.message_id, old, new)
    return old


def _set(row: Any, values: Values, old_ids: Sequence[PatientId]) -> Values:
    """Set a row's patient; returns the older values of what changed."""
    values = dict(values)
    if "patient_id" in values and "other_patient_ids" not in values:
        values["other_patient_ids"] = [
            other
            for other in row.other_patient_ids
            if all(PatientId(other["id"], other["issuer"]).contradicts(old) for old in old_ids)
        ]
    old = {name: getattr(row, name) for name in values if getattr(row, name) != values[name]}
    for name in old:
        setattr(row, name, values[name])
    return old


def _change_aside(session: Session, study: Study, values_for: Callable[[Any], Values]) -> None:
    """Change the patient of the objects that are kept aside in a study."""
    for film in session.scalars(
        select(Instance).where(Instance.study_id == study.id, Instance.state.in_(_ASIDE))
    ):
        if film.sent and (values := values_for(_Sent(film.sent))):
            film.sent = {**film.sent, **values}
    session.flush()


class _Sent:
    """The patient of an object that is kept aside, by the names of a row's columns."""

    other_patient_ids: Sequence[dict[str, str]] = ()

    def __init__(self, sent: dict[str, Any]) -> None:
        self.patient_id = sent.get("patient_id", "")
        self.patient_id_issuer = sent.get("patient_id_issuer", "")


def locked_orders(session: Session, keys: Collection[tuple[str, str]]) -> list[Order]:
    """The orders with one of these keys, locked in the sequence in which `receive_orders` does."""
    if not keys:
        return []
    by_key = select(OrderKey.order_id).where(
        or_(*(and_(OrderKey.kind == kind, OrderKey.value == value) for kind, value in keys))
    )
    return list(
        session.scalars(
            select(Order)
            .where(Order.id.in_(by_key), is_visible(Order.site_id))
            .order_by(Order.identity)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    )


def locked_reports(session: Session, keys: Collection[tuple[str, str]]) -> list[ReceivedReport]:
    """The newest reports with one of these keys, locked in the sequence of their identities."""
    if not keys:
        return []
    by_key = select(ReportKey.report_id).where(
        or_(*(and_(ReportKey.kind == kind, ReportKey.value == value) for kind, value in keys))
    )
    return list(
        session.scalars(
            select(ReceivedReport)
            .where(ReceivedReport.id.in_(by_key), is_visible(ReceivedReport.site_id))
            .order_by(ReceivedReport.identity, ReceivedReport.id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    )


def is_theirs(row: Any, ids: Sequence[PatientId]) -> bool:
    """Whether the patient of a row has one of these ids."""
    if isinstance(row, Study):
        given = [PatientId(row.patient_id, row.patient_id_issuer)]
    else:
        given = patient_ids(row)
    return any(not own.contradicts(other) for own in given for other in ids)
