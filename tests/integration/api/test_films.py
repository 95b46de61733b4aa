"""The pixels of films for the viewer, and what the study's page shows beside its films."""

import errno
import gzip
import html
import os
import re

import imagecodecs
import numpy as np
import pydicom
import pytest

from api.viewer import stored_films
from api.viewer.films import MEDIA_TYPE
from api.viewer.image_display import display_address
from model.dicom import image_process
from model.dicom.film_format import unpack
from records.blobs import Blobs, data_set_sha256
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.states import BYTES_REMOVED_SENTENCE, DAMAGE_SENTENCES, Damage, InstanceState
from records.workflow import studies
from tests.support.dicom_images import BIG_ENDIAN, EXPLICIT, chest, encode_all
from tests.support.viewer_films import EARLIER, noisy_chest, store_film
from worker import retention


@pytest.fixture(autouse=True)
def nothing_is_decoded_here(monkeypatch):
    """Decoding in the server's process fails the test."""

    def refuse(*_, **__):
        raise AssertionError("the server's process decodes")

    monkeypatch.setattr(image_process, "read_film", refuse)
    monkeypatch.setattr(image_process, "render", refuse)


def address(study, instance):
    return f"/studies/{study}/instances/{instance}/pixels"


def set_received(instance, path):
    """Let a file count as received as it is now."""
    with unit_of_work() as session:
        row = session.get(Instance, instance)
        row.size, row.sha256 = path.stat().st_size, data_set_sha256(path)


def path_of(data_dir, instance):
    with unit_of_work() as session:
        return Blobs(data_dir).path(session.get(Instance, instance).blob)


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN, *encode_all(chest(12), 12)])
def test_every_transfer_syntax_arrives_without_loss(client, data_dir, syntax):
    drawn = chest(12)
    samples = encode_all(drawn, 12).get(syntax, drawn)
    ids = store_film(data_dir, samples, syntax, Rows=96, Columns=128, BitsStored=12)
    answer = client.get(address(*ids))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["cache-control"] == "no-store"
    film = unpack(answer.content)
    assert np.array_equal(film.samples, drawn)
    assert b"PHANTOM" not in answer.content


def test_a_film_is_made_once_and_kept(client, data_dir):
    ids = store_film(data_dir, chest(12), BitsStored=12)
    first = client.get(address(*ids))
    path = path_of(data_dir, ids[1])
    path.write_bytes(b"")  # the kept film needs no decoding
    again = client.get(address(*ids), headers={"accept-encoding": "identity"})
    assert "content-encoding" not in again.headers
    assert again.content == first.content
    for accepted, encoding in (("br, gzip;q=0", None), ("*", "gzip"), ("gzip;q=x", None)):
        answer = client.get(address(*ids), headers={"accept-encoding": accepted})
        assert answer.headers.get("content-encoding") == encoding
    kept = data_dir / "blobs/films" / path.stem[:2] / f"{path.stem}.film"
    assert gzip.decompress(kept.read_bytes()) == first.content
    assert kept.stat().st_mode & 0o077 == 0 or kept.parent.stat().st_mode & 0o077 == 0
    Blobs(data_dir).remove(str(path.relative_to(data_dir / "blobs")))
    assert not kept.exists()


def test_a_film_set_aside_leaves_nothing_behind(client, data_dir):
    ids = store_film(data_dir, chest(12), BitsStored=12)
    client.get(address(*ids))
    client.get(f"/studies/{ids[0]}/views/{ids[1]}.jpg")
    made = [data_dir / "blobs" / name for name in ("pictures", "films")]
    assert [len(list(folder.rglob("*.*"))) for folder in made] == [1, 1]
    path = path_of(data_dir, ids[1])
    aside = Blobs(data_dir).set_aside(str(path.relative_to(data_dir / "blobs")))
    assert aside.exists()
    assert [len(list(folder.rglob("*.*"))) for folder in made] == [0, 0]


def test_a_film_that_nobody_looks_at_is_removed(client, data_dir, setting):
    blobs = Blobs(data_dir)
    blobs.make_folders()
    ids = [
        store_film(data_dir, chest(12), row={"study": f"1.2.{n}"}, BitsStored=12) for n in (6, 7)
    ]
    for one in ids:
        client.get(address(*one))
    kept = list((data_dir / "blobs/films").rglob("*.film"))
    for file in kept:
        os.utime(file, (0, 0))
    client.get(address(*ids[1]))  # a look makes it new again
    setting(retention_viewer_days=0)
    retention.remove_all()
    assert len(list((data_dir / "blobs/films").rglob("*.film"))) == 2
    setting(retention_viewer_days=7)
    retention.remove_all()
    (left,) = (data_dir / "blobs/films").rglob("*.film")
    assert left.stem == path_of(data_dir, ids[1][1]).stem
    assert client.get(address(*ids[0])).status_code == 200  # it is made again


def test_a_film_above_the_limit_is_reduced_and_says_so(client, data_dir):
    ids = store_film(data_dir, np.zeros((20, 3100), np.uint8), BitsStored=8)
    film = unpack(client.get(address(*ids)).content)
    assert film.samples.shape == (10, 1550)
    assert "reduced to 1/2" in film.header.notes[-1]


