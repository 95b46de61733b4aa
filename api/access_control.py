"""Finds who asks, and answers only what the table of routes allows.

Before the first account everybody may have everything, as the server is bound to loopback then
(`api.app`). From the first account on, nothing is answered without a login or a token but what the
table says is public.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from urllib.parse import parse_qsl

import anyio
from anyio import to_thread
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import cookies
from api.access.cookies import FORM_FIELD
from api.access.destinations import login_address
from api.access.rate_limits import RateLimits
from api.access.table import (
    BACKCHANNEL_LOGOUT_PATH,
    TABLE,
    Door,
    Row,
    allows,
    explain,
    home_of,
)
from api.access.visitor import Visitor, address_of, visited_by
from api.outcomes import is_fhir
from api.problems import (
    SYSTEM_PATHS,
    http_error_response,
    known_error_response,
    problem_response,
)
from records.accounts import accounts, emergencies, programs, sessions
from records.accounts.roles import PERMISSIONS
from records.accounts.sessions import LiveSession
from records.actors import Actor, acting_as
from records.audit import trail
from records.database.session import unit_of_work
from records.emergency_grants import Grant, granted
from records.errors import NightdraftError
from records.settings import Settings
from records.states import ActorKind, AuditAction, AuditOutcome, Permission
from records.telemetry import logger
from records.workflow import site_scope

FORM_HEADER = "x-form-token"
"""What a call has that a page makes by a script, in place of the field of a form."""

_THREADS = 2
"""In which it is looked up who asks; a look-up takes a millisecond."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_FORM = "application/x-www-form-urlencoded"


class AccessControl:
    """ASGI middleware, behind `RequestGuard`, which has limited the body.

    Args:
        app: the application behind it.
        routes: the routes of the application; what is none of them is not answered.
        settings: from which networks probes are answered.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute], settings: Settings) -> None:
        self.app = app
        self.routes = routes
        self.probe_networks = [ipaddress.ip_network(name) for name in settings.probe_networks]
        # Threads of its own: a request must not wait for pages to learn that it is a probe.
        self.threads = anyio.CapacityLimiter(_THREADS)
        # Where an identity provider is set, people log in from the start.
        self.has_accounts = bool(settings.oidc_issuer)
        self.rate_limits = RateLimits(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        row = self._find_row(scope)
        if isinstance(row, Row) and (
            row.needs is Door.PUBLIC or (row.is_probe and self._is_near(request))
        ):
            is_counted = not row.is_probe and not _is_always_answered(scope)
            if is_counted and (wait := self.rate_limits.wait_seconds(None, address_of(request))):
                await _too_many(request, wait)(scope, receive, send)
                return
            with (
                visited_by(None),
                acting_as(Actor(ActorKind.NOBODY, address=address_of(request))),
                site_scope.limited_to(None if row.is_probe else ()),
            ):
                await self.app(scope, receive, send)
            return
        try:
            visitor = await to_thread.run_sync(self._identify, request, row, limiter=self.threads)
            refusal = await self._refusal(request, row, visitor)
        except NightdraftError as error:
            await known_error_response(request, error)(scope, receive, send)
            return
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        assert visitor is not None
        with (
            visited_by(visitor),
            acting_as(visitor.actor),
            site_scope.limited_to(visitor.site_ids),
            # What was opened in an emergency is looked at, and not changed.
            granted(visitor.grants if request.method in _SAFE else ()),
        ):
            await self.app(scope, _replayed(request, receive), send)

    def _find_row(self, scope: Scope) -> Row | int:
        """The row of the route; else a status: 403 where it has none, 404 or 405 of no route."""
        if scope["path"].startswith("/static/") or scope["path"] == "/static":
            return Row(Door.PUBLIC)
        status = 404
        for route in self.routes:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                scope["route"] = route  # for the line of the log
                return TABLE.get((scope["method"], _path(scope)), 403)
            if match is Match.PARTIAL:
                status = 405
        return status

    def _methods(self, scope: Scope) -> list[str]:
        """What the address takes; an answer of 405 must say it (RFC 9110, section 15.5.6)."""
        found = [route for route in self.routes if route.matches(scope)[0] is Match.PARTIAL]
        return sorted({method for route in found for method in getattr(route, "methods", ())})

    def _is_near(self, request: Request) -> bool:
        try:
            address = ipaddress.ip_address(address_of(request))
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self.probe_networks)

    def _identify(self, request: Request, row: Row | int) -> Visitor | None:
        """Who asks; None where nobody of ours does."""
        address = address_of(request)
        kind, _, credentials = request.headers.get("authorization", "").partition(" ")
        with unit_of_work() as session:
            if kind.casefold() == "bearer":
                program = programs.find(session, credentials.strip())
                if program is None:
                    return None
                return Visitor(
                    Actor(ActorKind.PROGRAM, program.name, str(program.id), address),
                    program.permissions,
                    None if program.site_id is None else (program.site_id,),
                    fhir=program.fhir,
                )
            if token := cookies.session_token(request):
                live = sessions.find(session, token, is_use=not isinstance(row, Row) or row.is_use)
                if live is not None:
                    return _person(session, live, token, address)
            # There is no way back: accounts are never deleted.
            self.has_accounts = self.has_accounts or accounts.exist(session)
        if self.has_accounts:
            return None
        return Visitor(Actor(ActorKind.NOBODY, address=address), frozenset(Permission))

    async def _refusal(
        self, request: Request, row: Row | int, visitor: Visitor | None
    ) -> Response | None:
        if wait := self.rate_limits.wait_seconds(visitor, address_of(request)):
            return _too_many(request, wait)
        if visitor is None:
            return _not_logged_in(request, row)
        # The page that says no has the visitor's head, and leads on from there.
        with visited_by(visitor):
            return await self._refusal_of(request, row, visitor)

    async def _refusal_of(
        self, request: Request, row: Row | int, visitor: Visitor
    ) -> Response | None:
        if row == 405:
            headers = {"Allow": ", ".join(self._methods(request.scope))}
            return http_error_response(request, HTTPException(row, headers=headers))
        if row == 404:
            return http_error_response(request, HTTPException(row))
        if not isinstance(row, Row) or not allows(row, visitor):
            if _is_front_door(request) and visitor.session is not None:
                return RedirectResponse(home_of(visitor), status_code=303)
            if row == 403:
                logger().error(
                    "a route has no row in the table of access", route=_path(request.scope)
                )
            await to_thread.run_sync(_record_refusal, request, visitor, limiter=self.threads)
            who_may = f"{explain(row, visitor)} " if isinstance(row, Row) else ""
            return problem_response(
                request,
                403,
                "You may not do this or see this",
                f"{who_may}Ask an administrator for the role or site, if your work needs it.",
            )
        if visitor.session is not None and request.method not in _SAFE:
            sent = request.headers.get(FORM_HEADER, "") or await _form_field(request)
            if not hmac.compare_digest(sent.encode(), visitor.form_token.encode()):
                return problem_response(
                    request,
                    403,
                    "The form is not from your present login, so nothing was changed",
                    "Open the page again, and send it again.",
                )
        return None


def _person(session: Session, live: LiveSession, token: str, address: str) -> Visitor:
    permissions = PERMISSIONS[live.role]
    site_ids = site_scope.reduce(session, live.site_ids)
    grants: tuple[Grant, ...] = ()
    if site_ids is not None and Permission.OPEN_EMERGENCIES in permissions:
        grants = emergencies.find_live(session, live.id, site_ids)
    return Visitor(
        Actor(ActorKind.ACCOUNT, live.login, str(live.account_id), address),
        permissions,
        site_ids,
        live,
        cookies.form_token(token),
        grants=grants,
    )


def _is_front_door(request: Request) -> bool:
    """Whether somebody asks for no page of ours by name, as after typing the server's name."""
    return request.url.path == "/" and request.method == "GET" and not request.url.query


