"""Parts killed at every named point, Redis emptied: every acknowledged film leads to one draft.

Slow; `make prove-chaos`. The results are in docs/develop/chaos.md.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pydicom
import pytest
import redis
from pydicom.uid import generate_uid
from pynetdicom import AE

from tests.support.station import Station, running_station
from tests.support.waiting import eventually
from training.corpus.phantoms_dicom import write_phantoms

POINTS = [
    "mid-transfer",
    "after-fsync",
    "after-commit",
    "before-answer",
    "while-preparing",
    "while-drafting",
    "before-draft-commit",
    "after-draft-commit",
]


def films(folder: Path) -> list[pydicom.Dataset]:
    """Six small studies under new UIDs."""
    for _ in write_phantoms(folder, range(2_100_000_000, 2_100_000_006), size=256):
        pass
    found = []
    for study in sorted(path for path in folder.iterdir() if path.is_dir()):
        uid = generate_uid()
        for path in sorted(study.glob("*.dcm")):
            film = pydicom.dcmread(path)
            film.StudyInstanceUID = uid
            film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            found.append(film)
    return found


def deliver(station: Station, unsent: list[pydicom.Dataset]) -> list[pydicom.Dataset]:
    """Send as a device does; those that were not acknowledged with success."""
    ae = AE("CHAOS")
    # pynetdicom waits this long for an answer even where the connection is gone.
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 5
    for film in unsent:
        ae.add_requested_context(film.SOPClassUID, film.file_meta.TransferSyntaxUID)
    ae.requested_contexts = list({c.abstract_syntax: c for c in ae.requested_contexts}.values())
    association = ae.associate("127.0.0.1", station.port, ae_title="NIGHTDRAFT")
    left = list(unsent)
    if association.is_established:
        for film in unsent:
            try:
                answer = association.send_c_store(film)
            except (RuntimeError, ValueError):
                break
            if getattr(answer, "Status", None) == 0x0000:
                left.remove(film)
        if association.is_established:
            association.release()
    return left


def until_delivered(station: Station, unsent: list[pydicom.Dataset]) -> None:
    left = unsent

    def gone() -> bool:
        nonlocal left
        left = deliver(station, left)
        return not left

    eventually(gone, 120)


def assert_each_drafted_once(station: Station, sent: list[pydicom.Dataset]) -> None:
    studies = {str(film.StudyInstanceUID) for film in sent}
    eventually(lambda: station.all_ended(len(studies)), 120)
    rows = station.rows()
    assert set(rows) == studies
    assert {state for state, _ in rows.values()} == {"DRAFTED"}
    current = dict(
        station.ask(
            "SELECT s.study_instance_uid, count(*) FROM drafts d JOIN studies s"
            " ON s.id = d.study_id WHERE d.superseded_at IS NULL GROUP BY 1"
        )
    )
    assert current == dict.fromkeys(studies, 1)
    instances = {row[0] for row in station.ask("SELECT sop_instance_uid FROM instances")}
    assert instances == {str(film.SOPInstanceUID) for film in sent}


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(point: str, short_folder: Callable[[], Path], tmp_path: Path):
    data_dir = short_folder()
    mark = data_dir / "killed"
    os.environ["NIGHTDRAFT_KILL_AT"], os.environ["NIGHTDRAFT_KILL_MARK"] = point, str(mark)
    try:
        with running_station(data_dir, BUNDLE="demo") as station:
            sent = films(tmp_path)
            until_delivered(station, sent)
            assert_each_drafted_once(station, sent)
            assert mark.exists(), "nobody was killed"
            leftovers = list((data_dir / "blobs/incoming").glob("*.part"))
            assert leftovers == []
    finally:
        del os.environ["NIGHTDRAFT_KILL_AT"], os.environ["NIGHTDRAFT_KILL_MARK"]


def test_redis_emptied_all_the_time(short_folder: Callable[[], Path], tmp_path: Path):
    with running_station(short_folder(), BUNDLE="demo") as station:
        sent = films(tmp_path)
        until_delivered(station, sent)

        def emptied() -> bool:
            with station.broker() as broker:
                broker.flushall()
            return station.all_ended(6)

        eventually(emptied, 120)
        assert_each_drafted_once(station, sent)


def test_redis_killed(short_folder: Callable[[], Path], tmp_path: Path):
    with running_station(short_folder(), BUNDLE="demo") as station:
        sent = films(tmp_path)
        until_delivered(station, sent)
        with station.broker() as broker:
            pid = int(broker.info("server")["process_id"])
        os.kill(pid, signal.SIGKILL)

        def answers() -> bool:
            try:
                with station.broker() as again:
                    return bool(again.ping())
            except redis.RedisError:
                return False

        eventually(answers)
        assert_each_drafted_once(station, sent)


@pytest.mark.parametrize("part", ["listener", "sweep", "prepare", "draft", "api"])
def test_a_part_that_dies_is_started_again(
    part: str, short_folder: Callable[[], Path], tmp_path: Path
):
    with running_station(short_folder(), BUNDLE="demo") as station:
        old = station.parts()[part]
        psutil.Process(old).kill()
        eventually(lambda: station.parts().get(part) != old, 60)
        sent = films(tmp_path)
        until_delivered(station, sent)
        assert_each_drafted_once(station, sent)
