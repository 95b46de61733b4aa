"""Compares two objects under one UID by their values, whatever the encoding.

Routers and archives write a data set anew: with other lengths, another VR or byte order, other
private groups, a decompressed image. What is compared is therefore a list of attributes, in their
values: those that an image is judged and drafted by, and those that say whose it is. An attribute
that is on no list, such as (0040,A170) or the retrieve AE title, makes no difference.
"""

from __future__ import annotations

import struct
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.multival import MultiValue

from model.dicom.codecs import read_stored
from model.dicom.header import DicomFile, Layout, check_header, open_dicom, transfer_syntax
from model.dicom.pixel_data import native_bytes
from model.errors import PixelError

SHOWN = frozenset(
    {
        "PatientID",
        "IssuerOfPatientID",
        "PatientName",
        "PatientSex",
        "AccessionNumber",
        "RequestedProcedurePriority",
        "StudyPriorityID",
    }
)
"""Whose image it is, and how soon it is wanted. No draft is made from these."""

DESCRIBED = SHOWN | {
    "PatientBirthDate",
    "PatientAge",
    "PatientWeight",
    "CurrentPatientLocation",
    "RequestingService",
    "ResponsibleOrganization",
    "PerformedProcedureStepStartDate",
    "StudyDate",
    "StudyTime",
    "SeriesDate",
    "SeriesNumber",
    "Manufacturer",
    "ManufacturerModelName",
    "StationName",
    "InstitutionName",
    "InstitutionalDepartmentName",
    "StudyDescription",
    "RequestAttributesSequence",
    "RequestedProcedureDescription",
    "RequestedProcedureComments",
    "ScheduledProcedureStepDescription",
    "RequestedProcedureCodeSequence",
    "ProcedureCodeSequence",
    "PerformedProcedureStepDescription",
    "PerformedProtocolCodeSequence",
    "ReasonForStudy",
    "ReasonForTheRequestedProcedure",
    "ReasonForRequestedProcedureCodeSequence",
    "AdditionalPatientHistory",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "ImageComments",
    "ReferencedImageSequence",
}
"""What is corrected after the exposure: patient, order and study. The image is the same."""

IMAGE = frozenset(
    {
        "SOPClassUID",
        "Modality",
        "ImageType",
        "DerivationDescription",
        "DerivationCodeSequence",
        "SourceImageSequence",
        "IrradiationEventUID",
        "PresentationIntentType",
        "BodyPartExamined",
        "AnatomicRegionSequence",
        "ViewPosition",
        "ViewCodeSequence",
        "ViewModifierCodeSequence",
        "PatientOrientation",
        "Laterality",
        "ImageLaterality",
        "SeriesDescription",
        "ProtocolName",
        "AcquisitionDeviceProcessingDescription",
        "AcquisitionDeviceProcessingCode",
        "AcquisitionNumber",
        "Exposure",
        "ExposureInuAs",
        "ExposureTime",
        "XRayTubeCurrent",
        "AcquisitionDateTime",
        "AcquisitionDate",
        "AcquisitionTime",
        "ContentDate",
        "ContentTime",
        "InstanceNumber",
        "BurnedInAnnotation",
        "QualityControlImage",
        "PatientSpeciesDescription",
        "PatientSpeciesCodeSequence",
        "PatientBreedDescription",
        "PatientBreedCodeSequence",
        "BreedRegistrationSequence",
        "PatientSexNeutered",
        "ResponsiblePerson",
        "ResponsiblePersonRole",
        "Rows",
        "Columns",
        "NumberOfFrames",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "ModalityLUTSequence",
        "RescaleIntercept",
        "RescaleSlope",
        "VOILUTSequence",
        "VOILUTFunction",
        "WindowCenter",
        "WindowWidth",
        "PresentationLUTShape",
    }
)
"""What the image shows and how it is displayed. Another value makes it another image."""

_BIT_PATTERNS = frozenset(
    {"LUTData", "LUTDescriptor", "PixelPaddingValue", "PixelPaddingRangeLimit"}
)
"""Values of 16 bits that one sender writes as US, another as SS and a third as OW."""

