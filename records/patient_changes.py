"""Patients that another system corrects, merges or moves: ADT^A08, A31, A18, A40, A45.

Orders, received reports, studies and what is kept aside of them move along. Older values are kept
in `order_changes` and `study_changes`. A signed report stays as it was signed; what its study shows
of the patient is corrected.

Orders are locked first, then reports, then studies, each by their id, as receiving does.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.order_tables import Order, OrderKey, PatientAlias, StudyOrder
from records.database.report_tables import ReceivedReport, ReportKey
from records.database.tables import DraftRequest, Instance, Study
from records.errors import MessageError
from records.orders import effects, matching
from records.orders.receiving import note_change, write_keys
from records.received_text import clean_line
from records.reports import effects as report_effects
from records.reports import receiving as report_receiving
from records.states import (
    EndReason,
    EventKind,
    InstanceState,
    OrderChangeKind,
    Origin,
    RequestState,
)
from records.workflow import corrections, events, withdrawals
from records.workflow.identifiers import KeyKind, PatientId, patient_ids, plain_key
from records.workflow.patients import Patient
from records.workflow.study_lookup import find_studies_of_patient, find_study_ids
from records.workflow.withdrawals import lock_study

_ASIDE = (InstanceState.MISMATCH, InstanceState.CONFLICT, InstanceState.UNCOMPARED)


@dataclass(frozen=True, slots=True)
class PatientChange:
    """How many orders, received reports and studies have another patient now."""

    orders: int
    reports: int
    studies: int


@dataclass(frozen=True, slots=True)
class _Message:
    """Where a change came from."""

    origin: Origin
    sender: str
    message_id: uuid.UUID | None


def correct_patient(
    session: Session,
    origin: Origin,
    sender: str,
    ids: Sequence[PatientId],
    patient: Patient,
    message_id: uuid.UUID | None,
) -> PatientChange:
    """Correct name, birth date and sex of a patient (ADT^A08, A31); ids stay as they are.

    What the message leaves blank stays. A film that later comes under the older name is still
    known as this patient's.

    Args:
        session: the caller's transaction.
        origin: by which interface the message came.
        sender: who sent it.
        ids: all ids of the patient in the message.
        patient: what the message says of the patient.
        message_id: the row of `received_messages` that brought it.

    Raises:
        MessageError: the message names no patient id.
    """
    known = _known(ids)
    message = _Message(origin, clean_line(sender), message_id)
    words = _words(patient)
    if words:
        session.execute(
            update(PatientAlias)
            .where(PatientAlias.surviving_id.in_([given.id for given in known]))
            .values(
                {
                    f"surviving_{name.removeprefix('patient_')}": value
                    for name, value in words.items()
                }
            )
        )
    return _change(
        session,
        message,
        _orders_of(session, known),
        _reports_of(session, known),
        find_studies_of_patient(session, known),
        lambda row: words if _is_theirs(row, known) else {},
        OrderChangeKind.PATIENT_CORRECTED,
        known,
    )


def merge_patients(
    session: Session,
    origin: Origin,
    sender: str,
    surviving: Patient,
    surviving_ids: Sequence[PatientId],
    retired_ids: Sequence[PatientId],
    message_id: uuid.UUID | None,
) -> PatientChange:
    """Give all that is of a retired patient to the surviving one (ADT^A18, A40).

    What comes later under a retired id is known as the surviving patient's. A film that was kept
    aside for the other patient's name now shows the surviving one; the hold stays open, and a
    person sees that both sides are of one patient.

    Args:
        session: the caller's transaction.
        origin: by which interface the message came.
        sender: who sent it.
        surviving: the patient that remains (PID).
        surviving_ids: all ids of that patient.
        retired_ids: the ids that are given up (MRG-1).
        message_id: the row of `received_messages` that brought it.

    Raises:
        MessageError: one of the two has no id.
    """
    survivors = _known([PatientId(surviving.patient_id, surviving.issuer), *surviving_ids])
    surviving = _cleaned(surviving)
    main = PatientId(surviving.patient_id, surviving.issuer)
    if not main.id:
        main = survivors[0]
    retired = [
        given for given in _known(retired_ids) if all(given.contradicts(own) for own in survivors)
    ]
    if not retired:
        return PatientChange(0, 0, 0)
    message = _Message(origin, clean_line(sender), message_id)
    _write_aliases(session, message, main, surviving, retired)
    values = {"patient_id": main.id, "patient_id_issuer": main.issuer}
    values |= _words(surviving)
    both = [*retired, *survivors]
    return _change(
        session,
        message,
        _orders_of(session, retired),
        _reports_of(session, retired),
        find_studies_of_patient(session, both),
        lambda row: values if _is_theirs(row, retired) else {},
        OrderChangeKind.PATIENT_MERGED,
        retired,
    )


def move_visit(
    session: Session,
    origin: Origin,
    sender: str,
    to: Patient,
    to_ids: Sequence[PatientId],
    visit_number: str,
    message_id: uuid.UUID | None,
) -> PatientChange:
    """Give the orders of a visit, and what belongs to them, to another patient (ADT^A45).

    A study of theirs that is not drafted moves along. A draft that nobody has signed is withdrawn,
    for it was made for another patient, and a new one is made. A study with a signed report does
    not move: its order no longer fits, and a hold asks a person.

    Args:
        session: the caller's transaction.
        origin: by which interface the message came.
        sender: who sent it.
        to: the patient that the visit belongs to.
        to_ids: all ids of that patient.
        visit_number: PV1-19, as orders give it.
        message_id: the row of `received_messages` that brought it.

    Raises:
        MessageError: there is no visit number, or the patient has no id.
    """
    if not visit_number.strip():
        raise MessageError("the message names no visit")
    new = _known([PatientId(to.patient_id, to.issuer), *to_ids])
    message = _Message(origin, clean_line(sender), message_id)
    values = {"patient_id": new[0].id, "patient_id_issuer": new[0].issuer}
    values |= _words(_cleaned(to))
    orders = _locked_orders(session, [(KeyKind.VISIT, plain_key(clean_line(visit_number)))])
    old = [
        given
        for order in orders
        for given in patient_ids(order)
        if all(given.contradicts(own) for own in new)
    ]
    numbers = {(KeyKind.ACCESSION, plain_key(n)) for o in orders for n in o.accession_numbers}
    studies = session.scalars(
        select(StudyOrder.study_id).where(
            StudyOrder.order_id.in_([order.id for order in orders]),
            StudyOrder.state.in_(matching.COUNTING),
        )
    )
    return _change(
        session,
        message,
        orders,
        _locked_reports(session, sorted(numbers)),
        sorted(set(studies)),
        lambda row: values if _is_theirs(row, old) else {},
        OrderChangeKind.MOVED,
        old,
    )


def _change(
    session: Session,
    message: _Message,
    orders: Sequence[Order],
    reports: Sequence[ReceivedReport],
    study_ids: Sequence[uuid.UUID],
    values_for: Callable[[Any], dict[str, str]],
    kind: OrderChangeKind,
    old_ids: Sequence[PatientId],
) -> PatientChange:
    """Write new values of the patient where rows have others, and let orders take effect anew."""
    changed_orders = [
        order
        for order in orders
        if _change_order(session, message, order, values_for(order), kind, old_ids)
    ]
    changed_reports = [report for report in reports if _set(report, values_for(report), old_ids)]
    session.flush()
    for report in changed_reports:
        report_receiving.write_keys(session, report)
    affected = {*study_ids}
    for order in changed_orders:
        affected |= set(matching.find_studies(session, order))
    changed_studies = 0
    for study_id in sorted(affected):
        study = lock_study(session, study_id)
        values = values_for(study) if study_id in study_ids else {}
        if kind is OrderChangeKind.MOVED and values:
            values = _leave_drafted(session, study, values)
        if values and corrections.update_shown(
            session, study, values, message.sender, origin=message.origin
        ):
            events.append_event(
                session, study.id, EventKind.PATIENT_CHANGED, f"{kind.lower()} by {message.origin}"
            )
            changed_studies += 1
        _change_aside(session, study, values_for)
        effects.match_and_apply(session, study)
    if kind is not OrderChangeKind.PATIENT_CORRECTED:
        for report in changed_reports:
            own = find_study_ids(session, report.accession_numbers, [report.study_instance_uid])
            report_effects.apply_to_later_studies(session, report, set(own))
    return PatientChange(len(changed_orders), len(changed_reports), changed_studies)


def _leave_drafted(session: Session, study: Study, values: dict[str, str]) -> dict[str, str]:
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
    message: _Message,
    order: Order,
    values: dict[str, str],
    kind: OrderChangeKind,
    old_ids: Sequence[PatientId],
) -> bool:
    old = {name: getattr(order, name) for name in [*values, "other_patient_ids"]}
    if not _set(order, values, old_ids):
        return False
    new = {name: getattr(order, name) for name in old if getattr(order, name) != old[name]}
    order.version += 1
    order.changed_at = func.clock_timestamp()
    session.flush()
    session.refresh(order)
    write_keys(session, order)
    note_change(
        session,
        order,
        kind,
        message.origin,
        message.sender,
        message.message_id,
        {name: old[name] for name in new},
        new,
    )
    return True


def _set(row: Any, values: dict[str, str], old_ids: Sequence[PatientId]) -> bool:
    """Set a row's patient; says whether something changed. A retired id is no further id of it."""
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    for name, value in changed.items():
        setattr(row, name, value)
    if "patient_id" in values:
        others = [
            other
            for other in row.other_patient_ids
            if all(PatientId(other["id"], other["issuer"]).contradicts(old) for old in old_ids)
        ]
        if others != row.other_patient_ids:
            row.other_patient_ids = others
            return True
    return bool(changed)


