"""Two objects under one UID: which differences of their encoding are none, and which count."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, config, dcmread, dcmwrite
from pydicom.datadict import keyword_dict
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from model.dicom.comparison import DESCRIBED, IMAGE, Comparison, compare_objects
from tests.support.paths import ROOT

PIXELS = (np.arange(64 * 48).reshape(64, 48) * 7 % 4096).astype(np.uint16)
SAME, SHOWN, DESCRIBED_ = Comparison.SAME, Comparison.SHOWN, Comparison.DESCRIBED
OTHER, UNDECIDED = Comparison.OTHER, Comparison.UNDECIDED


def image(**fields) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3.1.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    dataset.PatientID, dataset.PatientName = "P-1", "DOE^JANE"
    dataset.Modality, dataset.ViewPosition, dataset.ImageType = "DX", "PA", ["ORIGINAL", "PRIMARY"]
    dataset.WindowCenter, dataset.WindowWidth = "2048", "4096"
    dataset.StudyDate, dataset.StudyTime = "20261101", "1200"
    order = Dataset()
    order.ReasonForTheRequestedProcedure = "Cough"
    dataset.RequestAttributesSequence = Sequence([order])
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = PIXELS.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelData = PIXELS.tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in fields.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def write(path: Path, dataset: Dataset, syntax=ExplicitVRLittleEndian) -> Path:
    dataset.file_meta.TransferSyntaxUID = syntax
    dcmwrite(
        path,
        dataset,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return path


def undefined_lengths(dataset):
    dataset["RequestAttributesSequence"].is_undefined_length = True
    dataset.RequestAttributesSequence[0].is_undefined_length_sequence_item = True


def bookkeeping(dataset):
    dataset.add_new(0x00091001, "LO", "a router's own")
    dataset.add_new(0x00090010, "LO", "ROUTER")
    dataset.RetrieveAETitle, dataset.InstanceAvailability = "PACS", "ONLINE"
    dataset.add_new(0x00080000, "UL", 4000)
    purpose = Dataset()
    purpose.CodeValue = "121320"
    dataset.PurposeOfReferenceCodeSequence = Sequence([purpose])
    dataset.OriginalAttributesSequence = Sequence([Dataset()])
    dataset.RequestAttributesSequence[0].add_new(0x00400000, "UL", 30)


def other_writing(dataset):
    dataset.WindowCenter, dataset.WindowWidth = "+2048.0 ", "4.096E3"
    dataset.PatientName = "DOE^JANE^^^"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.BodyPartExamined = ""


def defaults(dataset):
    """What archives add, for it says what is so anyway."""
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.VOILUTFunction = "1", "0.0", "LINEAR"
    dataset.PresentationLUTShape, dataset.NumberOfFrames = "IDENTITY", "1"
    dataset.BurnedInAnnotation, dataset.QualityControlImage = "NO", "NO"


def other_forms(dataset):
    """Dates and times in their other forms, codes in small letters, filler behind the pixels."""
    with config.disable_value_validation():
        dataset.add_new("StudyDate", "DA", "2026.11.01")
        dataset.add_new("StudyTime", "TM", "12:00:00.000")
        dataset.add_new("Modality", "CS", "dx")
    dataset.PixelData += b"\0\0"


def extracted_overlay(dataset):
    """An archive may take an overlay out of the samples' spare bits."""
    dataset.PixelData = (PIXELS | 0x4000).tobytes()