_DEFAULTS: dict[str, Any] = {
    "NumberOfFrames": 1.0,
    "PixelRepresentation": 0.0,
    "RescaleIntercept": 0.0,
    "RescaleSlope": 1.0,
    "VOILUTFunction": "LINEAR",
    "BurnedInAnnotation": "NO",
    "QualityControlImage": "NO",
}
"""What an attribute says where it is missing. Archives add it, and take it out again."""

_SHAPES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
"""The Presentation LUT Shape that each photometric interpretation implies (PS3.3 C.8.11.3.1.2)."""

_LITTLE_ENDIAN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
_CHUNK = 1 << 20


class Comparison(StrEnum):
    """How an object differs from the one that is kept under the same UID."""

    SAME = "SAME"  # in no value that is compared
    SHOWN = "SHOWN"  # in what is only shown: whose image it is
    DESCRIBED = "DESCRIBED"  # in patient, order or study, from which a draft is made
    OTHER = "OTHER"  # another image
    UNDECIDED = "UNDECIDED"  # the pixels would have to be decoded


def compare_objects(first: Path, second: Path, *, decode: bool) -> Comparison:
    """Compare two DICOM files that have one SOP Instance UID.

    Args:
        first: one file.
        second: the other file.
        decode: decode the pixels where two encodings cannot be compared otherwise; without it the
            answer is then UNDECIDED, and no pixel is decoded.

    Raises:
        PixelError: a file cannot be read.
    """
    with open_dicom(first) as (file, header), open_dicom(second) as (other_file, other_header):
        changed = {
            keyword
            for keyword in DESCRIBED | IMAGE
            if _value(header, keyword) != _value(other_header, keyword)
        }
        if changed & IMAGE:
            return Comparison.OTHER
        pixels = _compare_pixels((file, header), (other_file, other_header), decode=decode)
    if pixels is not Comparison.SAME:
        return pixels
    if not changed:
        return Comparison.SAME
    return Comparison.SHOWN if changed <= SHOWN else Comparison.DESCRIBED


def _value(header: pydicom.Dataset, keyword: str) -> Any:
    """An attribute's value without the marks of its encoding; None where it is empty."""
    if keyword not in header:
        return None
    element = header[keyword]
    value = element.value
    if element.VR == "SQ":
        return [_item(item) for item in value] or None
    if keyword in _BIT_PATTERNS:
        return _patterns(value, little=header.original_encoding[1] is not False)
    if keyword == "PhotometricInterpretation" and not str(value).startswith("MONOCHROME"):
        return "colour"  # a decoder may have changed RGB and YBR
    parts = value if isinstance(value, MultiValue) else [value]
    values = [_plain(part, element.VR) for part in parts]
    while values and values[-1] in ("", None):
        values.pop()
    default = _DEFAULTS.get(keyword)
    if keyword == "PresentationLUTShape":
        default = _SHAPES.get(str(header.get("PhotometricInterpretation")))
    return None if values in ([], [default]) else values


def _item(item: pydicom.Dataset) -> dict[str, Any]:
    """The standard attributes of a sequence's item that have a value."""
    keywords = (element.keyword for element in item if element.keyword)
    values = {keyword: _value(item, keyword) for keyword in keywords}
    return {keyword: value for keyword, value in values.items() if value is not None}


def _plain(value: Any, vr: str) -> Any:
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, bytes):
        return value.rstrip(b"\0")
    # Trailing component and group delimiters of a name say nothing (PS3.5 6.2.1.1).
    text = str(value or "").strip(" \0")
    if vr in ("DA", "TM"):  # 2026.11.01 (PS3.5 table 6.2-1); 12, 1200 and 120000.000 are one time
        return text.replace(".", "").replace(":", "").replace("-", "").rstrip("0")
    if vr == "CS":
        return text.upper()
    return "=".join(group.rstrip("^ ") for group in text.split("=")).rstrip("=")


