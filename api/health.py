"""Health of the process and of the system, and its numbers for Prometheus.

No label and no sentence here reveals anything about a patient.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.schemas import Readiness, ReadinessCheck
from model.errors import BundleError
from model.manifest import read_manifest
from records.blobs import Blobs
from records.broker import broker_client
from records.database.session import database_time, unit_of_work
from records.database.tables import Heartbeat
from records.errors import BundleUnusable, NightdraftError, PartError
from records.operations import heartbeats, overview, refusals
from records.operations.scrub import ScrubState, read_scrub_state
from records.settings import Settings
from records.states import Stage
from records.workflow import tallies, worklist

router = APIRouter(tags=["health"])

_REDIS_SECONDS = 2.0
"""How long a scrape or a check waits for Redis."""


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process lives and answers. /readyz reports on the rest of the system.

    The event loop itself answers: a probe waits for no thread, no database and no other call.
    """
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"model": Readiness, "description": "What is missing"}})
async def readyz(request: Request) -> Response:
    """Whether studies can be received, drafted and read; 503 with what is missing."""
    return await _in_probe_thread(request, _readiness)


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus, read from the rows at this moment."""
    return await _in_probe_thread(request, _metrics)


async def _in_probe_thread(request: Request, answer: Callable[[Settings], Response]) -> Response:
    """Answer in a thread that is kept for probes, however many pages wait for threads of theirs."""
    state = request.app.state
    return await to_thread.run_sync(answer, state.settings, limiter=state.probe_threads)


def _readiness(settings: Settings) -> Response:
    checks = [check(settings) for check in CHECKS]
    missing = [check.name for check in checks if not check.ok]
    readiness = Readiness(ready=not missing, missing=missing, checks=checks)
    return JSONResponse(readiness.model_dump(), 503 if missing else 200)


def _metrics(settings: Settings) -> Response:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SystemCollector(settings))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _database(_: Settings) -> ReadinessCheck:
    try:
        with unit_of_work() as session:
            database_time(session)
    except NightdraftError as error:
        return ReadinessCheck(name="database", ok=False, sentence=f"{error}.")
    return ReadinessCheck(name="database", ok=True, sentence="PostgreSQL answers.")


def _redis(settings: Settings) -> ReadinessCheck:
    try:
        queue_lengths(settings)
    except NightdraftError as error:
        return ReadinessCheck(name="redis", ok=False, sentence=f"{error}.")
    return ReadinessCheck(name="redis", ok=True, sentence="Redis answers.")


def _blobs(settings: Settings) -> ReadinessCheck:
    blobs = Blobs(settings.data_dir)
    ok = os.access(blobs.incoming, os.W_OK | os.X_OK)
    state = "can be written" if ok else "is missing or cannot be written: check NIGHTDRAFT_DATA_DIR"
    return ReadinessCheck(name="blobs", ok=ok, sentence=f"The folder {blobs.incoming} {state}.")


def _disk(settings: Settings) -> ReadinessCheck:
    try:
        free = Blobs(settings.data_dir).free_mb()
    except OSError:
        return ReadinessCheck(name="disk", ok=False, sentence="The data folder is missing.")
    is_enough = free >= settings.disk_stop_mb
    is_low = free < settings.disk_warn_mb
    sentence = f"{free} MB are free"
    if not is_enough:
        sentence += "; nothing is received until there is room"
    elif is_low:
        sentence += f"; below {settings.disk_stop_mb} MB nothing is received"
    return ReadinessCheck(name="disk", ok=is_enough, warning=is_low, sentence=f"{sentence}.")


def _parts(_: Settings) -> ReadinessCheck:
    try:
        with unit_of_work() as session:
            missing = overview.read_parts(session).missing
    except NightdraftError:
        return ReadinessCheck(
            name="parts", ok=False, sentence="The database is needed to know which parts run."
        )
    if missing:
        sentence = f"Not seen for {heartbeats.SILENT_SECONDS:.0f} s: {', '.join(missing)}."
        return ReadinessCheck(name="parts", ok=False, sentence=sentence)
    return ReadinessCheck(
        name="parts", ok=True, sentence=f"Running: {', '.join(overview.EXPECTED_PARTS)}."
    )


def _bundle(settings: Settings) -> ReadinessCheck:
    try:
        bundle = bundle_name(settings)
    except PartError as error:
        return ReadinessCheck(name="bundle", ok=False, sentence=f"{error}.")
    return ReadinessCheck(name="bundle", ok=True, sentence=f"The manifest of {bundle} can be read.")


CHECKS: tuple[Callable[[Settings], ReadinessCheck], ...] = (
    _database,
    _redis,
    _blobs,
    _disk,
    _parts,
    _bundle,
)


def bundle_name(settings: Settings) -> str:
    """Name and version of the bundle that the settings name; its files are not hashed here.

    Raises:
        BundleUnusable: none is named, or its manifest cannot be read.
    """
    if not settings.bundle:
        raise BundleUnusable("NIGHTDRAFT_BUNDLE names no model")
    try:
        manifest = read_manifest(settings.bundle)
    except BundleError as error:
        raise BundleUnusable(str(error)) from None
    return f"{manifest.name} {manifest.version}"


def queue_lengths(settings: Settings) -> dict[str, int]:
    """Bells that wait in Redis, by queue.

    Raises:
        BrokerDown: Redis does not answer.
        SettingsError: nothing says where it is.
    """
    with broker_client(settings.address("redis_url"), _REDIS_SECONDS) as client:
        # A stage's queue is a Redis list of the stage's name.
        return {stage.value: int(client.llen(stage.value)) for stage in Stage}


class SystemCollector(Collector):
    """Makes Prometheus families from the rows at each scrape, so that restarts lose nothing."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def collect(self) -> Iterator[Metric]:
        """Yield every family; where a part is down, its numbers are left out and `up` says so."""
        up = GaugeMetricFamily("nightdraft_up", "1 where the part answers the API", labels=["part"])
        try:
            yield from self._from_rows()
            up.add_metric(["database"], 1)
        except NightdraftError:
            up.add_metric(["database"], 0)
        try:
            queues = GaugeMetricFamily(
                "nightdraft_queue_length", "Bells waiting in Redis", labels=["queue"]
            )
            for queue, length in queue_lengths(self.settings).items():
                queues.add_metric([queue], length)
            yield queues
            up.add_metric(["redis"], 1)
        except NightdraftError:
            up.add_metric(["redis"], 0)
        yield up
        try:
            free = Blobs(self.settings.data_dir).free_mb() * 1_000_000
            yield GaugeMetricFamily(
                "nightdraft_disk_free_bytes", "Free space on the blob volume", value=free
            )
        except OSError:
            pass  # no folder: the family is absent, and /readyz says why

    def _from_rows(self) -> Iterator[Metric]:
        with unit_of_work() as session:
            states = worklist.count_by_state(session)
            total = tallies.count_saved_drafts(session)
            refused = refusals.count_by_reason(session)
            since = worklist.oldest_waiting(session)
            now = database_time(session)
            parts = overview.read_parts(session)
            stored = read_scrub_state(session)
        yield from _from_scrub(stored)
        yield _gauge(
            "nightdraft_studies",
            "Studies by visible state",
            "state",
            {str(state): number for state, number in states.items()},
        )
        yield CounterMetricFamily("nightdraft_drafts", "Drafts kept", value=total)
        refused_family = CounterMetricFamily(
            "nightdraft_refusals", "Objects and associations refused", labels=["reason"]
        )
        for reason, number in sorted(refused.items()):
            refused_family.add_metric([reason], number)
        yield refused_family
        yield GaugeMetricFamily(
            "nightdraft_oldest_waiting_seconds",
            "Since the arrival of the oldest study that is neither ended nor held",
            value=(now - since).total_seconds() if since else 0.0,
        )
        running = dict.fromkeys(overview.EXPECTED_PARTS, 0)
        for part in parts.running:
            running[part.part] = running.get(part.part, 0) + 1
        yield _gauge("nightdraft_parts_seen", "Processes seen lately, by part", "part", running)
        yield from _from_draft_workers(parts.running)
        alarms = GaugeMetricFamily(
            "nightdraft_alarms_open", "Open alarms, by kind and part", labels=["kind", "part"]
        )
        for alarm in parts.alarms:
            alarms.add_metric([alarm.kind, alarm.part], 1)
        yield alarms


