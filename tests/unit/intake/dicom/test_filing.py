"""The header of a received file: what is read of it, and what is refused."""

import random
from contextlib import suppress
from io import BytesIO

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence

from intake.dicom.filing import (
    ObjectRefused,
    ReceivedFile,
    choose_priority,
    clean_text,
    instance_fields,
    read_header,
)
from intake.dicom.limits import RefusalReason
from records.settings import read_settings
from records.states import Priority

DX = "1.2.840.10008.5.1.4.1.1.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"


def write_image(path, **fields):
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


def received_file(path, sop="1.2.3.1.1"):
    return ReceivedFile(path, DX, sop, EXPLICIT, "CR1", path.stat().st_size, "0" * 64)


def test_the_fields_of_a_header(tmp_path):
    path = write_image(tmp_path / "1", PatientID="P-1", NumberOfStudyRelatedInstances="3")
    fields = instance_fields(read_header(path), received_file(path), read_settings())
    assert fields["patient"].name == "PHANTOM^ONE"
    assert fields["expected_instances"] == 3
    assert (fields["is_radiograph"], fields["skip_reason"]) == (True, "")
    assert fields["priority"] is Priority.ROUTINE


@pytest.mark.parametrize("sent_count", ["0", "-1", "", "99999999"])
def test_a_count_that_cannot_be_true_is_not_believed(tmp_path, sent_count):
    path = write_image(tmp_path / "1", NumberOfStudyRelatedInstances=sent_count)
    fields = instance_fields(read_header(path), received_file(path), read_settings())
    assert fields["expected_instances"] is None


@pytest.mark.parametrize(
    ("header", "caller", "expected"),
    [
        (None, "CR1", Priority.ROUTINE),
        ("STAT", "BATCH", Priority.STAT),
        ("ROUTINE", "ED", Priority.URGENT),
        (None, "BATCH", Priority.BACKLOG),
        ("nonsense", "CR1", Priority.ROUTINE),
    ],
)
def test_the_more_urgent_wins(header, caller, expected):
    dataset = Dataset()
    if header:
        request = Dataset()
        request.RequestedProcedurePriority = header
        dataset.RequestAttributesSequence = Sequence([request])
    settings = read_settings(caller_priorities="ED=URGENT, BATCH=BACKLOG")
    assert choose_priority(dataset, caller, settings) is expected


@pytest.mark.parametrize(
    ("header", "caller", "expected"),
    [
        ("STAT", "CR1", Priority.ROUTINE),
        ("STAT", "ED", Priority.ROUTINE),
        ("STAT", "BATCH", Priority.BACKLOG),
        (None, "ED", Priority.ROUTINE),
        (None, "CR1", Priority.ROUTINE),
    ],
)
def test_who_is_not_believed_makes_nothing_urgent(header, caller, expected):
    dataset = Dataset()
    if header:
        request = Dataset()
        request.RequestedProcedurePriority = header
        dataset.RequestAttributesSequence = Sequence([request])
    settings = read_settings(caller_priorities="ED=URGENT, BATCH=BACKLOG")
    assert choose_priority(dataset, caller, settings, is_believed=False) is expected


def test_a_name_of_megabytes_is_refused_without_being_read(tmp_path):
    path = write_image(tmp_path / "1")
    content = path.read_bytes()
    # Its last element becomes a UT with a 32-bit length, where a name would be.
    start = content.index(b"\x10\x00\x10\x00PN")
    huge = 50_000_000
    path.write_bytes(
        content[:start] + b"\x10\x00\x10\x00UT\0\0" + huge.to_bytes(4, "little") + b"x" * huge
    )
    with pytest.raises(ObjectRefused) as refusal:
        read_header(path)
    assert refusal.value.reason is RefusalReason.UNREADABLE


def test_a_damaged_header_is_refused_or_read_and_never_more(tmp_path):
    intact = write_image(tmp_path / "1", PatientID="P", StudyDescription="CHEST").read_bytes()
    path = tmp_path / "2"
    rng = random.Random(1)
    for _ in range(300):
        content = bytearray(intact)
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(132, len(content))] = rng.randrange(256)
        path.write_bytes(content[: rng.randint(150, len(content))])
        with suppress(ObjectRefused):  # any other error fails the test
            fields = instance_fields(read_header(path), received_file(path), read_settings())
            assert fields["sop_instance_uid"] == "1.2.3.1.1"


def test_text_that_a_row_can_hold():
    assert clean_text(" A\0B\nC\x7f\ud800 ") == "ABC"
    assert len(clean_text("x" * 5000)) == 256
