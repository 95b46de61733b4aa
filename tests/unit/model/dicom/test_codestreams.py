"""Codestreams with filler, of another kind than their name, and with headers that ask too much."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from model.dicom import codestreams
from model.dicom.pixels import render, view_pixels
from model.errors import DecodingLimit, PixelError
from tests.support.dicom_images import (
    EXPLICIT,
    ImageWriter,
    change_coding,
    chest,
    encode_all,
    enlarge,
    limited_memory,
    resize_exactly,
    write_image,
)

SAMPLES = chest(12)
SIZE = 64
TAGS = {"Rows": 96, "Columns": 128, "BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
STREAMS = {syntax: bytes(data) for syntax, data in encode_all(SAMPLES, 12).items()}
EXPECTED = resize_exactly(SAMPLES / 4095, SIZE)
JPEG, JPEG_2000, RLE = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"


@pytest.fixture
def write(tmp_path: Path) -> ImageWriter:
    def write(data: bytes, syntax: str, **tags: object) -> Path:
        return write_image(tmp_path / "image.dcm", data, syntax, **{**TAGS, **tags})

    return write


def with_fragments(
    path: Path, *fragments: bytes, table: bool = True, delimiter: bool = True
) -> Path:
    """Replace the pixel data of a file by these fragments."""
    content = path.read_bytes()
    items = [b""] * table + list(fragments)
    value = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    if delimiter:
        value += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    start = content.index(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff") + 12
    path.write_bytes(content[:start] + value)
    return path


# ---- Filler and fragments ----


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize(
    "filler", [b"\0" * 300, b"\xff" * 300, b" " * 65, bytes(range(1, 201)) * 2, b"\xff\xd9" * 100]
)
def test_filler_behind_a_codestream_is_no_early_end(
    write: ImageWriter, syntax: str, filler: bytes
) -> None:
    data = STREAMS[syntax]
    path = write(data + b"\0" * (len(data) % 2) + filler, syntax)
    assert np.abs(view_pixels(path, SIZE) - EXPECTED).max() <= 2


@pytest.mark.parametrize("syntax", STREAMS)
def test_a_codestream_may_lie_in_several_fragments(write: ImageWriter, syntax: str) -> None:
    data = STREAMS[syntax]
    data += b"\0" * (len(data) % 2)
    half = len(data) // 4 * 2
    path = write(data, syntax)
    for fragments in (
        (data[:half], data[half:]),
        (data[:half], data[half:], b"\0" * 200),
        (data[:half], data[half:] + b"\0" * 200),
    ):
        assert np.abs(view_pixels(with_fragments(path, *fragments), SIZE) - EXPECTED).max() <= 2
    # Neither of them is a part of the image.
    whole = with_fragments(path, data, table=syntax == RLE, delimiter=False)
    assert np.abs(view_pixels(whole, SIZE) - EXPECTED).max() <= 2


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize("filler", [b"", b"\0" * 300])
def test_a_cut_codestream_ends_early_with_filler_or_without(
    write: ImageWriter, syntax: str, filler: bytes
) -> None:
    data = STREAMS[syntax][: len(STREAMS[syntax]) // 4 * 2]
    with pytest.raises(PixelError, match=r"ends early|damaged|cannot be decoded"):
        view_pixels(write(data + filler, syntax), SIZE)


def test_an_end_inside_a_thumbnail_is_not_the_films(write: ImageWriter) -> None:
    thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + 8) + b"thumb\xff\xd9\0"
    data = b"\xff\xd8" + thumbnail + STREAMS[JPEG][2:]
    assert np.abs(view_pixels(write(data, JPEG), SIZE) - EXPECTED).max() <= 2
    with pytest.raises(PixelError, match="ends early"):
        view_pixels(write(data[: len(data) // 2], JPEG), SIZE)


# ---- What the transfer syntax says, and what the bytes are ----


@pytest.mark.parametrize("declared", [*STREAMS, "1.2.840.10008.1.2.4.50", "1.2.3.4.5"])
@pytest.mark.parametrize("actual", [*STREAMS, EXPLICIT])
def test_pixels_are_read_as_what_they_are(
    tmp_path: Path, write: ImageWriter, declared: str, actual: str
) -> None:
    if RLE in (declared, actual) and declared != actual and actual != EXPLICIT:
        return  # RLE has no mark of its own
    if actual == EXPLICIT:
        plain = write_image(tmp_path / "image.dcm", SAMPLES, **TAGS)
        path = rename_syntax(plain, declared)
    else:
        path = rename_syntax(write(STREAMS[actual], actual), declared)
    names = {**NAMES, EXPLICIT: "uncompressed"}
    if declared not in NAMES and actual == EXPLICIT:
        with pytest.raises(PixelError, match=r"1.2.3.4.5 is not read"):
            view_pixels(path, SIZE)
        return
    rendering = render(path, SIZE)
    assert np.abs(rendering.view - EXPECTED).max() <= 2
    if names.get(declared) == names[actual]:
        assert rendering.notes == ()
    else:
        (note,) = rendering.notes
        assert f"its pixels are {names[actual]}." in note


NAMES = {
    "1.2.840.10008.1.2.4.50": "JPEG",
    "1.2.840.10008.1.2.4.57": "JPEG",
    "1.2.840.10008.1.2.4.70": "JPEG",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.90": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K",
    "1.2.840.10008.1.2.5": "RLE",
}


def rename_syntax(path: Path, syntax: str) -> Path:
    """Change what the file meta information says, and nothing else."""
    content = path.read_bytes()
    start = content.index(b"\x02\0\x10\0UI")
    old_length = int.from_bytes(content[start + 6 : start + 8], "little")
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    element = content[start : start + 6] + struct.pack("<H", len(value)) + value
    at = content.index(b"\x02\0\0\0UL\x04\0") + 8
    length = int.from_bytes(content[at : at + 4], "little") + len(value) - old_length
    content = content[:start] + element + content[start + 8 + old_length :]
    path.write_bytes(content[:at] + length.to_bytes(4, "little") + content[at + 4 :])
    return path


def test_a_codestream_in_an_uncompressed_file_is_decoded_and_noted(write: ImageWriter) -> None:
    path = rename_syntax(write(STREAMS[JPEG], JPEG), EXPLICIT)
    rendering = render(path, SIZE)
    assert np.abs(rendering.view - EXPECTED).max() <= 2
    assert rendering.notes == (
        "The transfer syntax of a film says uncompressed, but its pixels are JPEG. "
        "They were read as what they are.",
    )


def test_a_whole_jp2_file_is_read(write: ImageWriter) -> None:
    data = bytes(imagecodecs.jpeg2k_encode(SAMPLES, level=0, codecformat="jp2", bitspersample=12))
    assert data[4:8] == b"jP  "
    assert np.abs(view_pixels(write(data, JPEG_2000), SIZE) - EXPECTED).max() <= 2


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"])
def test_retired_progressive_jpeg_is_read(write: ImageWriter, syntax: str) -> None:
    grey = np.rint(SAMPLES / 4095 * 255).astype(np.uint8)
    path = write(progressive(grey), syntax, BitsAllocated=8, BitsStored=8, WindowCenter=128,
                 WindowWidth=256)  # fmt: skip
    rendering = render(path, SIZE)
    assert np.abs(rendering.view - EXPECTED).mean() < 2
    assert rendering.notes == ()


# ---- Headers that ask too much ----


def progressive(grey: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "JPEG", quality=95, progressive=True)
    return out.getvalue()


def test_thousands_of_scans_are_not_decoded(write: ImageWriter) -> None:
    data = progressive(np.rint(SAMPLES / 4095 * 255).astype(np.uint8))
    last = data.rindex(b"\xff\xda")
    repeated = data[:-2] + data[last:-2] * 20_000 + data[-2:]
    tags = {"BitsAllocated": 8, "BitsStored": 8}
    with pytest.raises(DecodingLimit, match="scans"):
        view_pixels(write(repeated, "1.2.840.10008.1.2.4.55", **tags), SIZE)
    with pytest.raises(DecodingLimit, match="scans"):  # whatever the file calls it
        view_pixels(write(repeated, "1.2.840.10008.1.2.4.50", **tags), SIZE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precincts": b"\x11" * 6}, "precincts"),
        ({"precincts": b"\x77" * 2 + b"\x11" * 4}, "precincts"),
        ({"precincts": b"\x00" * 6}, "precincts"),
        ({"x": 0, "y": 0}, "code-blocks"),
        ({"layers": 65535, "precincts": b"\x77" * 6}, "packets"),
        ({"levels": 33}, "damaged"),
        ({"x": 20}, "damaged"),
    ],
)
@pytest.mark.parametrize("syntax", [JPEG_2000, "1.2.840.10008.1.2.4.201"])
def test_a_jpeg2000_header_that_asks_too_much_is_not_decoded(
    write: ImageWriter, changes: dict[str, int | bytes], message: str, syntax: str
) -> None:
    """A few kilobytes, for which a decoder would take gigabytes."""
    data = change_coding(enlarge(STREAMS[JPEG_2000], 6000), **changes)
    assert len(data) < 40_000
    path = write(data, syntax, Rows=6000, Columns=6000)
    with limited_memory(4 << 20), pytest.raises(PixelError, match=message):
        view_pixels(path, 224)


def test_the_coding_of_a_component_and_of_a_tile_is_judged_too(write: ImageWriter) -> None:
    data = enlarge(STREAMS[JPEG_2000], 6000)
    cod = data.index(b"\xff\x52")
    length = struct.unpack_from(">H", data, cod + 2)[0]
    small = change_coding(data, precincts=b"\x11" * 6)
    segment = small[cod : cod + 2 + length + 6]
    coc = b"\xff\x53" + struct.pack(">H", 2 + 1 + 1 + 11) + b"\0\x01" + segment[9:]
    sot = data.index(b"\xff\x90")
    for changed in (
        data[:sot] + coc + data[sot:],
        data[: sot + 12] + segment + data[sot + 12 :],  # in the tile's own header
    ):
        with pytest.raises(DecodingLimit, match="precincts"):
            view_pixels(write(changed, JPEG_2000, Rows=6000, Columns=6000), 224)


def test_components_may_not_be_subsampled_behind_the_first(write: ImageWriter) -> None:
    rgb = np.stack([SAMPLES >> 4] * 3, axis=-1).astype(np.uint8)
    data = bytearray(imagecodecs.jpeg2k_encode(rgb, level=0, codecformat="j2k"))
    data[42 + 3 + 1] = 255
    tags = {"SamplesPerPixel": 3, "BitsAllocated": 8, "BitsStored": 8, "PlanarConfiguration": 0}
    path = write(bytes(data), JPEG_2000, PhotometricInterpretation="YBR_RCT", **tags)
    with pytest.raises(PixelError, match="damaged header"):
        view_pixels(path, SIZE)


def test_headers_of_real_films_are_within_every_limit() -> None:
    """The largest image, in the smallest tiles, blocks and precincts that encoders use."""
    grid = codestreams._Grid(10_000, 4_000, 0, 0, 10_000, 4_000, 0, 0)
    coding = bytes([5, 2, 2, 0, 1])  # code-blocks of 16 x 16
    codestreams._judge_blocks(coding, grid, 1, 1, 0)
    coding = bytes([5, 3, 3, 0, 1]) + b"\x77" * 5 + b"\x88"  # of 32 x 32, in 20 layers
    codestreams._judge_blocks(coding, grid, 1, 20, 1)
    tiles = codestreams._Grid(10_000, 4_000, 0, 0, 128, 128, 0, 0)
    codestreams._judge_blocks(bytes([4, 4, 4, 0, 1]), tiles, tiles.tiles, 1, 0)
