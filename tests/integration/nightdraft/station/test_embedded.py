"""The embedded servers leave nothing behind, however they end, and keep their data."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import psutil
import psycopg2
import pytest
import redis

from nightdraft.station.embedded import EmbeddedServers
from nightdraft.station.processes import ChildProcesses
from nightdraft.station.waits import Waits
from records.errors import PartError
from tests.support.paths import ROOT
from tests.support.waiting import eventually

PARENT = """
import signal, sys
from pathlib import Path
from nightdraft.station.embedded import EmbeddedServers
with EmbeddedServers(Path(sys.argv[1]), durable=False) as servers:
    print(servers.owner_url, flush=True)
    signal.pause()
"""


def query(url: str, statement: str) -> object:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone() if cursor.description else None
    finally:
        connection.close()


def using(folder: Path) -> list[psutil.Process]:
    """Processes whose command line or working folder is in the folder."""
    processes = []
    for process in psutil.process_iter():
        try:
            paths = [*process.cmdline(), process.cwd()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in path for path in paths):
            processes.append(process)
    return processes


@pytest.fixture
def folder(short_folder: Callable[[], Path]) -> Path:
    return short_folder()


def test_both_answer_and_nothing_is_left(folder: Path) -> None:
    with EmbeddedServers(folder, durable=False) as servers:
        assert query(servers.owner_url, "SELECT 1") == (1,)
        with redis.Redis.from_url(servers.owner_redis_url) as connection:
            assert connection.ping()
        assert len(using(folder)) >= 2
    assert using(folder) == []


def test_data_is_kept_and_closed_to_others(folder: Path) -> None:
    with EmbeddedServers(folder) as servers:
        query(servers.owner_url, "CREATE TABLE kept AS SELECT 7 AS number")
        with redis.Redis.from_url(servers.owner_redis_url) as connection:
            connection.set("bell", "rung")
    for name in ("postgres", "valkey", "run"):
        assert (folder / name).stat().st_mode & 0o077 == 0
    with EmbeddedServers(folder) as servers:
        assert query(servers.owner_url, "SELECT number FROM kept") == (7,)
        with redis.Redis.from_url(servers.owner_redis_url) as connection:
            assert connection.get("bell") == b"rung"


def test_valkey_requires_its_password(folder: Path) -> None:
    with EmbeddedServers(folder, durable=False, postgres=False) as servers:
        path = servers.owner_redis_url.rpartition("@")[2]
        with (
            redis.Redis.from_url(f"unix://{path}") as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()


def test_a_second_one_on_the_folder_is_refused(folder: Path) -> None:
    with (
        EmbeddedServers(folder, durable=False, postgres=False),
        pytest.raises(PartError, match="already: stop it"),
        EmbeddedServers(folder, durable=False, postgres=False),
    ):
        pass


def test_servers_end_with_a_killed_parent_and_their_data_is_kept(folder: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert parent.stdout is not None
    with parent.stdout:
        url = parent.stdout.readline().strip()
        query(url, "CREATE TABLE kept AS SELECT 7 AS number")
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    eventually(lambda: not using(folder))
    with EmbeddedServers(folder, durable=False) as servers:
        assert query(servers.owner_url, "SELECT number FROM kept") == (7,)


def test_a_killed_server_is_restarted_at_the_same_address(folder: Path) -> None:
    with EmbeddedServers(folder, durable=False) as servers:
        before = (servers.owner_url, servers.owner_redis_url)
        assert servers.restart_dead() == []
        for name, pid in servers.pids().items():
            os.kill(pid, signal.SIGKILL)
            eventually(lambda name=name: servers.restart_dead() == [name])  # type: ignore[misc]
        assert (servers.owner_url, servers.owner_redis_url) == before
        assert query(servers.owner_url, "SELECT 1") == (1,)
        with redis.Redis.from_url(servers.owner_redis_url) as connection:
            assert connection.ping()


def test_a_postmaster_that_is_killed_while_a_backend_computes_is_started_again(
    folder: Path,
) -> None:
    """The backend holds the shared memory until its statement ends; here it is stopped."""
    with EmbeddedServers(folder, durable=False, valkey=False) as servers:
        connection = psycopg2.connect(servers.owner_url)
        try:
            pid = psutil.Process(connection.info.backend_pid)
            pid.suspend()
            os.kill(servers.pids()["postgres"], signal.SIGKILL)
            eventually(lambda: servers.restart_dead() == ["postgres"])
        finally:
            connection.close()
        assert query(servers.owner_url, "SELECT 1") == (1,)


@pytest.mark.parametrize("content", ["", "{pid}\n/nowhere\n0\n5432\n\n\n0 0\nready\n"])
def test_lock_files_of_a_killed_postmaster_are_removed(folder: Path, content: str) -> None:
    """A full disk leaves them empty; their process id may be another program's by now."""
    with EmbeddedServers(folder, durable=False, valkey=False) as servers:
        killed = psutil.Process(servers.pids()["postgres"])
        killed.kill()
        eventually(lambda: killed.status() == psutil.STATUS_ZOMBIE)
        for lock in (folder / "postgres/cluster/postmaster.pid", *folder.glob("postgres/.s*.lock")):
            lock.write_text(content.format(pid=os.getpid()))
        assert servers.restart_dead() == ["postgres"]


