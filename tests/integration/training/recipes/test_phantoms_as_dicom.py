"""Phantoms in DICOM files, read like a department's files, are drafted as well as drawings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import pydicom
import pytest
import torch
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from model.bundling.store import load_bundle
from model.case import Case, Priors, View
from model.dicom.pixels import view_pixels
from tests.support.network_drafts import draft_cases
from training.corpus.phantoms import HELD_OUT
from training.corpus.phantoms_dicom import write_phantoms
from training.metrics.findings import score_findings


def as_jpeg_2000(path: Path) -> Path:
    """Write the file again in lossless JPEG 2000."""
    dataset = pydicom.dcmread(path)
    data = imagecodecs.jpeg2k_encode(
        dataset.pixel_array, level=0, codecformat="j2k", reversible=True,
        bitspersample=dataset.BitsStored,
    )  # fmt: skip
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.PixelData = encapsulate([bytes(data)])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("rewrite", [lambda path: path, as_jpeg_2000], ids=["plain", "jpeg 2000"])
def test_reading_dicom_files_costs_no_accuracy(
    tmp_path: Path, rewrite: Callable[[Path], Path]
) -> None:
    """JPEG 2000 is decoded at half size, and the bundle was not trained on such images."""
    model, manifest = load_bundle("demo", torch.device("cpu"))
    cases, truth = [], []
    for study, paths in write_phantoms(tmp_path, range(HELD_OUT, HELD_OUT + 60), size=512):
        views = tuple(
            View(
                view_pixels(
                    rewrite(path), manifest.preprocessing.size, manifest.preprocessing.resize
                ),
                path.stem,
            )
            for path in paths
        )
        cases.append(Case(str(study.seed), views, Priors(study.indication, study.procedure)))
        truth.append(study.findings)
    assert score_findings(truth, draft_cases(model, cases)).f1 >= 0.9
