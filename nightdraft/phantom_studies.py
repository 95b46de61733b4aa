"""Provides phantom studies as DICOM files, for the demo and the benches.

Drawing takes most of the time, so the drawn pixels are kept on disk. Each run writes them under new
UIDs, so the receiver takes them for new studies.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pydicom
from pydicom.uid import generate_uid

from training.corpus.phantoms import HELD_OUT
from training.corpus.phantoms_dicom import write_phantoms

FIRST_SEED = HELD_OUT + 100_000
"""No bundle was trained or scored on the phantoms from this seed on."""


def draw_studies(folder: Path, count: int, size: int) -> Iterator[list[Path]]:
    """Yield the files of each study, and draw the studies that the folder does not hold yet.

    Args:
        folder: Where drawn studies are kept.
        count: How many studies.
        size: Pixels a side of each image.
    """
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        study_folder = folder / f"{size}" / str(seed)
        if not study_folder.is_dir():
            # Drawn elsewhere and renamed: a killed run leaves no half study.
            temporary = folder / f"{size}.new"
            shutil.rmtree(temporary, ignore_errors=True)
            for _ in write_phantoms(temporary, [seed], size=size):
                study_folder.parent.mkdir(parents=True, exist_ok=True)
                (temporary / str(seed)).rename(study_folder)
            shutil.rmtree(temporary)
        yield sorted(study_folder.glob("*.dcm"))


def read_datasets(studies: Iterable[Sequence[Path]]) -> Iterator[list[pydicom.Dataset]]:
    """Yield the data sets of each study."""
    for paths in studies:
        yield [pydicom.dcmread(path) for path in paths]


def write_with_new_uids(
    studies: Iterable[Sequence[pydicom.Dataset]], folder: Path, accessions: Iterable[str]
) -> list[str]:
    """Write the studies under new UIDs and new accession numbers; the data sets are changed.

    Args:
        studies: The data sets of each study.
        folder: Where the files are written; it is made where it is missing.
        accessions: One accession number for each study.

    Returns:
        The new Study Instance UIDs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study_uids = []
    for datasets, accession in zip(studies, accessions, strict=False):
        study_uid = str(generate_uid(prefix=None))
        study_uids.append(study_uid)
        for number, ds in enumerate(datasets, start=1):
            ds.StudyInstanceUID = study_uid
            ds.SeriesInstanceUID = generate_uid(prefix=None)
            ds.SOPInstanceUID = generate_uid(prefix=None)
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.AccessionNumber = accession
            ds.save_as(folder / f"{accession}-{number}.dcm", enforce_file_format=True)
    return study_uids
