"""The pages of logins: log in and out, choose a password by a link, one's own account."""

from __future__ import annotations

import math
from typing import Annotated

import segno
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.access import cookies
from api.access.destinations import local_path
from api.access.direct_visits import is_demo_reader, require_direct
from api.access.freshness import require_fresh_login
from api.access.table import home_of
from api.access.visitor import Visitor, address_of, current_visitor, visited_by
from api.forms import FormFields
from api.oidc.errors import ProviderAway
from api.oidc.provider import Provider
from api.rendering import render
from records.accounts import (
    accounts,
    emergencies,
    local_logins,
    logins,
    second_factors,
    sessions,
)
from records.accounts.passwords import LEAST_CHARACTERS
from records.accounts.roles import PERMISSIONS
from records.accounts.sessions import LiveSession
from records.actors import Actor
from records.audit import trail
from records.database.session import snapshot, unit_of_work
from records.errors import LoginRefused, NotAllowed, NotFound
from records.settings import settings
from records.states import ActorKind, AuditAction, Role
from records.workflow import sites

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

Next = Annotated[str, Query(max_length=2000)]

_NO_REASON = ""
_REASONS = {
    "locked": "This page was not used for a while, so you were logged out.",
    "chosen": "Your password is kept. Log in with it.",
    "out": "You are logged out.",
    "ended": "Your session has ended: log in again, and you come back to the page.",
    "unsent": "Your session had ended, so what you sent changed nothing: log in, and do it again.",
}


@router.get("/login")
def show_login(
    request: Request,
    next: Next = "",
    why: Annotated[str, Query(max_length=20)] = _NO_REASON,
    local: bool = False,
) -> Response:
    """The page that asks who it is; `local` shows the form for a password in any case."""
    back = local_path(next)
    page = _login_page(request, local=local, next=back, reason=_REASONS.get(why, ""), wrong="")
    response = HTMLResponse(page)
    if why == "locked":
        cookies.set_locked(request, response, is_locked=True)
    return response


@router.post("/login")
def post_login(request: Request, fields: FormFields) -> Response:
    """Log in, with a new session whatever session the browser had."""
    values = dict(fields)
    back = local_path(values.get("next", ""))
    try:
        done = logins.log_in(
            values.get("login", ""),
            values.get("password", ""),
            values.get("code", ""),
            address=address_of(request),
            device_token=cookies.device_token(request),
        )
    except LoginRefused as error:
        page = _login_page(request, local=True, next=back, reason="", wrong=_sentence(error))
        return _refused(page, error)
    older = cookies.session_token(request)
    if older:
        with unit_of_work() as session:
            sessions.end(session, older)
    visitor = Visitor(
        Actor(ActorKind.ACCOUNT, done.account.login, str(done.account.id)),
        PERMISSIONS[Role(done.account.role)],
    )
    response = RedirectResponse(back or home_of(visitor), status_code=303)
    cookies.set_session(request, response, done.session_token)
    cookies.set_device(request, response, done.device_token)
    if cookies.was_locked(request):
        cookies.set_locked(request, response, is_locked=False)
    return response


@router.post("/logout")
def post_logout(request: Request, fields: FormFields) -> Response:
    """End the session, and lead to the identity provider to end the one there, too."""
    live = _session()
    with unit_of_work() as session:
        emergencies.end_all(session, live.id)
        sessions.end(session, cookies.session_token(request))
        trail.record(session, AuditAction.LOGOUT, detail="logged out")
    why = dict(fields).get("why", "out")
    why = why if why in _REASONS else "out"
    provider: Provider | None = request.app.state.provider
    response: Response
    if live.is_of_provider and provider is not None and why == "out":
        response = _leave_provider(provider)
    else:
        response = RedirectResponse(f"/login?why={why}", status_code=303)
    cookies.remove_session(request, response)
    return response


def _leave_provider(provider: Provider) -> Response:
    """The page that leads to the provider's logout.

    A page, and no redirect: a form of ours may not lead to another server, by any way
    (`form-action` of the content security policy).
    """
    try:
        address, is_away = provider.logout_url(), False
    except ProviderAway:
        address, is_away = "", True
    with visited_by(None):  # the session has ended, so the page has no head of a person
        page = render(
            "oidc_logout.html", address=address, is_away=is_away, name=provider.config.name
        )
    return HTMLResponse(page)


@router.get("/link/{token}")
def show_link(request: Request, token: str) -> Response:
    """The page on which a person chooses a password; looking at it does not use it up.

    The link of the demonstration's reader is used up: it opens the worklist.

    Raises:
        NotFound: the link cannot be used any more.
        NotAllowed: it is the demonstration's, and does not come from this machine.
    """
    with snapshot() as session:
        account = accounts.find_by_link(session, token, is_locked=False)
    if is_demo_reader(account.login):
        require_direct(request)
        session_token = logins.log_in_by_link(token, address_of(request))
        response = RedirectResponse("/", status_code=303)
        cookies.set_session(request, response, session_token)
        return response
    return HTMLResponse(render("link.html", account=account, least=LEAST_CHARACTERS, wrong=""))


@router.post("/link/{token}")
def post_link(token: str, fields: FormFields) -> Response:
    """Choose the password; the link is used up.

    Raises:
        NotFound: the link cannot be used any more.
    """
    values = dict(fields)
    try:
        password = _typed_twice(values)
        with unit_of_work() as session:
            if is_demo_reader(accounts.find_by_link(session, token).login):
                raise NotAllowed("the demonstration's reader has no password: open its link")
            accounts.use_link(session, token, password)
    except NotAllowed as error:
        with unit_of_work() as session:
            account = accounts.find_by_link(session, token)
        page = render("link.html", account=account, least=LEAST_CHARACTERS, wrong=_sentence(error))
        return HTMLResponse(page, 422)
    return RedirectResponse("/login?why=chosen", status_code=303)