def test_several_frames_and_colour_say_what_is_shown(client, data_dir):
    ids = store_film(data_dir, chest(12), BitsStored=12, NumberOfFrames=1)
    path = path_of(data_dir, ids[1])
    dataset = pydicom.dcmread(path)
    dataset.PixelData, dataset.NumberOfFrames = dataset.PixelData * 3, 3
    dataset.save_as(path)
    set_received(ids[1], path)
    film = unpack(client.get(address(*ids)).content)
    assert np.array_equal(film.samples, chest(12))
    assert "has 3 frames" in film.header.notes[0]
    colours = np.stack([chest(8).astype(np.uint8)] * 3, axis=-1)
    ids = store_film(
        data_dir, colours, row={"study": "1.2.4"},
        SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0,
    )  # fmt: skip
    film = unpack(client.get(address(*ids)).content)
    assert film.samples.max() == 255
    assert "in colour" in film.header.notes[0]


@pytest.mark.parametrize("harm", Damage)
def test_no_film_is_made_of_a_file_that_is_not_what_was_received(client, data_dir, harm):
    ids = store_film(data_dir, chest(12), BitsStored=12)
    path = path_of(data_dir, ids[1])
    content = path.read_bytes()
    if harm is Damage.GONE:
        path.unlink()
    else:
        path.write_bytes(content[:-2000] + bytes(2000))
    answer = client.get(address(*ids))
    assert answer.status_code == 404
    assert DAMAGE_SENTENCES[harm] in answer.text
    path.write_bytes(content)
    assert client.get(address(*ids)).status_code == 200


def test_what_cannot_be_read_says_why_and_is_not_kept(client, data_dir):
    cut = imagecodecs.jpegls_encode(chest(12))[:900]
    ids = store_film(data_dir, cut, "1.2.840.10008.1.2.4.80", Rows=96, Columns=128, BitsStored=12)
    for _ in range(2):
        answer = client.get(address(*ids))
        assert answer.status_code == 422
        title = re.search("<h1>(.*?)</h1>", answer.text)[1]
        assert title == "The encoded pixel data ends early."
    assert not (data_dir / "blobs/films").exists()


def test_a_removed_film_is_gone(client, data_dir):
    ids = store_film(data_dir, chest(12), BitsStored=12)
    with unit_of_work() as session:
        row = session.get(Instance, ids[1])
        row.bytes_removed_at = row.received_at
    answer = client.get(address(*ids))
    assert answer.status_code == 410
    assert BYTES_REMOVED_SENTENCE in html.unescape(answer.text)
    assert "data-pixels" not in client.get(f"/studies/{ids[0]}").text


def test_what_is_kept_aside_and_what_is_of_another_study_is_not_found(client, data_dir):
    ids = store_film(data_dir, chest(12), BitsStored=12)
    other, _ = store_film(data_dir, chest(12), row={"study": "1.2.4"}, BitsStored=12)
    assert client.get(address(other, ids[1])).status_code == 404
    with unit_of_work() as session:
        session.get(Instance, ids[1]).state = InstanceState.MISMATCH
    assert client.get(address(*ids)).status_code == 404


def test_a_disk_that_cannot_be_read_and_a_busy_child_say_so(client, data_dir, monkeypatch):
    ids = store_film(data_dir, chest(12), BitsStored=12)

    def fail(*_):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patched:
        patched.setattr(Blobs, "find_damage", fail)
        answer = client.get(address(*ids))
    assert answer.status_code == 503
    assert "data folder cannot be read" in answer.text
    held = [stored_films._WAITING.acquire(blocking=False) for _ in range(6)]
    try:
        assert all(held)
        assert client.get(address(*ids)).status_code == 503
    finally:
        for _ in held:
            stored_films._WAITING.release()
    assert client.get(address(*ids)).status_code == 200


def test_the_page_offers_earlier_films_and_only_those_that_are_earlier(client, data_dir):
    study, _ = store_film(data_dir, noisy_chest(40, 30), BitsStored=12)
    page = client.get(f"/studies/{study}").text
    assert "data-earlier" not in page
    assert 'data-does="compare"' not in page
    earlier, film = store_film(data_dir, noisy_chest(40, 30), row=EARLIER, BitsStored=12)
    later = EARLIER | {"study": "1.2.10", "accession_number": "A9", "study_date": "20260102"}
    store_film(data_dir, noisy_chest(40, 30), row=later, BitsStored=12)
    page = client.get(f"/studies/{study}").text
    assert page.count("data-earlier ") == 1
    assert f'data-pixels="{address(earlier, film)}"' in page
    assert "Earlier study of 2025-03-01, film 1 of 1" in page
    assert 'data-does="compare"' in page


def test_a_link_opens_the_sites_own_viewer(client, data_dir, setting):
    study, _ = store_film(data_dir, noisy_chest(40, 30), BitsStored=12)
    assert "Open this study in your viewer" not in client.get(f"/studies/{study}").text
    setting(image_display_url="https://pacs.example.org/show?theme=dark")
    page = client.get(f"/studies/{study}").text
    with unit_of_work() as session:
        uid = studies.get_by_uid(session, str(study)).study_instance_uid
    expected = f"https://pacs.example.org/show?theme=dark&amp;requestType=STUDY&amp;studyUID={uid}"
    assert f'href="{expected}"' in page
    assert 'rel="noopener noreferrer"' in page
    assert "Not a diagnostic display" in page


def test_the_address_of_a_viewer():
    base = "https://pacs.example.org/IHEInvokeImageDisplay"
    assert display_address(base, "1.2.3", "A1") == f"{base}?requestType=STUDY&studyUID=1.2.3"
    assert display_address(base, "", "A&1") == f"{base}?requestType=STUDY&accessionNumber=A%261"
    assert (
        display_address(f"{base}?requestType=x&a=", "1")
        == f"{base}?a=&requestType=STUDY&studyUID=1"
    )
    assert display_address("", "1.2.3") == ""
    assert display_address(base, "") == ""
