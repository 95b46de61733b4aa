"""`nightdraft bench claims`: how far claims let tables and indexes outgrow their live rows.

A campaign of studies goes its whole way in a fresh embedded database, by the functions that
`retrieve`, listener, sweep and workers call, each stage in a thread of its own. A study is claimed
three times: to be fetched, prepared and drafted. There is no fsync, so rows die sooner than in
service, and autovacuum has less time for them. At the end every table is measured, written anew
without gaps, and measured again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import text

from nightdraft.bench.fresh_database import fresh_database, vacuum
from nightdraft.bench.machine import machine_facts
from nightdraft.bench.operation import DRAFT, new_film, register
from records.campaigns import adding, campaigns, pulling
from records.campaigns.adding import NewStudy
from records.campaigns.campaigns import NewCampaign
from records.campaigns.window import Window
from records.database.session import unit_of_work
from records.orders import effects
from records.settings import settings
from records.states import CampaignKind, Stage, WalkState
from records.workflow import drafts, leases, requests, studies, tallies
from records.workflow.arrivals import ReceivedInstance
from records.workflow.requests import PreparedInput
from worker.campaigns import tend

CLAIMS_A_STUDY = 3
"""To be fetched, prepared and drafted."""

GOAL = 1.2
"""Tables and indexes should be no larger than so many times what their live rows take."""

SMALL_MB = 8.0
"""Below that a table is too small for a ratio to say something: its rows come and go."""

PACS = "archive"
_OWNER = "bench:1"
_FETCHED_AT_ONCE = 3
_PREPARE_AT_ONCE, _DRAFT_AT_ONCE = 8, 16
_REST_SECONDS = 0.5
_LOG_SECONDS = 30.0

_SHOWN = 8  # indexes

_PATIENCE = dict.fromkeys(
    ("database_statement_seconds", "database_lock_seconds", "database_idle_seconds"), "600"
)
"""Fetching threads claim one after the other, and each waits for those before it.

