"""The listener in trouble of its own: a full disk, no database, an end, a SIGKILL at any point."""

from __future__ import annotations

import os
import subprocess
import threading

import psycopg2
import pytest
from pydicom import dcmread

from records.blobs import Blobs
from records.database.session import unit_of_work
from records.operations import alarms
from tests.support.dicom_senders import (
    association,
    film,
    send,
    start_listener,
)
from tests.support.listener_state import fill_up, heartbeat, incoming, kept_files, rows
from tests.support.waiting import eventually

# ---- Our own trouble ----


def test_a_full_disk_is_answered_a700_until_there_is_room(listen, data_dir):
    running = listen(disk_stop_mb=10**9)
    assert send(running.port, film()) == [0xA700]
    assert not incoming(data_dir)
    assert not kept_files(data_dir)

    def alarm():
        with unit_of_work() as session:
            return [alarm.sentence for alarm in alarms.open_alarms(session, "listener")]

    assert "0xA700" in eventually(alarm)[0]
    running.end()
    running = listen(disk_stop_mb=0)
    assert send(running.port, film()) == [0]
    eventually(lambda: not alarm())


def test_a_disk_that_fills_up_while_a_film_comes_in(listen, data_dir):
    if os.geteuid() != 0:
        pytest.skip("needs root: a small tmpfs is mounted")
    blobs = data_dir / "blobs"
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", blobs], capture_output=True, check=False
    ).returncode:
        pytest.skip("no tmpfs may be mounted here")
    try:
        running = listen(disk_stop_mb=0)
        small, large = film(pixels=b"\0\0" * 500_000), film(pixels=b"\0\0" * 6_000_000)
        ballast = blobs / "ballast"
        assert send(running.port, small, large) == [0, 0xA700]
        assert not incoming(data_dir)
        # Full to the last block: not even a folder can be made.
        fill_up(ballast)
        assert send(running.port, film("1.2.7")) == [0xA700]
        assert len(kept_files(data_dir)) == len(rows()) == 1
        ballast.unlink()
        assert send(running.port, film("1.2.7"), small) == [0, 0]
        assert len(kept_files(data_dir)) == len(rows()) == 2
        running.end()
    finally:
        subprocess.run(["umount", blobs], check=True)


def test_a_database_that_is_away_is_answered_a700_and_waited_for(
    listen, servers, database, data_dir
):
    running = listen()
    assert send(running.port, film("1.2.1")) == [0]
    name = database.split("/")[3].split("?")[0]

    def say(statement: str) -> None:
        connection = psycopg2.connect(servers.database_url)
        connection.autocommit = True
        connection.cursor().execute(statement)
        connection.close()

    say(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    say(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    # What would be refused for good is put off too: no row could tell of it.
    assert send(running.port, film("1.2.2"), film("1.2.2", sop="1.2.x")) == [0xA700, 0xA700]
    assert len(kept_files(data_dir)) == 1
    say(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert send(running.port, film("1.2.2"), film("1.2.2", sop="1.2.x")) == [0, 0xC000]
    assert len(rows()) == 2


def test_a_port_in_use_is_one_clear_line(listen, tmp_path):
    running = listen()
    second = start_listener(tmp_path, NIGHTDRAFT_LISTEN_PORT=str(running.port))
    assert second.end() == 1
    (line,) = second.log.read_text().splitlines()
    assert line.startswith("PortInUse: ")
    assert str(running.port) in line


def test_listeners_share_a_port_where_each_says_so(listen, tmp_path, data_dir):
    first = listen(listen_shared=True)
    second = start_listener(tmp_path, NIGHTDRAFT_LISTEN_PORT=str(first.port))
    try:
        assert second.port == first.port

        def both_took_films() -> bool:
            send(first.port, film())
            return all(
                any(line["event"] == "an object was kept" for line in one.lines())
                for one in (first, second)
            )

        eventually(both_took_films)
        assert len(kept_files(data_dir)) == len(rows())
        alone = start_listener(
            tmp_path,
            NIGHTDRAFT_LISTEN_PORT=str(first.port),
            NIGHTDRAFT_LISTEN_SHARED="false",
        )
        assert alone.end() == 1
        assert "PortInUse: " in alone.log.read_text()
    finally:
        second.end()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"listen_host": "192.0.2.1"}, "SettingsError: NIGHTDRAFT_LISTEN_HOST"),
        ({"ae_title": "BACK\\SLASH"}, "SettingsError: NIGHTDRAFT_AE_TITLE"),
        ({"database_url": "postgresql://nobody@127.0.0.1:1/none"}, "DatabaseDown: "),
        ({"data_dir": "/proc/nowhere"}, "SettingsError: NIGHTDRAFT_DATA_DIR"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(
    database, data_dir, setting, tmp_path, settings, words
):
    setting(**settings)
    running = start_listener(tmp_path)
    assert running.end() == 1
    (line,) = running.log.read_text().splitlines()
    assert line.startswith(words)


def test_it_ends_cleanly_with_the_object_in_hand_answered(listen, data_dir):
    running = listen()
    statuses = []
    with association(running.port) as made:

        def sending() -> None:
            for number in range(1000):
                try:
                    answer = made.send_c_store(film(f"1.2.{number}", pixels=b"\0\0" * 200_000))
                except RuntimeError:  # hung up between two films
                    return
                if not answer:
                    return
                statuses.append(answer.Status)

        sender = threading.Thread(target=sending)
        sender.start()
        eventually(lambda: len(statuses) > 5)
        assert running.end() == 0
        sender.join()
    assert set(statuses) == {0}
    assert len(rows()) == len(statuses) < 1000  # what was answered is there, and nothing else
    assert heartbeat() is None
    assert not incoming(data_dir)


def test_one_that_cannot_end_does_all_the_same_and_tells_where_it_hung(
    database, data_dir, tmp_path
):
    hanging = """
import time
from intake import listener
listener.END_SECONDS = 1
listener.Listener.stop = lambda self: time.sleep(600)
"""
    running = start_listener(tmp_path, hanging)
    assert send(running.port, film()) == [0]
    assert running.end() == 1
    assert "Timeout (0:00:01)!" in running.log.read_text()
    assert len(rows()) == 1


# ---- Killed at named points ----


@pytest.mark.parametrize("point", ["mid-transfer", "after-fsync", "after-commit", "before-answer"])
def test_killed_anywhere_a_film_sent_again_is_there_once(
    listen, setting, monkeypatch, tmp_path, data_dir, point
):
    monkeypatch.setenv("NIGHTDRAFT_KILL_AT", point)
    monkeypatch.setenv("NIGHTDRAFT_KILL_MARK", str(tmp_path / "mark"))
    running = listen()
    sent = film()
    with association(running.port) as made:
        assert not made.send_c_store(sent)  # no answer: not acknowledged
    assert running.process.wait(30) == -9
    running = listen(orphan_hours=1e-9)  # every file is old at once
    assert send(running.port, sent) == [0]
    (row,) = rows()
    assert dcmread(Blobs(data_dir).path(row.blob)) == sent
    eventually(lambda: len(kept_files(data_dir)) == 1)
    eventually(lambda: not incoming(data_dir))
