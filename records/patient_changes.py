"""Patients that another system corrects, merges or moves: ADT^A08, A31, A18, A40, A45.

Orders, received reports, studies and what is kept aside of them move along. Older values are kept
in `order_changes` and `study_changes`. A signed report stays as it was signed; what its study shows
of the patient is corrected.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.draft_tables import Draft
from records.database.order_tables import Order, PatientAlias, StudyOrder
from records.database.report_tables import ReceivedReport
from records.database.tables import Study
from records.errors import MessageError, NotAllowed, NotFound
from records.orders import matching
from records.patient_rows import (
    PatientChange,
    Source,
    Values,
    is_theirs,
    locked_orders,
    locked_reports,
    write_patient,
)
from records.received_text import clean_line
from records.states import ChangeOrigin, EndReason, EventKind, OrderChangeKind, Origin
from records.workflow import events, withdrawals
from records.workflow.identifiers import KeyKind, PatientId, patient_ids, plain_key
from records.workflow.patients import Patient
from records.workflow.site_scope import is_of_site, visible_sites
from records.workflow.study_lookup import find_studies_of_patient
from records.workflow.withdrawals import lock_study


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
    message = Source(origin, clean_line(sender), message_id)
    words = _words(patient)
    if words:
        _correct_aliases(session, known, words)
    return write_patient(
        session,
        message,
        _orders_of(session, known),
        _reports_of(session, known),
        _studies_of(session, known),
        lambda row: words if is_theirs(row, known) else {},
        OrderChangeKind.PATIENT_CORRECTED,
    ).count()


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
        MessageError: one of the two has no id, or the caller sees one site alone and an id has no
            issuer: another site may have given it to somebody else.
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
    if visible_sites() is not None and not all(given.issuer for given in retired):
        raise MessageError("an id that is given up names its issuer, for other sites have ids, too")
    message = Source(origin, clean_line(sender), message_id)
    _write_aliases(session, message, main, surviving, retired)
    values = {"patient_id": main.id, "patient_id_issuer": main.issuer}
    values |= _words(surviving)
    changed = write_patient(
        session,
        message,
        _orders_of(session, retired),
        _reports_of(session, retired),
        # Films of the retired patient may be kept aside in studies of the surviving one.
        _studies_of(session, [*retired, *survivors]),
        lambda row: values if is_theirs(row, retired) else {},
        OrderChangeKind.PATIENT_MERGED,
        retired,
    )
    _keep_moved(session, retired, changed.as_json())
    return changed.count()


def undo_merge(session: Session, retired: PatientId, by: str) -> PatientChange:
    """Take a merge of patients back, because a person says that it was wrong.

    What the merge moved gets its older patient again where nothing else has changed it since, and
    the id is an id of its own again. An unsigned draft that was made meanwhile is withdrawn and
    made anew, where it is of a study that goes back, or was given a report that goes back. What
    came under the retired id after the merge stays with the surviving patient.

    Args:
        session: the caller's transaction.
        retired: the id that the merge gave up, with its issuer.
        by: who decided.

    Raises:
        NotAllowed: no name.
        NotFound: no such id was retired.
    """
    if not by.strip():
        raise NotAllowed("a merge is taken back by somebody: say who")
    alias = session.get(
        PatientAlias, (plain_key(retired.id), plain_key(retired.issuer)), with_for_update=True
    )
    if alias is None:
        raise NotFound("no merge retired that patient id of that issuer")
    surviving, merged_at = alias.surviving_id, alias.merged_at
    moved: dict[str, dict[str, Values]] = alias.moved
    session.delete(alias)
    session.flush()
    ids = {table: sorted(map(uuid.UUID, rows)) for table, rows in moved.items()}

    def older_values(row: Any) -> Values:
        table = {Order: "orders", ReceivedReport: "reports", Study: "studies"}.get(type(row), "")
        is_unchanged = row.patient_id == surviving
        return moved.get(table, {}).get(str(getattr(row, "id", "")), {}) if is_unchanged else {}

    changed = write_patient(
        session,
        Source(ChangeOrigin.PERSON, clean_line(by), None),
        _lock(session, Order, ids.get("orders", [])),
        _lock(session, ReceivedReport, ids.get("reports", [])),
        ids.get("studies", []),
        older_values,
        OrderChangeKind.PATIENT_SEPARATED,
    )
    reports = [str(id_) for id_ in changed.reports]
    drafted = session.scalars(
        select(Draft.study_id).where(
            Draft.superseded_at.is_(None),
            Draft.created_at > merged_at,
            Draft.study_id.in_(
                {*changed.studies, *find_studies_of_patient(session, [PatientId(surviving)])}
            ),
            Draft.study_id.in_(changed.studies)
            | Draft.prior_report["report_id"].astext.in_(reports)
            | Draft.prior_report["study_id"].astext.in_(map(str, changed.studies)),
        )
    )
    for study_id in sorted(set(drafted)):
        if not withdrawals.has_signed_report(session, study_id):
            withdrawals.start_anew(
                session,
                lock_study(session, study_id),
                EndReason.CORRECTED,
                "a merge of patients was taken back",
            )
    for study_id in changed.studies:
        detail = f"a merge of patients was taken back by {by.strip()}"
        events.append_event(session, study_id, EventKind.PATIENT_CHANGED, detail)
    return changed.count()


def _lock(session: Session, table: Any, ids: Sequence[uuid.UUID]) -> Sequence[Any]:
    """The rows of these ids, locked in their order."""
    return session.scalars(
        select(table)
        .where(table.id.in_(ids))
        .order_by(table.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()


def _keep_moved(
    session: Session, retired: Sequence[PatientId], moved: dict[str, dict[str, Values]]
) -> None:
    """Keep with each alias what was its own before, so that a person can take the merge back."""
    for given in retired:
        own = {
            table: {
                id_: old
                for id_, old in rows.items()
                if plain_key(old.get("patient_id", given.id)) == plain_key(given.id)
            }
            for table, rows in moved.items()
        }
        session.execute(
            update(PatientAlias)
            .where(
                PatientAlias.retired_id == plain_key(given.id),
                PatientAlias.retired_issuer == plain_key(given.issuer),
            )
            .values(moved=own)
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
    if not clean_line(visit_number):
        raise MessageError("the message names no visit")
    new = _known([PatientId(to.patient_id, to.issuer), *to_ids])
    message = Source(origin, clean_line(sender), message_id)
    values = {"patient_id": new[0].id, "patient_id_issuer": new[0].issuer}
    values |= _words(_cleaned(to))
    orders = locked_orders(session, [(KeyKind.VISIT, plain_key(clean_line(visit_number)))])
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
    return write_patient(
        session,
        message,
        orders,
        locked_reports(session, sorted(numbers)),
        sorted(set(studies)),
        lambda row: values if is_theirs(row, old) else {},
        OrderChangeKind.MOVED,
        old,
    ).count()


def _correct_aliases(session: Session, ids: Sequence[PatientId], words: dict[str, str]) -> None:
    """Correct the surviving patient of merges, where the id is of the issuer that is named."""
    aliases = session.scalars(
        select(PatientAlias)
        .where(PatientAlias.surviving_id.in_([given.id for given in ids]))
        .order_by(PatientAlias.retired_id, PatientAlias.retired_issuer)
        .with_for_update()
    )
    for alias in aliases:
        surviving = PatientId(alias.surviving_id, alias.surviving_issuer)
        if not all(surviving.contradicts(given) for given in ids):
            for name, value in words.items():
                setattr(alias, f"surviving_{name.removeprefix('patient_')}", value)
    session.flush()


def _write_aliases(
    session: Session,
    message: Source,
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
    orders = locked_orders(session, [(KeyKind.PATIENT, plain_key(given.id)) for given in ids])
    return [order for order in orders if is_theirs(order, ids)]


def _reports_of(session: Session, ids: Sequence[PatientId]) -> list[ReceivedReport]:
    reports = locked_reports(session, [(KeyKind.PATIENT, plain_key(given.id)) for given in ids])
    return [report for report in reports if is_theirs(report, ids)]


def _studies_of(session: Session, ids: Sequence[PatientId]) -> list[uuid.UUID]:
    of_patient = find_studies_of_patient(session, ids)
    if visible_sites() is None:
        return of_patient
    return sorted(
        session.scalars(select(Study.id).where(Study.id.in_(of_patient), is_of_site(Study.site_id)))
    )


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
