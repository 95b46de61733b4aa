"""`nightdraft account ...`: who may log in, as what, and of which sites."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.looks import user_of_system
from nightdraft.cli.options import console
from records.settings import settings
from records.states import Role

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from records.database.account_tables import Account

accounts = typer.Typer(
    no_args_is_help=True, help="Let people log in: accounts, their roles, sites and passwords."
)

Login = Annotated[str, typer.Argument(help="The login name.")]
OfRole = Annotated[
    Role, typer.Option(help="What the person may do.", case_sensitive=False, show_default=False)
]
SiteCodes = Annotated[
    list[str] | None,
    typer.Option(
        "--site", help="Code of a site whose studies the person may see; several. Else `default`."
    ),
]


@dataclass(frozen=True, slots=True)
class AccountLine:
    """An account as the commands show it."""

    login: str
    name: str
    role: str
    sites: tuple[str, ...]
    is_disabled: bool
    has_password: bool
    has_second_factor: bool
    created_at: dt.datetime
    created_by: str
    logged_in_at: dt.datetime | None
    locked_until: dt.datetime | None
    issuer: str | None


@dataclass(frozen=True, slots=True)
class LinkLine:
    """A link that was made, as the commands show it."""

    login: str
    link: str
    hours: float


@accounts.callback()
def about() -> None:
    """Let people log in: accounts, their roles, sites and passwords."""


@accounts.command("create")
def create(
    login: Login,
    role: OfRole,
    site: SiteCodes = None,
    name: Annotated[str, typer.Option(help="The person's name, as pages show it.")] = "",
    json: AsJson = False,
) -> None:
    """Make an account, and print the link by which the person chooses a password, once."""
    from records.accounts import accounts as rows
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        account, token = rows.create(session, login, role, site or (), user_of_system().name, name)
    _print_link(account.login, token, as_json=json)


@accounts.command("list")
def list_accounts(json: AsJson = False) -> None:
    """List the accounts, with role, sites, and the last login."""
    from rich.table import Table

    from records.database.session import snapshot

    with snapshot() as session:
        lines = _read_lines(session)
    if json:
        print_json(lines)
        return
    if not lines:
        print("there is no account: pages and REST are answered to this machine without a login")
        return
    table = Table("login", "role", "sites", "second factor", "last login", "", box=None)
    for line in lines:
        table.add_row(
            line.login,
            line.role,
            " ".join(line.sites),
            "yes" if line.has_second_factor else "no",
            _local(line.logged_in_at) or "never",
            _remark(line),
        )
    console().print(table)


@accounts.command("show")
def show(login: Login, json: AsJson = False) -> None:
    """Show one account, and the sessions that are open."""
    from records.accounts import accounts as rows
    from records.accounts import sessions
    from records.database.session import snapshot

    with snapshot() as session:
        account = rows.get(session, login, is_locked=False)
        (line,) = _read_lines(session, account)
        live = sessions.list_live(session, account.id)
    shown = [
        {"began_at": row.created_at, "used_at": row.used_at, "address": row.address} for row in live
    ]
    if json:
        print_json({"account": line, "sessions": shown})
        return
    print(f"{line.login} ({line.name}), {line.role}, sites {' '.join(line.sites)}")
    print(f"created {_local(line.created_at)} by {line.created_by}")
    factor = "with a second factor" if line.has_second_factor else "without a second factor"
    print(f"last login {_local(line.logged_in_at) or 'never'}, {factor}")
    if remark := _remark(line):
        print(remark)
    for row in live:
        print(
            f"session since {_local(row.created_at)}, used {_local(row.used_at)}, "
            f"from {row.address or 'an unknown address'}"
        )


@accounts.command("disable")
def disable(login: Login, json: AsJson = False) -> None:
    """End an account: its sessions end at once, and nobody logs in with it any more."""
    from records.accounts import accounts as rows

    _change(rows.disable, login, done="disabled", as_json=json)


@accounts.command("enable")
def enable(login: Login, json: AsJson = False) -> None:
    """Let a disabled account log in again."""
    from records.accounts import accounts as rows

    _change(rows.enable, login, done="enabled", as_json=json)


@accounts.command("role")
def set_role(
    login: Login,
    role: Annotated[Role, typer.Argument(help="What it may do.", case_sensitive=False)],
    json: AsJson = False,
) -> None:
    """Set the role of an account; it counts from the next click on."""
    from records.accounts import accounts as rows

    _change(rows.set_role, login, role, done=f"is {role}", as_json=json)


@accounts.command("sites")
def set_sites(
    login: Login,
    codes: Annotated[list[str], typer.Argument(help="Codes of the sites; all that it may see.")],
    json: AsJson = False,
) -> None:
    """Set the sites whose studies an account may see."""
    from records.accounts import accounts as rows

    _change(rows.set_sites, login, codes, done=f"sees {' '.join(codes)}", as_json=json)


@accounts.command("reset")
def reset(
    login: Login,
    second_factor: Annotated[
        bool, typer.Option("--second-factor", help="Take the second factor away, too.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Take an account's password away, end its sessions, and print a link to choose another."""
    from records.accounts import accounts as rows
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        token = rows.reset(session, login, user_of_system().name, second_factor=second_factor)
    _print_link(rows.fold_login(login), token, as_json=json)


