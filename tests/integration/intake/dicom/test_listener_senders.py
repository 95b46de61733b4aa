"""Real senders and real files against the listener, and what its log says of them."""

from __future__ import annotations

import os
import subprocess

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.dsutils import encode

from records.database.operation_tables import Refusal
from records.states import InstanceState
from tests.support.dicom_senders import (
    CT,
    DX,
    dcmtk_program,
    make_image,
    open_association,
    send_images,
    send_raw_store,
    write_part10,
)
from tests.support.listener_state import read_rows
from tests.support.waiting import eventually

VERIFICATION = "1.2.840.10008.1.1"


# ---- Real senders, real files ----


def test_echo(listen):
    port = listen().port
    with open_association(port, VERIFICATION, syntaxes=[ImplicitVRLittleEndian]) as association:
        assert association.send_c_echo().Status == 0
    subprocess.run([dcmtk_program("echoscu"), "127.0.0.1", str(port)], check=True)


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
def test_dcmtk_sends_the_chest_images_in_one_run(listen, samples, tmp_path, program):
    port = listen().port
    profile = tmp_path / "storescu.cfg"
    profile.write_text(STORESCU_PROFILE)
    options = ["-xf", profile, "Default"] if program == "storescu" else []
    folder = samples / "dicom/chest"
    result = subprocess.run(
        [dcmtk_program(program), "-v", *options, "+sd", "127.0.0.1", str(port), folder],
        env={**os.environ, "TCP_NODELAY": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    stored_uids = {row.sop_instance_uid for row in read_rows()}
    in_folder = {dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in folder.iterdir()}
    assert stored_uids == in_folder, result.stdout + result.stderr
    assert all(row.state == InstanceState.KEPT for row in read_rows())


def test_every_sample_is_answered_and_is_a_row_or_a_refusal(listen, samples):
    listener = listen()
    unaccounted = []
    for path in sorted((samples / "dicom").rglob("*")):
        try:
            sample = dcmread(path)
            syntax = sample.file_meta.TransferSyntaxUID
            sop_class, sop = str(sample.SOPClassUID), str(sample.SOPInstanceUID)
        except Exception:
            continue  # a folder, or no Part 10 file: no C-STORE can carry it
        count_before = len(read_rows(Refusal))
        with open_association(listener.port, sop_class, syntaxes=[syntax]) as association:
            if association.is_established:  # else none of its contexts was accepted
                content = path.read_bytes()
                start = 144 + int.from_bytes(content[140:144], "little")
                assert (
                    send_raw_store(association, sop_class, sop, content[start:]).Status is not None
                )
        is_kept = sop in {row.sop_instance_uid for row in read_rows()}
        if not is_kept:
            refusals = eventually(lambda count=count_before: read_rows(Refusal)[count:])
            assert refusals[0].sentence.endswith(".")
            unaccounted.append((path.name, refusals[0].reason))
    assert listener.process.poll() is None
    assert sorted(unaccounted) == [
        ("1.2.840.10008.1.2.1.99.dcm", "syntax_not_taken"),
        ("unknown_sop_class.dcm", "class_not_taken"),
    ]
    assert len(read_rows()) > 35


def test_no_log_line_has_anything_of_a_patient(listen, samples):
    listener = listen(log_level="debug")
    secret = {"PatientName": "ZYXWV^PLANTED", "PatientID": "PLANTED-77", "AccessionNumber": "PL-A"}
    port = listener.port
    send_images(port, make_image("1.2.1", **secret), make_image("1.2.1", sop="1.2.3.9", **secret))
    send_images(port, make_image("1.2.1", sop="1.2.3.9", pixels=b"\1\1" * 64, **secret))
    send_images(port, make_image("1.2.1", **{**secret, "PatientName": "ZYXWV^OTHER"}))
    send_images(port, make_image(sop_class=CT, Modality="CT", **secret))
    with open_association(port) as association:
        send_raw_store(association, DX, "1.2.9", make_image("1.2.4", sop="1.2.8", **secret))
        send_raw_store(association, DX, "1.2.9", make_image("1.2.x", sop="1.2.9", **secret))
        send_raw_store(
            association, DX, "1.2.9", b"\x10\0\x10\0PN\x0d\0ZYXWV^PLANTED" + b"\xff" * 30
        )
        send_raw_store(
            association, DX, "1.2.9", make_image(sop="1.2.9", PatientBirthDate="PLANTED", **secret)
        )
    listener.stop()
    log = listener.log.read_text()
    assert log.count("an object was kept") >= 4
    for planted in ("ZYXWV", "PLANTED", "PL-A", "PHANTOM"):
        assert planted not in log
    assert all(isinstance(line, dict) for line in listener.log_lines())


def test_an_image_sent_with_storescu_and_again_with_another_program_is_one(listen, tmp_path):
    port = listen().port
    sent = make_image(sop=generate_uid())
    path = write_part10(sent, tmp_path / "image.dcm")
    subprocess.run([dcmtk_program("storescu"), "127.0.0.1", str(port), path], check=True)
    assert send_images(port, sent) == [0]
    assert len(read_rows()) == 1


def test_two_listeners_share_one_database(listen):
    first, second = listen(), listen()
    sent = make_image()
    assert send_images(first.port, sent) + send_images(second.port, sent) == [0, 0]
    assert len(read_rows()) == 1


def test_a_retired_class_is_taken(listen):
    port = listen().port
    entity = AE(ae_title="OLD")
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.6")
    association = entity.associate("127.0.0.1", port)
    (context,) = association.accepted_contexts
    sent = make_image(sop_class="1.2.840.10008.5.1.4.1.1.6", Modality="US", sop="1.2.3.1.9")
    implicit = context.transfer_syntax[0].is_implicit_VR
    answer = send_raw_store(
        association, sent.SOPClassUID, "1.2.3.1.9", encode(sent, implicit, True)
    )
    association.release()
    assert answer.Status == 0
    (row,) = read_rows()
    assert row.state == InstanceState.SKIPPED
