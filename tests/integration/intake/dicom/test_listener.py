"""What a device sees of the listener, and what is kept; the listener is a process of its own."""

from __future__ import annotations

import os
import threading
import time

import psutil
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from records.blobs import Blobs
from records.database.session import unit_of_work
from records.database.tables import Refusal
from records.states import HoldReason, InstanceState, Priority
from records.workflow import holds
from tests.support.dicom_senders import (
    CT,
    DX,
    association,
    connection,
    film,
    is_closed,
    pdu,
    send,
    store_raw,
    store_without_end,
)
from tests.support.listener_state import heartbeat, incoming, kept_files, refused, rows, study
from tests.support.waiting import eventually

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
        (hold,) = holds.list_by_study(session, study().id)
    assert hold.reason == HoldReason.CONFLICTING_BYTES
    assert len(kept_files(data_dir)) == 2


def test_another_patient_under_the_study_uid_opens_a_hold_and_is_not_merged(listen):
    port = listen().port
    stranger = film(PatientID="P-2", PatientName="PHANTOM^TWO")
    assert send(port, film(), stranger) == [0, 0]
    assert [row.state for row in rows()] == [InstanceState.KEPT, InstanceState.MISMATCH]
    with unit_of_work() as session:
        (hold,) = holds.list_by_study(session, study().id)
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
        store_without_end(made, film(pixels=b"\0\0" * 2_000_000))
        eventually(lambda: [f for f in incoming(data_dir) if f.stat().st_size > 1_000_000])
        made.dul.socket.socket.shutdown(2)
    eventually(lambda: not incoming(data_dir))
    assert not rows()
    assert send(running.port, film()) == [0]
