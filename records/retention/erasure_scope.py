"""Finds every row and file that is about a patient."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import or_, select, text
from sqlalchemy.orm import Session

from records import message_keys
from records.blobs import prepared_key
from records.database.draft_tables import DraftRequest
from records.database.order_tables import PatientAlias, ReceivedMessage
from records.database.report_tables import ReceivedReport
from records.database.tables import Instance, Study
from records.errors import NightdraftError, NotAllowed
from records.patient_rows import is_theirs, locked_orders, locked_reports
from records.states import MessageOutcome
from records.workflow import patient_aliases
from records.workflow.identifiers import KeyKind, PatientId, patient_ids, plain_key
from records.workflow.study_lookup import find_studies_of_patient

SCAN_SECONDS = 600
"""How long one statement of an erasure may take: some read whole tables."""

LEAST_WORD = 6
"""Characters of a name by which a text is searched."""


@dataclass(slots=True)
class PatientRows:
    """What there is of a patient.

    Attributes:
        ids: all ids of the patient, as merges say: the surviving one first.
        named: each spelling of id and issuer in the rows.
        words: the names and ids in the rows.
        birth_dates: those in the rows.
        study_ids: the patient's studies.
        study_uids: their Study Instance UIDs.
        instance_uids: the SOP Instance UIDs of their objects.
        accession_numbers: of the patient's studies, orders and reports.
        order_ids: the patient's orders.
        report_ids: the patient's reports from elsewhere, older versions among them.
        message_ids: the messages that brought them, and refused ones that name the patient.
        aside_ids: objects of the patient that are kept aside in studies of others.
        resources: FHIR resources about the patient, each by type and id.
        blobs: keys of all files.
        trained: reports that may have been trained on.
    """

    ids: list[PatientId]
    named: set[tuple[str, str]] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    birth_dates: set[str] = field(default_factory=set)
    study_ids: list[uuid.UUID] = field(default_factory=list)
    study_uids: list[str] = field(default_factory=list)
    instance_uids: list[str] = field(default_factory=list)
    accession_numbers: set[str] = field(default_factory=set)
    order_ids: list[uuid.UUID] = field(default_factory=list)
    report_ids: list[uuid.UUID] = field(default_factory=list)
    message_ids: set[uuid.UUID] = field(default_factory=set)
    aside_ids: list[uuid.UUID] = field(default_factory=list)
    resources: set[tuple[str, str]] = field(default_factory=set)
    blobs: set[str] = field(default_factory=set)
    trained: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the patient is here."""
        return not (
            self.study_ids or self.order_ids or self.report_ids or self.aside_ids or self.resources
            or self.message_ids or len(self.ids) > 1
        )  # fmt: skip

    def count(self) -> dict[str, int]:
        """How much there is, by what it is."""
        return {
            "studies": len(self.study_ids),
            "objects": len(self.instance_uids) + len(self.aside_ids),
            "files": len(self.blobs),
            "orders": len(self.order_ids),
            "reports from elsewhere": len(self.report_ids),
            "messages": len(self.message_ids),
            "FHIR resources": len(self.resources),
        }


def find_patient(session: Session, given: PatientId, *, lock: bool = False) -> PatientRows:
    """Find everything that is about a patient.

    Args:
        session: the caller's transaction; its statements may take `SCAN_SECONDS` from now on.
        given: the patient's id; a blank issuer is any, where there is only one.
        lock: whether orders, reports, studies and requests are locked.

    Raises:
        NotAllowed: the id is blank, or several issuers have given it and none was named.
    """
    if not given.id.strip():
        raise NotAllowed("an erasure names a patient id")
    session.execute(text(f"SET LOCAL statement_timeout = '{SCAN_SECONDS}s'"))
    rows = PatientRows(patient_aliases.list_ids(session, given))
    _find_scattered(session, rows)  # before anything is locked: it reads whole tables
    keys = [(KeyKind.PATIENT.value, plain_key(one.id)) for one in rows.ids]
    orders = [order for order in locked_orders(session, keys) if is_theirs(order, rows.ids)]
    reports = [report for report in locked_reports(session, keys) if is_theirs(report, rows.ids)]
    versions = session.scalars(
        select(ReceivedReport).where(
            ReceivedReport.identity.in_({report.identity for report in reports})
        )
    ).all()
    query = select(Study).where(Study.id.in_(find_studies_of_patient(session, rows.ids)))
    if lock:
        query = query.with_for_update(key_share=True)
    studies = [one for one in session.scalars(query.order_by(Study.id)) if is_theirs(one, rows.ids)]
    _refuse_several_issuers(given, orders, versions, studies)
    rows.order_ids = [order.id for order in orders]
    rows.report_ids = [report.id for report in versions]
    rows.study_ids = [study.id for study in studies]
    rows.study_uids = [study.study_instance_uid for study in studies]
    placed: Sequence[Any] = [*orders, *versions]
    for row in placed:
        rows.accession_numbers |= set(row.accession_numbers)
        rows.named |= {(one.id, one.issuer) for one in patient_ids(row)}
        rows.words.add(row.patient_name)
        rows.birth_dates.add(row.patient_birth_date)
    for study in studies:
        rows.birth_dates.add(study.patient_birth_date)
        rows.accession_numbers |= {study.accession_number, *study.requested_accession_numbers}
        rows.named.add((study.patient_id, study.patient_id_issuer))
        rows.words.add(study.patient_name)
    for words in (rows.accession_numbers, rows.words, rows.birth_dates):
        words.discard("")
    _find_of_studies(session, rows, lock=lock)
    _find_messages(session, rows)
    _find_resources(session, rows)
    return rows


