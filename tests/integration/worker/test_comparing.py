"""Films in two encodings: a hostile one ends as a hold, and the worker goes on with the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless

from model.dicom.comparison import Comparison
from model.dicom.image_process import ImageProcess
from model.errors import DecoderUnavailable
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.errors import PartError
from records.states import DAMAGE_SENTENCES, Damage, EventKind, HoldReason, InstanceState
from records.workflow import events, studies, worklist_rows
from records.workflow.registrations import Outcome
from tests.support.dicom_senders import make_image
from tests.support.filed_objects import file_dataset
from tests.support.listener_state import kept_files, read_rows
from worker.comparing import MAX_COMPARISONS, compare_waiting

HOSTILE, GOOD = "1.2.3", "1.2.4"
"""Study Instance UIDs; the hostile film comes first."""


@pytest.fixture(autouse=True)
def _room(database: str, data_dir: Path, setting: Callable[..., None]) -> None:
    setting(disk_stop_mb=0, disk_warn_mb=0)


def film(study: str, rows: int, data: bytes, syntax: UID | None = None) -> Dataset:
    """A film of 12 bits: its samples, or its codestream in a transfer syntax."""
    image = make_image(
        study=study, sop=f"{study}.1.1", pixels=encapsulate([data]) if syntax else data,
        Rows=rows, Columns=rows, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
        BitsStored=12, HighBit=11, PixelRepresentation=0,
    )  # fmt: skip
    if syntax:
        image["PixelData"].VR = "OB"
        image.file_meta.TransferSyntaxUID = syntax
    return image


def send(first: Dataset, second: Dataset) -> None:
    assert file_dataset(first).outcome is Outcome.KEPT
    assert file_dataset(second).outcome is Outcome.UNCOMPARED


def send_in_two_encodings(study: str, rows: int) -> None:
    """Send noise as JPEG 2000, which takes long to decode, and decompressed."""
    samples = np.random.default_rng(0).integers(0, 4096, (rows, rows), np.uint16)
    codestream = imagecodecs.jpeg2k_encode(
        samples, level=0, codecformat="j2k", reversible=True, bitspersample=12
    )
    send(film(study, rows, codestream, JPEG2000Lossless), film(study, rows, samples.tobytes()))


def send_two_large_films() -> None:
    """Send films of one grey as JPEG-LS: a few bytes each, and 80 MB decoded."""
    grey = np.zeros((6300, 6300), np.uint16)
    films = (
        film(HOSTILE, 6300, imagecodecs.jpegls_encode(grey + np.uint16(shade)), JPEGLSLossless)
        for shade in (0, 1)
    )
    send(*films)


def check_a_person_is_asked(why: str) -> None:
    """The hostile film waits for a person who is told why, and nothing of it is lost."""
    with unit_of_work() as session:
        study = studies.get_by_uid(session, HOSTILE)
        assert worklist_rows.read_row(session, study.id).hold_reasons == (
            HoldReason.CONFLICTING_BYTES,
        )
        (line,) = (
            event.detail
            for event in events.timeline(session, study.id)
            if event.kind == EventKind.CONFLICT
        )
    assert line.endswith(why)
    rows = [row for row in read_rows() if row.study_id == study.id]
    assert {row.state for row in rows} == {InstanceState.KEPT, InstanceState.CONFLICT}


def check_the_good_film_was_compared() -> None:
    with unit_of_work() as session:
        study = studies.get_by_uid(session, GOOD)
        assert worklist_rows.read_row(session, study.id).hold_reasons == ()
    assert [row.state for row in read_rows() if row.study_id == study.id] == [InstanceState.KEPT]


@pytest.mark.parametrize("limit", ["time", "memory"])
def test_a_film_beyond_the_limits_asks_a_person_and_the_next_is_compared(
    setting: Callable[..., None], data_dir: Path, limit: str
) -> None:
    if limit == "time":
        setting(decode_seconds=0.5)
        send_in_two_encodings(HOSTILE, 2000)
    else:
        setting(decode_memory_mb=256)
        send_two_large_films()
    send_in_two_encodings(GOOD, 64)
    assert compare_waiting() == 2
    lacks = {"time": "more than 0.5 s", "memory": "more than 256 MB of memory"}
    check_a_person_is_asked(f"Decoding the film takes {lacks[limit]}")
    check_the_good_film_was_compared()
    assert len(kept_files(data_dir)) == 3


def test_a_film_that_takes_the_child_with_it_is_not_tried_for_ever(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    compare = ImageProcess.compare
    send_in_two_encodings(HOSTILE, 64)
    hostile = {Blobs(data_dir).path(row.blob) for row in read_rows()}
    send_in_two_encodings(GOOD, 64)

    def out_of_memory(process: ImageProcess, first: Path, second: Path) -> Comparison:
        if first in hostile:
            raise DecoderUnavailable("it was killed")
        return compare(process, first, second)

    monkeypatch.setattr(ImageProcess, "compare", out_of_memory)
    for _ in range(MAX_COMPARISONS):
        with pytest.raises(PartError, match="killed"):
            compare_waiting()
    assert compare_waiting() == 1
    check_a_person_is_asked("could not be compared, in several attempts")
    check_the_good_film_was_compared()


def test_a_film_is_not_compared_with_bytes_that_were_not_received(data_dir: Path) -> None:
    send_in_two_encodings(HOSTILE, 64)
    (standing,) = (row for row in read_rows() if row.state == InstanceState.KEPT)
    path = Blobs(data_dir).path(standing.blob)
    path.write_bytes(path.read_bytes()[:-100] + bytes(100))
    assert compare_waiting() == 1
    check_a_person_is_asked(DAMAGE_SENTENCES[Damage.CHANGED].rstrip("."))
    assert {row.state: row.damage for row in read_rows()} == {
        InstanceState.KEPT: Damage.CHANGED,
        InstanceState.CONFLICT: None,
    }
