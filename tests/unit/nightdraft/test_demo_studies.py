"""The demonstration's studies: what is written for each, and what counts as met."""

from __future__ import annotations

import io
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest

from model.dicom.pixels import render
from model.errors import PixelError
from nightdraft.demo_messages import send_message
from nightdraft.demo_studies import (
    COUNT,
    DEMO_STUDIES,
    DemoStudy,
    WrittenStudy,
    write_demo_studies,
)
from nightdraft.phantom_studies import FIRST_SEED
from records.errors import PartError
from records.hl7_messages import read_messages
from records.states import Priority, VisibleState
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def written(folder: Path) -> list[WrittenStudy]:
    seeds = range(FIRST_SEED, FIRST_SEED + COUNT)
    drawn = (phantom_dicom(phantom(seed), size=64) for seed in seeds)
    return write_demo_studies(drawn, folder / "now", folder / "late", "D1127023446")


def films(folder: Path, written: list[WrittenStudy], sent: str) -> list[Path]:
    (study,) = [study for study in written if sent in study.study.sent]
    return sorted(folder.glob(f"*/{study.accession}-*.dcm"), key=lambda path: path.name)


def test_each_study_has_its_own_uid_and_number_and_its_films_say_so(
    folder: Path, written: list[WrittenStudy]
) -> None:
    assert len(written) == COUNT == len({study.uid for study in written})
    sent = {(str(ds.StudyInstanceUID), str(ds.AccessionNumber))
            for ds in map(pydicom.dcmread, (folder / "now").glob("*.dcm"))}  # fmt: skip
    assert sent == {(study.uid, study.accession) for study in written}
    assert all(len(study.accession) <= 16 for study in written)


def test_only_the_late_lateral_is_kept_for_later(folder: Path, written: list[WrittenStudy]) -> None:
    first, late = films(folder, written, "late film")
    assert (first.parent.name, late.parent.name) == ("now", "late")
    assert list((folder / "late").iterdir()) == [late]
    assert pydicom.dcmread(late).SeriesDescription == "LATERAL"


def test_the_films_are_what_the_table_says(folder: Path, written: list[WrittenStudy]) -> None:
    one, other = (pydicom.dcmread(path) for path in films(folder, written, "different patients"))
    assert one.StudyInstanceUID == other.StudyInstanceUID
    assert one.PatientID != other.PatientID
    (lateral,) = films(folder, written, "lateral film alone")
    assert pydicom.dcmread(lateral).SeriesDescription == "LATERAL"
    for path in films(folder, written, "cut off"):
        with pytest.raises(PixelError, match="ends early"):
            render(path, 64)
    names = [str(pydicom.dcmread(path).PatientName) for path in (folder / "now").iterdir()]
    assert all(name.startswith("PHANTOM^") for name in names)


def test_every_end_is_met_by_some_study() -> None:
    ends = {study.state for study in DEMO_STUDIES}
    assert ends == {
        VisibleState.HELD,
        VisibleState.DRAFTED,
        VisibleState.SKIPPED,
        VisibleState.FAILED,
        VisibleState.CANCELLED,
    }
    assert {study.priority for study in DEMO_STUDIES} >= {Priority.STAT, Priority.URGENT}
    assert max(study.drafts for study in DEMO_STUDIES) == 2


def row(**changes: Any) -> Any:
    values = {
        "state": VisibleState.HELD,
        "reason": "",
        "hold_reasons": ("AGE_UNKNOWN",),
        "priority": Priority.STAT,
    }
    return SimpleNamespace(**values | changes)


HELD = DemoStudy(
    "", state=VisibleState.HELD, reason="AGE_UNKNOWN", priority=Priority.STAT, drafts=0
)


@pytest.mark.parametrize(
    ("found", "drafts", "differences"),
    [
        (row(), 0, []),
        (None, 0, ["it is not on the worklist"]),
        (row(state=VisibleState.WAITING), 0, ["state is WAITING and must be HELD"]),
        (row(hold_reasons=()), 0, ["reason is none and must be AGE_UNKNOWN"]),
        (
            row(hold_reasons=("AGE_UNKNOWN", "IMAGE_EMPTY")),
            0,
            ["reason is AGE_UNKNOWN, IMAGE_EMPTY and must be AGE_UNKNOWN"],
        ),
        (row(priority=Priority.ROUTINE), 0, ["priority is ROUTINE and must be STAT"]),
        (row(), 1, ["drafts is 1 and must be none"]),
    ],
)
def test_what_is_not_as_it_must_be_is_named(
    found: Any, drafts: int, differences: list[str]
) -> None:
    assert HELD.differences(found, drafts) == differences


def test_an_indication_or_a_prior_report_that_is_another_one_is_named() -> None:
    study = DemoStudy("", indication="Fever", prior="Clear.")
    found = row(state=VisibleState.DRAFTED, hold_reasons=(), priority=Priority.ROUTINE)
    assert study.differences(found, 1, "Fever", "Clear.") == []
    assert study.differences(found, 1, "Cough") == [
        "indication is Cough and must be Fever",
        "prior report is none and must be Clear.",
    ]


def test_messages_name_the_patient_of_the_films_or_another_one(
    folder: Path, written: list[WrittenStudy]
) -> None:
    with_messages = [study for study in written if study.messages or study.late_messages]
    assert len(with_messages) == 4
    for study in with_messages:
        film = pydicom.dcmread(films(folder, written, study.study.sent)[0])
        (content,) = study.messages or study.late_messages
        (message,) = read_messages(io.BytesIO(content))
        (pid,) = [segment for segment in message.segments if segment.name == "PID"]
        (obr,) = [segment for segment in message.segments if segment.name == "OBR"]
        is_same = pid.part(3) == film.PatientID
        assert is_same is ("another patient" not in study.study.sent)
        # A prior report is about another study.
        assert (obr.text(18) == film.AccessionNumber) is not bool(study.study.prior)


def test_what_the_listener_refuses_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"\x0bMSH|^~\\&\rMSA|AE|1\r\x1c\r")

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(PartError, match="refused a message"):
            send_message("127.0.0.1", server.getsockname()[1], b"MSH")
        thread.join()
