"""The listener in trouble: a full disk, no database, an end, a SIGKILL at any point."""

from __future__ import annotations

import os
import subprocess
import threading
import time

import psycopg2
import pytest
from pydicom import dcmread

from records.blobs import Blobs
from records.database.session import unit_of_work
from records.operations import alarms, callers
from tests.support.dicom_senders import (
    make_image,
    open_association,
    send_images,
    start_listener,
)
from tests.support.disks import fill_disk
from tests.support.listener_state import (
    incoming_files,
    kept_files,
    read_heartbeat,
    read_rows,
)
from tests.support.waiting import eventually

# ---- Our own trouble ----


def test_a_full_disk_is_answered_a700_until_there_is_room(listen, data_dir):
    listener = listen(disk_stop_mb=10**9)
    assert send_images(listener.port, make_image()) == [0xA700]
    assert not incoming_files(data_dir)
    assert not kept_files(data_dir)

    def open_alarms():
        with unit_of_work() as session:
            return [alarm.cause for alarm in alarms.open_alarms(session, "listener")]

    assert "0xA700" in eventually(open_alarms)[0]
    listener.stop()
    listener = listen(disk_stop_mb=0)
    assert send_images(listener.port, make_image()) == [0]
    eventually(lambda: not open_alarms())


def test_the_last_film_of_each_caller_is_kept_when_the_listener_ends(listen):
    listener = listen()

    def known_callers():
        with unit_of_work() as session:
            return set(callers.seconds_since_last_film(session))

    assert send_images(listener.port, make_image(), caller="ED_CR") == [0]
    listener.stop()
    assert known_callers() == {"ED_CR"}


def test_a_disk_that_fills_up_while_an_image_comes_in(listen, data_dir):
    if os.geteuid() != 0:
        pytest.skip("needs root: a small tmpfs is mounted")
    blobs = data_dir / "blobs"
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", blobs], capture_output=True, check=False
    ).returncode:
        pytest.skip("no tmpfs may be mounted here")
    try:
        listener = listen(disk_stop_mb=0)
        small, large = make_image(pixels=b"\0\0" * 500_000), make_image(pixels=b"\0\0" * 6_000_000)
        ballast = blobs / "ballast"
        assert send_images(listener.port, small, large) == [0, 0xA700]
        assert not incoming_files(data_dir)
        # Full to the last block: not even a folder can be made.
        fill_disk(ballast)
        assert send_images(listener.port, make_image("1.2.7")) == [0xA700]
        assert len(kept_files(data_dir)) == len(read_rows()) == 1
        ballast.unlink()
        assert send_images(listener.port, make_image("1.2.7"), small) == [0, 0]
        assert len(kept_files(data_dir)) == len(read_rows()) == 2
        listener.stop()
    finally:
        subprocess.run(["umount", blobs], check=True)


def test_a_database_that_hangs_is_answered_a700(listen, database_proxy):
    listener = listen(database_statement_seconds=1)
    assert send_images(listener.port, make_image("1.2.6")) == [0]
    database_proxy.swallow()
    assert send_images(listener.port, make_image("1.2.7")) == [0xA700]
    database_proxy.forward()
    assert send_images(listener.port, make_image("1.2.7")) == [0]


def test_a_database_that_is_away_is_answered_a700_and_waited_for(
    listen, servers, database, data_dir
):
    listener = listen()
    assert send_images(listener.port, make_image("1.2.1")) == [0]
    name = database.split("/")[3].split("?")[0]

    def execute(statement: str) -> None:
        connection = psycopg2.connect(servers.owner_url)
        connection.autocommit = True
        connection.cursor().execute(statement)
        connection.close()

    execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    # An image that is to be refused for good waits too, because its refusal needs a row.
    assert send_images(listener.port, make_image("1.2.2"), make_image("1.2.2", sop="1.2.x")) == [
        0xA700,
        0xA700,
    ]
    assert len(kept_files(data_dir)) == 1
    execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert send_images(listener.port, make_image("1.2.2"), make_image("1.2.2", sop="1.2.x")) == [
        0,
        0xC000,
    ]
    assert len(read_rows()) == 2


def test_a_port_in_use_is_one_clear_line(listen, tmp_path):
    listener = listen()
    second = start_listener(tmp_path, NIGHTDRAFT_LISTEN_PORT=str(listener.port))
    assert second.stop() == 1
    (line,) = second.log.read_text().splitlines()
    assert line.startswith("PortInUse: ")
    assert str(listener.port) in line


