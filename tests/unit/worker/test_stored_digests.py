"""Digests that rows hold: the same inputs and settings must give them for ever.

They were made by version 0.1. A change of one of them makes every stored draft a draft of other
inputs, and everything would be drafted again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from model.decoding import Serving
from model.manifest import NULL, Manifest, read_manifest
from model.reporter import NullReporter, Reporter
from records.settings import read_settings
from records.states import HoldReason
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom
from worker.case_builder import BuiltCase, StoredImage, build_case

VIEW_AND_AGE = {HoldReason.VIEW_UNKNOWN, HoldReason.AGE_UNKNOWN}

INPUTS = [
    (1, NULL, set(), {}, "be216c1081f502da311557a91a08522b96bc2ac1cffe15467d87ab36e81caed9"),
    (1, "demo", set(), {}, "2f74c3835f4aa2bbfea103bb6b01cf51c4f4a626fd6726b1b3424608dce0f107"),
    (
        1, "demo", VIEW_AND_AGE, {},
        "0719da7a8d35c0fb98e0c1a76569dd911e4f327a2d993d79da3898b70af98e9e",
    ),
    (
        1, "demo", set(), {"indication_sources": "reason"},
        "bb54d4191eb4320afedf1ffc8feb0bb26e48f2a455a4418883681166916f726f",
    ),
    (5, NULL, set(), {}, "ea8cce1719dc19a98ac79227f96c388e63df8626767f89db24985835ea7fbb10"),
    (5, "demo", set(), {}, "9eec73b5aa81fa2f4cce6c422aefd71e5d9ca6f5bf8673636befda3ea7a05bdd"),
    (
        5, "demo", VIEW_AND_AGE, {},
        "abcd977ccbcf2f1664af8c1c06228a3914b2a40eadf5f9e5c266cfb136be69db",
    ),
    (8, NULL, set(), {}, "e88fba08b629c12b7ce3f43bc885e289551393a13980028743209dac8a907253"),
    (8, "demo", set(), {}, "72c757928880314835b54cf1b7a79bc862f2f9d58371f516efaa5d7d618e843d"),
]  # fmt: skip


def images(seed: int, folder: Path) -> list[StoredImage]:
    """A phantom study's files; digests of the bytes are given, for a file's may change."""
    stored = []
    for number, dataset in enumerate(phantom_dicom(phantom(seed), size=64)):
        path = folder / f"{number}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        sha256 = hashlib.sha256(f"{seed}-{number}".encode()).hexdigest()
        stored.append(StoredImage(dataset.SOPInstanceUID, dataset.SOPClassUID, path, sha256))
    return stored


@pytest.mark.parametrize(("seed", "bundle", "approved", "chosen", "digest"), INPUTS)
def test_the_same_inputs_have_the_digest_that_rows_hold(
    tmp_path: Path,
    seed: int,
    bundle: Manifest | str,
    approved: set[HoldReason],
    chosen: dict[str, Any],
    digest: str,
) -> None:
    manifest = read_manifest(bundle) if isinstance(bundle, str) else bundle
    result = build_case(images(seed, tmp_path), [], manifest, approved, read_settings(**chosen))
    assert isinstance(result, BuiltCase)
    assert result.digest == result.case.key == digest


def test_the_shipped_bundle_has_the_digest_that_rows_hold() -> None:
    digest = "7eabd9ebf5a4c3122d8d3fcfd6c6e4a06ded00ef2d21710a40df5ab6e1f988e9"
    assert read_manifest("demo").digest == digest


def test_the_fixed_text_has_the_settings_digest_that_rows_hold() -> None:
    digest = "ce56bf9824827f950bfb19434c526b5e12edfafced3c19cb6b1e0aa834cf7738"
    assert NullReporter().settings_digest == digest


@pytest.mark.parametrize(
    ("chosen", "digest"),
    [
        ({}, "48a24b1e987fc9d69ded20429721bd361c56b2a95c84517954d1a485d18270ff"),
        ({"beams": 2}, "cc3157a55fc180f059cdfbd588a917a2ca87a2e3b98dea0c2c9a972d0286bc27"),
        ({"int8": True}, "9c21ed3074c959f86fdf2052681d8b62b733317146177d32e56d4664a93fbb82"),
        (
            {"dtype": "bfloat16"},
            "f728e3aa59a449b81243aee40318713de9ffe06ce91f92f8713bc6a5e539d9e8",
        ),
    ],
)
def test_the_same_settings_have_the_digest_that_rows_hold(
    chosen: dict[str, Any], digest: str
) -> None:
    serving = Serving(slots=2, **chosen)
    assert Reporter.load("demo", "cpu", serving).settings_digest == digest
