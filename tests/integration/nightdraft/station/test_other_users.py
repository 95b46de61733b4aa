"""What another user of the machine reaches of a running station: neither server, and no secret."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import psutil
import pytest

from tests.support.other_users import for_every_user
from tests.support.station import Station, running_station

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

TRY = """
import json, os, socket, sys

told = json.load(sys.stdin)
reached = {"connections": [], "files": [], "processes": [], "arguments": [], "listed": []}
for path in told["sockets"]:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
        reached["connections"].append(path)
    except OSError:
        pass
for path in told["files"]:
    try:
        with open(path, "rb") as file:
            file.read(1)
        reached["files"].append(path)
    except OSError:
        pass
for path in told["folders"]:
    try:
        os.listdir(path)
        reached["listed"].append(path)
    except OSError:
        pass
for pid in told["pids"]:
    for name in ("environ", "maps", "mem", "fd/0", "cwd/PG_VERSION", "root/etc/hostname"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                if name == "mem":
                    file.seek(os.sysconf("SC_PAGE_SIZE"))
                file.read(1)
            reached["processes"].append(f"{pid} {name}")
        except OSError:
            pass
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().decode(errors="replace")
    except OSError:
        continue
    reached["arguments"] += [pid for secret in told["secrets"] if secret in words]
print(json.dumps(reached))
"""
"""Tries every door of a list, and prints what opened. It needs nothing but Python."""


@pytest.fixture(scope="module")
def station(short_folder: Callable[[], Path]) -> Iterator[Station]:
    with running_station(short_folder(), for_every_user(short_folder()), BUNDLE="null") as running:
        yield running


def doors(station: Station) -> dict[str, list[str]]:
    """Where somebody would look who knows how a station is laid out."""
    root = psutil.Process(station.process.pid)
    processes = [root, *root.children(recursive=True)]
    lines = (station.data_dir / "run/valkey.conf").read_text().splitlines()
    secrets = [line.split()[1] for line in lines if line.startswith("requirepass ")]
    secrets += [
        word[1:] for line in lines if line.startswith("user ") for word in line.split()
        if word.startswith(">")
    ]  # fmt: skip
    assert len(secrets) == 2
    # The test keeps the station's output in a file of its own there, as a shell would.
    paths = [path for path in station.data_dir.rglob("*") if path.suffix != ".out"]
    return {
        "sockets": [str(path) for path in paths if path.is_socket()],
        "files": [str(path) for path in paths if path.is_file()],
        "folders": [str(station.data_dir), *(str(path) for path in paths if path.is_dir())],
        "pids": [str(process.pid) for process in processes],
        "secrets": secrets,
    }


def attempt(told: dict[str, list[str]], *prefix: str) -> dict[str, list[str]]:
    done = subprocess.run(
        [*prefix, sys.executable, "-I", "-c", TRY],
        input=json.dumps(told), capture_output=True, text=True, check=True, cwd="/", timeout=60,
        env={"PATH": os.defpath},
    )  # fmt: skip
    answer: dict[str, list[str]] = json.loads(done.stdout)
    return answer


def test_another_user_reaches_no_server_no_file_and_no_process(
    station: Station, short_folder: Callable[[], Path]
) -> None:
    told = doors(station)
    assert {Path(path).name for path in told["sockets"]} == {".s.PGSQL.5432", "valkey.sock"}
    assert len(told["pids"]) > 5
    nobody = pwd.getpwnam("nobody")
    user = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    reached = attempt(told, *for_every_user(short_folder()), *user)
    assert {name: found for name, found in reached.items() if found} == {}
    # The same attempt of root's opens all of it, so the list is of doors that are there.
    by_root = attempt(told)
    assert set(by_root["connections"]) == set(told["sockets"])
    assert set(by_root["files"]) >= {
        str(station.data_dir / name)
        for name in ("run/valkey.conf", "run/addresses.json", "postgres/cluster/pg_hba.conf")
    }
    assert set(by_root["listed"]) == set(told["folders"])
    assert {f"{pid} environ" for pid in told["pids"]} <= set(by_root["processes"])
    assert by_root["arguments"] == []


def test_the_servers_listen_on_no_network(station: Station) -> None:
    servers = [
        process
        for process in psutil.Process(station.process.pid).children(recursive=True)
        if process.name() in ("postgres", "valkey-server")
    ]
    assert {process.name() for process in servers} == {"postgres", "valkey-server"}
    for process in servers:
        assert process.net_connections("inet") == []
    database, broker = station.addresses["database_url"], station.addresses["redis_url"]
    for folder in (
        Path(unquote(str(database).rpartition("host=")[2])),
        Path(unquote(str(broker).rpartition("@")[2])).parent,
    ):
        assert folder.stat().st_mode & 0o777 == 0o700
