"""The sweep: closes quiet studies, takes back expired leases, rings for what is ready.

Everything it does it finds in rows, so a sweep that is missed, doubled or killed is made good by
the next. Knows no films and no model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from records.database.session import unit_of_work
from records.operations import heartbeats
from records.settings import settings
from records.states import Stage
from records.telemetry import logger
from records.workflow import events, leases, requests, studies
from worker import bells
from worker.circuit_breaker import is_stopped, raise_alarm

CLOSE_AT_ONCE = 200
"""Studies closed in one transaction: short enough that the listener never waits for it."""


@dataclass(slots=True)
class Swept:
    """What one sweep did."""

    closed: int = 0
    taken_back: int = 0
    rung: int = 0


def sweep() -> Swept:
    """One sweep.

    Raises:
        DatabaseDown: PostgreSQL does not answer; the next sweep tries again.
        BrokerDown: Redis does not answer; what was closed and taken back stays so.
    """
    done = Swept(closed=_close_quiet(), taken_back=_take_back())
    try:
        done.rung = sum(_ring(stage) for stage in Stage)
    finally:
        with unit_of_work() as session:
            heartbeats.delete_stale(session)
        if any(asdict(done).values()):
            logger().info(
                "swept", count=done.closed, reason=f"{done.taken_back} back, {done.rung} bells"
            )
    return done


def _close_quiet() -> int:
    closed = 0
    while True:
        with unit_of_work() as session:
            batch = len(studies.close_quiet(session, settings().quiet_seconds, CLOSE_AT_ONCE))
        closed += batch
        if batch < CLOSE_AT_ONCE:
            return closed


def _take_back() -> int:
    """End leases that ran out; where workers died on one study after the other, raise the alarm."""
    knobs = settings()
    with unit_of_work() as session:
        taken = requests.expire_leases(session, knobs.max_attempts, knobs.retry_seconds)
        for stage in Stage if taken else ():
            died = events.consecutive_worker_deaths(session, stage)
            if len(died) >= knobs.sick_after and not is_stopped(session, stage):
                raise_alarm(
                    session,
                    stage,
                    died,
                    f"{stage.capitalize()} workers died on {len(died)} different studies in a "
                    "row, each alone: nothing more is claimed until this is looked at.",
                )
    return taken


def _ring(stage: Stage) -> int:
    """Ring for as many requests as are ready and have no bell, a little ahead of the workers."""
    with unit_of_work() as session:
        if is_stopped(session, stage):
            return 0
        ready = leases.claimable_ids(session, stage, settings().bells_ahead)
    return bells.ring(stage, ready[: max(0, len(ready) - bells.waiting(stage))])
