"""Where the embedded servers' Unix sockets lie: in folders that one user alone can enter."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from records.errors import PartError

MAX_SOCKET_PATH = 107
"""Bytes of the longest path of a Unix socket that the kernel takes."""


def socket_folder(
    folder: Path, longest_name: str, cleanup: contextlib.ExitStack, owner: tuple[int, int]
) -> Path:
    """The folder for a server's socket, with mode 0700.

    Args:
        folder: The server's own folder, which has that mode.
        longest_name: The name of the socket, or of the longest file beside it.
        cleanup: Removes a folder in the system's temporary folder at the end.
        owner: User and group of the server.

    Returns:
        The server's own folder; where its path is too long for a socket, another one in the
        system's temporary folder.

    Raises:
        PartError: The other folder belongs to another user.
    """
    if len(os.fsencode(folder / longest_name)) <= MAX_SOCKET_PATH:
        return folder
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"nightdraft-{os.geteuid()}-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid not in (os.geteuid(), owner[0]) or short.is_symlink():
        raise PartError(f"{short} belongs to another user: remove it")
    short.chmod(0o700)
    if owner != (os.geteuid(), os.getegid()):
        os.chown(short, *owner)
    cleanup.callback(shutil.rmtree, short, ignore_errors=True)
    return short
