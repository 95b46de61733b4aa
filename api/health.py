"""Health of the process and of the system, and the call for its metrics.

No sentence here reveals anything about a patient. Probes may call by whatever name they know. By a
name that is not ours no sentence, folder or machine is told: somebody else's page may call so.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from api.metrics import SystemCollector, queue_lengths
from api.operation_schemas import Readiness, ReadinessCheck
from api.problems import PROBLEM_RESPONSES
from model.errors import BundleError
from model.manifest import read_manifest
from records.blobs import Blobs
from records.database.session import database_time, snapshot, unit_of_work
from records.errors import BundleUnusable, NightdraftError, PartError
from records.operations import heartbeats, lights, overview
from records.operations.lights import Seen
from records.settings import Settings

router = APIRouter(tags=["health"])

_NO_SENTENCE = "Call by the machine's address, or by a name in NIGHTDRAFT_SERVE_NAMES, to read why."

_UNKNOWN_PARAMETER: dict[int | str, dict[str, Any]] = {422: PROBLEM_RESPONSES[422]}


@router.get("/healthz", responses=_UNKNOWN_PARAMETER)
async def healthz() -> dict[str, str]:
    """The process lives and answers. /readyz reports on the rest of the system.

    The event loop itself answers: a probe waits for no thread, no database and no other call.
    """
    return {"status": "alive"}


@router.get(
    "/readyz",
    responses={503: {"model": Readiness, "description": "What is missing"}, **_UNKNOWN_PARAMETER},
)
async def readyz(request: Request) -> Response:
    """Whether studies can be received, drafted and read; 503 with what is missing."""
    return await _in_probe_thread(request, _readiness)


@router.get("/metrics", response_class=Response, responses=_UNKNOWN_PARAMETER)
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus, read from the rows at this moment."""
    return await _in_probe_thread(request, _metrics)


async def _in_probe_thread(
    request: Request, answer: Callable[[Settings, bool], Response]
) -> Response:
    """Answer in a thread that is kept for probes, however many pages wait for threads of theirs."""
    state = request.app.state
    is_called_by_our_name = bool(getattr(request.state, "is_our_host", False))
    return await to_thread.run_sync(
        answer, state.settings, is_called_by_our_name, limiter=state.probe_threads
    )


def _readiness(settings: Settings, is_called_by_our_name: bool) -> Response:
    checks = [check(settings) for check in CHECKS]
    if not is_called_by_our_name:
        checks = [check.model_copy(update={"sentence": _NO_SENTENCE}) for check in checks]
    missing = [check.name for check in checks if not check.ok]
    readiness = Readiness(ready=not missing, missing=missing, checks=checks)
    return JSONResponse(readiness.model_dump(), 503 if missing else 200)


def _metrics(settings: Settings, is_called_by_our_name: bool) -> Response:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SystemCollector(settings, names_machines=is_called_by_our_name))
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


def _parts(settings: Settings) -> ReadinessCheck:
    try:
        with snapshot() as session:
            missing = overview.read_parts(session).missing
    except NightdraftError:
        return ReadinessCheck(
            name="parts", ok=False, sentence="The database is needed to know which parts run."
        )
    if missing:
        sentence = f"Not seen for {heartbeats.SILENT_SECONDS:.0f} s: {', '.join(missing)}."
        return ReadinessCheck(name="parts", ok=False, sentence=sentence)
    running = ", ".join(settings.parts_that_must_run()) or "no part is expected"
    return ReadinessCheck(name="parts", ok=True, sentence=f"Running: {running}.")


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


def record_what_is_seen(settings: Settings) -> None:
    """Look at Redis, disk and bundle, and record it for their lights."""
    folder, disk = _blobs(settings), _disk(settings)
    seen = {"redis": _redis(settings), "disk": disk if folder.ok else folder}
    seen["bundle"] = _bundle(settings)
    with unit_of_work() as session:
        lights.record_observations(
            session,
            [Seen(name, check.ok, check.sentence, check.warning) for name, check in seen.items()],
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
