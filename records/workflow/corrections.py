"""What a newer object changes of a study: its shown fields, and which object counts under a UID."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.database.tables import Instance, Study, StudyChange
from records.states import EndReason, EventKind, InstanceState
from records.workflow import events, withdrawals

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
    session: Session, study: Study, sent: Mapping[str, Any], calling_ae: str
) -> list[str]:
    """Show what a newer header says of patient and study; what it leaves blank stays.

    The older values are kept in `study_changes`. The timeline names the fields and no value.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        sent: new values by column (`SHOWN_COLUMNS`, and "requested_accession_numbers").
        calling_ae: who sent them.

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
                    calling_ae=calling_ae,
                    field=column,
                    old_value=old,
                    new_value=new,
                )
            )
    session.flush()
    if changed:
        fields = ", ".join(column.replace("_", " ") for column in changed)
        events.append_event(
            session, study.id, EventKind.UPDATED, f"{fields}: newer values, sent by {calling_ae}"
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


def list_changes(session: Session, study_id: uuid.UUID) -> Sequence[StudyChange]:
    """The older values of the study's fields, oldest first."""
    return session.scalars(
        select(StudyChange).where(StudyChange.study_id == study_id).order_by(StudyChange.id)
    ).all()