def _change_aside(
    session: Session, study: Study, values_for: Callable[[Any], dict[str, str]]
) -> None:
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


def _write_aliases(
    session: Session,
    message: _Message,
    main: PatientId,
    surviving: Patient,
    retired: Sequence[PatientId],
) -> None:
    values = {
        "surviving_id": main.id,
        "surviving_issuer": main.issuer,
        "surviving_name": surviving.name,
        "surviving_birth_date": surviving.birth_date,
        "surviving_sex": surviving.sex,
        "origin": message.origin,
        "sender": message.sender,
        "message_id": message.message_id,
    }
    # An id that was retired before and survives now is an id again.
    session.execute(
        delete(PatientAlias).where(
            PatientAlias.retired_id == plain_key(main.id),
            PatientAlias.retired_issuer == plain_key(main.issuer),
        )
    )
    for given in sorted(retired, key=lambda given: (given.id, given.issuer)):
        session.execute(
            insert(PatientAlias)
            .values(
                retired_id=plain_key(given.id), retired_issuer=plain_key(given.issuer), **values
            )
            .on_conflict_do_update(index_elements=["retired_id", "retired_issuer"], set_=values)
        )
        # What was retired for this id is now an alias of the surviving one, too.
        session.execute(
            update(PatientAlias)
            .where(
                PatientAlias.surviving_id == given.id,
                PatientAlias.surviving_issuer == given.issuer,
            )
            .values(values)
        )


