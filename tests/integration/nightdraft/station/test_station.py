"""The station restarts what dies, ends all of it in order, and leaves nothing running."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from model.manifest import resolve
from nightdraft.station.checks import check_migrations
from nightdraft.station.child import StationProcess
from nightdraft.station.embedded import EmbeddedServers
from nightdraft.station.station import PARTS, migrate_tables
from nightdraft.station.waits import Waits, read_waits
from tests.support.dicom_senders import make_image, send_images
from tests.support.disks import fill_disk, small_disk
from tests.support.paths import ROOT
from tests.support.station import running_station
from tests.support.waiting import eventually

SETTINGS: dict[str, object] = {
    "bundle": "null",
    "listen_port": 0,
    "serve_port": 0,
    "quiet_seconds": 0.5,
    "sweep_seconds": 0.5,
    "prepare_processes": 1,
    "disk_warn_mb": 0,
    "disk_stop_mb": 0,
}


@pytest.fixture
def folder(short_folder: Callable[[], Path]) -> Path:
    return short_folder()


@pytest.fixture
def station(folder: Path, setting: Callable[..., None]) -> Iterator[StationProcess]:
    with StationProcess(folder, SETTINGS) as running:
        setting(**{**SETTINGS, "data_dir": folder})
        yield running


def family(station: StationProcess) -> list[psutil.Process]:
    """The station's process and all below it."""
    parent = psutil.Process(int(station.addresses["pid"]))
    return [parent, *parent.children(recursive=True)]


def part(station: StationProcess, name: str) -> psutil.Process:
    arguments = list(PARTS[name])
    for child in psutil.Process(int(station.addresses["pid"])).children():
        with suppress(psutil.NoSuchProcess):  # it died this moment
            if child.cmdline()[-len(arguments) :] == arguments:
                return child
    raise AssertionError(f"{name} does not run")


