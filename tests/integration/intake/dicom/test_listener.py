"""What a device sees of the listener, and what is kept; the listener is a process of its own."""

from __future__ import annotations

import os
import threading

import psutil
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from records.blobs import Blobs
from records.database.operation_tables import Refusal
from records.database.session import unit_of_work
from records.states import HoldReason, InstanceState, Priority
from records.workflow import holds
from tests.support.dicom_senders import (
    CT,
    DX,
    encode_pdu,
    make_image,
    open_association,
    open_connection,
    send_images,
    send_raw_store,
    send_unfinished_store,
    wait_until_closed,
)
from tests.support.listener_state import (
    incoming_files,
    kept_files,
    read_heartbeat,
    read_refusals,
    read_rows,
    read_study,
)
from tests.support.waiting import eventually

# ---- What is kept ----


def test_an_image_is_kept_whole_and_its_study_is_known(listen, data_dir):
    port = listen().port
    sent = make_image(
        PatientName="Müller^Änne",
        SpecificCharacterSet="ISO_IR 192",
        NumberOfStudyRelatedInstances="2",
        RequestedProcedurePriority="STAT",
    )
    assert send_images(port, sent) == [0x0000]
    (instance,) = read_rows()
    stored = dcmread(Blobs(data_dir).path(instance.blob))
    assert stored == sent
    assert instance.state == InstanceState.KEPT
    assert (instance.sop_instance_uid, instance.calling_ae) == (sent.SOPInstanceUID, "CR1")
    assert instance.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert read_study().patient_name == "Müller^Änne"
    assert (read_study().expected_instances, read_study().priority) == (2, Priority.STAT)
    eventually(lambda: not incoming_files(data_dir))
    assert eventually(read_heartbeat).facts["port"] == port


def test_the_same_bytes_again_change_nothing(listen, data_dir):
    port = listen().port
    sent = make_image()
    assert send_images(port, sent, sent) == [0x0000, 0x0000]
    assert len(read_rows()) == 1
    eventually(lambda: len(kept_files(data_dir)) == 1)


def test_other_bytes_under_the_same_uid_open_a_hold(listen, data_dir):
    port = listen().port
    first = make_image(sop="1.2.3.1.9")
    assert send_images(port, first, make_image(sop="1.2.3.1.9", pixels=b"\1\0" * 64)) == [0, 0]
    assert [row.state for row in read_rows()] == [InstanceState.KEPT, InstanceState.CONFLICT]
    with unit_of_work() as session:
        (hold,) = holds.list_by_study(session, read_study().id)
    assert hold.reason == HoldReason.CONFLICTING_BYTES
    assert len(kept_files(data_dir)) == 2


def test_another_patient_under_the_study_uid_opens_a_hold_and_is_not_merged(listen):
    port = listen().port
    stranger = make_image(PatientID="P-2", PatientName="PHANTOM^TWO")
    assert send_images(port, make_image(), stranger) == [0, 0]
    assert [row.state for row in read_rows()] == [InstanceState.KEPT, InstanceState.MISMATCH]
    with unit_of_work() as session:
        (hold,) = holds.list_by_study(session, read_study().id)
    assert hold.reason == HoldReason.PATIENT_MISMATCH
    assert read_study().patient_name == "PHANTOM^ONE"


def test_other_objects_are_kept_as_skipped_with_a_reason(listen):
    port = listen().port
    assert send_images(port, make_image(sop_class=CT, Modality="CT")) == [0]
    (row,) = read_rows()
    assert row.state == InstanceState.SKIPPED
    assert row.reason == "CT Image Storage: not a projection radiograph."


def test_other_objects_are_refused_where_the_site_wants_that(listen):
    port = listen(other_objects="refuse").port
    other = make_image(sop_class=CT, Modality="CT")
    assert send_images(port, other, make_image()) == [0x0122, 0]
    assert read_refusals() == [("other_object", other.SOPInstanceUID)]
    assert len(read_rows()) == 1


def test_the_more_urgent_of_header_and_caller_wins(listen):
    port = listen(caller_priorities="ED_CR=URGENT, BATCH=BACKLOG").port
    send_images(
        port,
        make_image("1.2.1"),
        make_image("1.2.2", RequestedProcedurePriority="STAT"),
        caller="ED_CR",
    )
    send_images(port, make_image("1.2.4"), caller="BATCH")
    send_images(port, make_image("1.2.5"))
    assert [read_study(f"1.2.{n}").priority for n in (1, 2, 4, 5)] == [
        Priority.URGENT,
        Priority.STAT,
        Priority.BACKLOG,
        Priority.ROUTINE,
    ]