@router.get("/again")
def show_again(request: Request, next: Next = "") -> str:
    """The page that asks for the password again."""
    return render(
        "again.html",
        next=local_path(next),
        wrong="",
        live=_session(),
        provider=_provider_name(request),
    )


@router.post("/again")
def post_again(request: Request, fields: FormFields) -> Response:
    """Note that the password was given again."""
    values, live = dict(fields), _session()
    back = local_path(values.get("next", "")) or "/account"
    try:
        logins.prove_again(
            live.id,
            live.login,
            values.get("password", ""),
            values.get("code", ""),
            address_of(request),
        )
    except LoginRefused as error:
        page = render("again.html", next=back, wrong=_sentence(error), live=live, provider="")
        return _refused(page, error)
    return RedirectResponse(back, status_code=303)


@router.get("/account")
def show_account() -> str:
    """One's own account: role and sites, password, second factor, sessions."""
    return _account_page("")


@router.post("/account/password")
def post_password(request: Request, fields: FormFields) -> Response:
    """Change the password; every other session ends."""
    values, live = dict(fields), _session()
    try:
        token = logins.change_password(
            live.login,
            values.get("password", ""),
            values.get("code", ""),
            _typed_twice(values),
            address_of(request),
        )
    except (LoginRefused, NotAllowed) as error:
        return HTMLResponse(_account_page(_sentence(error)), 422)
    response = RedirectResponse("/account", status_code=303)
    cookies.set_session(request, response, token)
    return response


@router.post("/account/second-factor")
def post_second_factor() -> Response:
    """Offer a secret for an app.

    Raises:
        NotAllowed: the identity provider asks for the second factor.
    """
    live = require_fresh_login("/account")
    if live.is_of_provider:
        raise NotAllowed("your second factor is the identity provider's")
    with unit_of_work() as session:
        second_factors.offer(session, accounts.get(session, live.login))
    return RedirectResponse("/account/second-factor", status_code=303)


@router.get("/account/second-factor")
def show_second_factor() -> Response:
    """The secret that was offered, to be read by an app."""
    live = require_fresh_login("/account")
    return _second_factor_page(live, "", 200)


@router.post("/account/second-factor/confirm")
def post_confirmation(fields: FormFields) -> Response:
    """Begin to ask for codes, and show the recovery codes this once."""
    live = require_fresh_login("/account/second-factor")
    try:
        with unit_of_work() as session:
            account = accounts.get(session, live.login)
            codes = second_factors.confirm(session, account, dict(fields).get("code", ""))
    except NotAllowed as error:
        return _second_factor_page(live, _sentence(error), 422)
    return HTMLResponse(render("recovery_codes.html", codes=codes))


@router.post("/account/second-factor/remove")
def post_removal() -> Response:
    """Ask for no codes any more."""
    live = require_fresh_login("/account")
    with unit_of_work() as session:
        second_factors.remove(session, accounts.get(session, live.login))
    return RedirectResponse("/account", status_code=303)


@router.post("/account/sessions")
def post_sessions() -> Response:
    """End all other sessions of this account."""
    live = _session()
    with unit_of_work() as session:
        sessions.end_all(session, live.account_id, but=live.id)
        trail.record(session, AuditAction.LOGOUT, detail="ended the other sessions")
    return RedirectResponse("/account", status_code=303)


def _session() -> LiveSession:
    visitor = current_visitor()
    if visitor is None or visitor.session is None:  # the table lets nobody else in
        raise NotFound("nobody is logged in")
    return visitor.session


def _typed_twice(values: dict[str, str]) -> str:
    """The new password of a form.

    Raises:
        NotAllowed: it was typed differently the second time.
    """
    password = values.get("new", "")
    if password != values.get("repeated", ""):
        raise NotAllowed("the two passwords differ: type the new one twice")
    return password


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def _provider_name(request: Request) -> str:
    provider: Provider | None = request.app.state.provider
    return "" if provider is None else provider.config.name


def _login_page(request: Request, *, local: bool, **values: object) -> str:
    provider = _provider_name(request)
    return render(
        "login.html",
        provider=provider,
        has_form=local or not (provider and local_logins.are_limited()),
        is_fallback=local_logins.are_limited(),
        **values,
    )


def _refused(page: str, error: LoginRefused) -> Response:
    if error.wait_seconds <= 0:
        return HTMLResponse(page, 401)
    return HTMLResponse(page, 429, {"retry-after": str(math.ceil(error.wait_seconds))})


def _account_page(wrong: str) -> str:
    live = _session()
    with snapshot() as session:
        account = accounts.get(session, live.login, is_locked=False)
        codes_left = second_factors.count_recovery_codes(session, account.id)
        rows = sessions.list_live(session, account.id)
        names = [site.name for site in sites.list_all(session) if site.id in live.site_ids]
    return render(
        "account.html",
        account=account,
        sites=names,
        has_second_factor=account.totp_secret is not None,
        codes_left=codes_left,
        sessions=rows,
        present=live.id,
        is_of_provider=live.is_of_provider,
        least=LEAST_CHARACTERS,
        limits=settings(),
        wrong=wrong,
    )


def _second_factor_page(live: LiveSession, wrong: str, status: int) -> Response:
    with snapshot() as session:
        account = accounts.get(session, live.login, is_locked=False)
        secret = second_factors.offered_secret(account)
    if secret is None:
        return RedirectResponse("/account", status_code=303)
    code = segno.make(second_factors.address(account, secret), error="m")
    groups = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
    page = render(
        "second_factor.html",
        picture=code.svg_inline(scale=5, light="#fff", border=4),
        secret=groups,
        wrong=wrong,
    )
    return HTMLResponse(page, status)
