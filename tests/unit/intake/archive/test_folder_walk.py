"""A folder of films, of other things, and of what cannot be read."""

import os
import shutil

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

from intake.archive.folder_walk import read_study_uid, walk_folder
from records.errors import PartError
from tests.support.stored_studies import phantom_images


@pytest.fixture
def films(tmp_path):
    """Three studies of five films: {study UID: {path: size}}."""
    folder = tmp_path / "films"
    expected = {}
    for number in range(3):
        for at, image in enumerate(phantom_images(number)[:2]):
            # The films of one study lie in several folders.
            path = folder / f"part{at}" / ("x" * (number + 1)) / f"{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            dcmwrite(path, image, enforce_file_format=True)
            size = path.stat().st_size
            expected.setdefault(str(image.StudyInstanceUID), {})[str(path.relative_to(folder))] = (
                size
            )
    return folder, expected


def collect(batches):
    studies, counts = {}, None
    for batch in batches:
        counts = batch.counts
        for uid, files in batch.studies.items():
            studies.setdefault(uid, {}).update(files)
    return studies, counts


@pytest.mark.parametrize("batch_files", [1, 2, 1000])
def test_files_are_joined_to_studies_wherever_they_lie(films, batch_files):
    folder, expected = films
    studies, counts = collect(walk_folder(folder, batch_files=batch_files))
    assert studies == expected
    assert (counts.files, counts.dicom, counts.other, counts.unreadable) == (5, 5, 0, 0)
    assert counts.bytes == sum(size for files in expected.values() for size in files.values())


def test_other_files_are_counted_and_left_out(films):
    folder, expected = films
    (folder / "readme.txt").write_text("no film")
    (folder / "empty").touch()
    (folder / "half.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.FileSetID = "PHANTOMS"
    dcmwrite(folder / "DICOMDIR", directory, enforce_file_format=True)
    studies, counts = collect(walk_folder(folder))
    assert studies == expected
    assert counts.sentence() == (
        "9 files, 5 of them DICOM, 3 other files were left out, 1 could not be read"
    )


def test_links_are_not_followed(films, tmp_path):
    folder, expected = films
    (folder / "loop").symlink_to(folder)
    outside = tmp_path / "outside.dcm"
    shutil.copy(next(iter(folder.rglob("*.dcm"))), outside)
    (folder / "outside.dcm").symlink_to(outside)
    os.mkfifo(folder / "pipe")
    studies, counts = collect(walk_folder(folder))
    assert studies == expected
    assert counts.files == 5


def test_a_name_that_is_no_text_is_counted(films):
    folder, expected = films
    film = next(iter(folder.rglob("*.dcm")))
    shutil.copy(film, os.fsencode(folder) + b"/\xff\xfe.dcm")
    studies, counts = collect(walk_folder(folder))
    assert studies == expected
    assert counts.unreadable == 1


def test_what_is_known_is_not_read_again(films, monkeypatch):
    folder, expected = films
    read = []
    monkeypatch.setattr(
        "intake.archive.folder_walk.read_study_uid",
        lambda path: read.append(path) or read_study_uid(path),
    )
    known = {path for files in expected.values() for path in files}
    known.remove(next(iter(known)))
    studies, counts = collect(walk_folder(folder, lambda paths: known & set(paths)))
    assert len(read) == 1
    assert sum(map(len, studies.values())) == 1
    assert counts.dicom == 5


def test_a_folder_that_is_not_there_says_so(tmp_path):
    with pytest.raises(PartError, match="cannot be read"):
        collect(walk_folder(tmp_path / "nowhere"))


def test_an_empty_folder_gives_one_empty_batch(tmp_path):
    (batch,) = walk_folder(tmp_path)
    assert (batch.studies, batch.counts.files) == ({}, 0)
