"""Files without a row: a few are removed, many are not believed."""

import os
import time
import uuid

from intake.dicom.orphans import ALARM_PART, PLAUSIBLE_ORPHANS, sweep_orphans
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.operations import alarms
from tests.support.registered_studies import new_instance, register


def make_old(path):
    os.utime(path, (time.time() - 7200,) * 2)


def keep_file(blobs, aged=True):
    received = blobs.incoming / uuid.uuid4().hex
    received.write_bytes(b"an image")
    key = blobs.keep_instance(received)
    received.unlink()
    if aged:
        make_old(blobs.path(key))
    return key


def test_only_old_files_without_a_row_are_removed(database, data_dir):
    blobs = Blobs(data_dir)
    known, orphan, young = keep_file(blobs), keep_file(blobs), keep_file(blobs, aged=False)
    register(new_instance(blob=known))
    half, fresh = blobs.incoming / "half.dcm", blobs.incoming / "fresh.dcm"
    half.touch()
    fresh.touch()
    make_old(half)
    result = sweep_orphans(blobs, 1)
    assert (result.incoming, result.instances, result.not_removed) == (1, 1, 0)
    assert [blobs.path(key).exists() for key in (known, orphan, young)] == [True, False, True]
    assert list(blobs.incoming.iterdir()) == [fresh]


def test_a_database_that_knows_none_of_the_files_removes_none(database, data_dir):
    blobs = Blobs(data_dir)
    keys = [keep_file(blobs) for _ in range(PLAUSIBLE_ORPHANS + 1)]
    result = sweep_orphans(blobs, 1)
    assert (result.instances, result.not_removed) == (0, PLAUSIBLE_ORPHANS + 1)
    assert all(blobs.path(key).exists() for key in keys)
    with unit_of_work() as session:
        (alarm,) = alarms.open_alarms(session, ALARM_PART)
    assert "NIGHTDRAFT_DATABASE_URL" in alarm.sentence
