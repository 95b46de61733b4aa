"""Files without a row: whole ones get it back, and nothing that was whole is ever deleted."""

import os
import time
import uuid

import pytest

from intake.dicom.orphans import (
    ALARM_PART,
    ASIDE_ALARM_PART,
    PLAUSIBLE_ORPHANS,
    register_all,
    sweep_orphans,
)
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.operations import alarms
from records.settings import settings
from records.states import EventKind, InstanceState, VisibleState
from records.workflow import events
from tests.support.dicom_senders import make_image
from tests.support.listener_state import kept_files, read_rows, read_study
from tests.support.registered_studies import new_instance, register
from tests.support.stored_studies import close_studies, phantom_images, store_image, visible_state


@pytest.fixture
def blobs(database, data_dir, setting):
    setting(orphan_hours=1)
    return Blobs(data_dir)


def make_old(path):
    os.utime(path, (time.time() - 7200,) * 2)


def keep_file(blobs, content=b"an image", aged=True):
    received = blobs.incoming / uuid.uuid4().hex
    received.write_bytes(content)
    key = blobs.keep_instance(received)
    received.unlink()
    if aged:
        make_old(blobs.path(key))
    return key


def store_films(*seeds):
    """Films as the listener keeps them, some hours ago."""
    images = [phantom_images(seed)[0] for seed in seeds]
    for image in images:
        store_image(image)
    for row in read_rows():
        make_old(Blobs(settings().data_dir).path(row.blob))
    return images


def forget_studies():
    """The database comes from a backup that is older than every study."""
    with unit_of_work() as session:
        # Such a backup has none of these rows; a trigger keeps anybody from taking them away.
        session.connection().exec_driver_sql(
            "ALTER TABLE events DISABLE TRIGGER events_kept; TRUNCATE studies CASCADE; "
            "ALTER TABLE events ENABLE TRIGGER events_kept"
        )


def sweep(blobs, **options):
    return sweep_orphans(blobs, settings(), **options)


def open_alarm(part):
    with unit_of_work() as session:
        return [f"{alarm.cause} {alarm.remedy}" for alarm in alarms.open_alarms(session, part)]


def test_films_that_the_restored_database_does_not_know_are_registered_from_their_files(blobs):
    first, second = store_films(1, 2)
    kept = {row.sop_instance_uid: (row.blob, row.sha256, row.size) for row in read_rows()}
    forget_studies()
    result = sweep(blobs)
    assert (result.registered, result.set_aside, result.left) == (2, 0, 0)
    rows = read_rows()
    assert {row.sop_instance_uid: (row.blob, row.sha256, row.size) for row in rows} == kept
    study = read_study(first.StudyInstanceUID)
    assert (study.patient_id, study.accession_number) == (first.PatientID, first.AccessionNumber)
    with unit_of_work() as session:
        kinds = [event.kind for event in events.timeline(session, study.id)]
    assert kinds == [EventKind.ARRIVED, EventKind.RECOVERED]
    close_studies()
    assert visible_state(study.id) is VisibleState.WAITING
    assert sweep(blobs).registered == 0
    assert read_study(second.StudyInstanceUID).state == "COMPLETE"


def test_a_film_of_long_ago_is_found_by_the_sweep_of_all_days(blobs):
    store_films(1)
    (row,) = read_rows()
    old_day = blobs.root / "instances/2020-01-01"
    (blobs.root / row.blob).parent.parent.rename(old_day)
    forget_studies()
    assert sweep(blobs).registered == 0
    assert sweep(blobs, all_days=True).registered == 1
    (row,) = read_rows()
    assert row.blob.startswith("instances/2020-01-01/")


def test_what_cannot_be_registered_is_kept_aside_with_an_alarm(blobs):
    known, orphan, young = keep_file(blobs), keep_file(blobs), keep_file(blobs, aged=False)
    register(new_instance(blob=known))
    half, fresh = blobs.incoming / "half.dcm", blobs.incoming / "fresh.dcm"
    half.touch()
    fresh.touch()
    make_old(half)
    result = sweep(blobs)
    assert (result.incoming, result.registered, result.set_aside) == (1, 0, 1)
    assert [blobs.path(key).exists() for key in (known, orphan, young)] == [True, False, True]
    assert list(blobs.incoming.iterdir()) == [fresh]
    (aside,) = blobs.list_set_aside()
    assert aside.read_bytes() == b"an image"
    assert "lost+found" in open_alarm(ASIDE_ALARM_PART)[0]
    aside.unlink()
    sweep(blobs)
    assert open_alarm(ASIDE_ALARM_PART) == []


def test_a_file_of_an_object_that_is_registered_and_whole_is_removed(blobs):
    store_films(1)
    (row,) = read_rows()
    copy = keep_file(blobs, blobs.read(row.blob))
    assert sweep(blobs).registered == 1
    assert not blobs.path(copy).exists()
    assert blobs.path(row.blob).exists()
    assert len(read_rows()) == 1


def test_a_file_of_an_object_whose_own_file_is_gone_takes_its_place(blobs):
    store_films(1)
    (row,) = read_rows()
    copy = keep_file(blobs, blobs.read(row.blob))
    blobs.remove(row.blob)
    assert sweep(blobs).registered == 1
    (row,) = read_rows()
    assert row.blob == copy
    assert blobs.path(copy).exists()


def test_files_of_another_database_are_left_until_a_person_decides(blobs, data_dir):
    count = PLAUSIBLE_ORPHANS + 1
    store_films(*range(1, count + 1))
    forget_studies()
    result = sweep(blobs)
    assert (result.registered, result.set_aside, result.left) == (0, 0, count)
    assert len(kept_files(data_dir)) == count
    (sentence,) = open_alarm(ALARM_PART)
    assert "NIGHTDRAFT_DATABASE_URL" in sentence
    assert "nightdraft blobs orphans --register" in sentence
    keep_file(blobs)
    assert register_all(blobs, settings(), 1) == (count, 1)
    assert len(read_rows()) == count
    assert open_alarm(ALARM_PART) == []
    # What could not be registered before is tried again.
    assert register_all(blobs, settings(), 1) == (0, 1)


def test_another_patients_film_under_a_known_study_is_held_as_if_it_came_now(blobs):
    image = make_image(PatientID="P-2", PatientName="OTHER^ONE", PatientSex="M")
    image.StudyDescription = "CHEST"
    store_image(image)
    make_old(blobs.path(read_rows()[0].blob))
    forget_studies()
    register(new_instance(study="1.2.3"))
    assert sweep(blobs).registered == 1
    assert [row.state for row in read_rows()] == [InstanceState.KEPT, InstanceState.MISMATCH]