def test_servers_that_cannot_be_started_are_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    waits = Waits(folder / "waits.json", lines.append)

    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with EmbeddedServers(folder, durable=False, waits=waits) as servers:
        with monkeypatch.context() as patch:
            patch.setattr(ChildProcesses, "start", fail)
            for pid in servers.pids().values():
                os.kill(pid, signal.SIGKILL)
            both = {"PostgreSQL", "Valkey"}
            eventually(lambda: servers.keep_running() or waits.sentences().keys() == both)
            assert "No space left on device" in waits.sentences()["PostgreSQL"]
            written = json.loads((folder / "waits.json").read_text())["waits"]
            assert written == waits.sentences()
        eventually(lambda: servers.keep_running() == [] and not waits.sentences(), 60)
        assert query(servers.owner_url, "SELECT 1") == (1,)
        with redis.Redis.from_url(servers.owner_redis_url) as connection:
            assert connection.ping()
    for name in both:
        (line,) = (line for line in lines if line.startswith(f"waiting for {name}: "))
        assert line == f"waiting for {name}: it cannot be started (No space left on device)"
        assert f"{name} is there again; the station goes on" in lines


def test_damaged_bells_are_put_aside(folder: Path) -> None:
    with (
        EmbeddedServers(folder, durable=False, postgres=False) as servers,
        redis.Redis.from_url(servers.owner_redis_url) as connection,
    ):
        connection.set("bell", "rung")
    append_only = next((folder / "valkey/appendonlydir").glob("*.incr.aof"))
    append_only.write_bytes(b"*1\r\n$9\r\nno such\r\n" * 9)
    with (
        EmbeddedServers(folder, durable=False, postgres=False) as servers,
        redis.Redis.from_url(servers.owner_redis_url) as connection,
    ):
        assert connection.dbsize() == 0
    assert list((folder / "valkey").glob("damaged-*"))


def test_a_folder_too_deep_for_a_socket(folder: Path) -> None:
    deep = folder / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    for part in (deep, deep.parent):
        part.chmod(0o711)
    with EmbeddedServers(deep, durable=False) as servers:
        assert query(servers.owner_url, "SELECT 1") == (1,)
        with redis.Redis.from_url(servers.owner_redis_url) as connection:
            assert connection.ping()
        sockets = [
            Path(servers.owner_url.rpartition("host=")[2]),
            Path(servers.owner_redis_url.rpartition("@")[2]).parent,
        ]
        assert sockets[0] != sockets[1]
        assert all(folder.stat().st_mode & 0o077 == 0 for folder in sockets)
    assert not any(folder.exists() for folder in sockets)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user for PostgreSQL")
def test_a_closed_parent_folder_is_named_and_stays_closed(folder: Path) -> None:
    closed = folder / "home"
    closed.mkdir(mode=0o700)
    with (
        pytest.raises(PartError, match="no other user may pass through"),
        EmbeddedServers(closed / "data", durable=False),
    ):
        pass
    assert closed.stat().st_mode & 0o077 == 0
    assert using(folder) == []
