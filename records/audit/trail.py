"""Writes entries of the trail: who did what, about which studies and patients.

An entry is written in the caller's transaction, so what could not be recorded has not happened.
Patients are named by pseudonyms (`keys.TrailKey.pseudonym`).
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from sqlalchemy import ARRAY, URL, Text, Uuid, bindparam, delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.actors import current_actor
from records.audit.keys import TrailKey, key_file, load_key
from records.database.audit_tables import AuditKey, AuditPatient
from records.database.tables import Study
from records.errors import SettingsError
from records.states import AuditAction, AuditOutcome


class NamedPatient(Protocol):
    """A patient by id and issuer; `records.workflow.patients.Patient` is one."""

    @property
    def patient_id(self) -> str: ...  # noqa: D102
    @property
    def issuer(self) -> str: ...  # noqa: D102


_CHECKED: set[tuple[str, URL]] = set()
"""Keys and databases that this process has found to belong together."""

# One statement, so that a page costs one more; a pseudonym that is known is left as it is.
_INSERT = text(
    """
    WITH named AS (
        INSERT INTO audit_patients (pseudonym, patient_id, issuer)
        SELECT * FROM unnest(:pseudonyms, :patient_ids, :issuers)
        ON CONFLICT (pseudonym) DO NOTHING
    )
    INSERT INTO audit_entries (action, outcome, actor_kind, actor_name, actor_id, actor_address,
                               study_ids, patients, detail)
    VALUES (:action, :outcome, :actor_kind, :actor_name, :actor_id, :actor_address,
            :study_ids, :pseudonyms, :detail)
    RETURNING id
    """
).bindparams(
    bindparam("pseudonyms", type_=ARRAY(Uuid)),
    bindparam("patient_ids", type_=ARRAY(Text)),
    bindparam("issuers", type_=ARRAY(Text)),
    bindparam("study_ids", type_=ARRAY(Uuid)),
)


def record(
    session: Session,
    action: AuditAction,
    *,
    study_ids: Collection[uuid.UUID] = (),
    patient: NamedPatient | None = None,
    patients: Iterable[NamedPatient] = (),
    outcome: AuditOutcome = AuditOutcome.SUCCESS,
    detail: str = "",
) -> int:
    """Write an entry, in the caller's transaction; the actor is `current_actor()`.

    Args:
        session: the caller's transaction.
        action: what was done.
        study_ids: the studies that it was about; their patients are named, too.
        patient: the patient that it was about, where no study is.
        patients: more of them.
        outcome: how it ended.
        detail: our own words for a person; never a patient's name or number.

    Returns:
        The id of the entry.

    Raises:
        SettingsError: the key of the trail cannot be read, or is not the one it was begun with.
    """
    key = load_key()
    check_key(session, key)
    found = {(one.patient_id.strip(), one.issuer.strip()) for one in patients}
    if patient is not None:
        found.add((patient.patient_id.strip(), patient.issuer.strip()))
    if study_ids:
        rows = session.execute(
            select(Study.patient_id, Study.patient_id_issuer).where(Study.id.in_(study_ids))
        )
        found.update((row[0].strip(), row[1].strip()) for row in rows)
    named = sorted(one for one in found if one[0])  # without an id nobody is named
    actor = current_actor()
    entry: int = session.execute(
        _INSERT,
        {
            "action": action,
            "outcome": outcome,
            "actor_kind": actor.kind,
            "actor_name": actor.name,
            "actor_id": actor.id,
            "actor_address": actor.address,
            "study_ids": list(study_ids),
            "pseudonyms": [key.pseudonym(*one) for one in named],
            "patient_ids": [patient_id for patient_id, _ in named],
            "issuers": [issuer for _, issuer in named],
            "detail": detail,
        },
    ).scalar_one()
    return entry


def forget_patient(session: Session, patients: Sequence[NamedPatient]) -> int:
    """Delete whom the pseudonyms of these patients stand for; the entries stay as they are.

    Returns:
        How many pseudonyms were known.
    """
    key = load_key()
    check_key(session, key)
    gone = session.execute(
        delete(AuditPatient)
        .where(
            AuditPatient.pseudonym.in_(
                [key.pseudonym(one.patient_id, one.issuer) for one in patients]
            )
        )
        .returning(AuditPatient.pseudonym)
    )
    return len(gone.all())


def check_key(session: Session, key: TrailKey) -> None:
    """Check that the trail is kept with this key; the first key that writes is the trail's.

    Raises:
        SettingsError: another key began it.
    """
    mark = (key.key_id, session.get_bind().engine.url)
    if mark in _CHECKED:
        return
    known = session.scalar(select(AuditKey.key_id).where(AuditKey.number == 1))
    if known is None:
        session.execute(
            insert(AuditKey).values(number=1, key_id=key.key_id).on_conflict_do_nothing()
        )
        # Of two processes that begin the trail at a time, one has found the other's key.
        known = session.scalar(select(AuditKey.key_id).where(AuditKey.number == 1))
    else:
        _CHECKED.add(mark)  # what another transaction committed cannot be rolled back any more
    if known != key.key_id:
        _CHECKED.discard(mark)
        raise SettingsError(
            f"the key of the trail at {key_file()} is not the one that the trail was begun with: "
            "bring that file back, or let NIGHTDRAFT_TRAIL_KEY_FILE name it"
        )
