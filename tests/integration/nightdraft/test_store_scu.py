"""The sender, against storage SCPs that accept, refuse, and break the connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
)

from nightdraft.store_scu import (
    DicomFile,
    SendOutcome,
    SendResult,
    SendSummary,
    find_dicom_files,
    send_files,
)
from records.errors import NotFound, PartError
from training.corpus.phantoms_dicom import write_phantoms

SEEDS = range(5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five small studies, one without file meta group, and three files that are not DICOM."""
    place = tmp_path_factory.mktemp("studies")
    drawn = [paths for _, paths in write_phantoms(place, SEEDS, size=64)]
    bare = pydicom.dcmread(drawn[0][0])
    bare.SOPInstanceUID += ".1"
    bare.save_as(place / "bare.dcm", enforce_file_format=False)
    content = (place / "bare.dcm").read_bytes()
    start = content.index(b"\x08\x00\x05\x00") if content[128:132] == b"DICM" else 0
    (place / "bare.dcm").write_bytes(content[start:])
    (place / "notes.txt").write_text("read me")
    (place / "empty").touch()
    (place / "half.dcm").write_bytes(drawn[1][0].read_bytes()[:140])
    return place


class Scp:
    """A storage SCP that answers with `status`, and keeps the UIDs of what it received."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.received: list[str] = []
        self.status = 0x0000
        self.aborts = 0
        self.lock = threading.Lock()

    def store(self, event: Any) -> int:
        with self.lock:
            if self.aborts:
                self.aborts -= 1
                event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
                return 0xC000
            self.received.append(str(event.request.AffectedSOPInstanceUID))
        assert str(event.dataset.SOPInstanceUID) == str(event.request.AffectedSOPInstanceUID)
        return self.status


@contextmanager
def listening(port: int, syntaxes: tuple[str, ...], called: str = "") -> Iterator[Scp]:
    scp = Scp(port)
    ae = AE(ae_title="SCP")
    ae.require_called_aet = bool(called)
    for sop_class in (ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation):
        ae.add_supported_context(sop_class, list(syntaxes))
    server = ae.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, scp.store)]
    )
    try:
        yield scp
    finally:
        server.shutdown()


@pytest.fixture
def scp(free_port: int) -> Iterator[Scp]:
    with listening(free_port, (ExplicitVRLittleEndian, ImplicitVRLittleEndian)) as running:
        yield running


def files_of(folder: Path) -> list[DicomFile]:
    return [entry for entry in find_dicom_files(folder) if isinstance(entry, DicomFile)]


def send(folder: Path, port: int, called: str = "SCP", associations: int = 1) -> SendSummary:
    return send_files(
        files_of(folder),
        host="127.0.0.1",
        port=port,
        called=called,
        calling="SCU",
        associations=associations,
    )


def test_what_is_dicom_is_found_and_what_is_not_is_named(folder: Path) -> None:
    rejected = [entry for entry in find_dicom_files(folder) if isinstance(entry, SendResult)]
    assert {result.path.name for result in rejected} == {"notes.txt", "empty", "half.dcm"}
    assert {result.outcome for result in rejected} == {SendOutcome.NOT_DICOM}
    (bare,) = [file for file in files_of(folder) if file.path.name == "bare.dcm"]
    assert not bare.sent_as_is
    with pytest.raises(NotFound):
        list(find_dicom_files(folder / "nowhere"))


@pytest.mark.parametrize("associations", [1, 3])
def test_every_file_is_sent_once(folder: Path, scp: Scp, associations: int) -> None:
    summary = send(folder, scp.port, associations=associations)
    expected = sorted(
        str(pydicom.dcmread(file.path, force=True).SOPInstanceUID) for file in files_of(folder)
    )
    assert sorted(scp.received) == expected
    assert summary.complete
    assert len(summary.accepted_studies) == len(SEEDS)
    assert summary.rejected_studies == set()


def test_a_refusal_is_reported_with_its_status(folder: Path, scp: Scp) -> None:
    scp.status = 0xA700
    summary = send(folder, scp.port)
    assert not summary.complete
    assert len(summary.rejected_studies) == len(SEEDS)
    assert "refused: 0xA700 Refused: Out of Resources" in "\n".join(summary.lines())


def test_a_warning_is_an_object_that_was_kept(folder: Path, scp: Scp) -> None:
    scp.status = 0xB000
    assert send(folder, scp.port).complete


def test_a_broken_association_is_opened_again(folder: Path, scp: Scp) -> None:
    scp.aborts = 1
    summary = send(folder, scp.port)
    assert summary.complete
    assert len(scp.received) == len(files_of(folder))


def test_a_file_at_which_the_listener_always_breaks_off_harms_no_other(
    folder: Path, scp: Scp
) -> None:
    scp.aborts = 2
    summary = send(folder, scp.port)
    assert [result.reason for result in summary.of_outcome(SendOutcome.UNSENT)] == [
        "the connection broke"
    ]
    assert len(scp.received) == len(files_of(folder)) - 1


def test_a_transfer_syntax_that_is_not_taken(folder: Path, free_port: int) -> None:
    with listening(free_port, (ImplicitVRLittleEndian,)) as scp:
        summary = send(folder, scp.port)
        assert scp.received == []
    assert "the listener does not take" in summary.of_outcome(SendOutcome.UNSENT)[0].reason
    assert "Explicit VR Little Endian" in summary.of_outcome(SendOutcome.UNSENT)[0].reason


def test_another_ae_title_is_refused_with_a_reason(folder: Path, free_port: int) -> None:
    with (
        listening(free_port, (ExplicitVRLittleEndian,), called="SCP"),
        pytest.raises(PartError, match=r"refused the association: .*[Cc]alled AE"),
    ):
        send(folder, free_port, called="OTHER")