@pytest.mark.parametrize(
    "change",
    [undefined_lengths, bookkeeping, other_writing, defaults, other_forms, extracted_overlay],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_another_encoding_is_the_same(change, syntax, tmp_path):
    changed = image()
    change(changed)
    first, second = write(tmp_path / "1", image()), write(tmp_path / "2", changed, syntax)
    assert first.read_bytes() != second.read_bytes()
    assert compare_objects(first, second, decode=False) is SAME


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_a_decompressed_image_is_the_same_once_it_is_decoded(syntax, tmp_path):
    first, compressed = write(tmp_path / "1", image()), tmp_path / "2"
    dataset = dcmread(first)
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(compressed)
    assert compare_objects(first, compressed, decode=False) is UNDECIDED
    assert compare_objects(first, compressed, decode=True) is SAME
    assert compare_objects(compressed, compressed, decode=False) is SAME
    other = write(tmp_path / "3", image(PixelData=(PIXELS + 1).tobytes()))
    assert compare_objects(other, compressed, decode=True) is OTHER


def test_big_endian_is_the_same_once_it_is_decoded(tmp_path):
    big = image(PixelData=PIXELS.astype(">u2").tobytes())
    first, second = write(tmp_path / "1", image()), write(tmp_path / "2", big, ExplicitVRBigEndian)
    assert compare_objects(first, second, decode=False) is UNDECIDED
    assert compare_objects(first, second, decode=True) is SAME


def lookup_table(vr: str, value) -> Sequence:
    item = Dataset()
    item.add_new(0x00283002, "US", [4, 0, 16])
    item.add_new(0x00283006, vr, value)
    return Sequence([item])


def test_a_lookup_table_is_the_same_in_words_and_in_numbers(tmp_path):
    numbers = [0, 1, 40000, 65535]
    words = np.array(numbers, "<u2").tobytes()
    first = write(tmp_path / "1", image(VOILUTSequence=lookup_table("US", numbers)))
    second = write(tmp_path / "2", image(VOILUTSequence=lookup_table("OW", words)))
    third = write(tmp_path / "3", image(VOILUTSequence=lookup_table("US", [0, 1, 2, 3])))
    assert compare_objects(first, second, decode=False) is SAME
    assert compare_objects(first, third, decode=False) is OTHER


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"PatientName": "DOE^JANE^M"}, SHOWN),
        ({"PatientID": "P-2", "AccessionNumber": "A2"}, SHOWN),
        ({"PatientBirthDate": "19700101"}, DESCRIBED_),
        ({"RequestAttributesSequence": None}, DESCRIBED_),
        ({"ViewPosition": "LL"}, OTHER),
        ({"WindowCenter": "2049"}, OTHER),
        ({"ImageType": ["DERIVED", "PRIMARY"]}, OTHER),
        ({"PresentationLUTShape": "INVERSE"}, OTHER),
        ({"VOILUTFunction": "SIGMOID"}, OTHER),
        ({"RescaleSlope": "-1"}, OTHER),
        ({"QualityControlImage": "YES"}, OTHER),
        ({"StudyTime": "1201"}, DESCRIBED_),
        ({"PixelData": (PIXELS ^ 1).tobytes()}, OTHER),
        ({"PixelData": PIXELS.tobytes()[:-2]}, OTHER),
        ({"PatientName": "DOE^JANE^M", "PixelData": (PIXELS ^ 1).tobytes()}, OTHER),
    ],
)
def test_what_counts(fields, expected, tmp_path):
    first, second = write(tmp_path / "1", image()), write(tmp_path / "2", image(**fields))
    assert compare_objects(first, second, decode=False) is expected
    assert compare_objects(second, first, decode=True) is expected


NOT_COMPARED = {
    "StudyInstanceUID",  # where a film belongs is compared by the records
    "SOPInstanceUID",  # what the two objects have in common
    "SpecificCharacterSet",  # values are compared as they are decoded
    "InstanceCreationDate",  # of the encoding; read only where no examination's date is given
    "DateOfSecondaryCapture",  # the same
    # The viewer shows these, and nothing is drafted from them.
    "ImagerPixelSpacing",
    "LUTExplanation",
    "NominalScannedPixelSpacing",
    "PixelAspectRatio",
    "PixelSpacing",
    "PixelSpacingCalibrationType",
    "WindowCenterWidthExplanation",
    "PlanarConfiguration",  # a decoder changes it with the pixels
    "PixelData",  # compared apart
    "TransferSyntaxUID",
}


INSIDE_OTHERS = {  # attributes of items, which are compared with their sequence, and parts of words
    "BreedRegistrationNumber",
    "CodeMeaning",
    "CodeValue",
    "CodingSchemeDesignator",
    "Date",
    "LUTData",
    "LUTDescriptor",
    "ReferencedSOPInstanceUID",
    "Time",
}


def test_every_attribute_that_a_draft_is_made_from_is_compared():
    """A new attribute in model/dicom belongs into IMAGE or DESCRIBED of comparison.py."""
    words: set[str] = set()
    for path in (ROOT / "model" / "dicom").glob("*.py"):
        # Nothing is drafted from the items of a structured report.
        if path.name in ("comparison.py", "structured_reports.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            # A docstring may name an attribute; only whole paths count.
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and re.fullmatch(r"[A-Za-z./]+", text):
                words |= set(re.split(r"[./]", text))
    keywords = words & set(keyword_dict) - {""}
    assert keywords - DESCRIBED - IMAGE - NOT_COMPARED - INSIDE_OTHERS == set()
