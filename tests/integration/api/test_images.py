"""The pictures of the study page."""

import io

import numpy as np
import pydicom
import pytest
from PIL import Image

from model.dicom import image_process
from model.dicom.pixels import render
from records.database.session import unit_of_work
from records.states import InstanceState
from records.workflow import studies


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


def test_a_damaged_image_and_a_missing_file_are_reported(client, seeder):
    study = seeder.receive(1)
    image = first_image(study)
    path = seeder.blobs.path(image.blob)
    path.write_bytes(path.read_bytes()[:900])
    assert client.get(f"/studies/{study}/views/{image.id}.jpg").status_code == 422
    path.unlink()
    assert client.get(f"/studies/{study}/views/{image.id}.jpg").status_code == 404
