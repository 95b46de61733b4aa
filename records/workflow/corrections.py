"""What a newer object changes of a study: its shown fields, and which object counts under a UID."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.database.tables import Instance, Study, StudyChange
from records.states import ChangeOrigin, EndReason, EventKind, InstanceState, Origin
from records.workflow import events, withdrawals
from records.workflow.patients import Patient, same_patient

SHOWN_COLUMNS = (
    "patient_id",
    "patient_id_issuer",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "accession_number",
    "study_date",
    "study_description",
    "accession_number_issuer",
)
"""The columns of `studies` that come from a header."""


def update_shown(
    session: Session,
    study: Study,
    sent: Mapping[str, Any],
    sender: str,
    *,
    origin: Origin | ChangeOrigin | None = None,
) -> list[str]:
    """Show what a newer header or message says of patient and study; what it leaves blank stays.

    The older values are kept in `study_changes`. The timeline names the fields and no value.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        sent: new values by column (`SHOWN_COLUMNS`, and "requested_accession_numbers").
        sender: who sent them: a calling AE, the sender of a message, or the name of a person.
        origin: by which interface a message came, or PERSON; None where a film brought them.

    Returns:
        The columns that have another value now.
    """
    changed = []
    requested = sent.get("requested_accession_numbers")
    if requested and requested != study.requested_accession_numbers:
        study.requested_accession_numbers = requested
    for column in SHOWN_COLUMNS:
        old, new = getattr(study, column), sent.get(column, "")
        if not new or new == old:
            continue
        setattr(study, column, new)
        changed.append(column)
        if old:
            session.add(
                StudyChange(
                    study_id=study.id,
                    calling_ae=sender,
                    origin=origin,
                    field=column,
                    old_value=old,
                    new_value=new,
                )
            )
    session.flush()
    if changed:
        fields = ", ".join(column.replace("_", " ") for column in changed)
        events.append_event(
            session, study.id, EventKind.UPDATED, f"{fields}: newer values, sent by {sender}"
        )
    return changed


def take_place(
    session: Session, study: Study, standing: Instance | None, newer: Instance, *, redraft: bool
) -> None:
    """Let a newer object count under its UID in the study; the older one is kept and REPLACED.

    Args:
        session: the caller's transaction.
        study: the study of both, locked.
        standing: the object that counted; None where there was none.
        newer: the object that counts from now on.
        redraft: whether a draft is made of it differently, so that a new one is needed.
    """
    if standing is not None:
        standing.state, standing.reason = InstanceState.REPLACED, "A newer object took its place."
        session.flush()  # two objects of one UID must not count at once
    if redraft:
        withdrawals.start_anew(
            session, study, EndReason.CORRECTED, "patient, order or films were corrected"
        )
    newer.state, newer.reason, newer.sent = InstanceState.KEPT, "", None
    newer.revision = study.revision
    session.flush()


def as_corrected(session: Session, study: Study, sent: Patient) -> Patient:
    """The study's patient where a film names him as he was before a message corrected him.

    A modality goes on sending what its worklist said. Any other patient comes back as sent.
    """
    shown = Patient.of_study(study)
    if same_patient(shown, sent):
        return sent
    changes = session.scalars(
        select(StudyChange)
        .where(StudyChange.study_id == study.id, StudyChange.origin.is_not(None))
        .order_by(StudyChange.id.desc())
    )
    names = {"patient_id": "patient_id", "patient_id_issuer": "issuer", "patient_name": "name"}
    names |= {"patient_birth_date": "birth_date", "patient_sex": "sex"}
    former = shown
    for change in changes:
        former = replace(former, **{names[change.field]: change.old_value})
        if same_patient(former, sent):
            return shown
    return sent


def list_changes(session: Session, study_id: uuid.UUID) -> Sequence[StudyChange]:
    """The older values of the study's fields, oldest first."""
    return session.scalars(
        select(StudyChange).where(StudyChange.study_id == study_id).order_by(StudyChange.id)
    ).all()