_DRAFT_FAMILIES = {
    "slots": ("nightdraft_draft_slots", "Studies that the worker writes at the same time"),
    "occupancy": ("nightdraft_draft_occupancy", "Share of slot-steps that wrote a token, lately"),
    "studies_per_second": ("nightdraft_draft_studies_per_second", "Studies drafted, lately"),
    "tokens_per_second": ("nightdraft_draft_tokens_per_second", "Tokens written, lately"),
    "reruns": ("nightdraft_draft_reruns", "Studies run again in float32 since the worker began"),
}
"""A draft worker's facts and their families. "Lately" is since its last heartbeat."""


def _from_scrub(stored: ScrubState) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "nightdraft_damaged_files", "Stored files that are gone or changed", value=stored.damaged
    )
    for name, description, at in (
        ("nightdraft_scrub_read", "When a stored file was last read again", stored.read_at),
        ("nightdraft_scrub_round", "When all files had been read again", stored.round_ended_at),
    ):
        if at is not None:
            yield GaugeMetricFamily(f"{name}_timestamp_seconds", description, value=at.timestamp())


def _from_draft_workers(running: Iterable[Heartbeat]) -> Iterator[Metric]:
    for fact, (name, description) in _DRAFT_FAMILIES.items():
        family = GaugeMetricFamily(name, description, labels=["worker"])
        for part in running:
            if part.part == "draft" and isinstance(part.facts.get(fact), int | float):
                family.add_metric([part.owner], part.facts[fact])
        yield family


def _gauge(name: str, description: str, label: str, numbers: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, description, labels=[label])
    for value, number in numbers.items():
        family.add_metric([value], number)
    return family
