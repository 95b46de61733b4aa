"""The sender, against storage SCPs that accept, refuse, and break the connection."""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
)
from rich.console import Console
from typer.testing import CliRunner

from nightdraft.cli.main import app
from nightdraft.cli.send import send_with_progress
from nightdraft.film_files import FilmFile, SendOutcome, SendResult, find_films
from nightdraft.store_scu import SendSummary, send_files
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
    for sop_class in (
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        SecondaryCaptureImageStorage,
    ):
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


def files_of(folder: Path) -> list[FilmFile]:
    return [entry for entry in find_films(folder) if isinstance(entry, FilmFile)]


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
    rejected = [entry for entry in find_films(folder) if isinstance(entry, SendResult)]
    assert {result.path.name: result.outcome for result in rejected} == {
        "notes.txt": SendOutcome.NOT_DICOM,
        "empty": SendOutcome.NOT_DICOM,
        "half.dcm": SendOutcome.UNSENT,
    }
    (bare,) = [file for file in files_of(folder) if file.path.name == "bare.dcm"]
    assert not bare.sent_as_is
    with pytest.raises(NotFound):
        list(find_films(folder / "nowhere"))


def test_films_are_found_without_preamble_behind_links_and_under_any_name(
    tmp_path: Path, scp: Scp
) -> None:
    ((_, (good, *_)),) = write_phantoms(tmp_path / "elsewhere", [1], size=64)
    content = good.read_bytes()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "no_preamble").write_bytes(content[132:])
    (folder / "loop").symlink_to(folder)
    (folder / "study").symlink_to(good.parent)
    (folder / "line\nbreak.dcm").write_bytes(content)
    summary = send(folder, scp.port)
    assert summary.complete
    assert len(summary.results) == 2 + sum(p.is_file() for p in good.parent.iterdir())
    assert str(pydicom.dcmread(good).SOPInstanceUID) in scp.received


def test_what_may_be_a_film_and_is_not_sent_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "cut.DCM").write_bytes(b"\0" * 100)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "._film.dcm").write_bytes(b"\0\5\x16\7")  # macOS makes it beside each file
    (tmp_path / "bad\udcff\n.dcm").touch()
    results = [entry for entry in find_films(tmp_path) if isinstance(entry, SendResult)]
    assert {result.path.name: result.outcome for result in results} == {
        "empty.dcm": SendOutcome.UNSENT,
        "cut.DCM": SendOutcome.UNSENT,
        "gone": SendOutcome.UNSENT,
        "._film.dcm": SendOutcome.NOT_DICOM,
        "bad\udcff\n.dcm": SendOutcome.UNSENT,
    }
    summary = SendSummary(results)
    assert not summary.complete
    lines = "|".join(summary.lines())
    assert lines.encode()  # a terminal takes it
    assert lines.isprintable()


def test_a_folder_that_cannot_be_opened_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (result,) = find_films(tmp_path)
    assert isinstance(result, SendResult)
    assert (result.path.name, result.outcome) == ("closed", SendOutcome.UNSENT)
    assert result.reason == "cannot be opened (Permission denied)"


def test_a_damaged_data_set_is_sent_by_its_file_meta_group(tmp_path: Path, scp: Scp) -> None:
    """A thousand nested sequences are too much for pydicom; the file is DICOM all the same."""
    ((_, (good, *others)),) = write_phantoms(tmp_path, [1], size=64)
    content = good.read_bytes()
    first = content.index(b"\x08\0\x05\0CS")
    nested = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
    (tmp_path / "nested.dcm").write_bytes(content[:first] + nested * 1500 + content[first:])
    (file,) = files_of(tmp_path / "nested.dcm")
    dataset = pydicom.dcmread(good)
    assert (file.sop_class, file.sent_as_is) == (dataset.SOPClassUID, True)
    assert file.transfer_syntax == dataset.file_meta.TransferSyntaxUID
    summary = send(tmp_path, scp.port)
    assert len(summary.results) == len(others) + 2
    assert SendOutcome.NOT_DICOM not in {result.outcome for result in summary.results}


def test_dicom_that_cannot_be_sent_is_not_complete(tmp_path: Path, scp: Scp) -> None:
    list(write_phantoms(tmp_path, [1], size=64))
    directory = pydicom.Dataset()
    directory.file_meta = pydicom.dataset.FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    (tmp_path / "notes.txt").write_text("read me")
    arguments = {"host": "127.0.0.1", "called": "SCP", "calling": "SCU", "associations": 1}

    def send_folder() -> SendSummary:
        entries = list(find_films(tmp_path))
        return send_with_progress(Console(file=io.StringIO()), entries, port=scp.port, **arguments)

    summary = send_folder()
    assert summary.complete
    assert "1 not an object: a DICOMDIR (DICOMDIR)" in summary.lines()
    (tmp_path / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\0\x10")
    summary = send_folder()
    assert not summary.complete
    assert any(line.startswith("1 not sent: ") for line in summary.lines())
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.name != "cut.dcm":
            path.unlink()
    assert not send_folder().complete
    (tmp_path / "cut.dcm").unlink()
    (tmp_path / "notes.txt").write_text("read me")
    with pytest.raises(NotFound):
        send_folder()


def test_the_film_that_pydicom_cannot_read_is_dicom(samples: Path) -> None:
    names = {file.path.name for file in files_of(samples / "cases" / "send_says_not_dicom")}
    assert names == {"good.dcm", "nested.dcm"}


def test_pictures_are_wrapped_where_that_is_asked(tmp_path: Path, scp: Scp) -> None:
    list(write_phantoms(tmp_path, [1], size=64))
    shades = np.tile(np.arange(300, dtype=np.uint8), (300, 1))
    for name in ("film.png", "film.jpg"):
        Image.fromarray(shades).save(tmp_path / name)
    arguments = ["send", str(tmp_path), "--port", str(scp.port), "--called", "SCP"]
    plain = CliRunner().invoke(app, arguments)
    assert (plain.exit_code, "which --pictures sends" in plain.output) == (0, True)
    sent = len(scp.received)
    asked = CliRunner().invoke(app, [*arguments, "--pictures"])
    assert asked.exit_code == 0, asked.output
    assert "wrapped as Secondary Capture: 1 JPEG, 1 PNG" in asked.output
    wrapped = [file for file in find_films(tmp_path, pictures=True) if isinstance(file, FilmFile)]
    studies = {file.study for file in wrapped}
    assert len(scp.received) == 2 * sent + 2
    assert len(studies) == len(wrapped) - (sent - 1)
    # The same picture is the same object when it is sent again.
    CliRunner().invoke(app, [*arguments, "--pictures"])
    assert len(set(scp.received)) == sent + 2


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
