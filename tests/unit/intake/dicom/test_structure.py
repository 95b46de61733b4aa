"""The walk over a data set: it reads as pydicom does, and stops at what would fill the memory."""

import random
import struct
import subprocess
import sys
from contextlib import suppress
from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from intake.dicom.filing import ObjectRefused, read_header
from intake.dicom.limits import RefusalReason
from intake.dicom.structure import StructureLimits, TooComplex, read_wanted
from tests.support.dicom_senders import CT, make_image, write_part10

UIDS = [0x00080016, 0x00080018, 0x0020000D, 0x0020000E]


def write(path, dataset, syntax=ExplicitVRLittleEndian):
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == JPEGBaseline8Bit:
        dataset.PixelData = encapsulate([b"\xff\xd8" + bytes(300), b"\xff\xd8" + bytes(100)])
        dataset["PixelData"].is_undefined_length = True
    return write_part10(dataset, path)


def nested_image(**options):
    """A radiograph with sequences of every kind."""
    image = make_image(**options)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "DCM", "Chest"
    request = Dataset()
    request.RequestedProcedureCodeSequence = [code, code]
    request.ReasonForTheRequestedProcedure = "cough"
    image.RequestAttributesSequence = [request, Dataset()]
    image.ProcedureCodeSequence = [code]
    image.add_new(0x00091010, "LO", "PRIVATE")
    image.add_new(0x00091011, "SQ", [request])
    image.StudyDescription = "CHEST"
    return image


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEGBaseline8Bit],
)
@pytest.mark.parametrize("undefined", [False, True])
def test_the_walk_finds_what_pydicom_finds(tmp_path, syntax, undefined):
    image = nested_image()
    for element in image:
        if element.VR == "SQ":
            element.is_undefined_length = undefined
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined
    path = write(tmp_path / "film.dcm", image, syntax)
    wanted = [*UIDS, 0x00081030, 0x00400275, 0x00080005]
    read = dcmread(BytesIO(read_wanted(path, wanted, 65_536, StructureLimits())))
    whole = dcmread(path)
    assert set(read.keys()) == {element.tag for element in whole if int(element.tag) in wanted}
    assert all(element == whole[element.tag] for element in read)


@pytest.mark.filterwarnings("ignore")  # pydicom's, on values that break rules
def test_the_walk_reads_every_sample_as_pydicom_does(samples):
    read_count = 0
    for path in sorted(samples.rglob("*.dcm")):
        try:
            whole = dcmread(path, specific_tags=[*UIDS], stop_before_pixels=True)
        except Exception:
            continue
        if whole.file_meta.TransferSyntaxUID.is_deflated or not whole.get("SOPInstanceUID"):
            continue
        if path.read_bytes()[128:132] != b"DICM":
            continue
        header = read_header(path)
        assert all(header.get(tag) == whole.get(tag) for tag in UIDS), path
        read_count += 1
    assert read_count > 10


def test_a_damaged_data_set_never_breaks_the_walk(tmp_path):
    content = write(tmp_path / "film.dcm", nested_image()).read_bytes()
    generator = random.Random(20)
    path = tmp_path / "damaged.dcm"
    for _ in range(400):
        damaged = bytearray(content)
        for _ in range(generator.randint(1, 5)):
            damaged[generator.randrange(144, len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged[: generator.randrange(300, len(damaged))])
        with suppress(ObjectRefused):
            read_header(path)


# ---- What would fill the memory ----


def explicit(tag, vr, value, length=None):
    head = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), 0)
    return head + struct.pack("<L", len(value) if length is None else length) + value


def with_element(path, element, syntax=ExplicitVRLittleEndian, **options):
    """A film with an element before its pixels."""
    image = make_image(**options)
    content = write(path, image, syntax).read_bytes()
    pixels = struct.pack("<HH", 0x7FE0, 0x0010)
    position = content.rindex(pixels)
    path.write_bytes(content[:position] + element + content[position:])
    return path


EMPTY_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
MANY_ITEMS = EMPTY_ITEM * 1_250_000

BOMBS = {
    "empty items": explicit(0x00400275, "SQ", MANY_ITEMS),
    "items of a private sequence": explicit(0x00911010, "SQ", MANY_ITEMS + END, 0xFFFFFFFF),
    "items of unknown representation": explicit(0x00911010, "UN", MANY_ITEMS + END, 0xFFFFFFFF),
    "a known sequence as UN": explicit(0x00400275, "UN", MANY_ITEMS),
    "tiny fragments": explicit(0x00911010, "OB", MANY_ITEMS + END, 0xFFFFFFFF),
    "elements": struct.pack("<HH2sH", 0x0091, 0x1010, b"LO", 0) * 1_250_000,
    "deep nesting": explicit(0x00911010, "SQ", EMPTY_ITEM[:4] + b"\xff\xff\xff\xff", 0xFFFFFFFF)
    * 60_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_film_with_too_many_elements_is_refused(tmp_path, name):
    path = with_element(tmp_path / "film.dcm", BOMBS[name])
    with pytest.raises(ObjectRefused) as refused:
        read_header(path)
    assert refused.value.reason is RefusalReason.TOO_MANY_ELEMENTS


def test_many_values_in_one_element_are_refused(tmp_path):
    values = b"1.5\\" * 500_000
    implicit = struct.pack("<HHL", 0x0028, 0x1050, len(values)) + values
    path = with_element(tmp_path / "film.dcm", implicit, ImplicitVRLittleEndian)
    with pytest.raises(ObjectRefused) as refused:
        read_header(path)
    assert refused.value.reason is RefusalReason.HEADER_TOO_LARGE


def test_a_header_over_the_limit_is_refused_and_pixels_of_that_size_are_not(tmp_path):
    limits = StructureLimits(header_bytes=1_000_000)
    assert read_header(write(tmp_path / "a.dcm", make_image(pixels=bytes(3_000_000))), limits)
    path = with_element(tmp_path / "b.dcm", explicit(0x00911010, "OB", bytes(2_000_000)))
    with pytest.raises(ObjectRefused) as refused:
        read_header(path, limits)
    assert refused.value.reason is RefusalReason.HEADER_TOO_LARGE


def test_an_object_that_is_never_drafted_from_may_have_more(tmp_path):
    items = explicit(0x52009230, "SQ", EMPTY_ITEM * 100_000)
    path = with_element(tmp_path / "seg.dcm", items, sop_class=CT, Modality="SEG")
    assert read_header(path).Modality == "SEG"
    film = with_element(tmp_path / "film.dcm", items)
    with pytest.raises(ObjectRefused):
        read_header(film)


def test_a_wanted_element_that_is_too_long_is_not_read(tmp_path):
    path = with_element(tmp_path / "film.dcm", explicit(0x00400275, "SQ", EMPTY_ITEM * 9000))
    with pytest.raises(TooComplex):
        read_wanted(path, [0x00400275], 65_536, StructureLimits())


_CHILD = """
import resource, sys
from pathlib import Path
from intake.dicom.filing import ObjectRefused, read_header
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:]:
    try:
        read_header(Path(name))
    except ObjectRefused as error:
        print(error.reason)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_no_film_takes_much_memory(tmp_path):
    paths = [
        with_element(tmp_path / f"{number}.dcm", bomb) for number, bomb in enumerate(BOMBS.values())
    ]
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, *map(str, paths)], capture_output=True, text=True, check=True
    )
    *reasons, kilobytes = child.stdout.split()
    assert reasons == ["too_many_elements"] * len(paths)
    # The pages of a mapped file count, too: 10 MB each.
    assert int(kilobytes) < 100_000