def _find_scattered(session: Session, rows: PatientRows) -> None:
    """Objects of the patient in studies of others; no index leads to them but their own."""
    values = {plain_key(one.id) for one in rows.ids}
    aside = session.scalars(
        select(Instance).where(
            Instance.sent.is_not(None),
            text("upper(instances.sent ->> 'patient_id') = ANY (:sent_ids)").bindparams(
                sent_ids=list(values)
            ),
        )
    )
    for film in aside:
        sent = film.sent or {}
        one = PatientId(sent.get("patient_id", ""), sent.get("patient_id_issuer", ""))
        if any(not one.contradicts(known) for known in rows.ids):
            rows.aside_ids.append(film.id)
            rows.blobs.add(film.blob)
            rows.named.add((one.id, one.issuer))
            rows.words.add(str(sent.get("patient_name", "")))


def _find_of_studies(session: Session, rows: PatientRows, *, lock: bool) -> None:
    requests = select(DraftRequest).where(DraftRequest.study_id.in_(rows.study_ids))
    if lock:
        requests = requests.order_by(DraftRequest.id).with_for_update(key_share=True)
    digests = {request.inputs_digest for request in session.scalars(requests)}
    digests |= set(
        session.scalars(
            text("SELECT inputs_digest FROM drafts WHERE study_id = ANY (:ids)"),
            {"ids": rows.study_ids},
        )
    )
    rows.blobs |= {prepared_key(digest) for digest in digests if digest and _is_digest(digest)}
    for film in session.scalars(select(Instance).where(Instance.study_id.in_(rows.study_ids))):
        rows.blobs.add(film.blob)
        rows.instance_uids.append(film.sop_instance_uid)
        if film.id in rows.aside_ids:
            rows.aside_ids.remove(film.id)
    rows.named |= {(one.id, one.issuer) for one in rows.ids}
    rows.words |= {one.id for one in rows.ids}
    rows.trained = session.execute(
        text(
            "SELECT (SELECT count(*) FROM reviews WHERE study_id = ANY (:studies)"
            " AND training_consent)"
            " + (SELECT count(*) FROM received_reports WHERE id = ANY (:reports) AND consent)"
        ),
        {"studies": rows.study_ids, "reports": rows.report_ids},
    ).scalar_one()


def _find_messages(session: Session, rows: PatientRows) -> None:
    rows.message_ids |= {
        id_
        for id_ in session.scalars(
            text(
                "SELECT message_id FROM order_changes WHERE order_id = ANY (:orders)"
                " UNION SELECT message_id FROM received_reports WHERE id = ANY (:reports)"
            ),
            {"orders": rows.order_ids, "reports": rows.report_ids},
        )
        if id_ is not None
    }
    for alias in session.scalars(select(PatientAlias).where(_is_alias_of(rows))):
        rows.named |= {
            (alias.retired_id, alias.retired_issuer),
            (alias.surviving_id, alias.surviving_issuer),
        }
        rows.words.add(alias.surviving_name)
        if alias.message_id is not None:
            rows.message_ids.add(alias.message_id)
    refused = session.scalars(
        select(ReceivedMessage).where(
            ReceivedMessage.outcome == MessageOutcome.REFUSED,
            ReceivedMessage.content.is_not(None),
        )
    )
    for message in refused:
        try:
            content = message_keys.decrypt(message.content or b"")
        except NightdraftError:
            continue  # its key is not here: nobody can read it
        if _names(content, rows):
            rows.message_ids.add(message.id)


