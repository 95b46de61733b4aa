"""Erases a patient: every row and file that is about him or her, in one transaction.

The trail alone stays. It names the patient by a pseudonym, and what that stands for is forgotten.

Tables whose rows are written once let these rows go because the transaction has written a row of
`erasures` that names their studies and orders, and has said so in `nightdraft.erasure` (migration
0040). Files are queued in the same transaction and removed after it.

Locks are taken as everybody takes them: orders, reports, studies, requests.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert, or_, select, text
from sqlalchemy.orm import Session

from records import message_keys
from records.actors import current_actor
from records.audit import trail
from records.blobs import prepared_key
from records.database.draft_tables import DraftRequest, LiveLease
from records.database.order_tables import PatientAlias, ReceivedMessage
from records.database.report_tables import ReceivedReport
from records.database.retention_tables import Erasure
from records.database.tables import Hold, Instance, Study
from records.errors import NightdraftError, NotAllowed
from records.failpoints import failpoint
from records.patient_rows import is_theirs, locked_orders, locked_reports
from records.states import AuditAction, HoldReason, MessageOutcome
from records.workflow import patient_aliases, stored_bytes
from records.workflow.identifiers import KeyKind, PatientId, patient_ids, plain_key
from records.workflow.study_lookup import find_studies_of_patient

SCAN_SECONDS = 600
"""How long one statement of an erasure may take: some read whole tables."""

_LEAST_WORD = 6
"""Characters of a name by which a text is searched."""

_ASIDE = (HoldReason.PATIENT_MISMATCH, HoldReason.MOVED_HERE, HoldReason.ORDER_MISMATCH)
"""Holds that ask whose something is."""


@dataclass(frozen=True, slots=True)
class NamedPatient:
    """A patient as the trail names one."""

    patient_id: str
    issuer: str


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


def erase_patient(
    session: Session, given: PatientId, reason: str
) -> tuple[PatientRows, dict[str, int]]:
    """Erase everything that is about a patient; the caller removes the queued files afterwards.

    Args:
        session: the caller's transaction.
        given: the patient's id; a blank issuer is any, where there is only one.
        reason: why; it must not name the patient, for it stays.

    Returns:
        What there was, and how many rows were deleted, by table.

    Raises:
        NotAllowed: nothing is here of the patient, several patients have the id, a person must
            first decide whose something is, a worker is at work on it, or the reason names the
            patient.
        SettingsError: the key of the trail cannot be used.
    """
    if not reason.strip():
        raise NotAllowed("a patient is erased for a reason, such as the number of the request")
    rows = find_patient(session, given, lock=True)
    if rows.is_empty:
        raise NotAllowed("nothing is here of a patient with that id and issuer")
    _refuse_undecided(session, rows)
    _refuse_naming(reason, rows)
    patients = [NamedPatient(*named) for named in sorted(rows.named)]
    actor = current_actor()
    requested_by = actor.name or str(actor.kind)
    trail.record(
        session,
        AuditAction.ERASURE,
        patients=patients,
        detail=f"{len(rows.study_ids)} studies: {reason.strip()}",
    )
    erasure_id = session.execute(
        insert(Erasure)
        .values(
            requested_by=requested_by,
            reason=reason.strip(),
            study_ids=rows.study_ids,
            order_ids=_orders_with_lines(session, rows),
        )
        .returning(Erasure.id)
    ).scalar_one()
    session.execute(
        text("SELECT set_config('nightdraft.erasure', :id, true)"), {"id": str(erasure_id)}
    )
    stored_bytes.queue_removals(session, rows.blobs)
    values = _values(rows)
    deleted: dict[str, int] = {}
    for table, statement in _STATEMENTS:
        number = session.execute(text(statement), values).rowcount  # type: ignore[attr-defined]
        if number:
            deleted[table] = deleted.get(table, 0) + number
    trail.forget_patient(session, patients)
    session.execute(text("SELECT set_config('nightdraft.erasure', '', true)"))
    failpoint("before-erasure-commit")
    return rows, deleted


def forget_statistics(session: Session) -> None:
    """Let the planner forget values of rows that are gone: a sample of each column is kept.

    A role that does not own the tables is only warned by PostgreSQL; autovacuum does it later.
    """
    session.execute(text(f"SET LOCAL statement_timeout = '{SCAN_SECONDS}s'"))
    for table in _ANALYSED:
        session.execute(text(f"ANALYZE {table}"))


# ---- What there is ----


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
    return any(holds(name) for name in rows.words if len(name) >= _LEAST_WORD) and any(
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


def _orders_with_lines(session: Session, rows: PatientRows) -> list[uuid.UUID]:
    """The patient's orders, and orders of others whose history names the patient."""
    others = session.scalars(
        text(
            "SELECT DISTINCT order_id FROM order_changes WHERE"
            " upper(btrim(old_values ->> 'patient_id')) = ANY (:ids)"
            " OR upper(btrim(new_values ->> 'patient_id')) = ANY (:ids)"
        ),
        {"ids": [plain_key(one.id) for one in rows.ids]},
    )
    return sorted({*rows.order_ids, *others})