@accounts.command("unlock")
def unlock(login: Login, json: AsJson = False) -> None:
    """Let an account log in at once that must wait after failures."""
    from records.accounts import accounts as rows

    _change(rows.unlock, login, done="unlocked", as_json=json)


@accounts.command("end-sessions")
def end_sessions(login: Login, json: AsJson = False) -> None:
    """End all sessions of an account: every browser must log in again."""
    from records.accounts import accounts as rows
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        ended = rows.end_sessions(session, login)
    if json:
        print_json({"login": rows.fold_login(login), "ended": ended})
    else:
        print(f"{rows.fold_login(login)}: {ended} sessions ended")


def _read_lines(session: Session, only: Account | None = None) -> list[AccountLine]:
    from records.accounts import accounts as rows
    from records.accounts import lockouts

    sites = rows.list_sites(session)
    listed: Sequence[Account] = rows.list_all(session) if only is None else [only]
    return [
        AccountLine(
            login=account.login,
            name=account.name,
            role=account.role,
            sites=tuple(site.code for site in sites.get(account.id, ())),
            is_disabled=account.disabled_at is not None,
            has_password=account.password_hash is not None,
            has_second_factor=account.totp_secret is not None,
            created_at=account.created_at,
            created_by=account.created_by,
            logged_in_at=account.logged_in_at,
            locked_until=lockouts.locked_until(session, account.login),
            issuer=account.issuer,
        )
        for account in listed
    ]


def _remark(line: AccountLine) -> str:
    if line.is_disabled:
        return "disabled"
    if line.locked_until is not None:
        return f"new browsers wait until {_local(line.locked_until)}, after failed logins"
    if line.issuer is not None:
        return "logs in at the identity provider"
    return "" if line.has_password else "has no password yet"


def _print_link(login: str, token: str, *, as_json: bool) -> None:
    from records.accounts.accounts import LINK_SECONDS

    hours = LINK_SECONDS / 3600
    link = f"{settings().pages_address()}/link/{token}"
    if as_json:
        print_json(LinkLine(login, link, hours))
        return
    print(f"{login} chooses a password here, once, within {hours:.0f} hours:")
    print(link)


def _change(
    change: Callable[..., object], login: str, *values: object, done: str, as_json: bool
) -> None:
    """Change an account by a function of `records.accounts.accounts`, and say what was done."""
    from records.accounts.accounts import fold_login
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        change(session, login, *values)
    if as_json:
        print_json({"login": fold_login(login), "done": done})
    else:
        print(f"{fold_login(login)}: {done}")


def _local(at: dt.datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""
