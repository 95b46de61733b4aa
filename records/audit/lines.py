"""Lines of the trail, as people and programs read them: entries, and what people did to studies.

An event of a timeline that names its actor is a line of the trail, too: it is written once.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    Select,
    Uuid,
    cast,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
)
from sqlalchemy.orm import Session, aliased

from records.audit.keys import TrailKey, load_key
from records.database.account_tables import EmergencyAccess
from records.database.audit_tables import OF_EMERGENCY, AuditEntry, AuditPatient
from records.database.session import interval, unit_of_work
from records.database.tables import Event, Study
from records.emergency_grants import MARK
from records.errors import NotAllowed, NotFound
from records.states import AuditAction, AuditOutcome

STUDIES_NAMED = 1000
"""Studies of one patient whose timelines a search by patient reads, the newest ones."""

_HIGHEST = 2**63 - 1

# In brackets: other conditions stand beside it.
_IS_OF_EMERGENCY = literal_column(f"({OF_EMERGENCY})", Boolean)

_OF_ACCESSES = re.compile(rf"{MARK}((?:[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}} ?)+): ")


@dataclass(frozen=True, slots=True)
class LinePatient:
    """A patient of a line. patient_id, issuer: "" where the patient was erased."""

    pseudonym: uuid.UUID
    patient_id: str
    issuer: str


@dataclass(frozen=True, slots=True)
class LineStudy:
    """A study of a line. study_instance_uid: "" where it is not here any more."""

    id: uuid.UUID
    study_instance_uid: str


@dataclass(frozen=True, slots=True)
class TrailLine:
    """Who did what, when, from where, and about whom.

    Attributes:
        is_event: whether it is a line of a study's timeline.
        id: of the entry, or of the event.
        action: an AuditAction, or the kind of the event.
        reasons: why patients of other sites were opened, where the line is of an emergency; those
            of patients who were erased are gone.
    """

    is_event: bool
    id: int
    at: dt.datetime
    action: str
    outcome: str
    actor_kind: str
    actor_name: str
    actor_id: str
    actor_address: str
    patients: Sequence[LinePatient]
    studies: Sequence[LineStudy]
    detail: str
    reasons: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class TrailFilter:
    """Which lines are wanted; what is empty limits nothing.

    Attributes:
        patient: a whole patient id, as sent, or a pseudonym.
        person: the whole name of an actor.
        action: an AuditAction, or the kind of an event.
        since, until: from this time on, and before that one.
        emergency: only what was opened, seen and ended in emergencies.
    """

    patient: str = ""
    person: str = ""
    action: str = ""
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    emergency: bool = False


@dataclass(frozen=True, slots=True)
class TrailPage:
    """Some lines; `next` is the mark of the following page, or None."""

    lines: Sequence[TrailLine]
    next: str | None


@dataclass(frozen=True, slots=True)
class _Mark:
    """The last line before a page."""

    at: dt.datetime
    is_event: bool
    id: int

    def __str__(self) -> str:
        text = f"{self.at.isoformat()} {int(self.is_event)} {self.id}"
        return base64.urlsafe_b64encode(text.encode()).decode()

    @classmethod
    def parse(cls, mark: str) -> _Mark:
        try:
            at, is_event, id_ = base64.urlsafe_b64decode(mark.encode()).decode().split(" ")
            time, number = dt.datetime.fromisoformat(at), int(id_)
            if time.tzinfo is None or is_event not in ("0", "1") or not 0 < number <= _HIGHEST:
                raise ValueError
            return cls(time, is_event == "1", number)
        except (ValueError, binascii.Error):
            raise NotAllowed("`after` is not the mark of a page") from None


def read_page(
    session: Session,
    wanted: TrailFilter,
    *,
    after: str | None = None,
    limit: int = 50,
    oldest_first: bool = False,
) -> TrailPage:
    """A page of the trail, the newest lines first.

    Args:
        session: the caller's transaction.
        wanted: which lines.
        after: the `next` of the page before.
        limit: lines on the page, at most.
        oldest_first: the other way round.

    Raises:
        NotAllowed: `after` is not a mark that this function gave.
    """
    mark = _Mark.parse(after) if after is not None else None
    order = _Order(mark, limit + 1, oldest_first=oldest_first)
    key = load_key()
    rows: list[AuditEntry | Event] = [
        *session.scalars(_entries(session, wanted, order)),
        *session.scalars(_events(session, wanted, order)),
    ]
    rows.sort(key=lambda row: (row.at, isinstance(row, Event), row.id), reverse=not oldest_first)
    shown = rows[:limit]
    next_mark = None
    if len(rows) > limit:
        last = shown[-1]
        next_mark = str(_Mark(last.at, isinstance(last, Event), last.id))
    return TrailPage(as_lines(session, key, shown), next_mark)


def read_line(session: Session, id_: int, *, is_event: bool) -> TrailLine:
    """One line by its number.

    Raises:
        NotFound: there is none, or it is an event that a part of the system made.
    """
    row: AuditEntry | Event | None = None
    if 0 < id_ <= _HIGHEST:
        row = session.get(Event, id_) if is_event else session.get(AuditEntry, id_)
    if row is None or row.actor_kind is None:
        raise NotFound("the trail has no such line")
    return as_lines(session, load_key(), [row])[0]


def read_all(wanted: TrailFilter, at_once: int = 1000) -> Iterator[Sequence[TrailLine]]:
    """All lines, the oldest first, some at a time; each part is read in its own transaction."""
    after = None
    while True:
        with unit_of_work() as session:
            page = read_page(session, wanted, after=after, limit=at_once, oldest_first=True)
        if page.lines:
            yield page.lines
        if page.next is None:
            return
        after = page.next


def as_lines(
    session: Session, key: TrailKey, rows: Sequence[AuditEntry | Event]
) -> list[TrailLine]:
    """Rows as lines: whom their pseudonyms stand for, and which studies they are about."""
    study_ids = {id_ for row in rows for id_ in _study_ids(row)}
    studies = {
        row.id: row
        for row in session.execute(
            select(
                Study.id, Study.study_instance_uid, Study.patient_id, Study.patient_id_issuer
            ).where(Study.id == func.any(cast(list(study_ids), ARRAY(Uuid))))
        )
    }
    pseudonyms = {one for row in rows if isinstance(row, AuditEntry) for one in row.patients}
    of_studies = {
        id_: key.pseudonym(row.patient_id, row.patient_id_issuer)
        for id_, row in studies.items()
        if row.patient_id.strip()
    }
    wanted = list(pseudonyms | set(of_studies.values()))
    known = {
        row.pseudonym: row
        for row in session.scalars(
            select(AuditPatient).where(
                AuditPatient.pseudonym == func.any(cast(wanted, ARRAY(Uuid)))
            )
        )
    }

    reasons = _reasons(session, rows)

    def patient(pseudonym: uuid.UUID) -> LinePatient:
        row = known.get(pseudonym)
        return LinePatient(pseudonym, row.patient_id if row else "", row.issuer if row else "")

    lines = []
    for row in rows:
        is_event = isinstance(row, Event)
        if isinstance(row, Event):
            one = of_studies.get(row.study_id)
            named = [one] if one else []
            about = studies.get(row.study_id)
            patients = [
                LinePatient(one, about.patient_id.strip(), about.patient_id_issuer.strip())
                for one in named
                if about
            ]
        else:
            patients = [patient(pseudonym) for pseudonym in row.patients]
        lines.append(
            TrailLine(
                is_event=is_event,
                id=row.id,
                at=row.at,
                action=row.kind if isinstance(row, Event) else row.action,
                outcome=AuditOutcome.SUCCESS if isinstance(row, Event) else row.outcome,
                actor_kind=row.actor_kind or "",
                actor_name=row.actor_name or "",
                actor_id=row.actor_id or "",
                actor_address=row.actor_address or "",
                patients=patients,
                studies=[
                    LineStudy(id_, studies[id_].study_instance_uid if id_ in studies else "")
                    for id_ in _study_ids(row)
                ],
                detail=row.detail,
                reasons=[reasons[id_] for id_ in _access_ids(row) if id_ in reasons],
            )
        )
    return lines


def count_emergencies(session: Session, days: int) -> int:
    """How many patients were opened in emergencies in the last days."""
    query = select(func.count()).where(
        _IS_OF_EMERGENCY,
        AuditEntry.action == AuditAction.EMERGENCY,
        AuditEntry.outcome == AuditOutcome.SUCCESS,
        AuditEntry.detail.like("%: opened for %"),
        # now() stands still in a transaction, so that the index can be asked for it.
        AuditEntry.at > func.now() - interval(86_400.0 * days),
    )
    return session.scalar(query) or 0


def _reasons(session: Session, rows: Sequence[AuditEntry | Event]) -> dict[uuid.UUID, str]:
    wanted = {id_ for row in rows for id_ in _access_ids(row)}
    if not wanted:
        return {}
    found = session.execute(
        select(EmergencyAccess.id, EmergencyAccess.reason).where(
            EmergencyAccess.id == func.any(cast(list(wanted), ARRAY(Uuid)))
        )
    )
    return {row.id: row.reason for row in found}


def _access_ids(row: AuditEntry | Event) -> list[uuid.UUID]:
    """The emergency accesses that an entry is about (`records.emergency_grants.mark`)."""
    if isinstance(row, Event):
        return []
    match = _OF_ACCESSES.match(row.detail)
    return [uuid.UUID(one) for one in match[1].split()] if match else []


def _study_ids(row: AuditEntry | Event) -> Sequence[uuid.UUID]:
    return [row.study_id] if isinstance(row, Event) else row.study_ids


@dataclass(frozen=True, slots=True)
class _Order:
    """Where a page begins and how it is ordered, for each of the two tables."""

    mark: _Mark | None
    limit: int
    oldest_first: bool

    def begin(self, at: Any, id_: Any, *, is_event: bool) -> list[ColumnElement[bool]]:
        """The condition that a row comes after the mark."""
        mark = self.mark
        if mark is None:
            return []
        # Of one moment, the newest first, the events come before the entries.
        bound = mark.id
        if is_event != mark.is_event:
            bound = _HIGHEST if mark.is_event else 0
        row, last = tuple_(at, id_), tuple_(literal(mark.at), literal(bound))
        return [row > last if self.oldest_first else row < last]

    def apply(self, query: Select[Any], at: Any, id_: Any) -> Select[Any]:
        columns = (at, id_) if self.oldest_first else (at.desc(), id_.desc())
        return query.order_by(*columns).limit(self.limit)


def _spans(at: Any, wanted: TrailFilter) -> list[ColumnElement[bool]]:
    return [
        *([at >= wanted.since] if wanted.since else []),
        *([at < wanted.until] if wanted.until else []),
    ]


def _entries(session: Session, wanted: TrailFilter, order: _Order) -> Select[Any]:
    table: Any = AuditEntry
    query = select(AuditEntry)
    if wanted.patient:
        # Found by the index of patients first: the index of times would be walked past all others.
        found = (
            select(AuditEntry)
            .where(
                AuditEntry.patients.op("&&")(
                    cast(_pseudonyms(session, wanted.patient), ARRAY(Uuid))
                )
            )
            .cte("found")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )
        table = aliased(AuditEntry, found)
        query = select(table)
    if wanted.person:
        query = query.where(table.actor_name == wanted.person)
    if wanted.action:
        query = query.where(table.action == wanted.action)
    if wanted.emergency:
        query = query.where(_IS_OF_EMERGENCY)
    query = query.where(*_spans(table.at, wanted), *order.begin(table.at, table.id, is_event=False))
    return order.apply(query, table.at, table.id)


def _events(session: Session, wanted: TrailFilter, order: _Order) -> Select[Any]:
    table: Any = Event
    query = select(Event).where(Event.actor_kind.is_not(None))
    if wanted.emergency:
        return query.where(false())  # nobody changes a study by an emergency
    if wanted.patient:
        found = (
            select(Event)
            .where(
                Event.study_id.in_(_studies_of(session, wanted.patient)),
                Event.actor_kind.is_not(None),
            )
            .cte("found")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )
        table = aliased(Event, found)
        query = select(table)
    if wanted.person:
        query = query.where(table.actor_name == wanted.person)
    if wanted.action:
        query = query.where(table.kind == wanted.action)
    query = query.where(*_spans(table.at, wanted), *order.begin(table.at, table.id, is_event=True))
    return order.apply(query, table.at, table.id)


def _pseudonyms(session: Session, typed: str) -> list[uuid.UUID]:
    """The pseudonyms of a patient id, of every issuer; or the pseudonym that was typed itself."""
    found = list(
        session.scalars(
            select(AuditPatient.pseudonym).where(AuditPatient.patient_id == typed.strip())
        )
    )
    with suppress(ValueError):  # it is no pseudonym
        found.append(uuid.UUID(typed.strip()))
    return found


def _studies_of(session: Session, typed: str) -> list[uuid.UUID]:
    """The studies of a patient id or pseudonym, the newest ones."""
    ids = {typed.strip()} | set(
        session.scalars(
            select(AuditPatient.patient_id).where(
                AuditPatient.pseudonym.in_(_pseudonyms(session, typed))
            )
        )
    )
    # The index of the search is on this very expression.
    searched = func.upper(Study.patient_id.collate("C"))
    rows = session.execute(
        select(Study.id, Study.patient_id)
        .where(or_(*(searched == id_.upper() for id_ in sorted(ids))))
        .order_by(Study.first_received_at.desc())
        .limit(STUDIES_NAMED)
    )
    return [row.id for row in rows if row.patient_id.strip() in ids]
