"""The sweep: closes quiet studies, takes expired leases back, rings for what is ready.

The sweep finds all its work in rows, so one that is missed, doubled or killed is made good by the
next.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from records.database.session import unit_of_work
from records.operations import heartbeats
from records.settings import settings
from records.states import Stage
from records.telemetry import logger
from records.workflow import events, leases, requests, studies, tallies
from worker import bells
from worker.circuit_breaker import is_stopped, trip

CLOSE_AT_ONCE = 200
"""Studies closed in one transaction: short enough that the listener never waits for it."""


@dataclass(slots=True)
class SweepResult:
    """What one sweep did: studies closed, leases expired, bells rung."""

    closed: int = 0
    expired: int = 0
    rung: int = 0


def sweep() -> SweepResult:
    """Do one sweep.

    Raises:
        DatabaseDown: PostgreSQL does not answer; the next sweep tries again.
        BrokerDown: Redis does not answer; what was closed and taken back stays so.
    """
    result = SweepResult(closed=_close_quiet(), expired=_expire_leases())
    try:
        result.rung = sum(_ring(stage) for stage in Stage)
    finally:
        with unit_of_work() as session:
            heartbeats.delete_stale(session)
            tallies.fold(session)
        if any(asdict(result).values()):
            logger().info(
                "swept",
                count=result.closed,
                reason=f"{result.expired} back, {result.rung} bells",
            )
    return result


def _close_quiet() -> int:
    closed = 0
    while True:
        with unit_of_work() as session:
            batch = len(studies.close_quiet(session, settings().quiet_seconds, CLOSE_AT_ONCE))
        closed += batch
        if batch < CLOSE_AT_ONCE:
            return closed


def _expire_leases() -> int:
    """End leases that ran out; raise the alarm where workers died on one study after the other."""
    config = settings()
    with unit_of_work() as session:
        expired = requests.expire_leases(session, config.max_attempts, config.retry_seconds)
        for stage in Stage if expired else ():
            fatal = events.consecutive_worker_deaths(session, stage)
            if len(fatal) >= config.sick_after and not is_stopped(session, stage):
                trip(
                    session,
                    stage,
                    fatal,
                    f"{stage.capitalize()} workers died on {len(fatal)} different studies in a "
                    "row, each alone: nothing more is claimed until this is looked at.",
                )
    return expired


def _ring(stage: Stage) -> int:
    """Ring for as many requests as are ready and have no bell, a little ahead of the workers."""
    with unit_of_work() as session:
        if is_stopped(session, stage):
            return 0
        ready = list(leases.claimable_ids(session, stage, settings().bells_ahead))
        if stage is Stage.PREPARE:
            # One bell is enough: whoever hears it compares all of them.
            ready = [*studies.list_uncompared(session, 1), *ready]
    return bells.ring(stage, ready[: max(0, len(ready) - bells.count_waiting(stage))])