def test_large_images_on_several_associations_at_once(listen, data_dir):
    port = listen().port
    pixels = os.urandom(4_000_000)
    statuses = []

    def send_from_device(number: int) -> None:
        images = [make_image(f"1.2.{number}", pixels=pixels) for _ in range(3)]
        statuses.extend(send_images(port, *images, caller=f"CR{number}"))

    devices = [threading.Thread(target=send_from_device, args=(number,)) for number in range(4)]
    for device in devices:
        device.start()
    for device in devices:
        device.join()
    assert statuses == [0] * 12
    assert all(dcmread(file).PixelData == pixels for file in kept_files(data_dir))
    assert len(kept_files(data_dir)) == len(read_rows()) == 12


# ---- What is refused ----


def test_a_uid_that_climbs_out_of_its_folder_is_refused(listen, data_dir):
    port = listen().port
    with open_association(port) as association:
        answer = send_raw_store(association, DX, "../ESCAPED", make_image(sop="../ESCAPED"))
    assert answer.Status == 0xC000
    assert "numbers joined by dots" in answer.ErrorComment
    assert read_refusals() == [("bad_uid", "../ESCAPED")]
    assert not list(data_dir.rglob("*ESCAPED*"))
    assert not kept_files(data_dir)


@pytest.mark.parametrize("uid", ["1" * 65, "1.2.x", "1.2 3"])
def test_a_uid_that_is_none_is_refused_by_row_and_status(listen, uid):
    port = listen().port
    with open_association(port) as association:
        answer = send_raw_store(
            association, DX, "1.2.3.1.9", make_image(StudyInstanceUID=uid, sop="1.2.3.1.9")
        )
    assert answer.Status == 0xC000
    assert read_refusals() == [("bad_uid", "1.2.3.1.9")]


def test_command_and_data_set_must_agree(listen):
    port = listen().port
    sent = make_image(sop="1.2.3.1.9")
    with open_association(port, DX, CT) as association:
        assert send_raw_store(association, DX, "1.2.3.1.8", sent).Status == 0xA900
        assert send_raw_store(association, CT, "1.2.3.1.9", sent).Status == 0xA900
        assert send_raw_store(association, DX, "1.2.3.1.9", sent).Status == 0x0000
    assert [reason for reason, _ in read_refusals()] == ["disagrees", "disagrees"]
    assert len(read_rows()) == 1


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_an_image_without_its_uids_is_refused(listen, keyword):
    port = listen().port
    with open_association(port) as association:
        answer = send_raw_store(
            association, DX, "1.2.3.1.9", make_image(sop="1.2.3.1.9", **{keyword: None})
        )
    assert answer.Status == 0xC000
    assert read_refusals() == [("missing_uid", "1.2.3.1.9")]


def test_what_is_no_data_set_is_refused(listen, data_dir):
    port = listen().port
    with open_association(port) as association:
        assert send_raw_store(association, DX, "1.2.3.1.9", b"\xff" * 5000).Status == 0xC000
        assert association.is_established
    ((reason, _),) = read_refusals()
    # Read as data set, these bytes are elements of undefined length, one inside the other.
    assert reason == "too_many_elements"
    assert not kept_files(data_dir)


def test_values_that_a_database_cannot_hold_do_not_stop_an_image(listen):
    port = listen().port
    sent = make_image(AccessionNumber="A" * 5000, StudyDescription="CHEST\0PA", PatientID="P\\Q")
    assert send_images(port, sent) == [0]
    assert read_study().study_description == "CHESTPA"
    assert read_study().patient_id == "P\\Q"


def test_a_deflated_image_is_not_taken_and_that_is_seen(listen):
    port = listen().port
    with open_association(port, DX, syntaxes=[DeflatedExplicitVRLittleEndian]) as association:
        assert not association.accepted_contexts
    eventually(lambda: [reason for reason, _ in read_refusals()] == ["syntax_not_taken"])


def test_a_private_class_is_not_taken_and_that_is_seen_once(listen):
    port = listen().port
    for _ in range(3):
        with open_association(port, DX, "1.2.276.0.99.1") as association:
            assert [context.abstract_syntax for context in association.accepted_contexts] == [DX]
    eventually(lambda: read_refusals())
    assert [(row.reason, row.sop_class_uid) for row in read_rows(Refusal)] == [
        ("class_not_taken", "1.2.276.0.99.1")
    ]


def test_an_image_over_the_limit_is_refused_and_the_next_is_taken(listen, data_dir):
    port = listen(max_instance_mb=1).port
    large = make_image(pixels=b"\0\0" * 700_000)
    assert send_images(port, large, make_image()) == [0xC000, 0]
    assert read_refusals() == [("too_large", large.SOPInstanceUID)]
    eventually(lambda: not incoming_files(data_dir))
    assert len(kept_files(data_dir)) == 1


def test_an_endless_image_is_cut_off(listen, data_dir):
    port = listen(max_instance_mb=1).port
    with open_association(port) as association:
        with pytest.raises(AssertionError, match="ended without an answer"):
            send_raw_store(
                association,
                DX,
                "1.2.3.1.9",
                make_image(sop="1.2.3.1.9", pixels=b"\0\0" * 5_000_000),
            )
        eventually(lambda: not association.is_established)
    eventually(lambda: [reason for reason, _ in read_refusals()] == ["broken_message"])
    assert not incoming_files(data_dir)


