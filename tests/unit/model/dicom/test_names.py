"""Names of classes, encodings and modalities; what has none stays as it was sent."""

import pytest

from model.dicom.names import modality_name, uid_name


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.1.1", "Digital X-Ray Image Storage - For Presentation"),
        ("1.2.840.10008.1.2.4.90", "JPEG 2000 Image Compression (Lossless Only)"),
        ("1.2.840.10008.1.1", "Verification SOP Class"),
        ("1.2.840.10008.5.1.4.1.1.5", "Nuclear Medicine Image Storage (retired)"),
        ("1.2.826.0.1.3680043.9.1", "1.2.826.0.1.3680043.9.1"),
        ("", ""),
    ],
)
def test_a_uid_has_its_name(uid, name):
    assert uid_name(uid) == name


def test_a_modality_has_its_name():
    assert modality_name("DX") == "Digital Radiography"
    assert modality_name("CR") == "Computed Radiography"
    assert modality_name("nonsense") == ""