def _names(content: bytes, rows: PatientRows) -> bool:
    """Whether a message names the patient: by an id, or by name and birth date."""

    def holds(word: str) -> bool:
        whole = rb"(?<![0-9A-Za-z])" + re.escape(word.encode()) + rb"(?![0-9A-Za-z])"
        return bool(word) and re.search(whole, content) is not None

    if any(holds(one.id.strip()) for one in rows.ids):
        return True
    return any(holds(name) for name in rows.words if len(name) >= LEAST_WORD) and any(
        holds(date) for date in rows.birth_dates
    )


def _is_alias_of(rows: PatientRows) -> Any:
    values = {plain_key(one.id) for one in rows.ids}
    return or_(
        PatientAlias.retired_id.in_(values),
        PatientAlias.surviving_id.in_({one.id for one in rows.ids}),
    )


def _find_resources(session: Session, rows: PatientRows) -> None:
    """The FHIR resources of the patient's orders, the Patients with one of the ids, and theirs."""
    ids = list({one.id.strip() for one in rows.ids})
    found = session.execute(
        text(
            "SELECT resource_type, id FROM fhir_resources WHERE order_id = ANY (:orders)"
            " OR (resource_type = 'Patient' AND EXISTS ("
            "   SELECT FROM unnest(identifiers) AS entry"
            "   WHERE upper(substring(entry FROM '[^|]*$')) = ANY (:ids)))"
            " OR jsonb_path_exists(content, '$.**.subject.identifier ? (@.value == $ids[*])',"
            "   jsonb_build_object('ids', to_jsonb(CAST(:exact AS text[]))))"
            ' OR jsonb_path_exists(content, \'$.contained[*] ? (@.resourceType == "Patient")'
            "   .identifier[*] ? (@.value == $ids[*])',"
            "   jsonb_build_object('ids', to_jsonb(CAST(:exact AS text[]))))"
        ),
        {"orders": rows.order_ids, "ids": [plain_key(one) for one in ids], "exact": ids},
    )
    rows.resources |= {(kind, id_) for kind, id_ in found}
    new = set(rows.resources)
    while new:
        # Whoever refers to one of them is about the same patient.
        addresses = [f"{kind}/{id_}" for kind, id_ in new if kind in _OF_ONE_PATIENT]
        referring = session.execute(
            text(
                "SELECT resource_type, id FROM fhir_resources WHERE EXISTS ("
                " SELECT FROM jsonb_path_query(content, '$.**.reference') AS reference"
                " WHERE substring(reference #>> '{}' FROM '([^/]+/[^/]+)(/_history/.*)?$')"
                " = ANY (:addresses))"
            ),
            {"addresses": addresses},
        )
        new = {(kind, id_) for kind, id_ in referring} - rows.resources
        # What they refer to is, too, where it is of a kind that is about one patient.
        referred = session.scalars(
            text(
                "SELECT DISTINCT substring(reference #>> '{}'"
                " FROM '([^/]+/[^/]+)(/_history/.*)?$') FROM fhir_resources,"
                " jsonb_path_query(content, '$.**.reference') AS reference"
                " WHERE (resource_type || '/' || id) = ANY (:addresses)"
            ),
            {"addresses": [f"{kind}/{id_}" for kind, id_ in rows.resources | new]},
        )
        for address in referred:
            kind, _, id_ = (address or "").rpartition("/")
            if kind in _OF_ONE_PATIENT and (kind, id_) not in rows.resources:
                new.add((kind, id_))
        rows.resources |= new


_OF_ONE_PATIENT = (
    "Patient",
    "ServiceRequest",
    "DiagnosticReport",
    "Observation",
    "ImagingStudy",
    "Condition",
    "Encounter",
    "Specimen",
    "DocumentReference",
)
"""Types of resources that are about one patient, as others (Practitioner) are not."""


def _refuse_several_issuers(given: PatientId, *groups: Iterable[Any]) -> None:
    if given.issuer.strip():
        return
    issuers = {
        plain_key(getattr(row, "patient_id_issuer", ""))
        for rows in groups
        for row in rows
        if plain_key(row.patient_id) == plain_key(given.id)
    } - {""}
    if len(issuers) > 1:
        raise NotAllowed(
            f"{len(issuers)} issuers have given that id, so it may be of several persons: name the "
            "issuer"
        )


def _is_digest(value: str) -> bool:
    return len(value) == 64 and all(digit in "0123456789abcdef" for digit in value)