# ---- Who may send ----


def test_callers_that_are_not_on_the_list_are_rejected_and_seen(listen):
    listener = listen(allowed_callers="CR1, CR2")
    with open_association(listener.port, caller="STRANGER") as association:
        assert association.is_rejected
    assert send_images(listener.port, make_image(), caller="CR2") == [0]
    eventually(lambda: [(r.reason, r.calling_ae) for r in read_rows(Refusal)]
               == [("caller_not_allowed", "STRANGER")])  # fmt: skip
    assert "EVERY" not in listener.log.read_text()


def test_without_a_list_everyone_may_send_and_the_log_says_so(listen):
    listener = listen()
    assert send_images(listener.port, make_image(), caller="STRANGER") == [0]
    (line,) = [line for line in listener.log_lines() if "EVERY" in line["message"]]
    assert line["level"] == "warning"


def test_another_called_title_is_rejected_where_the_site_wants_that(listen):
    port = listen(require_called_ae=True).port
    with open_association(port, ae_title="ELSEWHERE") as association:
        assert association.is_rejected
    with open_association(port, ae_title="NIGHTDRAFT") as association:
        assert association.is_established
    eventually(lambda: [reason for reason, _ in read_refusals()] == ["called_another"])


def test_associations_over_the_limit_are_rejected_for_a_while(listen):
    port = listen(max_associations=1).port
    with open_association(port) as first:
        assert first.is_established
        with open_association(port) as second:
            assert second.is_rejected
    eventually(lambda: send_images(port, make_image()) == [0])  # the first is over
    eventually(lambda: "too_many_associations" in [reason for reason, _ in read_refusals()])


def test_a_fast_caller_is_slowed_down_and_loses_nothing(listen):
    listener = listen(max_instances_per_minute=10)
    images = [make_image(f"1.2.{number}") for number in range(11)]
    assert send_images(listener.port, *images) == [0] * 11
    (line,) = [e for e in listener.log_lines() if e["message"] == "a sender is slowed down"]
    assert 0 < line["seconds"] <= 6.0  # the eleventh had to wait


# ---- Peers that break the protocol ----


def test_a_pdu_that_declares_gigabytes_takes_no_memory(listen):
    listener = listen()
    before = psutil.Process(listener.process.pid).memory_info().rss
    with open_connection(listener.port) as connection:
        connection.sendall(encode_pdu(1, b"\0" * 1000, length=0xFFFFFFF0))
        wait_until_closed(connection)
    with open_association(listener.port) as association:
        association.dul.socket.socket.sendall(encode_pdu(4, b"\0" * 1000, length=0xFFFFFFF0))
        eventually(lambda: not association.is_established)
    assert psutil.Process(listener.process.pid).memory_info().rss - before < 30_000_000
    eventually(lambda: ("pdu_too_large", "") in read_refusals())
    assert send_images(listener.port, make_image()) == [0]


def test_garbage_and_silence_are_hung_up_on(listen):
    port = listen(idle_seconds=1).port
    with open_connection(port) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        wait_until_closed(connection)
    with open_connection(port) as connection:
        wait_until_closed(connection)  # says nothing
    with open_connection(port) as connection:
        connection.sendall(encode_pdu(1, b"\0" * 10, length=5000))  # never says the rest
        wait_until_closed(connection)
    with open_association(port) as association:
        eventually(lambda: not association.is_established)
    assert send_images(port, make_image()) == [0]


def test_probes_that_only_connect_hold_no_place(listen):
    listener = listen(max_associations=1)
    for _ in range(5):
        with open_connection(listener.port):
            pass
    eventually(lambda: send_images(listener.port, make_image()) == [0], seconds=10)
    assert listener.stop() == 0
    assert "still open" not in listener.log.read_text()


def test_a_message_without_end_is_cut_off(listen):
    listener = listen()
    fragment = b"\1\1" + b"\0" * 60_000  # context 1, command, more follows
    content = len(fragment).to_bytes(4, "big") + fragment
    with open_association(listener.port) as association:
        peer = association.dul.socket.socket
        try:
            for _ in range(40):
                peer.sendall(encode_pdu(4, content))
        except OSError:
            pass  # hung up already
        eventually(lambda: not association.is_established)
    eventually(lambda: ("broken_message", "") in read_refusals())
    assert send_images(listener.port, make_image()) == [0]


def test_a_sender_that_dies_in_the_middle_leaves_nothing(listen, data_dir):
    listener = listen()
    with open_association(listener.port) as association:
        send_unfinished_store(association, make_image(pixels=b"\0\0" * 2_000_000))
        eventually(lambda: [f for f in incoming_files(data_dir) if f.stat().st_size > 1_000_000])
        association.dul.socket.socket.shutdown(2)
    eventually(lambda: not incoming_files(data_dir))
    assert not read_rows()
    assert send_images(listener.port, make_image()) == [0]
