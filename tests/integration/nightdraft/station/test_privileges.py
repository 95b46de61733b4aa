"""Parts that root starts: they become another user, whose the data folder is from then on."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from nightdraft.doctor import run_checks
from nightdraft.station.accounts import Account, choose_account, make_user
from nightdraft.station.data_folder import take_over
from nightdraft.station.privileges import leave_root, reason_to_stay_root
from records.blobs import Blobs
from records.errors import PartError, SettingsError
from records.settings import settings
from tests.support.dicom_senders import make_image, send_images
from tests.support.other_users import for_every_user
from tests.support.station import running_station
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture(autouse=True)
def _nobody_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting says that root's parts stay root, as in other tests."""
    monkeypatch.delenv("NIGHTDRAFT_USER")
    settings.cache_clear()


@pytest.fixture
def folder(short_folder: Callable[[], Path], setting: Callable[..., None]) -> Path:
    folder = short_folder()
    setting(data_dir=folder)
    return folder


@pytest.fixture
def prefix(short_folder: Callable[[], Path]) -> list[str]:
    return for_every_user(short_folder())


@pytest.fixture
def nightdraft() -> Account:
    make_user("nightdraft")
    entry = pwd.getpwnam("nightdraft")
    return Account("nightdraft", entry.pw_uid, entry.pw_gid)


@pytest.fixture
def missing_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A user that is not there, and the file where each `useradd` writes a line."""
    name, calls = f"nightdraft-{os.getpid()}", tmp_path / "calls"
    real = shutil.which("useradd")
    slow = tmp_path / "programs/useradd"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\necho "$@" >>{calls}\nsleep 0.3\nexec {real} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    yield name, calls
    subprocess.run(["userdel", name], check=False, capture_output=True)


def test_of_several_that_want_a_user_at_once_one_makes_it(missing_user: tuple[str, Path]) -> None:
    name, calls = missing_user

    def make(_: int) -> int:
        make_user(name)
        return pwd.getpwnam(name).pw_uid

    with ThreadPoolExecutor(3) as several:
        assert len(set(several.map(make, range(3)))) == 1
    assert len(calls.read_text().splitlines()) == 1


def owners(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}


def fill_as_root(folder: Path) -> Path:
    """What a station of root's left, and a file that is none of its own; returns its film."""
    blobs = Blobs(folder)
    blobs.make_folders()
    (folder / "run").mkdir(mode=0o700)
    (folder / "note.txt").touch()
    received = blobs.incoming / "film.dcm"
    received.write_bytes(b"a film")
    received.chmod(0o600)
    return blobs.path(blobs.keep_instance(received))


def test_a_station_of_root_runs_as_another_user_who_takes_its_files_over(
    folder: Path, prefix: list[str], nightdraft: Account
) -> None:
    film = fill_as_root(folder)
    assert film.stat().st_nlink == 2  # as after a kill between two steps of the listener
    with running_station(folder, prefix, BUNDLE="null") as station:
        process = psutil.Process(station.process.pid)
        assert {child.uids()[:3] for child in (process, *process.children(recursive=True))} == {
            (nightdraft.uid,) * 3
        }
        listener = psutil.Process(station.parts()["listener"])
        assert listener.environ()["HOME"] == str(folder / "home")
        assert send_images(station.port, make_image()) == [0]
        eventually(lambda: station.all_ended(1), 60)
        # A person who is root works beside it.
        done = station.run("blobs", "check")
        assert done.stdout.startswith("1 stored file read"), done.stderr
        listener.kill()
        eventually(lambda: station.parts()["listener"] != listener.pid, 60)
        again = psutil.Process(station.parts()["listener"])
        assert again.uids().effective == nightdraft.uid
        assert "as root" not in station.run("doctor", "--part", "listener").stdout
        # The person's commands were sealed: the heads of the trail can be written, too.
        eventually(lambda: (folder / "trail/heads.jsonl").stat().st_size, 60)
    assert station.process.returncode == 0
    assert f"giving the files under {folder} to the user nightdraft" in station.logs()
    for name in ("run", "blobs", "keys", "trail", "postgres", "valkey", "logs"):
        assert owners(folder / name) == {nightdraft.uid}
    assert (folder / "note.txt").stat().st_uid == 0


