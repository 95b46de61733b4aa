"""A backlog of phantom studies as DICOM files: drawn once and kept, written afresh for each run.

Drawing is what takes time, so the pixels are kept; every run gives the studies new UIDs, so that
they are new studies to whoever receives them. Knows nothing of sending.
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
"""Never trained on, and none of those that the bundle is scored with."""


def draw_studies(folder: Path, count: int, size: int) -> Iterator[list[Path]]:
    """The files of `count` studies of films of `size` pixels; drawn where they are not kept."""
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        place = folder / f"{size}" / str(seed)
        if not place.is_dir():
            # Drawn aside and renamed: what a killed run left is no half study.
            aside = folder / f"{size}.new"
            shutil.rmtree(aside, ignore_errors=True)
            for _ in write_phantoms(aside, [seed], size=size):
                place.parent.mkdir(parents=True, exist_ok=True)
                (aside / str(seed)).rename(place)
            shutil.rmtree(aside)
        yield sorted(place.glob("*.dcm"))


def write_afresh(
    drawn: Iterable[Sequence[pydicom.Dataset]], folder: Path, accessions: Iterable[str]
) -> list[str]:
    """Write these studies under new UIDs and accession numbers; the Study Instance UIDs."""
    folder.mkdir(parents=True, exist_ok=True)
    studies = []
    for films, accession in zip(drawn, accessions, strict=False):
        study = str(generate_uid(prefix=None))
        studies.append(study)
        for number, ds in enumerate(films, start=1):
            ds.StudyInstanceUID = study
            ds.SeriesInstanceUID = generate_uid(prefix=None)
            ds.SOPInstanceUID = generate_uid(prefix=None)
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.AccessionNumber = accession
            ds.save_as(folder / f"{accession}-{number}.dcm", enforce_file_format=True)
    return studies


def read_studies(drawn: Iterable[Sequence[Path]]) -> Iterator[list[pydicom.Dataset]]:
    """The data sets of drawn studies."""
    for paths in drawn:
        yield [pydicom.dcmread(path) for path in paths]
