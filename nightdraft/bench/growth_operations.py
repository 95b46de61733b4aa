"""The operations of `nightdraft bench growth`, by the functions that do them in service."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy import text
from sqlalchemy.orm import Session

from api.metrics import SystemCollector
from api.studies import count_studies, load_study
from nightdraft.bench.growth_campaigns import campaign_operations
from nightdraft.bench.growth_orders import order_operations
from nightdraft.bench.operation import DRAFT, Operation, new_film, register
from records import hold_decisions
from records.database.session import unit_of_work, wait_without_limit
from records.operations import night_summaries, overview, refusals, tonight, work_counts
from records.orders import effects
from records.reviews import latest
from records.settings import settings
from records.states import Decision, HoldReason, Priority, Stage, VisibleState
from records.workflow import (
    attempts,
    drafts,
    events,
    holds,
    leases,
    requests,
    studies,
    tallies,
    withdrawals,
    worklist,
    worklist_places,
)
from records.workflow.leases import Lease
from records.workflow.requests import PreparedInput

OWNER = "bench:1"
REPEATS = 100_000
"""Lines of the timeline of a study whose film came again and again."""
MANY = 100_000
"""Requests that stand before all others and cannot be claimed; at most a tenth of all."""


def list_operations(studies_there: int) -> list[Operation]:
    """All operations, for a database that `growth_fill` has filled with so many studies."""
    return [
        *_ways(),
        *order_operations(),
        *campaign_operations(studies_there),
        *_numbers_and_lists(studies_there),
        *_searches(studies_there),
        *_sweeps(),
        # The last, for they rewrite many rows, and nothing cleans up behind them.
        *_bad_situations(min(MANY, studies_there // 10)),
    ]


def _reading(name: str, read: Callable[[Session], object]) -> Operation:
    def run(_: object) -> None:
        with unit_of_work() as session:
            read(session)

    return Operation(name, run)


def _ways() -> list[Operation]:
    """What a study costs on its way."""
    return [
        Operation("register a film", register, lambda _: new_film()),
        Operation(
            "close 8 studies",
            lambda _: _close(8),
            lambda _: _register_films(8),
        ),
        Operation(
            "claim 8 to prepare", lambda _: _claim(Stage.PREPARE, 8), lambda _: _release_all()
        ),
        Operation("claim 16 to draft", lambda _: _claim(Stage.DRAFT, 16), lambda _: _release_all()),
        Operation("renew 16 leases", _renew, lambda _: _claim_anew(Stage.DRAFT, 16)),
        Operation("give 16 back", _release, lambda _: _claim_anew(Stage.DRAFT, 16)),
        Operation("mark 8 prepared", _prepare, lambda _: _claim_anew(Stage.PREPARE, 8)),
        Operation("save 16 drafts", _save, lambda _: _claim_anew(Stage.DRAFT, 16)),
        Operation("take 8 expired leases back", lambda _: _expire(), lambda _: _claim_expired(8)),
        Operation("open a hold", _hold, lambda _: _some_study(VisibleState.WAITING)),
        Operation("decide a hold", _decide, lambda _: _some_study(VisibleState.HELD)),
        Operation("withdraw a draft", _withdraw, lambda _: _some_study(VisibleState.DRAFTED)),
        Operation("take a failed study up", _retry, lambda _: _some_study(VisibleState.FAILED)),
        Operation(
            "delete a study",
            _delete,
            lambda _: _some_study(VisibleState.DRAFTED),
            _let_delete,
            _keep_again,
        ),
    ]


def _bad_situations(many: int) -> list[Operation]:
    """Claims where many requests stand before those that may be claimed."""
    first = """
        UPDATE draft_requests SET priority = 0 WHERE id IN (
            SELECT id FROM draft_requests WHERE state = 'WAITING' AND priority = 2
            ORDER BY created_at DESC LIMIT :many
        )
    """
    situations = {
        "held": """
            INSERT INTO holds (study_id, reason, detail)
            SELECT study_id, 'VIEW_UNKNOWN', 'bench' FROM draft_requests WHERE priority = 0
        """,
        "waiting for the night": """
            UPDATE draft_requests SET not_before = now() + interval '1 day' WHERE priority = 0
        """,
        "for another bundle": "UPDATE draft_requests SET bundle = 'other' WHERE priority = 0",
        "of one transaction": "UPDATE draft_requests SET created_at = now() WHERE priority = 0",
    }

    def make(situation: str) -> Callable[[Session], object]:
        def change(session: Session) -> None:
            _lift_time_limits(session)
            session.execute(text(first), {"many": many})
            session.execute(text(situation))

        return change

    def undo(session: Session) -> None:
        _lift_time_limits(session)
        session.execute(text("DELETE FROM holds WHERE detail = 'bench'"))
        session.execute(
            text(
                "UPDATE draft_requests SET priority = 2, not_before = NULL, bundle = NULL"
                " WHERE priority = 0"
            )
        )

    return [
        Operation(
            f"claim 8 behind many {name}",
            lambda _: _claim(Stage.PREPARE, 8, bundle="bundle"),
            lambda _: _release_all(),
            make(situation),
            undo,
        )
        for name, situation in situations.items()
    ]


def _lift_time_limits(session: Session) -> None:
    """Let what makes a situation, which is not timed, take as long as it does."""
    wait_without_limit(session.connection())
    session.execute(text("SET LOCAL statement_timeout = 0"))


def _numbers_and_lists(studies_there: int) -> list[Operation]:
    def page(
        state: VisibleState | None, after: str | None = None, since: dt.datetime | None = None
    ) -> Callable[[Session], object]:
        return lambda session: worklist.read_page(session, state=state, after=after, since=since)

    def read_middle() -> tuple[dt.datetime, uuid.UUID]:
        """The middle of all arrivals."""
        with unit_of_work() as session:
            row = session.execute(
                text(
                    "SELECT first_received_at, id FROM studies"
                    " WHERE study_instance_uid = '2.25.1' || lpad(:n, 12, '0')"
                ),
                {"n": str(studies_there // 2)},
            ).one()
        return row.first_received_at, row.id

    middle = read_middle()
    before = middle[0] - dt.timedelta(days=1)
    deep = str(worklist_places.PageMark(before, Priority.ROUTINE, *middle))
    lists = [None, *VisibleState]
    return [
        _reading("counts by state", worklist.count_by_state),
        _reading("/api/counts", count_studies),
        _reading("status", overview.read_overview),
        _reading("tonight", lambda session: tonight.read_tonight_now(session, settings())),
        _reading("failures by reason", requests.list_failed),
        _reading("nights", lambda session: night_summaries.list_newest(session, 60)),
        Operation("/metrics", lambda _: list(SystemCollector(settings()).collect())),
        _reading("oldest waiting", worklist.oldest_waiting),
        *(_reading(f"worklist, {state or 'all'}", page(state)) for state in lists),
        *(
            _reading(f"worklist since the middle, {state or 'all'}", page(state, since=middle[0]))
            for state in (None, VisibleState.WAITING, VisibleState.DRAFTED)
        ),
        *(
            _reading(f"worklist from the middle, {state or 'all'}", page(state, deep))
            for state in (None, VisibleState.WAITING, VisibleState.DRAFTED)
        ),
        _reading("refusals", refusals.list_refusals),
        _reading("reviews to train on", latest.latest_reviews),
        Operation(
            "a study's page",
            _load,
            lambda _: _some_study(VisibleState.DRAFTED),
        ),
        Operation(
            f"a study's page after {REPEATS:,} repeats",
            _load,
            _repeat,
        ),
    ]


def _searches(studies_there: int) -> list[Operation]:
    middle = studies_there // 2
    searches = {
        "an accession number": f"A{middle:010d}",
        "a patient ID": f"P{middle // 2:09d}",
        "a study UID": f"2.25.1{middle:012d}",
        "the beginning of a number": f"A{middle:010d}"[:10],
        "a rare name": "family19999 given7",
        "a frequent name": "family0",
        "a name with an umlaut": "Fämily19999, Given7",
        "nothing that is there": "zzz",
    }

    def searching(typed: str) -> Callable[[Session], object]:
        return lambda session: worklist.read_page(session, search=typed)

    return [_reading(f"search for {name}", searching(typed)) for name, typed in searches.items()]


def _sweeps() -> list[Operation]:
    """What a sweep asks, with little to do."""
    return [
        Operation("sweep: close none", lambda _: _close(200, quiet_seconds=1e9)),
        *(
            _reading(
                f"sweep: ring for {stage}",
                lambda session, stage=stage: leases.claimable_ids(session, stage, 64),  # type: ignore[misc]
            )
            for stage in Stage
        ),
        Operation("sweep: no lease expired", lambda _: _expire()),
        _reading(
            "sweep: deaths in a row",
            lambda session: events.consecutive_worker_deaths(session, Stage.DRAFT),
        ),
        _reading("sweep: fold tallies", lambda session: tallies.fold(session, 0)),
        _reading("sweep: fold work counts", lambda session: work_counts.fold(session, 0)),
        _reading(
            "sweep: no night to sum up",
            lambda session: night_summaries.make_due(session, settings()),
        ),
    ]


def _register_films(number: int) -> None:
    for _ in range(number):
        register(new_film())


def _close(limit: int, quiet_seconds: float = 0.0) -> None:
    with unit_of_work() as session:
        effects.take_up_closed(session, studies.close_quiet(session, quiet_seconds, limit))


def _claim(
    stage: Stage, number: int, *, seconds: float = 600.0, bundle: str | None = None
) -> list[Lease]:
    with unit_of_work() as session:
        claimed = leases.claim(session, stage, OWNER, number, seconds, bundle)
    _claimed.extend(claimed)
    return claimed


_claimed: list[Lease] = []
"""What the bench has claimed and not yet given back."""


def _release_all() -> None:
    _release(_claimed)


def _claim_anew(stage: Stage, number: int) -> list[Lease]:
    _release_all()
    return _claim(stage, number)


def _claim_expired(number: int) -> None:
    _release_all()
    _claim(Stage.PREPARE, number, seconds=0.0)


def _release(claimed: Sequence[Lease]) -> None:
    with unit_of_work() as session:
        leases.release(session, list(claimed), "bench")
    _claimed.clear()


def _renew(claimed: Sequence[Lease]) -> None:
    with unit_of_work() as session:
        leases.renew(session, claimed, 600.0)


def _prepare(claimed: Sequence[Lease]) -> None:
    for lease in claimed:  # a transaction each, as the workers do it
        prepared = PreparedInput(f"prepared/{lease.request_id}", uuid.uuid4().hex, "pp", {})
        with unit_of_work() as session:
            requests.mark_prepared(session, lease, prepared)


def _save(claimed: Sequence[Lease]) -> None:
    with unit_of_work() as session:
        for lease in claimed:
            drafts.save(session, lease, replace(DRAFT, inputs_digest=lease.inputs_digest or ""))


def _expire() -> None:
    config = settings()
    with unit_of_work() as session:
        attempts.expire_leases(session, config.max_attempts, config.retry_seconds)


def _some_study(state: VisibleState) -> uuid.UUID:
    """Another study of this state at each call, for the one before has left it."""
    with unit_of_work() as session:
        return worklist.read_page(session, state=state, limit=1).rows[0].id


def _hold(study: uuid.UUID) -> None:
    with unit_of_work() as session:
        holds.open_hold(session, study, HoldReason.CHEST_UNKNOWN, "bench")


def _decide(study: uuid.UUID) -> None:
    with unit_of_work() as session:
        hold_decisions.decide(session, study, Decision.PROCEED, "bench")


def _withdraw(study: uuid.UUID) -> None:
    with unit_of_work() as session:
        withdrawals.withdraw(session, study, "bench", "bench")


def _retry(study: uuid.UUID) -> None:
    with unit_of_work() as session:
        requests.retry(session, study_id=study)


def _load(study: uuid.UUID) -> None:
    with unit_of_work() as session:
        load_study(session, str(study))


def _repeat(run: int) -> uuid.UUID:
    """The oldest study; before the first run its film comes again and again."""
    with unit_of_work() as session:
        study = session.execute(
            text("SELECT id FROM studies WHERE study_instance_uid = '2.25.1000000000001'")
        ).scalar_one()
        if run == 0:
            session.execute(
                text(
                    "INSERT INTO events (study_id, kind, detail)"
                    " SELECT :study, 'REPEATED', 'the same image came again'"
                    " FROM generate_series(1, :repeats)"
                ),
                {"study": study, "repeats": REPEATS},
            )
        return uuid.UUID(str(study))


_KEPT = {"drafts": "drafts_kept", "events": "events_written_once"}
"""Triggers that refuse to delete, by table."""


def _let_delete(session: Session) -> None:
    for table, trigger in _KEPT.items():
        session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}"))


def _keep_again(session: Session) -> None:
    for table, trigger in _KEPT.items():
        session.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}"))


def _delete(study: uuid.UUID) -> None:
    """Delete a study and all that belongs to it; no function of Nightdraft does that yet."""
    with unit_of_work() as session:
        for statement in (
            "DELETE FROM events WHERE study_id = :study",
            "DELETE FROM holds WHERE study_id = :study",
            "DELETE FROM study_orders WHERE study_id = :study",
            "UPDATE studies SET request_id = NULL WHERE id = :study",
            "UPDATE draft_requests SET draft_id = NULL WHERE study_id = :study",
            "DELETE FROM drafts WHERE study_id = :study",
            "DELETE FROM draft_requests WHERE study_id = :study",
            "DELETE FROM instances WHERE study_id = :study",
            "DELETE FROM series WHERE study_id = :study",
            "DELETE FROM studies WHERE id = :study",
        ):
            session.execute(text(statement), {"study": study})
