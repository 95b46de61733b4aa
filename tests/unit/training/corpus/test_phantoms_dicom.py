"""Phantoms as DICOM: valid, untidy as real images are, and never mistaken for a person."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom, write_phantoms


def displayed_pixels(ds: Dataset) -> np.ndarray:
    """What a viewer would show, 0 to 255."""
    values = ds.pixel_array.astype(float)
    if "WindowCenter" in ds:
        low = ds.WindowCenter - 0.5 - (ds.WindowWidth - 1) / 2
        values = (values - low) / (ds.WindowWidth - 1)
    else:
        values = values / ((1 << ds.BitsStored) - 1)
    values = np.clip(values, 0, 1) * 255
    return 255 - values if ds.PhotometricInterpretation == "MONOCHROME1" else values


def test_a_viewer_shows_what_was_drawn() -> None:
    for seed in range(24):
        drawn = phantom(seed)
        for ds, position in zip(phantom_dicom(drawn, size=64), drawn.positions, strict=True):
            assert np.abs(displayed_pixels(ds) - drawn.render(position, 64)).max() <= 1


def test_they_differ_as_real_images_do() -> None:
    images = [ds for seed in range(60) for ds in phantom_dicom(phantom(seed), size=16)]
    assert {ds.Modality for ds in images} == {"CR", "DX"}
    assert {ds.PhotometricInterpretation for ds in images} == {"MONOCHROME1", "MONOCHROME2"}
    assert {ds.BitsStored for ds in images} == {12, 14, 16}
    assert {"WindowCenter" in ds for ds in images} == {True, False}
    assert {ds.ViewPosition for ds in images} == {"PA", "LL"}


def test_headers_are_sound() -> None:
    uids: set[str] = set()
    for seed in range(30):
        drawn = phantom(seed)
        images = phantom_dicom(drawn, size=16)
        assert len({ds.StudyInstanceUID for ds in images}) == 1
        for ds in images:
            assert UID(ds.SOPInstanceUID).is_valid
            assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", ds.SOPInstanceUID)
            assert ds.SOPInstanceUID not in uids
            uids.add(ds.SOPInstanceUID)
            assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
            assert str(ds.PatientName) == f"PHANTOM^{seed}"
            assert ds.BodyPartExamined == "CHEST"
            assert int(ds.StudyDate[:4]) - int(ds.PatientBirthDate[:4]) >= 18
            request_attributes = ds.RequestAttributesSequence[0]
            assert request_attributes.get("ReasonForTheRequestedProcedure", "") == drawn.indication


def test_the_same_seed_is_the_same_file_and_a_copy_is_not(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        list(write_phantoms(tmp_path / folder, [5], size=32))
    first, second = ((tmp_path / f / "5" / "frontal.dcm").read_bytes() for f in ("a", "b"))
    assert first == second
    plain, copied = (phantom_dicom(phantom(5), size=32, copy=n)[0] for n in (0, 1))
    assert plain.StudyInstanceUID != copied.StudyInstanceUID
    assert plain.PixelData == copied.PixelData


def test_files_are_read_back(tmp_path: Path) -> None:
    for drawn, paths in write_phantoms(tmp_path, range(3), size=32):
        assert [path.stem for path in paths] == list(drawn.positions)
        for path in paths:
            assert pydicom.dcmread(path).pixel_array.shape == (32, 32)


def test_values_of_the_caller_replace_the_defaults() -> None:
    ds = phantom_dicom(
        phantom(1), size=16, accession="A1", patient_id="P1", study_date="20260102", priority="STAT"
    )[0]
    assert (ds.AccessionNumber, ds.PatientID, ds.StudyDate) == ("A1", "P1", "20260102")
    assert ds.RequestedProcedurePriority == "STAT"


@pytest.mark.parametrize("seed", [0, 999_999_999_999])
def test_short_fields_stay_short(seed: int) -> None:
    for ds in phantom_dicom(phantom(seed), size=16):
        assert len(ds.AccessionNumber) <= 16
        assert len(ds.StudyID) <= 16
