"""What the listener takes, and a status or a sentence for each reason."""

import pytest

from intake.dicom.limits import (
    ASSOCIATION_SENTENCES,
    SECONDARY_CAPTURE_CLASS,
    STORAGE_CLASSES,
    STORE_STATUSES,
    TRANSFER_SYNTAXES,
    RefusalReason,
    is_radiograph,
    is_valid_uid,
    skip_reason,
)

CR = "1.2.840.10008.5.1.4.1.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize("uid", ["1", "1.2.840.10008.1.2", "1" * 64, "1.02.3"])
def test_valid_uids(uid):
    assert is_valid_uid(uid)


@pytest.mark.parametrize(
    "uid",
    [
        "",
        "1" * 65,
        "../ESCAPED",
        "..",
        ".",
        "1..2",
        ".1",
        "1.",
        "1.2\n",
        "1.2.x",
        "1 2",
        "1/2",
        "１",
    ],
)
def test_invalid_uids(uid):
    assert not is_valid_uid(uid)


@pytest.mark.parametrize(
    ("sop_class", "modality", "expected"),
    [
        (CR, "CR", True),
        (CR, "", True),
        (SECONDARY_CAPTURE_CLASS, "DX", True),
        (SECONDARY_CAPTURE_CLASS, "rg ", True),
        (SECONDARY_CAPTURE_CLASS, "OT", False),
        (SECONDARY_CAPTURE_CLASS, "", False),
        (CT, "CR", False),
        ("1.2.276.0.99", "CR", False),
    ],
)
def test_which_objects_are_radiographs(sop_class, modality, expected):
    assert is_radiograph(sop_class, modality) is expected
    assert bool(skip_reason(sop_class, modality)) is not expected


def test_nothing_deflated_and_nothing_without_a_patient_is_negotiated():
    assert not {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95"} & set(TRANSFER_SYNTAXES)
    assert {"1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.5"} < set(
        TRANSFER_SYNTAXES
    )
    assert CR in STORAGE_CLASSES
    assert "1.2.840.10008.5.1.4.38.1" not in STORAGE_CLASSES  # Hanging Protocol
    assert len(set(STORAGE_CLASSES)) == len(STORAGE_CLASSES)


def test_each_reason_has_a_status_or_a_sentence():
    assert set(STORE_STATUSES) | set(ASSOCIATION_SENTENCES) == set(RefusalReason)
    # (0000,0902) is LO: a longer comment would break the response.
    assert all(len(status.sentence) <= 64 for status in STORE_STATUSES.values())
