import random
from contextlib import suppress
from io import BytesIO

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence

from intake.dicom.filing import (
    Received,
    Refused,
    clean,
    describe,
    priority,
    read_header,
)
from intake.dicom.limits import Why
from records.settings import read_settings
from records.states import Priority

DX = "1.2.840.10008.5.1.4.1.1.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"


def film(path, **fields):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = DX, "1.2.3.1.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    dataset.Modality, dataset.PatientName = "DX", "PHANTOM^ONE"
    for keyword, value in fields.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = EXPLICIT
    content = BytesIO()
    dcmwrite(content, dataset, enforce_file_format=True)
    path.write_bytes(content.getvalue())
    return path


def received(path, sop="1.2.3.1.1"):
    return Received(path, DX, sop, EXPLICIT, "CR1", path.stat().st_size, "0" * 64)


def test_a_header_in_arrived_fields(tmp_path):
    path = film(tmp_path / "1", PatientID="P-1", NumberOfStudyRelatedInstances="3")
    said = describe(read_header(path), received(path), read_settings())
    assert said["patient"].name == "PHANTOM^ONE"
    assert (said["expected_instances"], said["is_radiograph"], said["skip_reason"]) == (3, True, "")
    assert said["priority"] is Priority.ROUTINE


@pytest.mark.parametrize("told", ["0", "-1", "", "99999999"])
def test_a_count_that_cannot_be_true_is_not_believed(tmp_path, told):
    path = film(tmp_path / "1", NumberOfStudyRelatedInstances=told)
    said = describe(read_header(path), received(path), read_settings())
    assert said["expected_instances"] is None


@pytest.mark.parametrize(
    ("header", "caller", "wanted"),
    [
        (None, "CR1", Priority.ROUTINE),
        ("STAT", "BATCH", Priority.STAT),
        ("ROUTINE", "ED", Priority.URGENT),
        (None, "BATCH", Priority.BACKLOG),
        ("nonsense", "CR1", Priority.ROUTINE),
    ],
)
def test_the_more_urgent_wins(header, caller, wanted):
    dataset = Dataset()
    if header:
        request = Dataset()
        request.RequestedProcedurePriority = header
        dataset.RequestAttributesSequence = Sequence([request])
    settings = read_settings(caller_priorities="ED=URGENT, BATCH=BACKLOG")
    assert priority(dataset, caller, settings) is wanted


def test_a_name_of_megabytes_is_refused_without_being_read(tmp_path):
    path = film(tmp_path / "1")
    content = path.read_bytes()
    # The last element, as OB with a length of 32 bits, where a name would be.
    at = content.index(b"\x10\x00\x10\x00PN")
    huge = 50_000_000
    path.write_bytes(
        content[:at] + b"\x10\x00\x10\x00UT\0\0" + huge.to_bytes(4, "little") + b"x" * huge
    )
    with pytest.raises(Refused) as refused:
        read_header(path)
    assert refused.value.why is Why.UNREADABLE


def test_a_damaged_header_is_refused_or_read_and_never_more(tmp_path):
    whole = film(tmp_path / "1", PatientID="P", StudyDescription="CHEST").read_bytes()
    path = tmp_path / "2"
    chance = random.Random(1)
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(132, len(content))] = chance.randrange(256)
        path.write_bytes(content[: chance.randint(150, len(content))])
        with suppress(Refused):  # any other error fails the test
            said = describe(read_header(path), received(path), read_settings())
            assert said["sop_instance_uid"] == "1.2.3.1.1"


def test_text_that_a_row_can_hold():
    assert clean(" A\0B\nC\x7f\ud800 ") == "ABC"
    assert len(clean("x" * 5000)) == 256