def _is_always_answered(scope: Scope) -> bool:
    """Whether a page needs it, whoever watches, or the identity provider to end sessions.

    It calls for many people from one address, and a session that it ends must not stay open.
    """
    path = str(scope["path"])
    return path in ("/healthz", BACKCHANNEL_LOGOUT_PATH) or path.startswith("/static")


def _too_many(request: Request, wait_seconds: int) -> Response:
    logger().warning("too many requests of one sender", status=429)
    response = problem_response(
        request,
        429,
        "Too many requests came from you in the last minute, so this one changed nothing",
        f"Send it again in {wait_seconds} seconds.",
    )
    response.headers["retry-after"] = str(wait_seconds)
    return response


def _not_logged_in(request: Request, row: Row | int) -> Response:
    """The way to the login for who opens a page, and 401 for programs and what pages ask for."""
    path = request.url.path
    is_system = path.startswith(SYSTEM_PATHS) or is_fhir(path)
    is_polled = isinstance(row, Row) and not row.is_use
    mode = request.headers.get("sec-fetch-mode", "navigate")
    if not is_system and not is_polled and mode == "navigate":
        had_session = bool(cookies.session_token(request))
        if request.method != "GET":
            why = "out" if path == "/logout" else "unsent" if had_session else ""
            return RedirectResponse(login_address("", why), status_code=303)
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(
            login_address(f"{path}{query}", "ended" if had_session else ""), status_code=303
        )
    response = problem_response(
        request,
        401,
        "Nobody is logged in",
        "Log in, or send a token (`nightdraft token create`) as `Authorization: Bearer`.",
    )
    response.headers["www-authenticate"] = 'Bearer realm="nightdraft"'
    return response


def _record_refusal(request: Request, visitor: Visitor) -> None:
    with acting_as(visitor.actor), unit_of_work() as session:
        trail.record(
            session,
            AuditAction.REFUSED,
            outcome=AuditOutcome.REFUSED,
            detail=f"{request.method} {_path(request.scope)}",
        )


def _path(scope: Scope) -> str:
    """The route as the code names it; an address may hold what names a patient."""
    return str(getattr(scope.get("route"), "path", "unknown"))


async def _form_field(request: Request) -> str:
    if not request.headers.get("content-type", "").startswith(_FORM):
        return ""
    body = await request.body()
    try:
        fields = dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=1000))
    except ValueError:
        return ""
    return fields.get(FORM_FIELD, "")


def _replayed(request: Request, receive: Receive) -> Receive:
    """What gives the body to the application once more, where it was read here."""
    body: bytes | None = getattr(request, "_body", None)
    if body is None:
        return receive
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