def _values(rows: PatientRows) -> dict[str, Any]:
    return {
        "studies": rows.study_ids,
        "uids": rows.study_uids,
        "instances": rows.instance_uids,
        "numbers": sorted(rows.accession_numbers),
        "orders": rows.order_ids,
        "reports": rows.report_ids,
        "messages": list(rows.message_ids),
        "aside": rows.aside_ids,
        "resources": [f"{kind}/{id_}" for kind, id_ in sorted(rows.resources)],
        "ids": [plain_key(one.id) for one in rows.ids],
        "words": sorted(word for word in rows.words if len(word) >= _LEAST_WORD),
        "spelled": sorted(rows.words | {one for named in rows.named for one in named}),
    }


# ---- What keeps it from being erased ----


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


def _refuse_undecided(session: Session, rows: PatientRows) -> None:
    undecided = session.scalars(
        select(Hold.study_id).where(
            Hold.study_id.in_(rows.study_ids), Hold.decision.is_(None), Hold.reason.in_(_ASIDE)
        )
    ).all()
    if undecided:
        raise NotAllowed(
            "it is not decided whose some films or orders of these studies are; decide the holds "
            "first: " + ", ".join(sorted({str(study_id) for study_id in undecided}))
        )
    working = session.scalars(
        select(LiveLease.study_id).where(LiveLease.study_id.in_(rows.study_ids))
    ).all()
    if working:
        raise NotAllowed(
            f"a worker is just at work on {len(working)} of the studies: try again in a minute"
        )


def _refuse_naming(sentence: str, rows: PatientRows) -> None:
    named = plain_key(sentence)
    parts = {part for name in rows.words for part in name.replace("=", "^").split("^")}
    for word in parts | {one.id for one in rows.ids} | rows.accession_numbers:
        if len(word.strip()) >= 3 and plain_key(word) in named:
            raise NotAllowed(
                "the reason names the patient, and it stays: give a reason that does not, such as "
                "the number of the request"
            )


def _is_digest(value: str) -> bool:
    return len(value) == 64 and all(digit in "0123456789abcdef" for digit in value)


# ---- What is deleted ----