def test_listeners_share_a_port_where_each_says_so(listen, tmp_path, data_dir):
    first = listen(listen_shared=True)
    second = start_listener(tmp_path, NIGHTDRAFT_LISTEN_PORT=str(first.port))
    try:
        assert second.port == first.port

        def both_kept_images() -> bool:
            send_images(first.port, make_image())
            return all(
                any(line["message"] == "an object was kept" for line in process.log_lines())
                for process in (first, second)
            )

        eventually(both_kept_images)
        assert len(kept_files(data_dir)) == len(read_rows())
        exclusive_listener = start_listener(
            tmp_path,
            NIGHTDRAFT_LISTEN_PORT=str(first.port),
            NIGHTDRAFT_LISTEN_SHARED="false",
        )
        assert exclusive_listener.stop() == 1
        assert "PortInUse: " in exclusive_listener.log.read_text()
    finally:
        second.stop()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"listen_host": "192.0.2.1"}, "SettingsError: NIGHTDRAFT_LISTEN_HOST"),
        ({"ae_title": "BACK\\SLASH"}, "SettingsError: NIGHTDRAFT_AE_TITLE"),
        ({"database_url": "postgresql://nobody@127.0.0.1:1/none"}, "DatabaseDown: "),
        ({"data_dir": "/proc/nowhere"}, "SettingsError: NIGHTDRAFT_DATA_DIR"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(
    database, data_dir, setting, tmp_path, settings, expected
):
    setting(**settings)
    listener = start_listener(tmp_path)
    assert listener.stop() == 1
    (line,) = listener.log.read_text().splitlines()
    assert line.startswith(expected)


def test_it_ends_cleanly_with_the_object_in_hand_answered(listen, data_dir):
    listener = listen()
    statuses = []
    with open_association(listener.port) as association:

        def sending() -> None:
            for number in range(1000):
                try:
                    answer = association.send_c_store(
                        make_image(f"1.2.{number}", pixels=b"\0\0" * 200_000)
                    )
                except RuntimeError:  # the listener closed between two images
                    return
                if not answer:
                    return
                statuses.append(answer.Status)

        sender = threading.Thread(target=sending)
        sender.start()
        eventually(lambda: len(statuses) > 5)
        assert listener.stop() == 0
        sender.join()
    assert set(statuses) == {0}
    assert (
        len(read_rows()) == len(statuses) < 1000
    )  # every acknowledged image is there, and no other
    assert read_heartbeat() is None
    assert not incoming_files(data_dir)


def test_a_listener_that_hangs_ends_all_the_same_and_logs_where(database, data_dir, tmp_path):
    hanging = """
import time
from intake.dicom import listener
listener.END_SECONDS = 1
listener.Listener.stop = lambda self: time.sleep(600)
"""
    listener = start_listener(tmp_path, hanging)
    assert send_images(listener.port, make_image()) == [0]
    assert listener.stop() == 1
    assert "Timeout (0:00:01)!" in listener.log.read_text()
    assert len(read_rows()) == 1


# ---- Killed at named points ----


@pytest.mark.parametrize("point", ["mid-transfer", "after-fsync", "after-commit", "before-answer"])
def test_killed_anywhere_an_image_sent_again_is_there_once(
    listen, setting, monkeypatch, tmp_path, data_dir, point
):
    monkeypatch.setenv("NIGHTDRAFT_KILL_AT", point)
    monkeypatch.setenv("NIGHTDRAFT_KILL_MARK", str(tmp_path / "mark"))
    listener = listen()
    sent = make_image()
    with open_association(listener.port) as association:
        assert not association.send_c_store(sent)  # no answer: not acknowledged
    assert listener.process.wait(30) == -9
    two_days_ago = time.time() - 2 * 86400
    for left in (*kept_files(data_dir), *incoming_files(data_dir)):
        os.utime(left, (two_days_ago, two_days_ago))  # the first sweep takes them
    listener = listen()
    assert send_images(listener.port, sent) == [0]
    (row,) = read_rows()
    assert dcmread(Blobs(data_dir).path(row.blob)) == sent
    eventually(lambda: len(kept_files(data_dir)) == 1)
    eventually(lambda: not incoming_files(data_dir))
