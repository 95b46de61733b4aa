import io

import numpy as np
import pydicom
from PIL import Image

from model.dicom.pixels import display_pixels
from records.database.session import unit_of_work
from records.states import InstanceState
from records.workflow import studies


def _film(study):
    with unit_of_work() as session:
        return studies.list_instances(session, study, InstanceState.KEPT)[0]


def test_a_film_is_a_picture_of_its_own_shape(client, night):
    study = night.arrive(1)
    film = _film(study)
    path = night.blobs.path(film.blob)
    wide = pydicom.dcmread(path)
    stored = wide.pixel_array
    wide.PixelData = np.tile(stored, (10, 15)).tobytes()
    wide.Rows, wide.Columns = stored.shape[0] * 10, stored.shape[1] * 15
    wide.save_as(path)
    answer = client.get(f"/studies/{study}/views/{film.id}.png")
    assert answer.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.mode == "L"
    assert picture.size == (1024, 683)
    assert np.array_equal(np.array(picture), display_pixels(path, 1024))


def test_a_small_film_is_not_blown_up(client, night):
    study = night.arrive(1)
    answer = client.get(f"/studies/{study}/views/{_film(study).id}.png")
    assert Image.open(io.BytesIO(answer.content)).size == (128, 128)


def test_a_film_of_another_study_is_none(client, night):
    study, other = night.arrive(1), night.arrive(2)
    assert client.get(f"/studies/{other}/views/{_film(study).id}.png").status_code == 404


def test_a_damaged_film_and_one_that_is_gone_are_said(client, night):
    study = night.arrive(1)
    film = _film(study)
    path = night.blobs.path(film.blob)
    path.write_bytes(path.read_bytes()[:900])
    assert client.get(f"/studies/{study}/views/{film.id}.png").status_code == 422
    path.unlink()
    assert client.get(f"/studies/{study}/views/{film.id}.png").status_code == 404
