"""Seals the trail and sends it to the audit server, from a thread of the sweep's process.

Sealing reads rows and may wait for a disk, and an audit server may take long to fail: a sweep must
wait for neither. Nothing of this is an entry of the trail itself.
"""

from __future__ import annotations

import time

from sqlalchemy.orm import Session

from records.alarm_kinds import AlarmKind
from records.audit import delivery, heads, sealing
from records.database.session import unit_of_work
from records.errors import DatabaseDown, NightdraftError, safe_text
from records.operations import alarms
from records.settings import Settings, settings
from records.telemetry import logger
from worker import audit_server
from worker.repeater import Repeater

SEALING_ALARM = "trail"
DELIVERY_ALARM = "audit server"
"""Whose the alarms are."""

ATTEMPTS_BEFORE_ALARM = 2
"""One failed attempt may be a restart of the server."""

SEALS_AT_ONCE = 50
"""Seals that one look makes, and that one look sends, at most."""

_LOOK_SECONDS = 1.0


def seal_due() -> int:
    """Seal what there is and write the heads; returns how many rows were sealed.

    An alarm opens where it cannot be done, and closes when it can be again.

    Raises:
        DatabaseDown: PostgreSQL does not answer; the next look goes on.
    """
    rows = 0
    try:
        for _ in range(SEALS_AT_ONCE):
            with unit_of_work() as session:
                seal = sealing.seal_next(session)
            if seal is None:
                break
            rows += seal.row_count
        with unit_of_work() as session:
            heads.write_heads(session)
    except DatabaseDown:
        raise
    except NightdraftError as error:
        with unit_of_work() as session:
            alarms.raise_alarm(session, AlarmKind.TRAIL_UNSEALED, SEALING_ALARM, _cause(error))
        return rows
    _close(SEALING_ALARM)
    return rows


def send_due(config: Settings) -> int:
    """Send what is due to the audit server; returns how many seals were sent.

    Raises:
        DatabaseDown: PostgreSQL does not answer; the next look goes on.
    """
    if not config.trail_server:
        _close(DELIVERY_ALARM)
        return 0
    host, port = audit_server.place(config)
    sent = 0
    while sent < SEALS_AT_ONCE:
        with unit_of_work() as session:
            batch = delivery.next_batch(
                session,
                f"{host}:{port}",
                with_numbers=config.trail_server_patients == "number",
            )
        if batch is None:
            return sent
        try:
            audit_server.send(batch.messages, config)
        except NightdraftError as error:
            with unit_of_work() as session:
                attempts = delivery.record_failure(session, batch, safe_text(error))
                if attempts >= ATTEMPTS_BEFORE_ALARM:
                    alarms.raise_alarm(session, AlarmKind.AUDIT_AWAY, DELIVERY_ALARM, _cause(error))
            logger().warning("the trail was not sent", error=safe_text(error))
            return sent
        with unit_of_work() as session:
            delivery.record_sent(session, batch)
            _close_in(session, DELIVERY_ALARM)
        sent += 1
    return sent


def _close(part: str) -> None:
    with unit_of_work() as session:
        _close_in(session, part)


def _close_in(session: Session, part: str) -> None:
    if alarms.open_alarms(session, part):
        alarms.close_alarms(session, part)


def _cause(error: NightdraftError) -> str:
    sentence = safe_text(error)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def trail_keeper() -> Repeater:
    """What seals the trail and sends it, every few seconds while its block runs."""
    sealed_at: float | None = None

    def look() -> None:
        nonlocal sealed_at
        config, now = settings(), time.monotonic()
        if sealed_at is None or now - sealed_at >= config.trail_seal_seconds:
            sealed_at = now
            seal_due()
        send_due(config)

    return Repeater("trail", look, _LOOK_SECONDS, "the trail waits")
