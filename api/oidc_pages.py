"""Logins at the identity provider: the way there and back, and its logouts (OpenID Connect)."""

from __future__ import annotations

import time
import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from api.access import cookies
from api.access.destinations import local_path
from api.access.table import BACKCHANNEL_LOGOUT_PATH, home_of
from api.access.visitor import Visitor, address_of, current_visitor
from api.forms import FormFields
from api.oidc.errors import AnswerRefused, ProviderAway
from api.oidc.provider import Provider
from api.rendering import render
from records.accounts import local_logins, provider_accounts, provider_logins, sessions
from records.accounts.digests import new_token
from records.accounts.provider_accounts import Person
from records.accounts.roles import PERMISSIONS
from records.actors import Actor
from records.database.account_tables import ProviderLogin
from records.database.session import unit_of_work
from records.errors import LoginRefused, NightdraftError, NotAllowed, NotFound
from records.states import ActorKind, AuditOutcome, Role
from records.telemetry import logger

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

Next = Annotated[str, Query(max_length=2000)]

_ONCE = ("code", "state", "iss", "error")
"""Parameters of the provider's answer that it sends once at most (RFC 6749 section 3.1)."""


@router.get("/login/oidc")
def start_login(request: Request, next: Next = "") -> Response:
    """Send the browser to the identity provider.

    Raises:
        NotFound: the settings name none.
    """
    return _send(request, local_path(next), must_prove=cookies.was_locked(request))


@router.get("/again/oidc")
def start_again(request: Request, next: Next = "") -> Response:
    """Send the browser to the identity provider, where the person must show again who it is.

    Raises:
        NotFound: the settings name none, or this account is a local one.
    """
    visitor = current_visitor()
    if visitor is None or visitor.session is None or not visitor.session.is_of_provider:
        raise NotFound("this account logs in by a password")
    back = local_path(next) or "/account"
    return _send(request, back, must_prove=True, session_id=visitor.session.id)


@router.get("/login/oidc/callback")
def finish_login(request: Request) -> Response:
    """Take the provider's answer, which the browser brings.

    Raises:
        NotFound: the settings name no identity provider.
    """
    provider = _provider(request)
    sent = request.query_params
    if any(len(sent.getlist(name)) > 1 for name in _ONCE):
        return _refused("The answer says something twice.", "Log in again.", 400)
    answer = dict(sent)
    with unit_of_work() as session:
        login = provider_logins.take(session, answer.get("state", ""), cookies.login_token(request))
        if login is not None:
            session.expunge(login)
    if login is None:
        return _refused(
            "This login is not known here.",
            "It was ended before, it is older than ten minutes, or it was begun in another "
            f"browser. Begin again at {provider.config.pages}/login, which is the address to use.",
            400,
        )
    address = address_of(request)
    try:
        person = provider.fetch_person(answer, login, time.time())
    except (AnswerRefused, ProviderAway) as error:
        is_away = isinstance(error, ProviderAway)
        outcome = AuditOutcome.FAILED if is_away else AuditOutcome.REFUSED
        provider_accounts.record_failure(str(error), address, outcome=outcome)
        return _ended(error)
    try:
        if login.session_id is None:
            return _begin_session(request, person, login, address)
        return _prove(request, person, login, address)
    except LoginRefused as error:
        return _ended(error)


@router.get("/login/oidc/logged-out")
def show_logged_out() -> str:
    """Where the identity provider sends browsers back to after a logout there."""
    return render("oidc_logout.html", address="", is_away=False, name="")


@router.post(BACKCHANNEL_LOGOUT_PATH)
def post_logout(request: Request, fields: FormFields) -> Response:
    """End the sessions that the identity provider names (OpenID Connect Back-Channel Logout 1.0).

    Raises:
        NotFound: the settings name no identity provider.
    """
    provider = _provider(request)
    try:
        logout = provider.check_logout(dict(fields).get("logout_token", ""), time.time())
        ended = provider_accounts.end_sessions(logout)
    except ProviderAway as error:
        logger().error("a logout of the identity provider cannot be checked", error=str(error))
        return JSONResponse({"error": "temporarily_unavailable"}, 503)
    except (AnswerRefused, NotAllowed) as error:
        logger().warning("a logout of the identity provider is refused", error=str(error))
        return JSONResponse({"error": "invalid_request", "error_description": str(error)}, 400)
    logger().info("the identity provider ended sessions", count=ended)
    return Response(status_code=200)


def _provider(request: Request) -> Provider:
    provider: Provider | None = request.app.state.provider
    if provider is None:
        raise NotFound("no identity provider is set")
    return provider


def _send(
    request: Request, back: str, *, must_prove: bool, session_id: uuid.UUID | None = None
) -> Response:
    provider = _provider(request)
    begun = provider_logins.Begun.new()
    browser = cookies.login_token(request) or new_token()
    try:
        url = provider.authorization_url(begun, anew=must_prove)
        with unit_of_work() as session:
            provider_logins.keep(
                session,
                begun,
                browser_token=browser,
                back=back,
                address=address_of(request),
                must_prove=must_prove,
                session_id=session_id,
            )
    except (LoginRefused, ProviderAway) as error:
        return _ended(error)
    response = RedirectResponse(url, status_code=303)
    cookies.set_login(request, response, browser)
    return response


def _begin_session(
    request: Request, person: Person, login: ProviderLogin, address: str
) -> Response:
    account, token = provider_accounts.log_in(person, address)
    if older := cookies.session_token(request):
        with unit_of_work() as session:
            sessions.end(session, older)
    visitor = Visitor(
        Actor(ActorKind.ACCOUNT, account.login, str(account.id)), PERMISSIONS[Role(account.role)]
    )
    response = _go_on(login.back or home_of(visitor))
    cookies.set_session(request, response, token)
    if cookies.was_locked(request):
        cookies.set_locked(request, response, is_locked=False)
    return response


def _prove(request: Request, person: Person, login: ProviderLogin, address: str) -> Response:
    with unit_of_work() as session:
        live = sessions.find(session, cookies.session_token(request))
    if live is None or live.id != login.session_id:
        raise LoginRefused("the session in which this was asked for has ended")
    provider_accounts.prove_again(person, live, address)
    return _go_on(login.back)


def _go_on(back: str) -> Response:
    """A page that leads on.

    A redirect would still be a request that another site has sent, which is refused
    (`api.request_guard`); where a page of ours leads is our own.
    """
    return HTMLResponse(render("oidc_done.html", back=back))


def _ended(error: NightdraftError) -> Response:
    """The page for a login that came to nothing."""
    sentence = str(error)
    sentence = f"{sentence[:1].upper()}{sentence[1:]}."
    if isinstance(error, ProviderAway):
        logger().error("the identity provider cannot be used", error=str(error))
        remedy = (
            "Nothing was changed, and who is logged in stays so. Try again in some minutes; an "
            "administrator finds the reason by `nightdraft doctor`."
        )
        return _refused(sentence, remedy, 503)
    remedy = "Log in again, or ask an administrator of the identity provider or of this system."
    wait = error.wait_seconds if isinstance(error, LoginRefused) else 0.0
    return _refused(sentence, remedy, 429 if wait else 403)


def _refused(what: str, remedy: str, status: int) -> Response:
    page = render(
        "oidc_refused.html",
        what=what,
        remedy=remedy,
        has_fallback=status == 503 and local_logins.are_limited(),
    )
    response = HTMLResponse(page, status)
    if status == 503:
        response.headers["retry-after"] = "60"
    return response
