"""The sender, against storage SCPs that take, refuse, and break off."""

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

from nightdraft.store_scu import Answer, Film, Outcome, Sending, find_films, send_films
from records.errors import NotFound, PartError
from training.corpus.phantoms_dicom import write_phantoms

SEEDS = range(5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five small studies, a data set without file meta group, and three strangers."""
    place = tmp_path_factory.mktemp("films")
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
    """A storage SCP that answers what `answer` says, and keeps what came."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.came: list[str] = []
        self.status = 0x0000
        self.aborts = 0
        self.lock = threading.Lock()

    def store(self, event: Any) -> int:
        with self.lock:
            if self.aborts:
                self.aborts -= 1
                event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
                return 0xC000
            self.came.append(str(event.request.AffectedSOPInstanceUID))
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


def films_of(folder: Path) -> list[Film]:
    return [one for one in find_films(folder) if isinstance(one, Film)]


def send(folder: Path, port: int, called: str = "SCP", associations: int = 1) -> Sending:
    return send_films(
        films_of(folder),
        host="127.0.0.1",
        port=port,
        called=called,
        calling="SCU",
        associations=associations,
    )


def test_what_is_dicom_is_found_and_what_is_not_is_named(folder: Path) -> None:
    strangers = [one for one in find_films(folder) if isinstance(one, Answer)]
    assert {one.path.name for one in strangers} == {"notes.txt", "empty", "half.dcm"}
    assert {one.outcome for one in strangers} == {Outcome.NOT_DICOM}
    bare = [film for film in films_of(folder) if film.path.name == "bare.dcm"]
    assert [film.whole for film in bare] == [False]
    with pytest.raises(NotFound):
        list(find_films(folder / "nowhere"))


@pytest.mark.parametrize("associations", [1, 3])
def test_every_film_is_sent_once(folder: Path, scp: Scp, associations: int) -> None:
    sending = send(folder, scp.port, associations=associations)
    wanted = sorted(
        str(pydicom.dcmread(film.path, force=True).SOPInstanceUID) for film in films_of(folder)
    )
    assert sorted(scp.came) == wanted
    assert sending.whole
    assert len(sending.taken) == len(SEEDS)
    assert sending.turned_away == set()


def test_a_refusal_is_told_with_its_meaning(folder: Path, scp: Scp) -> None:
    scp.status = 0xA700
    sending = send(folder, scp.port)
    assert not sending.whole
    assert len(sending.turned_away) == len(SEEDS)
    assert "refused: 0xA700 Refused: Out of Resources" in "\n".join(sending.lines())


def test_a_warning_is_an_object_that_was_kept(folder: Path, scp: Scp) -> None:
    scp.status = 0xB000
    assert send(folder, scp.port).whole


def test_a_broken_association_is_made_anew(folder: Path, scp: Scp) -> None:
    scp.aborts = 1
    sending = send(folder, scp.port)
    assert sending.whole
    assert len(scp.came) == len(films_of(folder))


def test_a_film_at_which_the_listener_always_breaks_off_harms_no_other(
    folder: Path, scp: Scp
) -> None:
    scp.aborts = 2
    sending = send(folder, scp.port)
    assert [answer.meaning for answer in sending.of(Outcome.UNSENT)] == ["the connection broke"]
    assert len(scp.came) == len(films_of(folder)) - 1


def test_a_transfer_syntax_that_is_not_taken(folder: Path, free_port: int) -> None:
    with listening(free_port, (ImplicitVRLittleEndian,)) as scp:
        sending = send(folder, scp.port)
        assert scp.came == []
    assert "the listener does not take" in sending.of(Outcome.UNSENT)[0].meaning
    assert "Explicit VR Little Endian" in sending.of(Outcome.UNSENT)[0].meaning


def test_another_ae_title_is_refused_in_words(folder: Path, free_port: int) -> None:
    with (
        listening(free_port, (ExplicitVRLittleEndian,), called="SCP"),
        pytest.raises(PartError, match=r"refused the association: .*[Cc]alled AE"),
    ):
        send(folder, free_port, called="OTHER")
