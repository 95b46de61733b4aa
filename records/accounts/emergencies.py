"""Patients of other sites whom a person opened in an emergency ("break-glass").

What was typed is compared as a whole: nobody finds a patient so by browsing or by a part of a
number. Whether there is such a patient is said only after the reason was recorded. An access counts
in the session in which it was opened, for NIGHTDRAFT_EMERGENCY_MINUTES, and it lets nobody change
anything.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    collate,
    func,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.orm import Session

from records.accounts.sessions import LiveSession
from records.audit import trail
from records.database.account_tables import EmergencyAccess
from records.database.search_forms import SEARCHED_PATIENT_ID
from records.database.session import interval
from records.database.tables import Study
from records.emergency_grants import Grant, mark
from records.errors import NotAllowed, NotFound
from records.settings import settings
from records.states import AuditAction, AuditOutcome
from records.workflow import site_scope
from records.workflow.patients import Patient, same_patient
from records.workflow.search import MATCHES, find_exactly

LEAST_REASON, MOST_REASON = 10, 500
"""Characters of a reason."""

MOST_NUMBER = 64
"""Characters of a number, which is a UID, an id or an accession number (PS3.5, 6.2)."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A patient who was opened.

    Attributes:
        access_id: of the row.
        study_id: the study to begin with: the newest one that was found.
        until: when it ends.
    """

    access_id: uuid.UUID
    study_id: uuid.UUID
    until: dt.datetime


def open_patient(
    session: Session, live: LiveSession, site_ids: Collection[uuid.UUID], typed: str, reason: str
) -> Opened | str:
    """Open the patient of a number, whatever the site is; the trail has it in the same transaction.

    Args:
        session: the caller's transaction, which must commit whatever is returned.
        live: the person's session.
        site_ids: the sites that the person may see.
        typed: a whole patient id, accession number or Study Instance UID, or our id of a study.
        reason: why, for the auditor.

    Returns:
        What was opened, or a sentence why nothing was; either is recorded.

    Raises:
        NotAllowed: there is no reason, or no number; nothing was looked for.
    """
    typed, reason = typed.strip(), reason.strip()
    if not LEAST_REASON <= len(reason) <= MOST_REASON:
        raise NotAllowed(
            f"say the reason in {LEAST_REASON} to {MOST_REASON} characters: auditors read it"
        )
    if not typed or len(typed) > MOST_NUMBER:
        raise NotAllowed(
            "name a whole patient id, accession number or Study Instance UID, of "
            f"{MOST_NUMBER} characters at most"
        )
    with site_scope.limited_to(None):
        found = find_exactly(session, typed)
    hidden = [study for study in found if study.site_id not in site_ids]
    if not hidden:
        _record_nothing(session, "nothing of another site was found")
        return (
            "No study of another site has that number. Type a whole patient ID, accession number "
            "or Study Instance UID; studies of your own sites are found by the search"
        )
    first = hidden[0]
    if any(not _is_same(first, study) for study in hidden[1:]):
        _record_nothing(session, "the number is of several patients")
        return (
            "Several patients have that number, so none was opened. Type the accession number or "
            "the Study Instance UID of the study that you need"
        )
    minutes = settings().emergency_minutes
    row = EmergencyAccess(
        account_id=live.account_id,
        session_id=live.id,
        study_id=first.id,
        reason=reason,
        until=func.clock_timestamp() + interval(60 * minutes),
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    trail.record(
        session,
        AuditAction.EMERGENCY,
        study_ids=_study_ids(session, first, site_ids),
        detail=mark([row.id], f"opened for {minutes:g} minutes"),
    )
    return Opened(row.id, first.id, row.until)


def find_live(
    session: Session, session_id: uuid.UUID, site_ids: Collection[uuid.UUID]
) -> tuple[Grant, ...]:
    """What was opened in a session and has not ended.

    Args:
        session: the caller's transaction.
        session_id: of the person.
        site_ids: the sites that the person may see anyway.
    """
    rows = session.execute(
        select(EmergencyAccess, Study)
        .join(Study, Study.id == EmergencyAccess.study_id)
        .where(_is_live(session_id))
        .order_by(EmergencyAccess.began_at)
    ).all()
    return tuple(
        Grant(
            access_id=row.EmergencyAccess.id,
            study_ids=frozenset(_study_ids(session, row.Study, site_ids)),
            study_id=row.Study.id,
            until=row.EmergencyAccess.until,
            reason=row.EmergencyAccess.reason,
        )
        for row in rows
    )


def end(session: Session, session_id: uuid.UUID, access_id: uuid.UUID) -> None:
    """End an access now.

    Raises:
        NotFound: there is none of that id in the session, or it has ended.
    """
    if not _end(session, session_id, EmergencyAccess.id == access_id):
        raise NotFound("no emergency access of this login has that id, or it has ended")


def end_all(session: Session, session_id: uuid.UUID) -> int:
    """End what was opened in a session; how much there was."""
    return _end(session, session_id)


def list_studies(session: Session, grant: Grant) -> Sequence[Study]:
    """The studies of a grant, the newest first."""
    newest = (Study.first_received_at.desc(), Study.id)
    return session.scalars(
        select(Study).where(Study.id.in_(grant.study_ids)).order_by(*newest)
    ).all()


def _end(session: Session, session_id: uuid.UUID, *conditions: ColumnElement[bool]) -> int:
    ended = session.execute(
        update(EmergencyAccess)
        .where(_is_live(session_id), *conditions)
        .values(ended_at=func.clock_timestamp())
        .returning(EmergencyAccess.id, EmergencyAccess.study_id)
    ).all()
    for row in ended:
        trail.record(
            session,
            AuditAction.EMERGENCY,
            study_ids=[row.study_id],
            detail=mark([row.id], "ended"),
        )
    return len(ended)


def _is_live(session_id: uuid.UUID) -> ColumnElement[bool]:
    return and_(
        EmergencyAccess.session_id == session_id,
        EmergencyAccess.ended_at.is_(None),
        EmergencyAccess.until > func.clock_timestamp(),
    )


def _study_ids(session: Session, first: Study, site_ids: Collection[uuid.UUID]) -> list[uuid.UUID]:
    """The studies of the patient of a study, of other sites than these."""
    if not first.patient_id.strip():
        return [] if first.site_id in site_ids else [first.id]
    # The index of the search is on this very expression.
    searched = literal_column(SEARCHED_PATIENT_ID, Text)
    rows = session.scalars(
        select(Study)
        .where(searched == func.upper(collate(literal(first.patient_id), "C")))
        .order_by(Study.first_received_at.desc())
        .limit(MATCHES)
    )
    return [row.id for row in rows if row.site_id not in site_ids and _is_same(first, row)]


def _is_same(first: Study, other: Study) -> bool:
    """Whether two studies are of one patient, as far as their headers say.

    Two sites may have given one number to two persons, so names and birth dates count, too.
    """
    one, another = Patient.of_study(first), Patient.of_study(other)
    ids = [(each.patient_id.strip(), each.issuer.strip()) for each in (one, another)]
    if first.id == other.id:
        return True
    return bool(ids[0][0]) and ids[0] == ids[1] and same_patient(one, another)


def _record_nothing(session: Session, why: str) -> None:
    # What was typed may be a patient's number, or none.
    trail.record(
        session, AuditAction.EMERGENCY, outcome=AuditOutcome.REFUSED, detail=f"emergency: {why}"
    )
