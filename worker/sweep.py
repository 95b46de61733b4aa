"""The sweep: closes quiet studies, takes expired leases back, wakes what waits for its time, rings.

It also folds kept numbers, makes the summary of each night, and removes what retention is done
with.

The sweep finds all its work in rows, so one that is missed, doubled or killed is made good by the
next. It works in turns: a little of each, then the bells, so that no worker waits for the end of a
long list.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy.orm import Session

from records import received_messages
from records.database.session import unit_of_work
from records.errors import BrokerDown, safe_text
from records.operations import alarms, heartbeats, kept_answers, night_summaries, work_counts
from records.orders import effects, queries
from records.quality import counts, outcomes
from records.reports import discrepancies, finals
from records.settings import settings
from records.states import Stage
from records.telemetry import logger
from records.tracing import begin, is_on
from records.workflow import (
    attempts,
    draft_comparisons,
    events,
    leases,
    pixel_comparisons,
    requests,
    studies,
    tallies,
)
from records.worklist import locks
from worker import bells, quality_alarm, retention
from worker.alarm_channels import configured_channels
from worker.campaigns import tend
from worker.circuit_breaker import forgive_trial, trip, what_follows

CLOSE_AT_ONCE = 200
"""Studies closed in one transaction: short enough that the listener never waits for it."""

EXPIRE_AT_ONCE = 500
"""Leases that are taken back in one transaction."""

WAKE_AT_ONCE = 1000
"""Requests whose time has come, in one transaction."""

SWEEP_SECONDS = 30.0
"""A sweep begins no turn after so long. The next one goes on."""


@dataclass(slots=True)
class SweepResult:
    """What one sweep did: studies closed, leases expired, requests woken, bells rung.

    `fed` is how many studies of campaigns were given to the pipeline.
    """

    closed: int = 0
    expired: int = 0
    woken: int = 0
    rung: int = 0
    fed: int = 0


def sweep() -> SweepResult:
    """Do one sweep.

    Raises:
        DatabaseDown: PostgreSQL does not answer; the next sweep tries again.
        BrokerDown: Redis does not answer; what was closed and taken back stays so.
    """
    result = SweepResult()
    deadline = time.monotonic() + SWEEP_SECONDS
    broker_error: BrokerDown | None = None
    more = True
    while more:
        more = _take_turn(result) and time.monotonic() < deadline
        if broker_error is None:
            try:
                result.rung += sum(_ring(stage) for stage in Stage)
            except BrokerDown as error:
                broker_error = error
    with unit_of_work() as session:
        tallies.fold(session)
        work_counts.fold(session)
        counts.fold(session)
        received_messages.remove_old(session, settings().message_days)
        locks.forget_ended(session)
        kept_answers.remove_old(session, settings().idempotency_hours)
    with unit_of_work() as session:
        quality_alarm.settle_if_due(session)
    _sum_up_nights()
    _remove_due()
    if any(asdict(result).values()):
        logger().info(
            "swept",
            count=result.closed,
            reason=f"{result.expired} back, {result.woken} woken, {result.fed} of campaigns, "
            f"{result.rung} bells",
        )
    if broker_error is not None:
        raise broker_error
    return result


def _sum_up_nights() -> None:
    """Make the summary of a night that is over, and of nights that were missed."""
    config = settings()
    channels = configured_channels(config) if config.morning_messages else []
    with unit_of_work() as session:
        made = night_summaries.make_due(session, config, channels)
    for night in made:
        logger().info("a night was summed up", stage="sweep", reason=str(night))


def _remove_due() -> None:
    """Remove what retention is done with; a disk that refuses does not end the sweep."""
    try:
        retention.remove_due()
    except OSError as error:
        logger().warning(
            "files that retention is done with could not be removed", error=safe_text(error)
        )


def _take_turn(result: SweepResult) -> bool:
    """Do a little of each, one transaction each; returns whether there is more of any."""
    with unit_of_work() as session:
        closed = studies.close_quiet(session, settings().quiet_seconds, CLOSE_AT_ONCE)
        effects.take_up_closed(session, closed)
        queries.open_queries(session, closed, settings())
    for study_id in closed:
        logger().info("a study is complete", stage="sweep", study=str(study_id))
    if is_on():
        _write_arrivals(closed)
    expired = _expire_leases()
    with unit_of_work() as session:
        woken = requests.wake_due(session, WAKE_AT_ONCE)
    tended = tend()
    result.closed += len(closed)
    result.expired += expired
    result.woken += woken
    result.fed += tended.fed
    return (
        len(closed) >= CLOSE_AT_ONCE
        or expired >= EXPIRE_AT_ONCE
        or woken >= WAKE_AT_ONCE
        or tended.more
    )


def _write_arrivals(closed: Sequence[uuid.UUID]) -> None:
    """Write the span of each arrival, from the first object to the end of the quiet period."""
    with unit_of_work() as session:
        arrivals = studies.list_arrivals(session, closed)
    for arrival in arrivals:
        begin(
            "arrival",
            arrival.study_id,
            is_first=arrival.revision == 1,
            seconds_ago=arrival.seconds,
            study=str(arrival.study_id),
            revision=arrival.revision,
        ).end()


def _expire_leases() -> int:
    """End leases that ran out; raise the alarm where a worker died on one study after the other."""
    config = settings()
    with unit_of_work() as session:
        expired = attempts.expire_leases(
            session, config.max_attempts, config.retry_seconds, EXPIRE_AT_ONCE
        )
        for worker in sorted({lease.blamed for lease in expired if lease.blamed}):
            if alarms.open_alarms(session, worker):
                died = [lease.request_id for lease in expired if lease.blamed == worker]
                forgive_trial(session, worker, died)
                continue
            fatal = events.consecutive_worker_deaths(session, worker)
            if len(fatal) >= config.sick_after:
                stage, _, host = worker.partition("@")
                trip(
                    session,
                    worker,
                    fatal,
                    f"{stage.capitalize()} workers on {host} died on {len(fatal)} different "
                    f"studies in a row, each alone. {what_follows()}",
                )
    for lease in expired:
        logger().warning(
            "a lease ran out",
            stage="sweep",
            study=str(lease.study_id),
            draft_request=str(lease.request_id),
            owner=lease.owner,
        )
    return len(expired)


def _ring(stage: Stage) -> int:
    """Ring for as many requests as are ready and have no bell, a little ahead of the workers."""
    with unit_of_work() as session:
        stopped = alarms.stopped_workers(session, stage, settings().trial_seconds)
        if stopped and _running_workers(session, stage) <= stopped:
            return 0
        ready = list(leases.claimable_ids(session, stage, settings().bells_ahead))
        if stage is Stage.PREPARE:
            # One bell is enough: whoever hears it compares all of them.
            texts = (
                finals.find_waiting_comparison(session)
                or discrepancies.find_waiting_check(session)
                or draft_comparisons.find_waiting(session)
                or outcomes.find_waiting(session)
            )
            ready = [
                *pixel_comparisons.list_uncompared(session, 1),
                *([texts] if texts else []),
                *ready,
            ]
    return bells.ring(stage, ready[: max(0, len(ready) - bells.count_waiting(stage))])


def _running_workers(session: Session, stage: Stage) -> set[str]:
    return {
        leases.worker_name(stage, beat.owner)
        for beat in heartbeats.running_parts(session)
        if beat.part == stage
    }
