"""Real senders and real files against the listener, and what its log says of them."""

from __future__ import annotations

import os
import subprocess

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from records.database.tables import Refusal
from records.states import InstanceState
from tests.support.dicom_senders import (
    CT,
    DX,
    association,
    dcmtk,
    film,
    part10,
    send,
    store_raw,
)
from tests.support.listener_state import rows
from tests.support.waiting import eventually

VERIFICATION = "1.2.840.10008.1.1"


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