def _orders_of(session: Session, ids: Sequence[PatientId]) -> list[Order]:
    orders = _locked_orders(session, [(KeyKind.PATIENT, plain_key(given.id)) for given in ids])
    return [order for order in orders if _is_theirs(order, ids)]


def _locked_orders(session: Session, keys: Collection[tuple[str, str]]) -> list[Order]:
    """The orders with one of these keys, locked in the order of their ids."""
    if not keys:
        return []
    by_key = select(OrderKey.order_id).where(
        or_(*(and_(OrderKey.kind == kind, OrderKey.value == value) for kind, value in keys))
    )
    return list(
        session.scalars(
            select(Order)
            .where(Order.id.in_(by_key))
            .order_by(Order.id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    )


def _reports_of(session: Session, ids: Sequence[PatientId]) -> list[ReceivedReport]:
    reports = _locked_reports(session, [(KeyKind.PATIENT, plain_key(given.id)) for given in ids])
    return [report for report in reports if _is_theirs(report, ids)]


def _locked_reports(session: Session, keys: Collection[tuple[str, str]]) -> list[ReceivedReport]:
    """The newest reports with one of these keys, locked in the order of their ids."""
    if not keys:
        return []
    by_key = select(ReportKey.report_id).where(
        or_(*(and_(ReportKey.kind == kind, ReportKey.value == value) for kind, value in keys))
    )
    return list(
        session.scalars(
            select(ReceivedReport)
            .where(ReceivedReport.id.in_(by_key))
            .order_by(ReceivedReport.id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    )


def _is_theirs(row: Any, ids: Sequence[PatientId]) -> bool:
    """Whether the patient of a row has one of these ids."""
    if isinstance(row, Study):
        given = [PatientId(row.patient_id, row.patient_id_issuer)]
    else:
        given = patient_ids(row)
    return any(not own.contradicts(other) for own in given for other in ids)


def _known(ids: Sequence[PatientId]) -> list[PatientId]:
    """The ids without blank ones and repetitions.

    Raises:
        MessageError: none is left.
    """
    cleaned = [PatientId(clean_line(given.id), clean_line(given.issuer)) for given in ids]
    known = list(dict.fromkeys(given for given in cleaned if given.id))
    if not known:
        raise MessageError("the message names no patient id")
    return known


def _cleaned(patient: Patient) -> Patient:
    return Patient(
        clean_line(patient.patient_id),
        clean_line(patient.issuer),
        clean_line(patient.name),
        clean_line(patient.birth_date),
        clean_line(patient.sex),
    )


def _words(patient: Patient) -> dict[str, str]:
    """Name, birth date and sex by column; what is blank is left out."""
    patient = _cleaned(patient)
    values = {
        "patient_name": patient.name,
        "patient_birth_date": patient.birth_date,
        "patient_sex": patient.sex,
    }
    return {name: value for name, value in values.items() if value}
