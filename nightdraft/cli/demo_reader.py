"""The demonstration's reader: who is signed in when the worklist opens, and its program.

The reader has an account as every person has, and comes in by its one-use link. The server lets the
link log in only on this machine (`api.access.direct_visits`).
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from api.access.direct_visits import check_demo_reader
from records.accounts import accounts, programs
from records.database.session import database_time, unit_of_work
from records.errors import SettingsError
from records.settings import Settings
from records.states import Permission, Role

LOGIN = "demo"
_ADMINISTRATOR = "demo-administrator"
"""The first account, which must be an administrator's. It has no password, and its link is shown to
nobody."""
_BY = "nightdraft demo"
_TOKEN_MINUTES = 10


def reader_settings(current: Settings) -> dict[str, object]:
    """Return the settings with which the reader's link logs in; none where other machines come in.

    Args:
        current: The settings of this process.
    """
    try:
        check_demo_reader(current.model_copy(update={"demo_reader": LOGIN}))
    except SettingsError:
        return {}
    # Nobody could give a password after a pause.
    return {"demo_reader": LOGIN, "session_idle_minutes": 1440, "screen_lock_minutes": 1440}


def open_worklist(console: Console, page: str) -> None:
    """Print the link that logs the reader in, and open it where this machine has a desktop.

    Nothing is changed in a data folder with accounts that the demonstration has not made.

    Args:
        console: Where the demo shows what happens.
        page: Address of the pages, with a slash at the end.
    """
    with unit_of_work() as session:
        by_login = {account.login: account for account in accounts.list_all(session)}
        if not by_login:
            accounts.create(session, _ADMINISTRATOR, Role.ADMINISTRATOR, (), _BY)
            _, token = accounts.create(session, LOGIN, Role.LEAD, (), _BY, name="Demo Reader")
        elif (known := by_login.get(LOGIN)) and known.created_by == _BY:
            token = accounts.make_link(session, known, _BY)
        else:
            token = ""
    if not token:
        console.print("this data folder has accounts of its own: log in with one of them")
        return
    address = f"{page}link/{token}"
    console.print(
        f"open the worklist as Demo Reader, once, on this machine: {address}",
        markup=False,
        soft_wrap=True,
    )
    if console.is_terminal and _has_desktop():
        webbrowser.open(address)


def _has_desktop() -> bool:
    """Whether a browser would open in a window, and not in this terminal."""
    return sys.platform == "darwin" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


@contextmanager
def program_token() -> Iterator[str]:
    """Give a token by which the demo may call REST, revoked at the end; "" without any account."""
    name = f"demo {secrets.token_hex(4)}"
    with unit_of_work() as session:
        token = ""
        if accounts.exist(session):
            ends_at = database_time(session) + dt.timedelta(minutes=_TOKEN_MINUTES)
            token = programs.create(session, name, [Permission.CHANGE_WORK], _BY, ends_at=ends_at)
    yield token
    if token:
        with unit_of_work() as session:
            programs.revoke(session, name)