On a machine that stands still for seconds this takes longer than the usual limits. `retrieve` tries
again then; here the bytes count and not the time, so that nothing need be given up.
"""

_SIZES = text(
    """
    SELECT relname, n_live_tup, n_tup_upd, n_tup_hot_upd, autovacuum_count,
        pg_table_size(relid) / 1e6, pg_indexes_size(relid) / 1e6
    FROM pg_stat_user_tables WHERE schemaname = 'public' ORDER BY relname
    """
)

_INDEX_SIZES = text(
    """
    SELECT relname, indexrelname, pg_relation_size(indexrelid) / 1e6
    FROM pg_stat_user_indexes WHERE schemaname = 'public' ORDER BY indexrelname
    """
)


def measure(claims: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench on a temporary data folder.

    Args:
        claims: how many, at least.
        log: gets a line for each step.

    Returns:
        The measurements, as JSON has them; sizes are in MB.

    Raises:
        PartError: PostgreSQL does not start.
    """
    number = -(-claims // CLAIMS_A_STUDY)
    with fresh_database(durable=False, **_PATIENCE):
        started = time.perf_counter()
        _Run(number, log).run()
        seconds = time.perf_counter() - started
        log("measuring, and writing every table anew")
        before = _read_sizes()
        _forget_fillfactors()
        vacuum("(FULL)")
        after = _read_sizes()
    tables = {
        name: {
            **size,
            "packed_mb": after[name]["mb"],
            "packed_index_mb": after[name]["index_mb"],
            "indexes": {
                index: {"mb": mb, "packed_mb": after[name]["indexes"][index]}
                for index, mb in size["indexes"].items()
            },
        }
        for name, size in before.items()
    }
    return {
        **machine_facts(),
        "claims": CLAIMS_A_STUDY * number,
        "studies": number,
        "seconds": round(seconds, 1),
        "tables": tables,
    }


def ratio(size: dict[str, Any]) -> float:
    """How many times the size of its live rows a table has, with its indexes."""
    return float(
        (size["mb"] + size["index_mb"]) / max(size["packed_mb"] + size["packed_index_mb"], 1e-6)
    )


def is_large(size: dict[str, Any]) -> bool:
    """Whether a table is large enough for a ratio to say something."""
    return bool(size["mb"] + size["index_mb"] > SMALL_MB)


def total(measured: dict[str, Any]) -> dict[str, float]:
    """The sums over all tables."""
    tables = measured["tables"].values()
    return {
        key: sum(size[key] for size in tables)
        for key in ("mb", "index_mb", "packed_mb", "packed_index_mb")
    }


def render(measured: dict[str, Any]) -> RenderableType:
    """The measurements as a table, the largest first, and the indexes with most gaps."""
    table = Table(box=None, header_style="bold")
    table.add_column("table")
    for column in (
        "live rows", "MB", "packed", "indexes, MB", "packed", "times", "HOT updates", "autovacuums",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    ordered = sorted(
        measured["tables"].items(), key=lambda line: -line[1]["mb"] - line[1]["index_mb"]
    )
    for name, size in ordered:
        if not size["live_rows"] and not size["updates"] and size["mb"] + size["index_mb"] < 1:
            continue
        missed = is_large(size) and ratio(size) > GOAL
        table.add_row(
            name, f"{size['live_rows']:,}", *_megabytes(size), f"{ratio(size):.2f}",
            f"{size['hot_updates'] / size['updates']:.0%}" if size["updates"] else "",
            str(size["autovacuums"]),
            style="yellow" if missed else "",
        )  # fmt: skip
    sums = total(measured)
    swollen = Table(box=None, header_style="bold")
    swollen.add_column("index with gaps")
    swollen.add_column("MB", justify="right")
    swollen.add_column("packed", justify="right")
    for name, size in _swollen_indexes(measured):
        swollen.add_row(name, f"{size['mb']:.1f}", f"{size['packed_mb']:.1f}")
    table.add_row("all", "", *_megabytes(sums), f"{ratio(sums):.2f}", "", "", style="bold")
    pace = measured["claims"] / measured["seconds"]
    return Group(
        Text(
            f"{measured['claims']:,} claims, {measured['studies']:,} studies, {pace:.0f} a second. "
            '"packed" is the same rows written anew; yellow is what misses the goal (a table of '
            f"more than {SMALL_MB:.0f} MB that is more than {GOAL} times as large)."
        ),
        table,
        swollen,
    )


def _swollen_indexes(measured: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """The few indexes that are larger than they need be by most, the worst first."""
    indexes = [line for table in measured["tables"].values() for line in table["indexes"].items()]
    wasted = sorted(indexes, key=lambda line: line[1]["packed_mb"] - line[1]["mb"])
    return [(name, size) for name, size in wasted if size["mb"] > GOAL * size["packed_mb"]][:_SHOWN]


def _megabytes(size: dict[str, float]) -> list[str]:
    return [f"{size[key]:.1f}" for key in ("mb", "packed_mb", "index_mb", "packed_index_mb")]


@dataclass
class _Run:
    """A campaign on its way; each stage counts the studies that have left it."""

    number: int
    log: Callable[[str], None]
    fetched: int = 0
    prepared: int = 0
    drafted: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Let every study go its way; whatever fails in a stage ends all of them."""
        self.log(f"creating a campaign of {self.number:,} studies")
        films = {film.study_instance_uid: film for film in _draw_films(self.number)}
        _create(list(films))
        stages = (
            *[lambda: self._fetch(films)] * _FETCHED_AT_ONCE,
            self._prepare, self._draft, self._sweep, self._tell,
        )  # fmt: skip
        with ThreadPoolExecutor(len(stages), thread_name_prefix="bench") as threads:
            running = [threads.submit(stage) for stage in stages]
            try:
                for stage in as_completed(running):
                    stage.result()
            finally:
                self.ended.set()

    def _fetch(self, films: dict[str, ReceivedInstance]) -> None:
        while self.fetched < self.number and not self.ended.is_set():
            with unit_of_work() as session:
                pull = pulling.claim(session, PACS, settings().campaign_ahead, [CampaignKind.LIST])
            if pull is None:  # enough are under way, or the window is not open yet
                self.ended.wait(_REST_SECONDS)
                continue
            register(films[pull.study_instance_uid])
            with unit_of_work() as session:
                pulling.finish(session, pull, listed=1, missing=[], size=15_000_000)
            with self.lock:
                self.fetched += 1

    def _prepare(self) -> None:
        while self.prepared < self.number and not self.ended.is_set():
            claimed = self._claim(Stage.PREPARE, _PREPARE_AT_ONCE)
            for lease in claimed:
                prepared = PreparedInput(
                    f"prepared/{lease.request_id}", lease.request_id.hex, "bench", {}
                )
                with unit_of_work() as session:
                    requests.mark_prepared(session, lease, prepared)
            self.prepared += len(claimed)

    def _draft(self) -> None:
        while self.drafted < self.number and not self.ended.is_set():
            claimed = self._claim(Stage.DRAFT, _DRAFT_AT_ONCE)
            with unit_of_work() as session:
                leases.renew(session, claimed, 600.0)
            with unit_of_work() as session:
                for lease in claimed:
                    drafts.save(
                        session, lease, replace(DRAFT, inputs_digest=lease.inputs_digest or "")
                    )
            self.drafted += len(claimed)

    def _claim(self, stage: Stage, number: int) -> list[leases.Lease]:
        with unit_of_work() as session:
            claimed = leases.claim(session, stage, _OWNER, number, 600.0)
        if not claimed:
            self.ended.wait(_REST_SECONDS)
        return claimed

    def _sweep(self) -> None:
        """What the sweep does, again and again, until every row of the campaign has its end."""
        while not self.ended.is_set():
            with unit_of_work() as session:
                effects.take_up_closed(session, studies.close_quiet(session, 1e9))
            done = tend()
            with unit_of_work() as session:
                tallies.fold(session)
            if done.ended:
                self.ended.set()
            self.ended.wait(_REST_SECONDS)

    def _tell(self) -> None:
        while not self.ended.wait(_LOG_SECONDS):
            self.log(f"{self.fetched:,} fetched, {self.drafted:,} drafted of {self.number:,}")


def _draw_films(number: int) -> list[ReceivedInstance]:
    return [new_film() for _ in range(number)]


def _create(uids: list[str]) -> None:
    window = Window(None, ZoneInfo("UTC"))
    with unit_of_work() as session:
        campaign_id = campaigns.create(
            session, NewCampaign("bench", CampaignKind.LIST, window, "bench", pacs=PACS)
        )
    for start in range(0, len(uids), adding.ADD_AT_ONCE):
        with unit_of_work() as session:
            adding.add_studies(
                session,
                campaign_id,
                [NewStudy(uid) for uid in uids[start : start + adding.ADD_AT_ONCE]],
            )
    with unit_of_work() as session:
        campaigns.save_walk(session, campaign_id, None, WalkState.WALKED)


def _read_sizes() -> dict[str, dict[str, Any]]:
    with unit_of_work() as session:
        indexes: dict[str, dict[str, float]] = {}
        for table, index, size in session.execute(_INDEX_SIZES):
            indexes.setdefault(table, {})[index] = round(float(size), 3)
        return {
            name: {
                "live_rows": int(live),
                "updates": int(updates),
                "hot_updates": int(hot),
                "autovacuums": int(vacuums),
                "mb": round(float(size), 3),
                "index_mb": round(float(all_indexes), 3),
                "indexes": indexes.get(name, {}),
            }
            for name, live, updates, hot, vacuums, size, all_indexes in session.execute(_SIZES)
        }


def _forget_fillfactors() -> None:
    """What is packed has no room left for new versions of rows."""
    with unit_of_work() as session:
        for (name,) in session.execute(
            text(
                "SELECT relname FROM pg_class WHERE relkind = 'r'"
                " AND relnamespace = 'public'::regnamespace AND reloptions::text ~ 'fillfactor'"
            )
        ).all():
            session.execute(text(f"ALTER TABLE {name} RESET (fillfactor)"))
