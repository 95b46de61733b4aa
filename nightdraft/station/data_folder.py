"""The data folder of one machine: its folders, and to which user they belong.

<data_dir>/run/owned-by-root   a part stayed root and may have made files of root's: all files
                               are taken over again when parts do not stay root any more
<data_dir>/home                HOME of a user who has none; for caches
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from nightdraft.station.accounts import Account
from nightdraft.station.processes import ChildProcesses, exclusive_lock
from records.blobs import Blobs
from records.errors import PartError

_FOLDERS = ("run", "blobs", "keys", "trail", "postgres", "valkey", "logs", "home")
"""What a station makes in its data folder. All else there is somebody's own, and stays it."""

_OWNED_BY_ROOT = "run/owned-by-root"

_SHALLOW = 2
"""Levels of folders below those that each start of root's looks through."""


def make_data_dir(data_dir: Path) -> None:
    """Make the data folder and its folder `run`, closed to other users.

    Raises:
        PartError: The folder cannot be made.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        (data_dir / "run").mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise PartError(
            f"the data folder {data_dir} cannot be made ({error.strerror}): choose another "
            "NIGHTDRAFT_DATA_DIR"
        ) from None
    if os.geteuid() == 0:
        # PostgreSQL's user must pass through to its own folder; all other folders stay closed.
        data_dir.chmod(data_dir.stat().st_mode | 0o011)


def take_over(data_dir: Path, account: Account, log: Callable[[str], None]) -> None:
    """Make the station's folders in the data folder, and give them to the user.

    All files are given where another user has them: at the first start after an update from a
    version whose parts stayed root. Each later start gives what root left near the top.

    Raises:
        PartError: The folders cannot be made, or a station of another user runs there.
    """
    make_data_dir(data_dir)
    with (data_dir / "run/take-over.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # of several parts that start, one does it
        _take_over(data_dir, account, log)


def _take_over(data_dir: Path, account: Account, log: Callable[[str], None]) -> None:
    mark = data_dir / _OWNED_BY_ROOT
    if (data_dir / "run").stat().st_uid == account.uid and not mark.exists():
        _make_folders(data_dir)
        for name in _FOLDERS:
            _give(data_dir / name, account, _SHALLOW)
        return
    with exclusive_lock(
        data_dir / "run/station.lock",
        f"a station of another user runs on {data_dir}: stop it first",
    ):
        for name in ("parts.json", "servers.json"):  # another user could not end them
            ChildProcesses(data_dir / "run" / name).end_orphans()
        is_new = not (data_dir / "blobs").exists()
        _make_folders(data_dir)
        if not is_new:
            log(f"giving the files under {data_dir} to the user {account.name}, once")
        for name in reversed(_FOLDERS):  # the folder `run` last: it says that this was done
            _give(data_dir / name, account)
        mark.unlink(missing_ok=True)


def note_root(data_dir: Path) -> None:
    """Note that this process stays root, so that its files are taken over later."""
    with contextlib.suppress(OSError):
        (data_dir / _OWNED_BY_ROOT).touch(mode=0o600)


def give_logs(log_dir: Path, account: Account) -> None:
    """Give a folder of log files to the user; a folder that holds other things stays root's."""
    with contextlib.suppress(OSError):  # the parts then log to their standard error
        log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.scandir(log_dir) as entries:
            is_ours = all(entry.name.endswith(".log") and entry.is_file() for entry in entries)
        if is_ours:
            _give(log_dir, account)


def _make_folders(data_dir: Path) -> None:
    try:
        for name in _FOLDERS:
            (data_dir / name).mkdir(mode=0o700, exist_ok=True)
        Blobs(data_dir).make_folders()
    except OSError as error:
        raise PartError(f"the folders under {data_dir} cannot be made ({error.strerror})") from None


def _give(folder: Path, account: Account, levels: int = sys.maxsize) -> None:
    """Give a folder and what is in it to the user.

    A user who may write here must not make root give away another file: links are not followed,
    names are looked up in the folder that is open, and a file with several names is given only
    where root alone could make them.

    Args:
        folder: The folder.
        account: The user.
        levels: Levels of folders below it that are looked through.
    """
    for path, folders, files, handle in os.fwalk(folder, follow_symlinks=False):
        if len(Path(path).relative_to(folder).parts) >= levels:
            folders.clear()
        owner = os.fstat(handle).st_uid
        for name in files:
            with contextlib.suppress(FileNotFoundError):  # a running station removed it
                status = os.stat(name, dir_fd=handle, follow_symlinks=False)
                is_safe = owner == 0 or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1)
                if status.st_uid != account.uid and is_safe:
                    os.chown(name, account.uid, account.gid, dir_fd=handle, follow_symlinks=False)
        if owner != account.uid:
            os.fchown(handle, account.uid, account.gid)