def _patterns(value: Any, *, little: bool) -> list[int] | None:
    if isinstance(value, bytes):
        even = value[: len(value) // 2 * 2]
        return [int(number) for number in np.frombuffer(even, "<u2" if little else ">u2")]
    numbers = value if isinstance(value, (list, MultiValue)) else [value]
    try:
        return [int(number) & 0xFFFF for number in numbers if number not in ("", None)] or None
    except (TypeError, ValueError):
        return None


_Opened = tuple[DicomFile, pydicom.Dataset]


def _compare_pixels(first: _Opened, second: _Opened, *, decode: bool) -> Comparison:
    """SAME, OTHER or UNDECIDED; both files stand at their pixel data."""
    opened = (first, second)
    syntaxes = [transfer_syntax(header) for _, header in opened]
    starts = [file.tell() for file, _ in opened]
    if all(syntax in _LITTLE_ENDIAN for syntax in syntaxes):
        return Comparison.SAME if _equal_samples(*opened) else Comparison.OTHER
    if syntaxes[0] == syntaxes[1] and _equal_bytes(first[0], second[0], None):
        return Comparison.SAME
    if not decode:
        return Comparison.UNDECIDED
    images = []
    for (file, header), start in zip(opened, starts, strict=True):
        file.seek(start)
        images.append(_stored_values(file, header))
    return Comparison.SAME if np.array_equal(images[0], images[1]) else Comparison.OTHER


def _equal_samples(first: _Opened, second: _Opened) -> bool:
    """Whether two uncompressed little endian images are equal; they may differ in padding."""
    try:
        layout = check_header(first[1])
        needed = native_bytes(layout)
    except PixelError:
        needed = 0
    lengths = []
    for file, header in (first, second):
        head = file.read(8 if _encoding(header)[0] else 12)
        lengths.append(struct.unpack("<I", head[-4:])[0] if len(head) >= 8 else 0)
    if needed and min(lengths) >= needed:
        return _equal_bytes(first[0], second[0], needed, _stored_bits(layout))
    return abs(lengths[0] - lengths[1]) <= 1 and _equal_bytes(first[0], second[0], min(lengths))


def _stored_bits(layout: Layout) -> int:
    """A mask of the bits of a word that hold a value; an archive may clear an overlay's bit."""
    if layout.allocated != 16:
        return 0xFFFF
    return ((1 << layout.stored) - 1) << (layout.high + 1 - layout.stored)


def _equal_under(mask: int, first: bytes, second: bytes) -> bool:
    """Whether two runs of bytes are equal, or of little endian words the bits of a mask."""
    if first == second or mask == 0xFFFF or len(first) != len(second) or len(first) % 2:
        return first == second
    words = [np.frombuffer(run, "<u2") & mask for run in (first, second)]
    return np.array_equal(words[0], words[1])


def _equal_bytes(
    first: DicomFile, second: DicomFile, count: int | None, mask: int = 0xFFFF
) -> bool:
    """Whether the next `count` bytes of two files are equal, or all that is left of them."""
    while count is None or count > 0:
        size = _CHUNK if count is None else min(_CHUNK, count)
        pieces = [file.read(size) for file in (first, second)]
        if not _equal_under(mask, pieces[0], pieces[1]):
            return False
        if not pieces[0]:
            return count is None
        count = None if count is None else count - len(pieces[0])
    return True


def _stored_values(file: DicomFile, header: pydicom.Dataset) -> NDArray[Any]:
    """The decoded samples, of each the bits that hold the value."""
    layout = check_header(header)
    implicit, little = _encoding(header)
    samples = read_stored(file, layout, transfer_syntax(header), implicit=implicit, little=little)
    shift = 0 if samples.bits else layout.high + 1 - layout.stored
    return (samples.stored >> shift) & ((1 << layout.stored) - 1)


def _encoding(header: pydicom.Dataset) -> tuple[bool, bool]:
    """Whether the data set has implicit VR, and whether it is little endian."""
    implicit, little = header.original_encoding
    return bool(implicit), little is not False
