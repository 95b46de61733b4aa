"""The pictures of the study page."""

import errno
import io
import os

import numpy as np
import pydicom
import pytest
from PIL import Image

from model.dicom import image_process
from model.dicom.pixels import render
from records.blobs import Blobs, data_set_sha256
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.operations import alarms, scrub
from records.states import DAMAGE_SENTENCES, Damage, EventKind, InstanceState
from records.workflow import events, studies


def first_image(study):
    with unit_of_work() as session:
        return studies.list_instances(session, study, InstanceState.KEPT)[0]


@pytest.fixture(autouse=True)
def nothing_is_decoded_here(monkeypatch):
    """Decoding in the server's process fails the test."""

    def refuse(*_, **__):
        raise AssertionError("the server's process decodes")

    monkeypatch.setattr(image_process, "render", refuse)


def test_an_image_is_a_picture_of_its_own_shape_which_is_kept(client, seeder):
    study = seeder.receive(1)
    image = first_image(study)
    path = seeder.blobs.path(image.blob)
    dataset = pydicom.dcmread(path)
    stored = dataset.pixel_array
    dataset.PixelData = np.tile(stored, (10, 15)).tobytes()
    dataset.Rows, dataset.Columns = stored.shape[0] * 10, stored.shape[1] * 15
    dataset.save_as(path)
    with unit_of_work() as session:
        row = session.get(Instance, image.id)
        row.size, row.sha256 = path.stat().st_size, data_set_sha256(path)
    url = f"/studies/{study}/views/{image.id}.jpg"
    response = client.get(url)
    assert response.headers["content-type"] == "image/jpeg"
    picture = Image.open(io.BytesIO(response.content))
    assert picture.mode == "L"
    assert picture.size == (1024, 683)
    exact = np.asarray(render(path, 224).picture(1024)).astype(int)
    assert np.abs(np.asarray(picture) - exact).mean() < 4
    path.write_bytes(b"")  # the kept picture needs no decoding
    assert client.get(url).content == response.content


def test_a_small_image_is_not_enlarged(client, seeder):
    study = seeder.receive(1)
    response = client.get(f"/studies/{study}/views/{first_image(study).id}.jpg")
    assert Image.open(io.BytesIO(response.content)).size == (128, 128)


def test_an_image_of_another_study_is_not_found(client, seeder):
    study, other = seeder.receive(1), seeder.receive(2)
    assert client.get(f"/studies/{other}/views/{first_image(study).id}.jpg").status_code == 404


@pytest.mark.parametrize("harm", Damage)
def test_no_picture_is_made_of_a_file_that_is_not_what_was_received(client, seeder, harm):
    study = seeder.receive(1)
    image = first_image(study)
    path = seeder.blobs.path(image.blob)
    content = path.read_bytes()
    if harm is Damage.GONE:
        path.unlink()
    else:  # other pixels, which decode without an error
        path.write_bytes(content[:-2000] + bytes(2000))
    url = f"/studies/{study}/views/{image.id}.jpg"
    for _ in range(2):
        response = client.get(url)
        assert response.status_code == 404
        assert DAMAGE_SENTENCES[harm] in response.text
        assert "Let its sender send the film again" in response.text
    with unit_of_work() as session:
        kinds = [event.kind for event in events.timeline(session, study)]
        assert kinds.count(EventKind.DAMAGED) == 1
        assert alarms.open_alarms(session, scrub.ALARM_PART)
    assert first_image(study).damage == harm
    assert DAMAGE_SENTENCES[harm] in client.get(f"/studies/{study}").text
    path.write_bytes(content)  # restored from a backup
    assert client.get(url).headers["content-type"] == "image/jpeg"
    assert first_image(study).damage is None


def test_an_image_that_cannot_be_read_is_reported(client, seeder):
    study = seeder.receive(1)
    image = first_image(study)
    path = seeder.blobs.path(image.blob)
    path.write_bytes(path.read_bytes()[:900])  # as it was received
    with unit_of_work() as session:
        row = session.get(Instance, image.id)
        row.size, row.sha256 = 900, data_set_sha256(path)
    assert client.get(f"/studies/{study}/views/{image.id}.jpg").status_code == 422


def test_a_disk_that_cannot_be_read_says_nothing_of_the_film(client, seeder, monkeypatch):
    def fail(*_):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    study = seeder.receive(1)
    image = first_image(study)
    monkeypatch.setattr(Blobs, "find_damage", fail)
    response = client.get(f"/studies/{study}/views/{image.id}.jpg")
    assert response.status_code == 503
    assert "data folder cannot be read" in response.text
    assert first_image(study).damage is None
