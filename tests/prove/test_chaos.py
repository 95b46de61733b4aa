"""Parts die at every failpoint, Redis is emptied: each acknowledged image leads to one draft.

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

from tests.support.dicom_senders import send_unsent
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


def new_studies(folder: Path) -> list[pydicom.Dataset]:
    """The data sets of six small studies under new UIDs."""
    for _ in write_phantoms(folder, range(2_100_000_000, 2_100_000_006), size=256):
        pass
    datasets = []
    for study in sorted(path for path in folder.iterdir() if path.is_dir()):
        uid = generate_uid()
        for path in sorted(study.glob("*.dcm")):
            ds = pydicom.dcmread(path)
            ds.StudyInstanceUID = uid
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            datasets.append(ds)
    return datasets


def until_delivered(station: Station, unsent: list[pydicom.Dataset]) -> None:
    remaining = unsent

    def all_delivered() -> bool:
        nonlocal remaining
        remaining = send_unsent(station.port, "CHAOS", remaining, 5)
        return not remaining

    eventually(all_delivered, 120)


def assert_each_drafted_once(station: Station, sent: list[pydicom.Dataset]) -> None:
    studies = {str(ds.StudyInstanceUID) for ds in sent}
    eventually(lambda: station.all_ended(len(studies)), 120)
    rows = station.rows()
    assert set(rows) == studies
    assert {state for state, _ in rows.values()} == {"DRAFTED"}
    current = dict(
        station.query(
            "SELECT s.study_instance_uid, count(*) FROM drafts d JOIN studies s"
            " ON s.id = d.study_id WHERE d.superseded_at IS NULL GROUP BY 1"
        )
    )
    assert current == dict.fromkeys(studies, 1)
    instances = {row[0] for row in station.query("SELECT sop_instance_uid FROM instances")}
    assert instances == {str(ds.SOPInstanceUID) for ds in sent}


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(point: str, short_folder: Callable[[], Path], tmp_path: Path):
    data_dir = short_folder()
    mark = data_dir / "killed"
    os.environ["NIGHTDRAFT_KILL_AT"], os.environ["NIGHTDRAFT_KILL_MARK"] = point, str(mark)
    try:
        with running_station(data_dir, BUNDLE="demo") as station:
            sent = new_studies(tmp_path)
            until_delivered(station, sent)
            assert_each_drafted_once(station, sent)
            assert mark.exists(), "no process was killed"
            leftovers = list((data_dir / "blobs/incoming").glob("*.part"))
            assert leftovers == []
    finally:
        del os.environ["NIGHTDRAFT_KILL_AT"], os.environ["NIGHTDRAFT_KILL_MARK"]


def test_redis_emptied_all_the_time(short_folder: Callable[[], Path], tmp_path: Path):
    with running_station(short_folder(), BUNDLE="demo") as station:
        sent = new_studies(tmp_path)
        until_delivered(station, sent)

        def emptied_until_all_ended() -> bool:
            with station.broker() as broker:
                broker.flushall()
            return station.all_ended(6)

        eventually(emptied_until_all_ended, 120)
        assert_each_drafted_once(station, sent)


def test_redis_killed(short_folder: Callable[[], Path], tmp_path: Path):
    with running_station(short_folder(), BUNDLE="demo") as station:
        sent = new_studies(tmp_path)
        until_delivered(station, sent)
        with station.broker() as broker:
            pid = int(broker.info("server")["process_id"])
        os.kill(pid, signal.SIGKILL)

        def answers() -> bool:
            try:
                with station.broker() as broker:
                    return bool(broker.ping())
            except redis.RedisError:
                return False

        eventually(answers)
        assert_each_drafted_once(station, sent)


@pytest.mark.parametrize("part", ["listener", "sweep", "prepare", "draft", "api"])
def test_a_part_that_dies_is_restarted(part: str, short_folder: Callable[[], Path], tmp_path: Path):
    with running_station(short_folder(), BUNDLE="demo") as station:
        old = station.parts()[part]
        psutil.Process(old).kill()
        eventually(lambda: station.parts().get(part) != old, 60)
        sent = new_studies(tmp_path)
        until_delivered(station, sent)
        assert_each_drafted_once(station, sent)
