"""The web application and its server: REST, pages, health.

There is no login yet. So the server binds to loopback unless the settings say otherwise, and says
so in the log; `api.request_guard` keeps other people's web pages out.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType

import anyio
import anyio.to_thread
import uvicorn
from fastapi import Depends, FastAPI
from fastapi.staticfiles import StaticFiles

from api import (
    campaign_pages,
    campaigns,
    comparison_pages,
    comparisons,
    discrepancies,
    health,
    holds,
    images,
    message_pages,
    messages,
    night_pages,
    nights,
    order_pages,
    orders,
    pages,
    reference,
    report_pages,
    reports,
    second_look_pages,
    studies,
    trail,
    trail_pages,
)
from api.connections import GuardedProtocol
from api.fhir import routes as fhir_routes
from api.looks import LookRecorder
from api.problems import add_problem_handlers
from api.query_parameters import refuse_unknown_parameters
from api.rendering import PACKAGE_DIR
from api.request_guard import RequestGuard
from api.request_log import RequestLog
from api.schemas import Problem
from records.errors import PortInUse, SettingsError
from records.operations.heartbeats import HeartbeatThread
from records.settings import Settings
from records.states import WARNING
from records.telemetry import logger

_THREADS = 20
"""Requests that are answered at the same time; with the probes, fewer than the database's
connections."""

_PROBE_THREADS = 3
"""Calls of /readyz and /metrics that are answered at the same time, beside all other requests."""

ROUTERS = tuple(
    module.router
    for module in (
        studies,
        holds,
        orders,
        reports,
        discrepancies,
        comparisons,
        messages,
        nights,
        campaigns,
        trail,
        fhir_routes,
        health,
        images,
        pages,
        order_pages,
        report_pages,
        second_look_pages,
        comparison_pages,
        message_pages,
        night_pages,
        campaign_pages,
        trail_pages,
        reference,
    )
)
"""Every address, but those of static files."""


def make_app(settings: Settings) -> FastAPI:
    """Make the application; it opens no connection before the first request."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        yield

    app = FastAPI(
        title="Nightdraft",
        version="1",
        description=f"Drafts of chest X-ray reports. Every draft: {WARNING}",
        # FastAPI's own pages load scripts from elsewhere, which the headers forbid: `api.reference`
        # has the page and the document.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        dependencies=[Depends(refuse_unknown_parameters)],
    )
    app.state.settings = settings
    app.state.probe_threads = anyio.CapacityLimiter(_PROBE_THREADS)
    app.add_middleware(LookRecorder)  # the innermost: who asks is known by then
    app.add_middleware(
        RequestGuard,
        host_names=(settings.serve_host, *settings.serve_names),
        fhir_bytes=round(settings.fhir_max_mb * 1_000_000),
    )
    app.add_middleware(RequestLog)  # the outermost: it logs what the guard refuses, too
    add_problem_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=PACKAGE_DIR / "static"), name="static")
    _describe_problems(app)
    return app


def run_server(settings: Settings, ready: Callable[[int], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then end cleanly.

    Args:
        settings: where to serve, and what the pages need.
        ready: called with the port once requests are answered.

    Raises:
        PortInUse: another program has the port.
        SettingsError: this machine has no such address, or the port may not be taken.
    """
    listening = _bind(settings)
    port: int = listening.getsockname()[1]
    heartbeat = HeartbeatThread(
        "api", lambda: {"port": port}, after_beat=lambda: health.record_what_is_seen(settings)
    )
    config = uvicorn.Config(
        make_app(settings),
        log_config=None,
        # Addresses hold search words, and search words are patients' names; `RequestLog` names
        # routes.
        access_log=False,
        http=GuardedProtocol,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )

    def started() -> None:
        _log_address(settings.serve_host, port)
        heartbeat.start()
        if ready is not None:
            ready(port)

    try:
        _Server(config, started).run(sockets=[listening])
    finally:
        heartbeat.stop()
        listening.close()
    logger().info("the web server ended", port=port)


class _Server(uvicorn.Server):
    """uvicorn with a callback once it serves, and with exit status 0 after a signal."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._on_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """End the server with exit status 0. Uvicorn would raise the signal again after the end."""
        self.force_exit = self.should_exit
        self.should_exit = True


def _bind(settings: Settings) -> socket.socket:
    host, port = settings.serve_host, settings.serve_port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"port {port} of {host} is in use: stop the other program, "
                "or set NIGHTDRAFT_SERVE_PORT"
            ) from None
        reason = error.strerror or type(error).__name__
        raise SettingsError(
            f"cannot serve on {host} port {port} ({reason}): "
            "correct NIGHTDRAFT_SERVE_HOST or NIGHTDRAFT_SERVE_PORT"
        ) from None


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def _log_address(host: str, port: int) -> None:
    if is_loopback(host):
        logger().info(
            "the pages are served to this machine only, because there is no login yet",
            host=host,
            port=port,
        )
    else:
        logger().warning(
            "THE PAGES ARE SERVED TO OTHER MACHINES AND THERE IS NO LOGIN: everyone who reaches "
            "this address can read every patient's data and decide holds. Put a proxy with a login "
            "in front of it, or set NIGHTDRAFT_SERVE_HOST=127.0.0.1",
            host=host,
            port=port,
        )


def _describe_problems(app: FastAPI) -> None:
    """Add Problem to the OpenAPI document, and remove FastAPI's own form of an invalid request."""
    components = app.openapi()["components"]["schemas"]
    components["Problem"] = Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        components.pop(unused, None)
