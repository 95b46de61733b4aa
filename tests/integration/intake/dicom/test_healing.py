"""An object that comes again heals its stored file where that is gone or changed."""

import pytest
from pydicom import dcmread

from intake.dicom.filing import ReceivedFile, file_instance
from records.blobs import Blobs, data_set_sha256
from records.database.draft_tables import DraftRequest
from records.database.session import unit_of_work
from records.operations import scrub
from records.settings import settings
from records.states import Damage, EventKind, FailReason, InstanceState, RequestState, Stage
from records.workflow import attempts, events, requests, studies
from records.workflow.registrations import Outcome
from tests.support.dicom_senders import make_image, send_images, write_part10
from tests.support.listener_state import kept_files, read_rows, read_study
from tests.support.registered_studies import claim
from tests.support.waiting import eventually


@pytest.fixture
def blobs(database, data_dir, setting):
    setting(disk_stop_mb=0, disk_warn_mb=0)
    return Blobs(data_dir)


def file_image(blobs, image):
    """File one image as the listener does."""
    path = write_part10(image, blobs.incoming / f"{image.SOPInstanceUID}.dcm")
    received = ReceivedFile(
        path=path,
        sop_class_uid=image.SOPClassUID,
        sop_instance_uid=image.SOPInstanceUID,
        transfer_syntax_uid=image.file_meta.TransferSyntaxUID,
        calling_ae="CR1",
        size=path.stat().st_size,
        sha256=data_set_sha256(path),
    )
    outcome = file_instance(received, blobs, settings()).outcome
    path.unlink()
    return outcome


def fail_as_damaged(blobs):
    """What preparing does with a study whose film is damaged."""
    with unit_of_work() as session:
        studies.close_quiet(session, 0.0)
    (lease,) = claim(Stage.PREPARE)
    for row in read_rows():
        scrub.check(blobs, row)
    with unit_of_work() as session:
        attempts.fail(
            session, lease, FailReason.DAMAGED, "gone",
            max_attempts=3, retry_seconds=0.0, for_good=True,
        )  # fmt: skip


def request_state():
    with unit_of_work() as session:
        return session.get(DraftRequest, read_study().request_id).state


def test_a_listener_heals_a_file_that_is_gone_or_changed(listen, data_dir):
    port = listen().port
    sent = make_image(pixels=bytes(40_000))
    assert send_images(port, sent) == [0x0000]
    (row,) = read_rows()
    store = Blobs(data_dir)
    store.path(row.blob).unlink()
    assert send_images(port, sent) == [0x0000]
    (row,) = read_rows()
    assert dcmread(store.path(row.blob)) == sent
    with store.path(row.blob).open("r+b") as file:
        file.seek(20_000)
        file.write(b"bytes of another file")
    assert send_images(port, sent) == [0x0000]
    (row,) = read_rows()
    assert dcmread(store.path(row.blob)) == sent
    # What was damaged is kept aside for who looks for the cause.
    eventually(lambda: len(list(store.lost_and_found.iterdir())) == 1)
    assert kept_files(data_dir) == [store.path(row.blob)]
    with unit_of_work() as session:
        kinds = [event.kind for event in events.timeline(session, read_study().id)]
    assert kinds.count(EventKind.HEALED) == 2
    assert send_images(port, sent) == [0x0000]
    assert len(read_rows()) == 1


def test_a_study_that_failed_for_a_damaged_film_goes_on_when_it_is_healed(blobs):
    images = [make_image(sop="1.2.3.1.1"), make_image(sop="1.2.3.1.2")]
    assert [file_image(blobs, image) for image in images] == [Outcome.KEPT] * 2
    for row in read_rows():
        blobs.path(row.blob).unlink()
    fail_as_damaged(blobs)
    assert [row.damage for row in read_rows()] == [Damage.GONE] * 2
    assert file_image(blobs, images[0]) is Outcome.HEALED
    assert request_state() == RequestState.FAILED
    assert file_image(blobs, images[1]) is Outcome.HEALED
    assert request_state() == RequestState.WAITING
    assert [row.damage for row in read_rows()] == [None] * 2
    with unit_of_work() as session:
        assert scrub.read_scrub_state(session).damaged == 0
    assert file_image(blobs, images[1]) is Outcome.REPEATED


def test_a_study_that_failed_for_another_reason_is_left_as_it_is(blobs):
    image = make_image()
    file_image(blobs, image)
    with unit_of_work() as session:
        studies.close_quiet(session, 0.0)
    (lease,) = claim(Stage.PREPARE)
    with unit_of_work() as session:
        requests.skip(session, lease, "not_chest", "It is no chest.")
    blobs.path(read_rows()[0].blob).unlink()
    assert file_image(blobs, image) is Outcome.HEALED
    assert request_state() == RequestState.SKIPPED


def test_an_object_that_is_kept_aside_is_healed_too(blobs):
    file_image(blobs, make_image(sop="1.2.3.1.1"))
    other = make_image(sop="1.2.3.1.1", pixels=b"\1\0" * 64)
    assert file_image(blobs, other) is Outcome.CONFLICT
    aside = next(row for row in read_rows() if row.state == InstanceState.CONFLICT)
    blobs.path(aside.blob).unlink()
    assert file_image(blobs, other) is Outcome.HEALED
    aside = next(row for row in read_rows() if row.state == InstanceState.CONFLICT)
    assert blobs.path(aside.blob).exists()
