"""Verifies that the trail is what was sealed: nothing changed, removed, cut off or made anew."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TypeVar

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from records.audit.heads import head_file, read_heads
from records.audit.keys import TrailKey, load_key
from records.audit.rows import FORM, Source, id_of, row_digest, select_rows
from records.audit.sealing import compute_seal, highest_sealed, removal_seal, sealed_spans
from records.audit.trail import check_key
from records.database.audit_tables import AuditGap, AuditRemovedRow, AuditSeal
from records.database.session import snapshot, unit_of_work

SEALS_AT_ONCE = 50
FINDINGS_KEPT = 100
"""Findings that are named; of more it is said how many there are."""

LATE_SECONDS = 900.0
"""A row that is not sealed after so long is a finding: nobody seals, or somebody hides it."""

_IDS_AT_ONCE = 500
_T = TypeVar("_T")


class FindingKind(StrEnum):
    """What is wrong with the trail."""

    SEAL_WRONG = "SEAL_WRONG"  # a seal was changed, or made without the key
    SEAL_GONE = "SEAL_GONE"  # a seal between others is not there
    ROW_CHANGED = "ROW_CHANGED"  # a row that a seal covers is not what was sealed
    ROW_GONE = "ROW_GONE"  # a row that a seal covers is not there
    ROW_ADDED = "ROW_ADDED"  # a row stands among sealed ones and has no seal
    ROW_UNSEALED = "ROW_UNSEALED"  # a row was not sealed for long
    TAIL_CUT = "TAIL_CUT"  # heads outside of the database name seals that are not there
    REWRITTEN = "REWRITTEN"  # heads outside name other seals than there are


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. sentence: for a person; it names no patient."""

    kind: FindingKind
    sentence: str


@dataclass(slots=True)
class Verification:
    """What was verified, and what was found.

    Attributes:
        seals, rows: how many were verified.
        removed: rows that were removed by rule, as the key's holder confirms.
        unsealed: newest rows that are not sealed yet; the next seal covers them.
        heads: heads outside of the database that were compared.
        found: how many findings; `findings` names the first of them.
    """

    seals: int = 0
    rows: int = 0
    removed: int = 0
    unsealed: int = 0
    heads: int = 0
    found: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, kind: FindingKind, sentence: str) -> None:
        """Note a finding."""
        self.found += 1
        if len(self.findings) < FINDINGS_KEPT:
            self.findings.append(Finding(kind, sentence))


def verify(
    heads: Sequence[Path] = (), progress: Callable[[int], None] = lambda _: None
) -> Verification:
    """Verify the whole trail against its seals, and the seals against heads outside.

    Args:
        heads: files with heads, besides the one that this system writes: of a syslog server, say.
        progress: called with the number of seals that are verified.

    Raises:
        SettingsError: the key of the trail is not here.
        DatabaseDown, PartError: the database or a file cannot be read.
    """
    result = Verification()
    key = load_key(make=False)
    # Read first: seals that are made meanwhile have no head in these.
    outside = _read_outside(heads, result)
    covered: dict[Source, list[tuple[int, int]]] = {source: [] for source in Source}
    previous: AuditSeal | None = None
    while True:
        with unit_of_work() as session:
            check_key(session, key)
            seals = session.scalars(
                select(AuditSeal)
                .where(AuditSeal.number > (previous.number if previous else 0))
                .order_by(AuditSeal.number)
                .limit(SEALS_AT_ONCE)
            ).all()
            for seal in seals:
                _check_seal(key, previous, seal, result)
                _check_rows(session, key, seal, result)
                _check_heads(seal, outside.pop(seal.number, set()), result)
                for source in Source:
                    covered[source] += sealed_spans(seal, source)
                previous = seal
                result.seals += 1
        progress(result.seals)
        if len(seals) < SEALS_AT_ONCE:
            break
    for number in sorted(outside):
        result.add(
            FindingKind.TAIL_CUT,
            f"Seal {number} is named outside of the database, and is not in it.",
        )
    for source in Source:
        _check_unsealed(source, _missing(covered[source]), previous, result)
    return result


def _read_outside(heads: Sequence[Path], result: Verification) -> dict[int, set[str]]:
    outside: dict[int, set[str]] = {}
    own = head_file()
    for path in [*([own] if own.exists() else []), *heads]:
        for head in read_heads(path):
            outside.setdefault(head.number, set()).add(head.seal)
            result.heads += 1
    return outside


def _check_seal(
    key: TrailKey, previous: AuditSeal | None, seal: AuditSeal, result: Verification
) -> None:
    expected = previous.number + 1 if previous else 1
    if seal.number != expected:
        last = f" to {seal.number - 1}" if seal.number > expected + 1 else ""
        result.add(FindingKind.SEAL_GONE, f"Seal {expected}{last} is not there.")
    elif seal.previous != (previous.seal if previous else ""):
        result.add(
            FindingKind.SEAL_WRONG, f"Seal {seal.number} was not made after the one before it."
        )
    if not hmac.compare_digest(compute_seal(key, seal), seal.seal):
        result.add(
            FindingKind.SEAL_WRONG,
            f"Seal {seal.number} was changed, or was made without the key of the trail.",
        )


