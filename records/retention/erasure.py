"""Erases a patient: every row and file that is about him or her, in one transaction.

The trail alone stays. It names the patient by a pseudonym, and what that stands for is forgotten.

    erasure_scope       finds what is about the patient
    erasure_statements  what is deleted, as data

Tables whose rows are written once let these rows go because the transaction has written a row of
`erasures` that names their studies and orders, and has said so in `nightdraft.erasure` (migration
0040). Files are queued in the same transaction and removed after it.

Locks are taken as everybody takes them: orders, reports, studies, requests.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from records.actors import current_actor
from records.audit import trail
from records.database.draft_tables import LiveLease
from records.database.retention_tables import Erasure
from records.database.tables import Hold
from records.errors import NotAllowed
from records.failpoints import failpoint
from records.retention.erasure_scope import LEAST_WORD, SCAN_SECONDS, PatientRows, find_patient
from records.retention.erasure_statements import ANALYSED_TABLES, STATEMENTS
from records.states import AuditAction, HoldReason
from records.workflow import stored_bytes
from records.workflow.identifiers import PatientId, plain_key

_ASIDE = (HoldReason.PATIENT_MISMATCH, HoldReason.MOVED_HERE, HoldReason.ORDER_MISMATCH)
"""Holds that ask whose something is."""


@dataclass(frozen=True, slots=True)
class NamedPatient:
    """A patient as the trail names one."""

    patient_id: str
    issuer: str


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
    for table, statement in STATEMENTS:
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
    for table in ANALYSED_TABLES:
        session.execute(text(f"ANALYZE {table}"))


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
        "words": sorted(word for word in rows.words if len(word) >= LEAST_WORD),
        "spelled": sorted(rows.words | {one for named in rows.named for one in named}),
    }


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
