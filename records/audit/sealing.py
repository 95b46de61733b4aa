"""Seals the trail: each seal covers new rows and the seal before it, by a key that is elsewhere.

Every row is in exactly one seal. A transaction that takes an id early may commit late, when higher
ids are sealed already. So ids that no row has yet are kept as gaps and looked at again, until every
transaction that was running when they were noticed has ended; what has no row then was rolled back.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, and_, delete, func, insert, or_, select, text
from sqlalchemy.orm import Session

from records.audit.keys import TrailKey, load_key
from records.audit.rows import (
    FORM,
    Source,
    id_of,
    read_spans,
    row_digest,
    select_rows,
    write_spans,
)
from records.audit.trail import check_key
from records.database.audit_tables import AuditGap, AuditRemovedRow, AuditSeal

ROWS_AT_ONCE = 5000
"""Rows of each table in one seal, at most."""

GAP_SECONDS = 600.0
"""A gap is kept for so long at least: an id is taken a moment before its transaction has a number.
"""

_GAPS_AT_ONCE = 500

_LOCK = text("SELECT pg_advisory_xact_lock(7310445137)")
_SNAPSHOT = text(
    "SELECT (pg_snapshot_xmin(pg_current_snapshot())::text)::bigint,"
    " (pg_snapshot_xmax(pg_current_snapshot())::text)::bigint"
)
_CLUSTER = text("SELECT system_identifier::text FROM pg_control_system()")


def seal_next(session: Session) -> AuditSeal | None:
    """Seal rows that no seal covers; None where there are none.

    Only one process seals at a time; another one waits for it.

    Raises:
        SettingsError: the key of the trail is not there, or is not the one it was begun with.
    """
    session.execute(_LOCK)
    key = load_key()
    check_key(session, key)
    previous = session.scalars(
        select(AuditSeal).order_by(AuditSeal.number.desc()).limit(1)
    ).one_or_none()
    digests = hashlib.sha256()
    ids: dict[Source, list[int]] = {}
    highest = {source: highest_sealed(previous, source) for source in Source}
    for source in Source:
        rows = _take(session, source, highest[source])
        ids[source] = [row[0] for row in rows]
        for row in rows:
            digests.update(row_digest(source, row))
    count = sum(map(len, ids.values()))
    if not count:
        return None
    made = AuditSeal(
        number=previous.number + 1 if previous else 1,
        at=session.execute(select(func.clock_timestamp())).scalar_one(),
        form=FORM,
        entry_ids=write_spans(ids[Source.ENTRIES]),
        event_ids=write_spans(ids[Source.EVENTS]),
        highest_entry_id=max([highest[Source.ENTRIES], *ids[Source.ENTRIES][-1:]]),
        highest_event_id=max([highest[Source.EVENTS], *ids[Source.EVENTS][-1:]]),
        row_count=count,
        digest=digests.hexdigest(),
        key_id=key.key_id,
        previous=previous.seal if previous else "",
    )
    made.seal = compute_seal(key, made)
    session.add(made)
    session.flush()
    return made


def compute_seal(key: TrailKey, seal: AuditSeal) -> str:
    """HMAC-SHA-256 over all that a seal says, as 64 hexadecimal digits."""
    said = [
        seal.number,
        seal.at.astimezone(dt.UTC).isoformat(timespec="microseconds"),
        seal.form,
        seal.entry_ids,
        seal.event_ids,
        seal.highest_entry_id,
        seal.highest_event_id,
        seal.row_count,
        seal.digest,
        seal.key_id,
        seal.previous,
    ]
    written = json.dumps(said, separators=(",", ":")).encode("ascii")
    return hmac.digest(key.derive("seal"), written, "sha256").hex()


def sealed_spans(seal: AuditSeal, source: Source) -> list[tuple[int, int]]:
    """The spans of ids of a table that a seal covers, each as its first and its last id."""
    return read_spans(seal.entry_ids if source is Source.ENTRIES else seal.event_ids)


def highest_sealed(newest: AuditSeal | None, source: Source) -> int:
    """The highest id of a table that the newest seal or one before it covers; 0 without a seal."""
    if newest is None:
        return 0
    return newest.highest_entry_id if source is Source.ENTRIES else newest.highest_event_id


def keep_removed(session: Session, source: Source, ids: Sequence[int]) -> int:
    """Keep what the seals need of rows that the caller is about to delete by rule.

    Called before the deletion, in its transaction. `verify` then takes these rows for removed by
    rule, and not by somebody who has the database: only who has the key can write this.

    Returns:
        How many of these rows there are.
    """
    key = load_key()
    check_key(session, key)
    rows = session.execute(select_rows(source).where(id_of(source).in_(ids))).all()
    if rows:
        session.execute(
            insert(AuditRemovedRow),
            [
                {
                    "source": source,
                    "row_id": row[0],
                    "digest": row_digest(source, row).hex(),
                    "seal": removal_seal(key, source, row[0], row_digest(source, row).hex()),
                }
                for row in rows
            ],
        )
    return len(rows)


def removal_seal(key: TrailKey, source: str, row_id: int, digest: str) -> str:
    """HMAC-SHA-256 over the removal of a row, as 64 hexadecimal digits."""
    written = json.dumps([source, row_id, digest], separators=(",", ":")).encode("ascii")
    return hmac.digest(key.derive("removal"), written, "sha256").hex()


def _take(session: Session, source: Source, highest: int) -> list[Row[Any]]:
    """The rows of a table that no seal covers, by id, and what is kept of the gaps between them."""
    identity = id_of(source)
    # Read before the rows: what ended by now is seen below, whether it committed or not.
    oldest, _ = session.execute(_SNAPSHOT).one()
    cluster: str = session.execute(_CLUSTER).scalar_one()
    gaps = session.scalars(
        select(AuditGap).where(AuditGap.source == source).order_by(AuditGap.first_id)
    ).all()
    late: list[Row[Any]] = []
    for begin in range(0, len(gaps), _GAPS_AT_ONCE):
        some = gaps[begin : begin + _GAPS_AT_ONCE]
        within = or_(*(identity.between(gap.first_id, gap.last_id) for gap in some))
        late += session.execute(select_rows(source).where(within).order_by(identity)).all()
    new = session.execute(
        select_rows(source).where(identity > highest).order_by(identity).limit(ROWS_AT_ONCE)
    ).all()
    # Read after the rows: whoever had an id without a row in them is older than this.
    _, youngest = session.execute(_SNAPSHOT).one()
    _close_gaps(session, gaps, {row[0] for row in late}, oldest, cluster)
    for first_id, last_id in _between(highest, [row[0] for row in new]):
        session.add(
            AuditGap(
                source=source,
                first_id=first_id,
                last_id=last_id,
                cluster=cluster,
                transaction_id=youngest,
            )
        )
    session.flush()
    return [*late, *new]


def _close_gaps(
    session: Session, gaps: Sequence[AuditGap], found: set[int], oldest: int, cluster: str
) -> None:
    """Take out of the gaps what has a row now, and forget those that will never have one."""
    now = session.execute(select(func.clock_timestamp())).scalar_one()
    for gap in gaps:
        # In a restored database no transaction of the old one runs any more.
        is_over = gap.cluster != cluster or oldest >= gap.transaction_id
        is_old = (now - gap.noticed_at).total_seconds() >= GAP_SECONDS
        hit = sorted(one for one in found if gap.first_id <= one <= gap.last_id)
        if not hit and not (is_over and is_old):
            continue
        session.execute(
            delete(AuditGap).where(
                and_(AuditGap.source == gap.source, AuditGap.first_id == gap.first_id)
            )
        )
        if is_over and is_old:
            continue
        for first_id, last_id in _between(gap.first_id - 1, [*hit, gap.last_id + 1]):
            session.execute(
                insert(AuditGap).values(
                    source=gap.source,
                    first_id=first_id,
                    last_id=last_id,
                    cluster=gap.cluster,
                    transaction_id=gap.transaction_id,
                    noticed_at=gap.noticed_at,
                )
            )


def _between(before: int, ids: Sequence[int]) -> list[tuple[int, int]]:
    """The spans of ids that are missing between an id and these, which are in order."""
    spans = []
    for one in ids:
        if one > before + 1:
            spans.append((before + 1, one - 1))
        before = one
    return spans
