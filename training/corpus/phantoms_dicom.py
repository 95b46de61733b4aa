"""Writes phantoms as DICOM, as a modality would send them.

The patient's name is always PHANTOM^number, so that no phantom can be taken for a person.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from training.corpus.phantoms import Phantom, phantom

UID_ROOT = "2.25."
"""The root of all UIDs of phantoms; behind it is a UUID derived from the seed (PS3.5, B.2)."""

DEMO_SIZE = 1024
SMALL_SIZE = 256
"""Rows and columns: for people to look at, and for benchmarks that send thousands."""


def phantom_dicom(
    phantom: Phantom,
    *,
    size: int = DEMO_SIZE,
    accession: str = "",
    patient_id: str = "",
    study_date: str = "",
    study_time: str = "",
    priority: str = "",
    copy: int = 0,
) -> list[Dataset]:
    """Return the study's instances as data sets with file meta information, frontal first.

    They follow from the seed and the arguments. SOP class (DX or CR), stored bits (12, 14 or 16),
    photometric interpretation (MONOCHROME1 or 2) and the presence of a window depend on the seed.

    Args:
        phantom: The phantom.
        size: Rows and columns.
        accession: (0008,0050); "" makes PH + the seed.
        patient_id: (0010,0020); "" makes PHANTOM + the seed.
        study_date: (0008,0020) as YYYYMMDD; "" draws a day of 2026 from the seed.
        study_time: (0008,0030) as HHMMSS; "" draws one from the seed.
        priority: (0040,1003) Requested Procedure Priority; "" leaves it out.
        copy: Distinguishes studies of one phantom; each number has UIDs of its own.
    """
    seed = phantom.seed
    rng = np.random.default_rng([seed, 5])
    day, minute = int(rng.integers(1, 29)), int(rng.integers(0, 60))
    date = study_date or f"2026{int(rng.integers(1, 11)):02d}{day:02d}"
    time = study_time or f"{int(rng.integers(7, 22)):02d}{minute:02d}00"
    digital = bool(rng.random() < 0.7)
    bits = int(rng.choice((12, 14, 16)))
    windowed = bool(rng.random() < 0.75)
    born = f"{int(rng.integers(1935, 2004))}0{int(rng.integers(1, 10))}15"
    sex = str(rng.choice(("F", "M")))
    study_uid = _uid(seed, copy, "study")
    instances: list[Dataset] = []
    for number, position in enumerate(phantom.positions, start=1):
        sop_class = (
            DigitalXRayImageStorageForPresentation if digital else ComputedRadiographyImageStorage
        )
        sop_uid = _uid(seed, copy, position)
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
        ds.SOPClassUID = sop_class
        ds.SOPInstanceUID = sop_uid
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = date
        ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = time
        ds.AccessionNumber = accession or f"PH{seed}"[:16]
        ds.Modality = "DX" if digital else "CR"
        ds.Manufacturer = "Nightdraft phantoms"
        ds.InstitutionName = "PHANTOM"
        ds.ReferringPhysicianName = ""
        ds.StudyDescription = phantom.procedure
        ds.ProcedureCodeSequence = [_procedure_code(phantom)]
        ds.SeriesDescription = "PA" if position == "frontal" else "LATERAL"
        ds.PatientName = f"PHANTOM^{seed}"
        ds.PatientID = patient_id or f"PHANTOM{seed}"
        ds.PatientBirthDate = born
        ds.PatientSex = sex
        ds.BodyPartExamined = "CHEST"
        ds.ViewPosition = "PA" if position == "frontal" else "LL"
        ds.StudyInstanceUID = study_uid
        ds.SeriesInstanceUID = _uid(seed, copy, "series", position)
        ds.StudyID = str(seed)[-16:]
        ds.SeriesNumber = number
        ds.InstanceNumber = 1
        ds.PatientOrientation = ["L", "F"] if position == "frontal" else ["A", "F"]
        ds.ImageLaterality = "U"
        ds.BurnedInAnnotation = "NO"
        ds.ImagerPixelSpacing = [400.0 / size, 400.0 / size]
        ds.PresentationIntentType = "FOR PRESENTATION"
        ds.RequestAttributesSequence = [_request(phantom, priority)]
        if priority:
            ds.RequestedProcedurePriority = priority
        inverted = (seed + number) % 2 == 0
        _put_pixels(ds, phantom.render(position, size), bits, inverted, windowed)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = sop_class
        ds.file_meta.MediaStorageSOPInstanceUID = sop_uid
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        instances.append(ds)
    return instances


def write_phantoms(
    folder: Path, seeds: Iterable[int], *, size: int = DEMO_SIZE
) -> Iterator[tuple[Phantom, list[Path]]]:
    """Write the studies of these seeds as Part 10 files under `folder`, one by one.

    Yields:
        Each phantom with its files, folder/<seed>/<view>.dcm, once they are written.
    """
    for seed in seeds:
        drawn = phantom(seed)
        study_folder = folder / str(seed)
        study_folder.mkdir(parents=True, exist_ok=True)
        paths: list[Path] = []
        for position, ds in zip(drawn.positions, phantom_dicom(drawn, size=size), strict=True):
            path = study_folder / f"{position}.dcm"
            ds.save_as(path, enforce_file_format=True)
            paths.append(path)
        yield drawn, paths


def _uid(seed: int, copy: int, *parts: str) -> str:
    """Return a UID under 2.25 that follows from its arguments alone."""
    name = "/".join(("nightdraft phantom", str(seed), str(copy), *parts))
    return f"{UID_ROOT}{uuid.uuid5(uuid.NAMESPACE_URL, name).int}"


def _procedure_code(phantom: Phantom) -> Dataset:
    code = Dataset()
    code.CodeValue = "36687-2" if phantom.lateral else "24648-8"
    code.CodingSchemeDesignator = "LN"
    code.CodeMeaning = phantom.procedure
    return code


def _request(phantom: Phantom, priority: str) -> Dataset:
    """Return the Request Attributes Sequence item (PS3.3, table 10-9), which has the indication."""
    request = Dataset()
    request.RequestedProcedureID = f"RP{phantom.seed}"[:16]
    request.RequestedProcedureDescription = phantom.procedure
    if phantom.indication:
        request.ReasonForTheRequestedProcedure = phantom.indication[:64]
    if priority:
        request.RequestedProcedurePriority = priority
    return request


def _put_pixels(
    ds: Dataset, image: NDArray[np.uint8], bits: int, inverted: bool, windowed: bool
) -> None:
    """Store the image in `bits` bits: with a window that restores it, or over the full range."""
    top = (1 << bits) - 1
    low, high = (round(top * 0.1), round(top * 0.8)) if windowed else (0, top)
    levels = low + (high - low) * np.arange(256, dtype=np.float64) / 255.0
    if inverted:
        levels = (low + high) - levels
    stored = np.rint(levels).astype("<u2")[image]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    ds.Rows, ds.Columns = image.shape
    ds.BitsAllocated = 16
    ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = 0
    ds.RescaleIntercept = 0
    ds.RescaleSlope = 1
    ds.RescaleType = "US"
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    if windowed:
        # Linear windows show c - .5 - (w-1)/2 to c - .5 + (w-1)/2 (PS3.3, C.11.2.1.2).
        ds.WindowCenter = (low + high + 1) / 2
        ds.WindowWidth = high - low + 1
    ds.PixelData = stored.tobytes()
