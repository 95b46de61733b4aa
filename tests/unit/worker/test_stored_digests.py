"""Digests that rows hold: the same inputs and settings must give them for ever.

A change of one of them makes every stored draft a draft of other inputs, and everything that waits
is prepared again. Those of inputs were made when preprocessing became nightdraft-film-3, all others
by version 0.1.
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
    (1, NULL, set(), {}, "62c2b455f8333ab1d1c0e2660b44697a2a44f1fb8e52def1e61620a5b182092c"),
    (1, "demo", set(), {}, "2f08f9c99530ca4e8531427a747e3c45e430c3b1f156eb471d633d94552a5d4e"),
    (
        1, "demo", VIEW_AND_AGE, {},
        "5842d99f26c5733fc84ef0dc99b4d36531c39aaf10de58be30ae856c6d2cd2b5",
    ),
    (
        1, "demo", set(), {"indication_sources": "reason"},
        "9f1ce03a554fc965c2f7c22e70683e441b8212a32b738880fc8a857bd88afc90",
    ),
    (5, NULL, set(), {}, "71857cddb9f18168cae0c970ddbd7b2e98c33af020134538fbef413068bad220"),
    (5, "demo", set(), {}, "6ddcae2c141d0cb059bbc5b7fae656ea5cff44fe97a2f3d478d44d968271b553"),
    (
        5, "demo", VIEW_AND_AGE, {},
        "24513c35b6b65b2f05433bb6429ca42c743f64481096256ce2a5988bc5cffdf2",
    ),
    (8, NULL, set(), {}, "41d0512ffbe0866c305b67f673e2e853c207555343ae9fa411921e6d0ca6efb7"),
    (8, "demo", set(), {}, "e77d01d387cd5aeda829a0f31a97dee94cf36f1bebb5b6ef58001313245bf822"),
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
    digest = "da031a1ea6f2a48b6122f7d09cea3edba71cd445ce6d5b66f6fb869b9acae636"
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
