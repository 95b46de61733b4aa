"""The web application and its server: REST, pages, health. Knows routes and sockets, no rows.

There is no login yet. So it binds to loopback unless told otherwise, and says so; `api.request_guard` keeps
other people's web pages out.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType

import anyio.to_thread
import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from api import health, images, pages, studies
from api.problems import add_problems
from api.rendering import PACKAGE_DIR
from api.request_guard import Door
from api.schemas import Problem
from records.errors import PortInUse, SettingsError
from records.operations.heartbeats import HeartbeatThread
from records.settings import Settings
from records.states import WARNING
from records.telemetry import logger

_THREADS = 20
"""Requests that are answered at the same time: fewer than the database's connections."""


def make_app(settings: Settings) -> FastAPI:
    """The application; it opens nothing until it is asked something."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        yield

    app = FastAPI(
        title="Nightdraft",
        version="1",
        description=f"Drafts of chest X-ray reports. Every draft: {WARNING}",
        # FastAPI's own page of the API loads scripts from elsewhere, which the door forbids.
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.counting = studies.Counting()
    app.add_middleware(Door, names=(settings.serve_host, *settings.serve_names))
    add_problems(app)
    for room in (studies, health, images, pages):
        app.include_router(room.router)
    app.mount("/static", StaticFiles(directory=PACKAGE_DIR / "static"), name="static")
    _describe_problems(app)
    return app


def run_server(settings: Settings, ready: Callable[[int], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then end cleanly.

    ready: called with the port once requests are answered.

    Raises:
        PortInUse: another program has the port.
        SettingsError: there is no such address here, or the port is not ours to take.
    """
    listening = _bind(settings)
    port: int = listening.getsockname()[1]
    heartbeat = HeartbeatThread("api", lambda: {"port": port})
    config = uvicorn.Config(
        make_app(settings),
        log_config=None,
        # Addresses hold search words, and search words are patients' names.
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )

    def started() -> None:
        _say_where(settings.serve_host, port)
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
    """uvicorn, that tells when it serves, and for which a signal is an end and no death."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._when_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._when_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Uvicorn would raise the signal again after the end, and the exit status be not 0."""
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
        why = error.strerror or type(error).__name__
        raise SettingsError(
            f"cannot serve on {host} port {port} ({why}): "
            "correct NIGHTDRAFT_SERVE_HOST or NIGHTDRAFT_SERVE_PORT"
        ) from None


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def _say_where(host: str, port: int) -> None:
    if is_loopback(host):
        logger().info(
            "the pages are served to this machine only, for there is no login yet",
            host=host,
            port=port,
        )
    else:
        logger().warning(
            "THE PAGES ARE SERVED TO OTHER MACHINES AND THERE IS NO LOGIN: everyone who reaches "
            "this address reads every patient and can decide holds. Put a proxy with a login "
            "before it, or set NIGHTDRAFT_SERVE_HOST=127.0.0.1",
            host=host,
            port=port,
        )


def _describe_problems(app: FastAPI) -> None:
    """Put Problem into the OpenAPI page, and take FastAPI's own form of a wrong request out."""
    described = app.openapi()
    kinds = described["components"]["schemas"]
    kinds["Problem"] = Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        kinds.pop(unused, None)