def _check_rows(session: Session, key: TrailKey, seal: AuditSeal, result: Verification) -> None:
    digests = hashlib.sha256()
    is_whole = seal.form == FORM
    for source in Source:
        ids = [one for span in sealed_spans(seal, source) for one in range(span[0], span[1] + 1)]
        for some in _batches(ids):
            rows = {
                row[0]: row_digest(source, row)
                for row in session.execute(select_rows(source).where(id_of(source).in_(some)))
            }
            gone = [one for one in some if one not in rows]
            removed = _read_removed(session, key, source, gone)
            result.removed += len(removed)
            for one in some:
                found = rows.get(one) or removed.get(one)
                if found is None:
                    is_whole = False
                    result.add(
                        FindingKind.ROW_GONE,
                        f"Row {one} of {source} was sealed by seal {seal.number} and is not there.",
                    )
                else:
                    digests.update(found)
            result.rows += len(rows)
    if is_whole and digests.hexdigest() != seal.digest:
        result.add(
            FindingKind.ROW_CHANGED,
            f"Seal {seal.number} of {seal.at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC does not "
            f"fit its {seal.row_count} rows: one of them was changed.",
        )


def _read_removed(
    session: Session, key: TrailKey, source: Source, ids: Sequence[int]
) -> dict[int, bytes]:
    """The digests of rows that were removed by rule; the key shows that no other wrote them."""
    if not ids:
        return {}
    rows = session.scalars(
        select(AuditRemovedRow).where(
            AuditRemovedRow.source == source, AuditRemovedRow.row_id.in_(ids)
        )
    )
    return {
        row.row_id: bytes.fromhex(row.digest)
        for row in rows
        if hmac.compare_digest(removal_seal(key, source, row.row_id, row.digest), row.seal)
    }


def _check_heads(seal: AuditSeal, heads: set[str], result: Verification) -> None:
    if heads - {seal.seal}:
        result.add(
            FindingKind.REWRITTEN,
            f"Seal {seal.number} is not the one that is named outside of the database.",
        )


def _check_unsealed(
    source: Source,
    missing: list[tuple[int, int]],
    newest: AuditSeal | None,
    result: Verification,
) -> None:
    """Look for rows without a seal: among sealed ones, and after the newest one.

    What was sealed since the seals were verified counts as waiting: the next look verifies it.
    """
    identity = id_of(source)
    highest = highest_sealed(newest, source)
    for spans in _batches(missing):
        within = or_(*(identity.between(first, last) for first, last in spans))
        with snapshot() as session:
            found = session.scalars(select(identity).where(within).order_by(identity)).all()
            gaps = session.scalars(select(AuditGap).where(AuditGap.source == source)).all()
            waiting = [(gap.first_id, gap.last_id) for gap in gaps]
            for seal in _list_later(session, newest):
                waiting += sealed_spans(seal, source)
        for one in found:
            if any(first <= one <= last for first, last in waiting):
                result.unsealed += 1
            else:
                result.add(
                    FindingKind.ROW_ADDED,
                    f"Row {one} of {source} stands among sealed rows and no seal covers it.",
                )
    with snapshot() as session:
        later = _list_later(session, newest)
        sealed = highest_sealed(later[-1] if later else newest, source)
        rows = select_rows(source).selected_columns
        since = session.scalar(select(func.count()).where(identity > highest, identity <= sealed))
        count, oldest = session.execute(
            select(func.count(), func.min(rows.at)).where(identity > sealed)
        ).one()
        now = session.execute(select(func.clock_timestamp())).scalar_one()
    result.unsealed += count + (since or 0)
    if count and (now - oldest).total_seconds() > LATE_SECONDS:
        result.add(
            FindingKind.ROW_UNSEALED,
            f"{count} rows of {source} are not sealed, the oldest of "
            f"{oldest.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC: the part `sweep` seals them.",
        )


def _list_later(session: Session, newest: AuditSeal | None) -> Sequence[AuditSeal]:
    """The seals that were made after the newest one that is verified."""
    later = AuditSeal.number > (newest.number if newest else 0)
    return session.scalars(select(AuditSeal).where(later).order_by(AuditSeal.number)).all()


def _missing(covered: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans of ids between those that are covered; each span is its first and its last id."""
    spans, end = [], 0
    for first, last in sorted(covered):
        if first > end + 1:
            spans.append((end + 1, first - 1))
        end = max(end, last)
    return spans


def _batches(things: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(things)
    while some := list(islice(rest, _IDS_AT_ONCE)):
        yield some
