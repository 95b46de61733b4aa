"""The users of this system: which one root's parts become."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from records.errors import PartError, SettingsError
from records.settings import Settings

NAME = "nightdraft"
"""The system user that root's parts become where nothing names another one."""


class StaysRoot(Exception):
    """A part cannot give root up; the text says why."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this system that is not root."""

    name: str
    uid: int
    gid: int
    home: Path | None = None


def choose_account(current: Settings, *, may_make: bool = True) -> Account:
    """The user that the setting names, or to whom the data folder's files belong, or NAME.

    Args:
        current: The settings.
        may_make: Make NAME where it is missing.

    Raises:
        StaysRoot: It is root, or there is no such user and none can be made.
        SettingsError: The setting names no user.
    """
    if current.user:
        try:
            account = _account_of(pwd.getpwnam(current.user))
        except KeyError:
            raise SettingsError(
                f"NIGHTDRAFT_USER: this system has no user {current.user!r}"
            ) from None
        if account.uid == 0:
            raise StaysRoot(f"NIGHTDRAFT_USER is {current.user}")
        return account
    for folder in (current.data_dir, current.data_dir / "run", current.data_dir / "postgres"):
        with contextlib.suppress(FileNotFoundError):
            status = folder.stat()
            if status.st_uid != 0:
                return _account_of_id(status)
    try:
        if may_make:
            make_user(NAME)
        return _account_of(pwd.getpwnam(NAME))
    except PartError as error:
        raise StaysRoot(f"{error}: name another user by NIGHTDRAFT_USER") from None
    except KeyError:  # it is made when it is needed
        return Account(NAME, os.getuid(), os.getgid())


def _account_of(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))


def _account_of_id(status: os.stat_result) -> Account:
    """The user of an id, which may have no name, as of a container that shares the folder."""
    try:
        return _account_of(pwd.getpwuid(status.st_uid))
    except KeyError:
        return Account(str(status.st_uid), status.st_uid, status.st_gid)


def make_user(name: str) -> None:
    """Make a system user where it is missing.

    Of several that want it at once, one makes it: a second `useradd` of the same name would give
    the user another number, and what belongs to the first one could not be reached any more.

    Raises:
        PartError: It cannot be made.
    """
    try:
        with _lock(Path("/etc")):
            if not _exists(name):
                subprocess.run(
                    ["useradd", "--system", "--user-group", "--no-create-home", name],
                    check=True,
                    capture_output=True,
                )
    except (OSError, subprocess.CalledProcessError):
        raise PartError(f"the system user {name} cannot be made") from None


def _exists(name: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, which no other program takes: `useradd` locks a file in it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