def become(prefix: list[str], code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of root's that gave root up."""
    begin = (
        "import json, os, signal, socket, sys\n"
        "from nightdraft.station import privileges\n"
        "from records.settings import settings\n"
        "current = privileges.leave_root(settings(), lambda line: print(line, file=sys.stderr))\n"
    )
    return subprocess.run(
        [*prefix, sys.executable, "-c", begin + code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_root_is_given_up_for_good(folder: Path, prefix: list[str], nightdraft: Account) -> None:
    code = """
try:
    os.setuid(0)
except PermissionError:
    print(json.dumps([os.getresuid(), os.getresgid(), 0 in os.getgroups(), dict(os.environ),
                      open("/proc/self/status").read(), len(open("/proc/self/io").read()) > 0]))
"""
    private = {"XDG_CACHE_HOME": "/root/.cache", "TMPDIR": "/root", "HOME": "/root"}
    done = become(prefix, code, NIGHTDRAFT_BUNDLE="null", **private)
    assert done.returncode == 0, done.stderr
    uids, gids, is_in_group, environment, status, reads_itself = json.loads(done.stdout)
    assert (uids, gids) == ([nightdraft.uid] * 3, [nightdraft.gid] * 3)
    assert (is_in_group, reads_itself) == (False, True)
    for line in ("CapPrm", "CapEff", "CapAmb"):
        assert f"{line}:\t0000000000000000" in status
    assert environment["HOME"] == str(folder / "home")
    assert environment["USER"] == environment["LOGNAME"] == "nightdraft"
    assert environment["NIGHTDRAFT_DATA_DIR"] == str(folder)
    assert "XDG_CACHE_HOME" not in environment
    assert environment.get("TMPDIR") != "/root"


def test_a_port_below_1024_can_be_listened_on(folder: Path, prefix: list[str]) -> None:
    code = """
import subprocess
bind = "import socket; socket.socket().bind(('127.0.0.1', 104))"
subprocess.run([sys.executable, "-c", bind], check=True)  # a child, as the listener is
print(open("/proc/self/status").read())
"""
    done = become(prefix, code, NIGHTDRAFT_LISTEN_PORT="104")
    assert done.returncode == 0, done.stderr
    assert "CapPrm:\t0000000000000400" in done.stdout  # CAP_NET_BIND_SERVICE and nothing else


def test_a_part_still_ends_with_its_parent(folder: Path, prefix: list[str]) -> None:
    code = """
import ctypes
number = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(number))
print(number.value)
"""
    before = "import ctypes; ctypes.CDLL(None).prctl(1, 15); "
    begin = before + "from nightdraft.station import privileges as p; "
    begin += "from records.settings import settings as s; p.leave_root(s(), lambda line: None)\n"
    done = subprocess.run(
        [*prefix, sys.executable, "-c", begin + code], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == signal.SIGTERM


def test_what_the_user_may_not_read_keeps_the_part_root_and_is_named(
    folder: Path, short_folder: Callable[[], Path], setting: Callable[..., None], prefix: list[str]
) -> None:
    closed = short_folder() / "closed"
    (closed / "bundle").mkdir(parents=True)
    (closed / "bundle/model.safetensors").touch()
    closed.chmod(0o700)
    done = become(prefix, "print(os.geteuid())", NIGHTDRAFT_BUNDLE=str(closed / "bundle"))
    assert done.stdout == "0\n"
    assert f"the user nightdraft may not pass through {closed}" in done.stderr
    setting(bundle=closed / "bundle")
    assert reason_to_stay_root(settings())
    (line,) = (result for result in run_checks(settings()) if result.name == "user")
    assert line.warning
    assert "root reads what strangers send" in line.sentence


def test_root_stays_root_where_the_setting_says_so(
    folder: Path, setting: Callable[..., None]
) -> None:
    setting(user="root")
    lines: list[str] = []
    assert leave_root(settings(), lines.append) is settings()
    assert lines == [
        "warning: this runs as root, so root reads what strangers send: NIGHTDRAFT_USER is root"
    ]
    setting(user="no such user")
    with pytest.raises(SettingsError, match="no user 'no such user'"):
        leave_root(settings(), lines.append)
    assert os.geteuid() == 0


def test_the_user_is_the_one_to_whom_the_data_belongs(
    folder: Path, setting: Callable[..., None], nightdraft: Account
) -> None:
    assert choose_account(settings()).uid == nightdraft.uid
    (folder / "postgres").mkdir()
    os.chown(folder / "postgres", 4711, 4712)
    assert choose_account(settings()) == Account("4711", 4711, 4712)
    os.chown(folder, 4713, 4714)
    assert choose_account(settings()) == Account("4713", 4713, 4714)
    setting(user="nightdraft")
    assert choose_account(settings()).uid == nightdraft.uid


def test_files_of_a_part_that_stayed_root_are_taken_over_later(
    folder: Path, setting: Callable[..., None], nightdraft: Account
) -> None:
    lines: list[str] = []
    take_over(folder, nightdraft, lines.append)
    assert lines == []  # all of it is new
    deep = folder / "blobs/instances/2026-01-31/ab"
    deep.mkdir(parents=True)
    (deep / "film.dcm").touch()
    take_over(folder, nightdraft, lines.append)
    assert deep.stat().st_uid == 0  # no start walks over all films
    setting(user="root")
    leave_root(settings(), lambda _: None)
    take_over(folder, nightdraft, lines.append)
    assert owners(folder / "blobs") == owners(folder / "run") == {nightdraft.uid}
    assert len(lines) == 1


def test_of_several_parts_that_start_one_takes_the_folder_over(
    folder: Path, nightdraft: Account
) -> None:
    fill_as_root(folder)
    lines: list[str] = []
    with ThreadPoolExecutor(4) as threads:
        starts = [threads.submit(take_over, folder, nightdraft, lines.append) for _ in range(4)]
        for start in starts:
            start.result()
    assert len(lines) == 1
    assert owners(folder / "blobs") == owners(folder / "run") == {nightdraft.uid}


def test_no_link_makes_root_give_another_file_away(folder: Path, nightdraft: Account) -> None:
    take_over(folder, nightdraft, lambda _: None)
    secret = folder / "secret"
    secret.touch(mode=0o600)
    (folder / "run/link").symlink_to(secret)
    (folder / "run/hard").hardlink_to(secret)
    (folder / "run/folder").symlink_to(folder.parent)
    (folder / "run/left-by-root").touch()
    take_over(folder, nightdraft, lambda _: None)
    assert secret.stat().st_uid == folder.parent.stat().st_uid == 0
    assert (folder / "run/left-by-root").stat().st_uid == nightdraft.uid


def test_a_folder_on_which_a_station_of_root_runs_is_left_alone(
    folder: Path, nightdraft: Account
) -> None:
    from nightdraft.station.processes import exclusive_lock

    fill_as_root(folder)
    with (
        exclusive_lock(folder / "run/station.lock", "busy"),
        pytest.raises(PartError, match="a station of another user runs"),
    ):
        take_over(folder, nightdraft, lambda _: None)
    assert owners(folder) == {0}


def test_doctor_names_a_part_that_runs_as_root(
    database: str, folder: Path, setting: Callable[..., None]
) -> None:
    from records.database.session import unit_of_work
    from records.operations import heartbeats

    with unit_of_work() as session:
        heartbeats.record_heartbeat(session, "sweep")
    results = {result.name: result for result in run_checks(settings(), "sweep")}
    assert results["sweep"].warning
    assert f"{socket.gethostname()}:{os.getpid()} and as root" in results["sweep"].sentence
