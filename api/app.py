"""The web application and its server: REST, pages, health.

Before the first account there is no login. So the server starts on loopback alone until there is
one; `api.request_guard` keeps other people's web pages out, and `api.access_control`
everybody else.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any, ClassVar

import anyio
import anyio.to_thread
import uvicorn
from fastapi import APIRouter, Depends, FastAPI

from api import (
    campaign_creation_pages,
    campaign_pages,
    campaigns,
    comparison_pages,
    comparisons,
    discrepancies,
    emergencies,
    health,
    holds,
    login_pages,
    message_pages,
    messages,
    model_pages,
    models,
    night_pages,
    nights,
    oidc_pages,
    order_pages,
    orders,
    own_session,
    pages,
    program_logins,
    reference,
    report_pages,
    reports,
    second_look_pages,
    studies,
    trail,
    trail_pages,
)
from api.access.direct_visits import check_demo_reader, is_loopback
from api.access_control import AccessControl
from api.connections import GuardedProtocol
from api.description import complete
from api.fhir import routes as fhir_routes
from api.idempotency import MOST_AT_ONCE, IdempotencyKeys
from api.looks import LookRecorder
from api.oidc.config import read_config
from api.oidc.provider import Provider
from api.problems import add_problem_handlers
from api.quality import pages as quality_pages
from api.quality import routes as quality_routes
from api.query_parameters import refuse_unknown_parameters
from api.report_styles import pages as style_pages
from api.report_styles import routes as style_routes
from api.request_guard import RequestGuard
from api.request_log import RequestLog
from api.reviews import pages as review_pages
from api.reviews import routes as review_routes
from api.static_files import VersionedFiles
from api.trusted_proxies import TrustedProxies
from api.viewer import films, pictures
from api.viewer import routes as film_routes
from api.worklist import pages as worklist_pages
from api.worklist import routes as worklist_routes
from records.accounts import accounts, local_logins, provider_accounts
from records.database.session import unit_of_work
from records.errors import NightdraftError, NotFound, PortInUse, SettingsError
from records.garbage_collection import freeze_startup_objects
from records.handshakes import HandshakeDoor
from records.operations.heartbeats import HeartbeatThread
from records.settings import Settings
from records.states import WARNING
from records.telemetry import logger
from records.tls.servers import pages_files
from records.tls.watched import ReloadedContext, WatchedContext

_THREADS = 18 - MOST_AT_ONCE
"""Requests that are answered at the same time; with the calls that have a key and so a connection
of their own, the probes, and the look-ups of who asks, fewer than the database's connections."""

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
        models,
        quality_routes,
        nights,
        campaigns,
        trail,
        emergencies,
        program_logins,
        own_session,
        fhir_routes,
        health,
        worklist_routes,
        worklist_pages,
        review_routes,
        film_routes,
        review_pages,
        style_routes,
        style_pages,
        pictures,
        films,
        pages,
        order_pages,
        report_pages,
        second_look_pages,
        comparison_pages,
        message_pages,
        model_pages,
        quality_pages,
        night_pages,
        campaign_creation_pages,  # its /campaigns/new is no id
        campaign_pages,
        trail_pages,
        reference,
        login_pages,
        oidc_pages,
    )
)
"""Every address, but those of static files."""


def _include_all() -> APIRouter:
    """All routers in one; each of its routes refuses a parameter that it does not know."""
    whole = APIRouter(dependencies=[Depends(refuse_unknown_parameters)])
    for router in ROUTERS:
        whole.include_router(router)
    return whole


# FastAPI takes a millisecond for each address, at the first request that it compares with it. All
# applications of a process share the outcome.
_ROUTES = _include_all().routes


class _Application(FastAPI):
    """FastAPI, whose OpenAPI document is made at the first request for it: it takes a second."""

    _document: ClassVar[dict[str, Any]] = {}
    """That of `_ROUTES`, which no setting changes; empty until it is asked for."""

    def openapi(self) -> dict[str, Any]:
        """The document with what FastAPI does not know of it."""
        if not _Application._document:
            document = super().openapi()
            complete(document)
            _Application._document = document
        return _Application._document