def nightdraft(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nightdraft", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def doctor_finds_nothing() -> bool:
    done = nightdraft("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    return True


def test_parts_run_and_the_dead_are_restarted(station: StationProcess) -> None:
    assert doctor_finds_nothing()
    file = station.data_dir / "run/addresses.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {"database_url", "redis_url", "listen_port", "serve_port"} <= set(
        json.loads(file.read_text())
    )
    for name in ("listener", "draft", "api"):
        dead = part(station, name)
        dead.kill()
        eventually(lambda name=name, dead=dead: part(station, name).pid != dead.pid)  # type: ignore[misc]
    assert eventually(doctor_finds_nothing, 120)
    log = (station.log_dir / "station.log").read_text()
    assert "listener: ended (SIGKILL), restarting" in log


@pytest.mark.slow
def test_films_are_received_while_the_bundle_is_damaged(folder: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(resolve("demo"), bundle)
    weights = (bundle / "model.safetensors").read_bytes()
    (bundle / "model.safetensors").write_bytes(weights[:-1] + b"x")
    with running_station(folder, all_parts=False, BUNDLE=str(bundle)) as station:

        def is_sent() -> bool:
            return set(send_images(station.port, make_image(), caller="XRAY1")) == {0}

        def open_alarms() -> set[str]:
            alarms = json.loads(station.run("alarms", "--json").stdout)
            return {alarm["kind"] for alarm in alarms if alarm["closed_at"] is None}

        assert eventually(is_sent, 60)
        assert eventually(lambda: "BUNDLE_UNUSABLE" in open_alarms(), 60)
        (bundle / "model.safetensors").write_bytes(weights)  # as the runbook says
        eventually(lambda: {"prepare", "draft"} <= station.parts().keys(), 90)
        eventually(lambda: "BUNDLE_UNUSABLE" not in open_alarms(), 60)


def test_killed_servers_are_restarted(station: StationProcess) -> None:
    for name in ("postgres", "valkey-server"):
        for process in family(station):
            if process.is_running() and process.name() == name:
                process.kill()
                break
    eventually(
        lambda: "postgres: ended, restarted" in (station.log_dir / "station.log").read_text()
    )
    assert eventually(doctor_finds_nothing, 120)


def test_a_full_disk_is_waited_for(folder: Path, setting: Callable[..., None]) -> None:
    """Servers and parts die, and not even a log file can be made: the station stays."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a small tmpfs is mounted")
    settings = {**SETTINGS, "disk_stop_mb": 1}
    with small_disk(folder, megabytes=400), StationProcess(folder, settings) as station:
        setting(**{**settings, "data_dir": folder})
        log = station.log_dir / "station.log"
        shutil.rmtree(station.log_dir, ignore_errors=True)
        fill_disk(folder / "ballast")
        dead = family(station)[1:]
        for process in dead:
            with suppress(psutil.NoSuchProcess):
                process.kill()

        numbers = itertools.count()

        def is_waiting() -> bool:
            fill_disk(folder / f"ballast{next(numbers)}")  # what the dead gave back
            return "disk" in read_waits(folder)

        eventually(is_waiting, 90)
        done = nightdraft("doctor")
        assert done.returncode == 1
        assert "it waits, and goes on by itself: for " in done.stdout
        assert station.alive
        for ballast in folder.glob("ballast*"):
            ballast.unlink()
        assert eventually(doctor_finds_nothing, 180)
        assert station.alive
        assert not log.exists()


def test_an_end_leaves_nothing_running(station: StationProcess) -> None:
    before = family(station)
    assert len(before) >= len(PARTS) + 3
    station.stop()
    assert [process for process in before if process.is_running()] == []
    assert not (station.data_dir / "run/addresses.json").exists()
    log = (station.log_dir / "station.log").read_text()
    assert log.strip().endswith("nothing is left running")
    logs = [file.read_text() for file in station.log_dir.glob("*.log")]
    assert "Traceback" not in "".join(logs)


def test_all_parts_of_a_killed_station_end_and_the_next_one_starts(
    station: StationProcess, folder: Path
) -> None:
    before = family(station)
    os.kill(int(station.addresses["pid"]), signal.SIGKILL)
    station.stop()
    eventually(lambda: not [process for process in before if process.is_running()], 60)
    with StationProcess(folder, SETTINGS):
        assert doctor_finds_nothing()


def test_a_second_station_is_refused_in_one_line(station: StationProcess) -> None:
    done = nightdraft("station")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"a station runs on {station.data_dir} already" in done.stderr
    assert doctor_finds_nothing()


def test_two_listeners_share_the_port(folder: Path) -> None:
    """The kernel spreads connections over them."""
    with StationProcess(folder, {**SETTINGS, "listen_processes": 2}) as station:
        arguments = list(PARTS["listener"])
        port = int(station.addresses["listen_port"])
        entity = AE()
        entity.add_requested_context(Verification)
        associations = [entity.associate("127.0.0.1", port) for _ in range(16)]
        try:
            assert all(association.is_established for association in associations)
            assert all(association.send_c_echo().Status == 0 for association in associations)
            counts = [
                sum(
                    connection.status == psutil.CONN_ESTABLISHED and connection.laddr.port == port
                    for connection in child.net_connections("tcp")
                )
                for child in psutil.Process(int(station.addresses["pid"])).children()
                if child.cmdline()[-len(arguments) :] == arguments
            ]
        finally:
            for association in associations:
                association.release()
        assert len(counts) == 2
        assert sum(counts) == 16
        assert min(counts) > 0
        assert "listener 1: starting" in (station.log_dir / "station.log").read_text()


def test_a_start_waits_for_a_server_that_hangs_while_the_tables_are_made(
    servers: EmbeddedServers, empty_database: str
) -> None:
    postmaster = psutil.Process(servers.pids()["postgres"])
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        postmaster.resume()

    postmaster.suspend()
    try:
        migrate_tables({"database_url": empty_database}, servers, Waits(None, log), lambda: False)
    finally:
        postmaster.resume()
    assert [line.partition(":")[0] for line in lines] == [
        "waiting for PostgreSQL",
        "PostgreSQL is there again; the station goes on",
    ]
    assert check_migrations()
