"""What a device sees of the listener, and what is kept; the listener is a process of its own."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg2
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from sqlalchemy import select

from records import holds, parts, studies
from records.blobs import Blobs
from records.session import unit_of_work
from records.tables import Instance, Refusal, Study
from records.vocabulary import HoldReason, InstanceState, Priority
from tests.waiting import eventually

from .senders import (
    CT,
    DX,
    association,
    connection,
    dcmtk,
    film,
    is_closed,
    part10,
    pdu,
    send,
    start_listener,
    store_raw,
)

VERIFICATION = "1.2.840.10008.1.1"


def rows(table=Instance):
    order = Instance.received_at if table is Instance else table.id
    with unit_of_work() as session:
        return session.scalars(select(table).order_by(order)).all()


def refused() -> list[tuple[str, str]]:
    return [(row.reason, row.sop_instance_uid) for row in rows(Refusal)]


def study(uid="1.2.3") -> Study:
    with unit_of_work() as session:
        return studies.by_uid(session, uid)


def incoming(data_dir: Path) -> list[Path]:
    return list(Blobs(data_dir).incoming.iterdir())


def kept_files(data_dir: Path) -> list[Path]:
    return list((data_dir / "blobs/instances").glob("*/*/*.dcm"))


def heartbeat():
    with unit_of_work() as session:
        found = [beat for beat in parts.running(session) if beat.part == "listener"]
    return found[0] if found else None


def fill_up(ballast: Path) -> None:
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


# ---- What is kept ----


def test_a_film_is_kept_whole_and_its_study_is_known(listen, data_dir):
    port = listen().port
    sent = film(
        PatientName="Müller^Änne",
        SpecificCharacterSet="ISO_IR 192",
        NumberOfStudyRelatedInstances="2",
        RequestedProcedurePriority="STAT",
    )
    assert send(port, sent) == [0x0000]
    (instance,) = rows()
    kept = dcmread(Blobs(data_dir).path(instance.blob))
    assert kept == sent
    assert instance.state == InstanceState.KEPT
    assert (instance.sop_instance_uid, instance.calling_ae) == (sent.SOPInstanceUID, "CR1")
    assert instance.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert study().patient_name == "Müller^Änne"
    assert (study().expected_instances, study().priority) == (2, Priority.STAT)
    eventually(lambda: not incoming(data_dir))
    assert eventually(heartbeat).facts["port"] == port


def test_the_same_bytes_again_change_nothing(listen, data_dir):
    port = listen().port
    sent = film()
    assert send(port, sent, sent) == [0x0000, 0x0000]
    assert len(rows()) == 1
    eventually(lambda: len(kept_files(data_dir)) == 1)


def test_other_bytes_under_the_same_uid_open_a_hold(listen, data_dir):
    port = listen().port
    first = film(sop="1.2.3.1.9")
    assert send(port, first, film(sop="1.2.3.1.9", pixels=b"\1\0" * 64)) == [0, 0]
    assert [row.state for row in rows()] == [InstanceState.KEPT, InstanceState.CONFLICT]
    with unit_of_work() as session:
        (hold,) = holds.of_study(session, study().id)
    assert hold.reason == HoldReason.CONFLICTING_BYTES
    assert len(kept_files(data_dir)) == 2


def test_another_patient_under_the_study_uid_opens_a_hold_and_is_not_merged(listen):
    port = listen().port
    stranger = film(PatientID="P-2", PatientName="PHANTOM^TWO")
    assert send(port, film(), stranger) == [0, 0]
    assert [row.state for row in rows()] == [InstanceState.KEPT, InstanceState.MISMATCH]
    with unit_of_work() as session:
        (hold,) = holds.of_study(session, study().id)
    assert hold.reason == HoldReason.PATIENT_MISMATCH
    assert study().patient_name == "PHANTOM^ONE"


def test_other_objects_are_kept_as_skipped_with_a_reason(listen):
    port = listen().port
    assert send(port, film(sop_class=CT, Modality="CT")) == [0]
    (row,) = rows()
    assert row.state == InstanceState.SKIPPED
    assert row.reason == "CT Image Storage: not a projection radiograph."


def test_other_objects_are_refused_where_the_site_wants_that(listen):
    port = listen(other_objects="refuse").port
    other = film(sop_class=CT, Modality="CT")
    assert send(port, other, film()) == [0x0122, 0]
    assert refused() == [("other_object", other.SOPInstanceUID)]
    assert len(rows()) == 1


def test_the_more_urgent_of_header_and_caller_wins(listen):
    port = listen(caller_priorities="ED_CR=URGENT, BATCH=BACKLOG").port
    send(port, film("1.2.1"), film("1.2.2", RequestedProcedurePriority="STAT"), caller="ED_CR")
    send(port, film("1.2.4"), caller="BATCH")
    send(port, film("1.2.5"))
    assert [study(f"1.2.{n}").priority for n in (1, 2, 4, 5)] == [
        Priority.URGENT,
        Priority.STAT,
        Priority.BACKLOG,
        Priority.ROUTINE,
    ]


def test_large_films_on_several_associations_at_once(listen, data_dir):
    port = listen().port
    pixels = os.urandom(4_000_000)
    statuses = []

    def one_device(number: int) -> None:
        films = [film(f"1.2.{number}", pixels=pixels) for _ in range(3)]
        statuses.extend(send(port, *films, caller=f"CR{number}"))

    devices = [threading.Thread(target=one_device, args=(number,)) for number in range(4)]
    for device in devices:
        device.start()
    for device in devices:
        device.join()
    assert statuses == [0] * 12
    assert all(dcmread(file).PixelData == pixels for file in kept_files(data_dir))
    assert len(kept_files(data_dir)) == len(rows()) == 12


# ---- What is refused ----


def test_a_uid_that_climbs_out_of_its_folder_is_refused(listen, data_dir):
    port = listen().port
    with association(port) as made:
        answer = store_raw(made, DX, "../ESCAPED", film(sop="../ESCAPED"))
    assert answer.Status == 0xC000
    assert "digits and dots" in answer.ErrorComment
    assert refused() == [("bad_uid", "../ESCAPED")]
    assert not list(data_dir.rglob("*ESCAPED*"))
    assert not kept_files(data_dir)


@pytest.mark.parametrize("uid", ["1" * 65, "1.2.x", "1.2 3"])
def test_a_uid_that_is_none_is_refused_by_row_and_status(listen, uid):
    port = listen().port
    with association(port) as made:
        answer = store_raw(made, DX, "1.2.3.1.9", film(StudyInstanceUID=uid, sop="1.2.3.1.9"))
    assert answer.Status == 0xC000
    assert refused() == [("bad_uid", "1.2.3.1.9")]


def test_command_and_data_set_must_agree(listen):
    port = listen().port
    sent = film(sop="1.2.3.1.9")
    with association(port, DX, CT) as made:
        assert store_raw(made, DX, "1.2.3.1.8", sent).Status == 0xA900
        assert store_raw(made, CT, "1.2.3.1.9", sent).Status == 0xA900
        assert store_raw(made, DX, "1.2.3.1.9", sent).Status == 0x0000
    assert [why for why, _ in refused()] == ["disagrees", "disagrees"]
    assert len(rows()) == 1


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_film_without_its_uids_is_refused(listen, keyword):
    port = listen().port
    with association(port) as made:
        answer = store_raw(made, DX, "1.2.3.1.9", film(sop="1.2.3.1.9", **{keyword: None}))
    assert answer.Status == 0xC000
    assert refused() == [("missing_uid", "1.2.3.1.9")]


def test_what_is_no_data_set_is_refused(listen, data_dir):
    port = listen().port
    with association(port) as made:
        assert store_raw(made, DX, "1.2.3.1.9", b"\xff" * 5000).Status == 0xC000
        assert made.is_established
    ((why, _),) = refused()
    assert why in ("unreadable", "missing_uid")
    assert not kept_files(data_dir)


def test_values_that_a_database_cannot_hold_do_not_stop_a_film(listen):
    port = listen().port
    sent = film(AccessionNumber="A" * 5000, StudyDescription="CHEST\0PA", PatientID="P\\Q")
    assert send(port, sent) == [0]
    assert study().study_description == "CHESTPA"
    assert study().patient_id == "P\\Q"


def test_a_deflated_film_is_not_taken_and_that_is_seen(listen):
    port = listen().port
    with association(port, DX, syntaxes=[DeflatedExplicitVRLittleEndian]) as made:
        assert not made.accepted_contexts
    eventually(lambda: [why for why, _ in refused()] == ["syntax_not_taken"])


def test_a_private_class_is_not_taken_and_that_is_seen_once(listen):
    port = listen().port
    for _ in range(3):
        with association(port, DX, "1.2.276.0.99.1") as made:
            assert [context.abstract_syntax for context in made.accepted_contexts] == [DX]
    eventually(lambda: refused())
    assert [(row.reason, row.sop_class_uid) for row in rows(Refusal)] == [
        ("class_not_taken", "1.2.276.0.99.1")
    ]


def test_a_film_over_the_limit_is_refused_and_the_next_is_taken(listen, data_dir):
    port = listen(max_instance_mb=1).port
    large = film(pixels=b"\0\0" * 700_000)
    assert send(port, large, film()) == [0xC000, 0]
    assert refused() == [("too_large", large.SOPInstanceUID)]
    eventually(lambda: not incoming(data_dir))
    assert len(kept_files(data_dir)) == 1


def test_an_endless_film_is_cut_off(listen, data_dir):
    port = listen(max_instance_mb=1).port
    with association(port) as made:
        made.dimse_timeout = 30
        with pytest.raises((AssertionError, RuntimeError)):
            store_raw(made, DX, "1.2.3.1.9", film(sop="1.2.3.1.9", pixels=b"\0\0" * 5_000_000))
        eventually(lambda: not made.is_established)
    assert [why for why, _ in refused()] == ["broken_message"]
    assert not incoming(data_dir)


# ---- Who may send ----


def test_callers_that_are_not_on_the_list_are_rejected_and_seen(listen):
    running = listen(allowed_callers="CR1, CR2")
    with association(running.port, caller="STRANGER") as made:
        assert made.is_rejected
    assert send(running.port, film(), caller="CR2") == [0]
    eventually(lambda: [(r.reason, r.calling_ae) for r in rows(Refusal)]
               == [("caller_not_allowed", "STRANGER")])  # fmt: skip
    assert "EVERY" not in running.log.read_text()


def test_without_a_list_everyone_may_send_and_the_log_says_so(listen):
    running = listen()
    assert send(running.port, film(), caller="STRANGER") == [0]
    (line,) = [line for line in running.lines() if "EVERY" in line["event"]]
    assert line["level"] == "warning"


def test_another_called_title_is_rejected_where_the_site_wants_that(listen):
    port = listen(require_called_ae=True).port
    with association(port, ae_title="ELSEWHERE") as made:
        assert made.is_rejected
    with association(port, ae_title="NIGHTDRAFT") as made:
        assert made.is_established
    eventually(lambda: [why for why, _ in refused()] == ["called_another"])


def test_associations_over_the_limit_are_rejected_for_a_while(listen):
    port = listen(max_associations=1).port
    with association(port) as first:
        assert first.is_established
        with association(port) as second:
            assert second.is_rejected
    eventually(lambda: send(port, film()) == [0])  # the first is over
    assert "too_many_associations" in [why for why, _ in refused()]


def test_a_fast_caller_is_slowed_down_and_loses_nothing(listen):
    running = listen(max_instances_per_minute=30)
    films = [film(f"1.2.{number}") for number in range(31)]
    began = time.monotonic()
    assert send(running.port, *films) == [0] * 31
    assert time.monotonic() - began > 1.0  # the 31st had to wait
    assert [line for line in running.lines() if line["event"] == "a sender is slowed down"]


# ---- Peers that break the protocol ----


def test_a_pdu_that_declares_gigabytes_takes_no_memory(listen):
    running = listen()
    before = psutil.Process(running.process.pid).memory_info().rss
    with connection(running.port) as made:
        made.sendall(pdu(1, b"\0" * 1000, length=0xFFFFFFF0))
        assert is_closed(made)
    with association(running.port) as made:
        made.dul.socket.socket.sendall(pdu(4, b"\0" * 1000, length=0xFFFFFFF0))
        eventually(lambda: not made.is_established)
    assert psutil.Process(running.process.pid).memory_info().rss - before < 30_000_000
    assert ("pdu_too_large", "") in refused()
    assert send(running.port, film()) == [0]


def test_garbage_and_silence_are_hung_up_on(listen):
    port = listen(idle_seconds=1).port
    with connection(port) as made:
        made.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert is_closed(made)
    with connection(port) as made:
        assert is_closed(made)  # says nothing
    with connection(port) as made:
        made.sendall(pdu(1, b"\0" * 10, length=5000))  # never says the rest
        assert is_closed(made)
    with association(port) as made:
        eventually(lambda: not made.is_established)
    assert send(port, film()) == [0]


def test_probes_that_only_connect_hold_no_place(listen):
    running = listen(max_associations=1)
    for _ in range(5):
        with connection(running.port):
            pass
    eventually(lambda: send(running.port, film()) == [0], seconds=10)
    began = time.monotonic()
    assert running.end() == 0
    assert time.monotonic() - began < 10


def test_a_message_without_end_is_cut_off(listen):
    running = listen()
    fragment = b"\1\1" + b"\0" * 60_000  # context 1, command, more follows
    content = len(fragment).to_bytes(4, "big") + fragment
    with association(running.port) as made:
        line = made.dul.socket.socket
        try:
            for _ in range(40):
                line.sendall(pdu(4, content))
        except OSError:
            pass  # hung up already
        eventually(lambda: not made.is_established)
    eventually(lambda: ("broken_message", "") in refused())
    assert send(running.port, film()) == [0]


def test_a_sender_that_dies_in_the_middle_leaves_nothing(listen, data_dir):
    running = listen()
    with association(running.port) as made:
        line = made.dul.socket.socket
        sending = threading.Thread(
            target=lambda: made.send_c_store(film(pixels=b"\0\0" * 20_000_000)), daemon=True
        )
        sending.start()
        eventually(lambda: [f for f in incoming(data_dir) if f.stat().st_size > 1_000_000])
        line.shutdown(2)
        sending.join()
    eventually(lambda: not incoming(data_dir))
    assert not rows()
    assert send(running.port, film()) == [0]


# ---- Our own trouble ----


def test_a_full_disk_is_answered_a700_until_there_is_room(listen, data_dir):
    running = listen(disk_stop_mb=10**9)
    assert send(running.port, film()) == [0xA700]
    assert not incoming(data_dir)
    assert not kept_files(data_dir)

    def alarm():
        with unit_of_work() as session:
            return [alarm.sentence for alarm in parts.open_alarms(session, "listener")]

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
                answer = made.send_c_store(film(f"1.2.{number}", pixels=b"\0\0" * 200_000))
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


# ---- Real senders, real files ----


def test_echo(listen):
    port = listen().port
    with association(port, VERIFICATION, syntaxes=[ImplicitVRLittleEndian]) as made:
        assert made.send_c_echo().Status == 0
    subprocess.run([dcmtk("echoscu"), "127.0.0.1", str(port)], check=True)


STORESCU_PROFILE = """
[[TransferSyntaxes]]
[Plain]
TransferSyntax1 = LocalEndianExplicit
TransferSyntax2 = LittleEndianImplicit
[Jpeg]
TransferSyntax1 = JPEGBaseline
[Jpeg2000]
TransferSyntax1 = JPEG2000
[[PresentationContexts]]
[Films]
PresentationContext1 = ComputedRadiographyImageStorage\\Plain
PresentationContext2 = ComputedRadiographyImageStorage\\Jpeg2000
PresentationContext3 = SecondaryCaptureImageStorage\\Plain
PresentationContext4 = SecondaryCaptureImageStorage\\Jpeg
[[Profiles]]
[Default]
PresentationContexts = Films
"""


@pytest.mark.parametrize("program", ["storescu", "dcmsend"])
def test_dcmtk_sends_the_chest_films_in_one_run(listen, samples, tmp_path, program):
    port = listen().port
    profile = tmp_path / "storescu.cfg"
    profile.write_text(STORESCU_PROFILE)
    options = ["-xf", profile, "Default"] if program == "storescu" else []
    folder = samples / "dicom/chest"
    done = subprocess.run(
        [dcmtk(program), "-v", *options, "+sd", "127.0.0.1", str(port), folder],
        env={**os.environ, "TCP_NODELAY": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    taken = {row.sop_instance_uid for row in rows()}
    there = {dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in folder.iterdir()}
    assert taken == there, done.stdout + done.stderr
    assert all(row.state == InstanceState.KEPT for row in rows())


def test_every_sample_is_answered_and_is_a_row_or_a_refusal(listen, samples):
    running = listen()
    unaccounted = []
    for path in sorted((samples / "dicom").rglob("*")):
        try:
            sample = dcmread(path)
            syntax = sample.file_meta.TransferSyntaxUID
            sop_class, sop = str(sample.SOPClassUID), str(sample.SOPInstanceUID)
        except Exception:
            continue  # a folder, or no Part 10 file: no C-STORE can carry it
        before = len(rows(Refusal))
        with association(running.port, sop_class, syntaxes=[syntax]) as made:
            if made.is_established:  # else none of its contexts was accepted
                content = path.read_bytes()
                start = 144 + int.from_bytes(content[140:144], "little")
                assert store_raw(made, sop_class, sop, content[start:]).Status is not None
        known = sop in {row.sop_instance_uid for row in rows()}
        if not known:
            told = eventually(lambda seen=before: rows(Refusal)[seen:])
            assert told[0].sentence.endswith(".")
            unaccounted.append((path.name, told[0].reason))
    assert running.process.poll() is None
    assert sorted(unaccounted) == [
        ("1.2.840.10008.1.2.1.99.dcm", "syntax_not_taken"),
        ("unknown_sop_class.dcm", "class_not_taken"),
    ]
    assert len(rows()) > 35


def test_no_log_line_has_anything_of_a_patient(listen, samples):
    running = listen(log_level="debug")
    secret = {"PatientName": "ZYXWV^PLANTED", "PatientID": "PLANTED-77", "AccessionNumber": "PL-A"}
    port = running.port
    send(port, film("1.2.1", **secret), film("1.2.1", sop="1.2.3.9", **secret))
    send(port, film("1.2.1", sop="1.2.3.9", pixels=b"\1\1" * 64, **secret))
    send(port, film("1.2.1", **{**secret, "PatientName": "ZYXWV^OTHER"}))
    send(port, film(sop_class=CT, Modality="CT", **secret))
    with association(port) as made:
        store_raw(made, DX, "1.2.9", film("1.2.4", sop="1.2.8", **secret))
        store_raw(made, DX, "1.2.9", film("1.2.x", sop="1.2.9", **secret))
        store_raw(made, DX, "1.2.9", b"\x10\0\x10\0PN\x0d\0ZYXWV^PLANTED" + b"\xff" * 30)
        store_raw(made, DX, "1.2.9", film(sop="1.2.9", PatientBirthDate="PLANTED", **secret))
    running.end()
    log = running.log.read_text()
    assert log.count("an object was kept") >= 4
    for planted in ("ZYXWV", "PLANTED", "PL-A", "PHANTOM"):
        assert planted not in log
    assert all(isinstance(line, dict) for line in running.lines())


def test_a_film_sent_with_storescu_and_again_with_another_program_is_one(listen, tmp_path):
    port = listen().port
    sent = film(sop=generate_uid())
    path = part10(sent, tmp_path / "film.dcm")
    subprocess.run([dcmtk("storescu"), "127.0.0.1", str(port), path], check=True)
    assert send(port, sent) == [0]
    assert len(rows()) == 1


def test_two_listeners_share_one_database(listen):
    first, second = listen(), listen()
    sent = film()
    assert send(first.port, sent) + send(second.port, sent) == [0, 0]
    assert len(rows()) == 1


def test_a_retired_class_is_taken(listen):
    port = listen().port
    entity = AE(ae_title="OLD")
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.6")
    made = entity.associate("127.0.0.1", port)
    (context,) = made.accepted_contexts
    sent = film(sop_class="1.2.840.10008.5.1.4.1.1.6", Modality="US", sop="1.2.3.1.9")
    from pynetdicom.dsutils import encode

    implicit = context.transfer_syntax[0].is_implicit_VR
    answer = store_raw(made, sent.SOPClassUID, "1.2.3.1.9", encode(sent, implicit, True))
    made.release()
    assert answer.Status == 0
    (row,) = rows()
    assert row.state == InstanceState.SKIPPED