def make_app(settings: Settings) -> FastAPI:
    """Make the application; it opens no connection before the first request.

    Raises:
        SettingsError: what is set of the identity provider cannot be used.
    """
    oidc = read_config(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        yield

    app = _Application(
        title="Nightdraft",
        version="1",
        description=f"Drafts of chest X-ray reports. Every draft: {WARNING}",
        # FastAPI's own pages load scripts from elsewhere, which the headers forbid: `api.reference`
        # has the page and the document.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        routes=_ROUTES,
    )
    app.state.settings = settings
    app.state.provider = Provider(oidc) if oidc else None
    app.state.probe_threads = anyio.CapacityLimiter(_PROBE_THREADS)
    # The innermost: who asks is known, and what a kept answer shows is a look, too.
    app.add_middleware(IdempotencyKeys)
    app.add_middleware(LookRecorder)  # who asks is known by then
    app.add_middleware(
        AccessControl,
        routes=[route for router in ROUTERS for route in router.routes],
        settings=settings,
    )
    app.add_middleware(
        RequestGuard,
        host_names=(settings.serve_host, *settings.serve_names),
        fhir_bytes=round(settings.fhir_max_mb * 1_000_000),
        hsts_seconds=round(settings.serve_hsts_days * 86_400),
    )
    app.add_middleware(RequestLog)  # it logs what the guard refuses, too
    if settings.trusted_proxies:
        # The outermost: all others see who called.
        app.add_middleware(TrustedProxies, proxies=settings.trusted_proxies)
    add_problem_handlers(app)
    app.mount("/static", VersionedFiles(), name="static")
    return app


def run_server(settings: Settings, ready: Callable[[int], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then end cleanly.

    Args:
        settings: where to serve, and what the pages need.
        ready: called with the port once requests are answered.

    Raises:
        PortInUse: another program has the port.
        SettingsError: this machine has no such address, the port may not be taken, the certificate
            cannot be used, other machines would reach the pages and there is no account yet, or
            nobody could log in by the settings of the identity provider.
    """
    files = pages_files(settings)
    tls = WatchedContext(files, "the pages") if files else None
    listening = _bind(settings)
    try:
        app = make_app(settings)
        check_demo_reader(settings)
        _check_may_be_reached(settings)
        _check_logins(settings)
    except NightdraftError:
        listening.close()
        raise
    port: int = listening.getsockname()[1]

    def facts() -> dict[str, Any]:
        if tls:
            tls.current()  # a change is seen although nobody connects
        return {"port": port}

    heartbeat = HeartbeatThread(
        "api", facts, after_beat=lambda: health.record_what_is_seen(settings)
    )
    config = uvicorn.Config(
        app,
        log_config=None,
        # Addresses hold search words, and search words are patients' names; `RequestLog` names
        # routes.
        access_log=False,
        http=GuardedProtocol,
        server_header=False,
        proxy_headers=False,  # `TrustedProxies` reads them
        timeout_graceful_shutdown=5,
        ssl_context_factory=(lambda *_: ReloadedContext(tls)) if tls else None,
    )

    def started() -> None:
        freeze_startup_objects()
        _log_address(settings, port)
        heartbeat.start()
        if ready is not None:
            ready(port)

    try:
        _Server(config, started, tls).run(sockets=[listening])
    finally:
        heartbeat.stop()
        listening.close()
    logger().info("the web server ended", port=port)


class _Server(uvicorn.Server):
    """uvicorn with a callback once it serves, and with exit status 0 after a signal."""

    def __init__(
        self, config: uvicorn.Config, started: Callable[[], None], tls: WatchedContext | None
    ) -> None:
        super().__init__(config)
        self._on_started = started
        self._tls = tls
        self._door: HandshakeDoor | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._tls:
            loop: Any = asyncio.get_running_loop()
            create_server = loop.create_server

            def create_behind_door(
                make_protocol: Callable[[], asyncio.Protocol], **options: Any
            ) -> Any:
                # uvicorn passes the context on and has no setting for handshakes.
                self._door = HandshakeDoor(options.pop("ssl"))
                return create_server(self._door.before(make_protocol), **options)

            loop.create_server = create_behind_door
            if threading.current_thread() is threading.main_thread():
                # Without TLS it means that the terminal is gone.
                loop.add_signal_handler(signal.SIGHUP, self._tls.reload)
        await super().startup(sockets=sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._door is not None:
            self._door.end_all()
        await super().shutdown(sockets=sockets)

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


def _check_may_be_reached(settings: Settings) -> None:
    """Check that nobody on another machine gets in without a login.

    Raises:
        SettingsError: other machines reach the address, and there is no account.
        DatabaseDown: it is not known whether there is one.
    """
    if is_loopback(settings.serve_host) and not settings.trusted_proxies:
        return
    if settings.oidc_issuer:  # nothing is answered without a login then
        return
    with unit_of_work() as session:
        if accounts.exist(session):
            return
    raise SettingsError(
        "other machines reach the pages (NIGHTDRAFT_SERVE_HOST, NIGHTDRAFT_TRUSTED_PROXIES), and "
        "there is no account, so everybody could read every patient: make the first account "
        "(`nightdraft account create NAME --role ADMINISTRATOR`) and start the server again, or "
        "set NIGHTDRAFT_SERVE_HOST=127.0.0.1 and no proxy"
    )


def _check_logins(settings: Settings) -> None:
    """Check that the settings of logins fit the accounts and sites that there are.

    Raises:
        SettingsError: nobody could log in while the identity provider is away, or it gives a site
            that does not exist.
        DatabaseDown: it is not known.
    """
    if not (settings.oidc_issuer or settings.fallback_account):
        return
    with unit_of_work() as session:
        local_logins.check_fallback_account(session)
        try:
            provider_accounts.check_sites(session)
        except NotFound as error:
            raise SettingsError(f"NIGHTDRAFT_OIDC_SITES: {error}") from None


def _log_address(settings: Settings, port: int) -> None:
    host = settings.serve_host
    if settings.trusted_proxies and not (settings.serve_certificate or is_loopback(host)):
        logger().warning(
            "the pages are served without TLS, also to the proxies in NIGHTDRAFT_TRUSTED_PROXIES: "
            "let them come by loopback, or set NIGHTDRAFT_SERVE_CERTIFICATE",
            host=host,
            port=port,
        )
    logger().info(
        "the pages are served; before the first account there is no login", host=host, port=port
    )