_STATEMENTS: tuple[tuple[str, str], ...] = (
    # Campaigns know studies by UID and number, too, also before these are here.
    (
        "campaign_files",
        "DELETE FROM campaign_files USING campaign_studies AS study"
        " WHERE study.campaign_id = campaign_files.campaign_id"
        " AND study.id = campaign_files.campaign_study_id"
        " AND (study.study_id = ANY (:studies) OR study.study_instance_uid = ANY (:uids)"
        " OR (study.study_instance_uid = '' AND study.accession_number = ANY (:numbers)))",
    ),
    (
        "campaign_studies",
        "DELETE FROM campaign_studies WHERE study_id = ANY (:studies)"
        " OR study_instance_uid = ANY (:uids)"
        " OR (study_instance_uid = '' AND accession_number = ANY (:numbers))",
    ),
    (
        # The last file of a walk may bear a name. A walk that has ended needs no position.
        "campaigns",
        "UPDATE campaigns SET walk_position = NULL WHERE walk_state <> 'WALKING'"
        " AND walk_position IS NOT NULL AND EXISTS (SELECT FROM unnest(CAST(:uids AS text[])"
        " || CAST(:words AS text[])) AS word WHERE position(word IN walk_position::text) > 0)",
    ),
    ("campaign_marks", "DELETE FROM campaign_marks WHERE study_id = ANY (:studies)"),
    ("discrepancy_rechecks", "DELETE FROM discrepancy_rechecks WHERE study_id = ANY (:studies)"),
    (
        "discrepancies",
        "DELETE FROM discrepancies WHERE study_id = ANY (:studies) OR report_id = ANY (:reports)",
    ),
    ("draft_comparisons", "DELETE FROM draft_comparisons WHERE study_id = ANY (:studies)"),
    (
        "final_comparisons",
        "DELETE FROM final_comparisons WHERE study_id = ANY (:studies)"
        " OR report_id = ANY (:reports)",
    ),
    ("study_queries", "DELETE FROM study_queries WHERE study_id = ANY (:studies)"),
    (
        "study_orders",
        "DELETE FROM study_orders WHERE study_id = ANY (:studies) OR order_id = ANY (:orders)",
    ),
    ("holds", "DELETE FROM holds WHERE study_id = ANY (:studies)"),
    ("emergency_accesses", "DELETE FROM emergency_accesses WHERE study_id = ANY (:studies)"),
    (
        # What REST answered to calls with a key names its patients by our ids, at least.
        "kept_answers",
        "DELETE FROM kept_answers WHERE EXISTS ("
        " SELECT FROM unnest(CAST(CAST(:studies AS uuid[]) || :orders || :reports || :messages"
        " || :aside AS text[]) || CAST(:uids || :words AS text[])) AS word"
        " WHERE position(word IN body) > 0 OR position(word IN shown::text) > 0)",
    ),
    ("study_locks", "DELETE FROM study_locks WHERE study_id = ANY (:studies)"),
    ("readings", "DELETE FROM readings WHERE study_id = ANY (:studies)"),
    ("working_texts", "DELETE FROM working_texts WHERE study_id = ANY (:studies)"),
    ("draft_outcomes", "DELETE FROM draft_outcomes WHERE study_id = ANY (:studies)"),
    ("report_scores", "DELETE FROM report_scores WHERE study_id = ANY (:studies)"),
    ("reviews", "DELETE FROM reviews WHERE study_id = ANY (:studies)"),
    ("studies", "UPDATE studies SET request_id = NULL WHERE id = ANY (:studies)"),
    ("draft_requests", "UPDATE draft_requests SET draft_id = NULL WHERE study_id = ANY (:studies)"),
    ("drafts", "DELETE FROM drafts WHERE study_id = ANY (:studies)"),
    ("draft_requests", "DELETE FROM draft_requests WHERE study_id = ANY (:studies)"),
    ("events", "DELETE FROM events WHERE study_id = ANY (:studies)"),
    (
        "rejections",
        "DELETE FROM rejections WHERE study_instance_uid = ANY (:uids)"
        " OR upper(btrim(patient ->> 'patient_id')) = ANY (:ids)",
    ),
    (
        "study_changes",
        # Of other studies, only what they once showed of this patient.
        "DELETE FROM study_changes WHERE study_id = ANY (:studies)"
        " OR (field LIKE 'patient\\_%' AND study_id IN ("
        "   SELECT study_id FROM study_changes WHERE field = 'patient_id'"
        "   AND (upper(btrim(old_value)) = ANY (:ids) OR upper(btrim(new_value)) = ANY (:ids)))"
        " AND (old_value = ANY (:spelled) OR new_value = ANY (:spelled)))",
    ),
    (
        "instances",
        "DELETE FROM instances WHERE study_id = ANY (:studies) OR id = ANY (:aside)",
    ),
    ("series", "DELETE FROM series WHERE study_id = ANY (:studies)"),
    ("studies", "UPDATE studies SET split_from = NULL WHERE split_from = ANY (:studies)"),
    ("studies", "DELETE FROM studies WHERE id = ANY (:studies)"),
    (
        "fhir_resources",
        "DELETE FROM fhir_resources WHERE (resource_type || '/' || id) = ANY (:resources)",
    ),
    (
        "order_changes",
        "DELETE FROM order_changes WHERE order_id = ANY (:orders) OR"
        " upper(btrim(old_values ->> 'patient_id')) = ANY (:ids)"
        " OR upper(btrim(new_values ->> 'patient_id')) = ANY (:ids)",
    ),
    ("orders", "DELETE FROM orders WHERE id = ANY (:orders)"),
    ("received_reports", "DELETE FROM received_reports WHERE id = ANY (:reports)"),
    (
        "patient_aliases",
        "DELETE FROM patient_aliases WHERE retired_id = ANY (:ids)"
        " OR upper(btrim(surviving_id)) = ANY (:ids)",
    ),
    ("received_messages", "DELETE FROM received_messages WHERE id = ANY (:messages)"),
    (
        "refusals",
        "UPDATE refusals SET sop_instance_uid = '' WHERE sop_instance_uid = ANY (:instances)",
    ),
)
"""What an erasure does, in an order that every foreign key allows."""

_ANALYSED = sorted({table for table, _ in _STATEMENTS} | {"worklist_entries", "audit_patients"})
