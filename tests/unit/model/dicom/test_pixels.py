"""Images made here and real ones, against pydicom's own decoding and float64 arithmetic."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from model.dicom.pixels import check_header, read_header, render, view_pixels
from model.errors import EmptyImage, HeaderLimit, PixelError
from tests.support.dicom_images import (
    BIG_ENDIAN,
    EXPLICIT,
    MEBIBYTE,
    ImageWriter,
    chest,
    encode_all,
    largest_error,
    limited_memory,
    lut_item,
    resize_exactly,
    view_by_pydicom,
    write_image,
)


@pytest.fixture
def write(tmp_path: Path) -> ImageWriter:
    return lambda *args, **tags: write_image(tmp_path / "image.dcm", *args, **tags)


# ---- The grey scale ----


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_an_image_gives_the_same_view_in_every_codec(write: ImageWriter, bits: int) -> None:
    samples = chest(bits)
    tags = {
        "BitsStored": bits,
        "WindowCenter": 2 ** (bits - 1),
        "WindowWidth": 2**bits * 3 // 4,
        "Rows": samples.shape[0],
        "Columns": samples.shape[1],
    }
    plain = view_pixels(write(samples, **tags), 64)
    assert np.abs(plain - view_by_pydicom(write(samples, **tags), 64)).max() <= 2
    assert np.array_equal(view_pixels(write(samples, syntax=BIG_ENDIAN, **tags), 64), plain)
    for syntax, data in encode_all(samples, bits).items():
        view = view_pixels(write(bytes(data), syntax=syntax, **tags), 64)
        assert np.array_equal(view, plain), syntax


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90"])
def test_signed_values_come_back_signed_whatever_the_codestream_says(
    write: ImageWriter, syntax: str
) -> None:
    """JPEG has no sign; JPEG 2000 has one, and some senders set it wrong."""
    values = chest(12).astype(np.int16) - 2048
    tags = {"BitsStored": 12, "WindowCenter": 0, "WindowWidth": 4000, "PixelRepresentation": 1}
    plain = view_pixels(write(values, **tags), 64)
    shape = {"Rows": values.shape[0], "Columns": values.shape[1]}
    patterns = values.view(np.uint16) & 0xFFF
    data = [encode_all(patterns, 12)[syntax]]
    if syntax.endswith(".90"):
        data.append(
            imagecodecs.jpeg2k_encode(
                values, level=0, codecformat="j2k", reversible=True, bitspersample=16
            )
        )
    for stream in data:
        assert np.array_equal(
            view_pixels(write(bytes(stream), syntax=syntax, **tags, **shape), 64), plain
        )


@settings(max_examples=60, deadline=None)
@given(
    stored=st.integers(8, 16),
    spare=st.integers(0, 8),
    signed=st.booleans(),
    garbage=st.integers(0, 65535),
    slope=st.sampled_from([None, 1.0, 0.5, 2.25, -1.0]),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    centre=st.floats(0.2, 0.8),
    width=st.floats(0.4, 1.5),
    inverted=st.booleans(),
)
def test_every_layout_is_read_as_its_values_say(
    stored: int, spare: int, signed: bool, garbage: int, slope: float | None, function: str,
    centre: float, width: float, inverted: bool,
) -> None:  # fmt: skip
    """Stored bits anywhere in the sample, anything in the others."""
    low = -(2 ** (stored - 1)) if signed else 0
    values = chest(stored).astype(np.int64) + low
    shift = min(spare, 16 - stored)
    mask = ((1 << stored) - 1) << shift
    patterns = ((values << shift) & mask) | (garbage & ~mask & 0xFFFF)
    real = values * (slope or 1.0) + (-3.0 if slope else 0.0)
    c = float(real.min() + centre * np.ptp(real))
    w = max(1.0, width * float(np.ptp(real)))
    c, w = round(c, 2), round(w, 2)
    tags: dict[str, Any] = {"WindowCenter": [c, 1], "WindowWidth": [w, 1]}
    if slope:
        tags |= {"RescaleSlope": slope, "RescaleIntercept": -3.0}
    share = {
        "LINEAR": lambda: (real - (c - 0.5)) / (w - 1) + 0.5 if w > 1 else (real > c - 0.5) * 1.0,
        "LINEAR_EXACT": lambda: (real - c) / w + 0.5,
        "SIGMOID": lambda: 1 / (1 + np.exp(-4 * (real - c) / w)),
    }[function]()
    with tempfile.TemporaryDirectory() as folder:
        path = write_image(
            Path(folder) / "image.dcm",
            patterns.astype(np.uint16),
            BitsStored=stored,
            HighBit=stored + shift - 1,
            PixelRepresentation=int(signed),
            VOILUTFunction=function,
            PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
            **tags,
        )
        assert largest_error(path, resize_exactly(1 - share if inverted else share, 48)) <= 2


def test_lookup_tables_are_applied_as_pydicom_does(write: ImageWriter) -> None:
    samples = chest(10)
    curve = [int(4095 * (i / 800) ** 2) for i in range(801)]
    voi = write(samples, BitsStored=10, VOILUTSequence=[lut_item(100, 12, curve)])
    expected = apply_voi_lut(samples, pydicom.dcmread(voi)) / 4095
    assert largest_error(voi, resize_exactly(expected, 48)) <= 2

    modality = write(
        samples, BitsStored=10, ModalityLUTSequence=[lut_item(100, 16, curve)],
        WindowCenter=1500, WindowWidth=2000,
    )  # fmt: skip
    values = apply_modality_lut(samples, pydicom.dcmread(modality)).astype(float)
    assert largest_error(modality, resize_exactly((values - 1499.5) / 1999 + 0.5, 48)) <= 2


def test_a_lookup_table_may_begin_below_zero(write: ImageWriter) -> None:
    samples = chest(10).astype(np.int16) - 512
    path = write(
        samples, BitsStored=10, VOILUTSequence=[lut_item(-512, 10, list(range(1024)), True)]
    )
    assert largest_error(path, resize_exactly((samples + 512) / 1023, 48)) <= 2


def test_air_is_dark_however_the_header_says_so(write: ImageWriter) -> None:
    samples = chest(12)
    tags = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    plain = view_pixels(write(samples, **tags), 64)
    negative = 4095 - samples
    photometric = view_pixels(write(negative, PhotometricInterpretation="MONOCHROME1", **tags), 64)
    double_inverted = view_pixels(
        write(
            negative,
            PhotometricInterpretation="MONOCHROME1",
            PresentationLUTShape="INVERSE",
            **tags,
        ),
        64,
    )
    shape = view_pixels(write(negative, PresentationLUTShape="INVERSE", **tags), 64)
    for view in (photometric, double_inverted, shape):
        assert np.abs(view.astype(int) - plain).max() <= 1


def test_without_a_window_the_full_range_is_shown_and_padding_is_black(write: ImageWriter) -> None:
    samples = chest(12) // 4 + 1000
    samples[:, :20] = 4000
    view = view_pixels(write(samples, BitsStored=12, PixelPaddingValue=4000), 128)
    assert (view[:, :15] == 0).all()
    assert view.max() > 250
    inside = view[:, 25:]
    assert inside.min() < 5


def test_a_window_that_shows_nothing_is_not_used(write: ImageWriter) -> None:
    samples = chest(12)
    blind = write(samples, BitsStored=12, WindowCenter=-9000, WindowWidth=10)
    assert np.ptp(view_pixels(blind, 64)) > 200
    zero = write(samples, BitsStored=12, WindowCenter=0, WindowWidth=0)
    assert np.ptp(view_pixels(zero, 64)) > 200


def test_eight_bits_without_a_window_are_shown_as_they_are(write: ImageWriter) -> None:
    samples = (chest(8) // 2 + 30).astype(np.uint8)
    assert largest_error(write(samples), resize_exactly(samples / 255, 64)) <= 2


def test_an_image_of_one_value_is_a_view_of_one_value(write: ImageWriter) -> None:
    path = write(np.full((40, 40), 77, np.uint16), BitsStored=12)
    rendering = render(path, 16)
    assert np.ptp(rendering.view) == 0
    assert rendering.is_empty
    with pytest.raises(EmptyImage):
        view_pixels(path, 16)


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_becomes_its_brightness(write: ImageWriter, planar: int) -> None:
    grey = chest(8).astype(np.uint8)
    rgb = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1)
    samples = rgb.transpose(2, 0, 1) if planar else rgb
    path = write(
        np.ascontiguousarray(samples), SamplesPerPixel=3, PhotometricInterpretation="RGB",
        PlanarConfiguration=planar, Rows=grey.shape[0], Columns=grey.shape[1],
    )  # fmt: skip
    assert largest_error(path, resize_exactly(rgb @ np.array([0.299, 0.587, 0.114]) / 255, 64)) <= 2
    tags = {"Rows": grey.shape[0], "Columns": grey.shape[1], "BitsAllocated": 8, "BitsStored": 8}
    tags |= {"SamplesPerPixel": 3, "PlanarConfiguration": 0}
    jpeg = bytes(imagecodecs.jpeg8_encode(rgb, 98, subsampling="444"))
    tags |= {"PhotometricInterpretation": "YBR_FULL_422"}
    path = write(jpeg, syntax="1.2.840.10008.1.2.4.50", **tags)
    assert largest_error(path, resize_exactly(rgb @ np.array([0.299, 0.587, 0.114]) / 255, 64)) <= 4


# ---- Files that are refused ----


def test_a_huge_claim_costs_nothing(write: ImageWriter) -> None:
    path = write(np.zeros((2, 2), np.uint16), Rows=65535, Columns=65535)
    assert path.stat().st_size < 1000
    with limited_memory(MEBIBYTE), pytest.raises(HeaderLimit, match="65535 x 65535"):
        view_pixels(path, 224)


@pytest.mark.parametrize(
    "codec", ["1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"]
)
def test_a_codestream_larger_than_its_header_is_not_decoded(write: ImageWriter, codec: str) -> None:
    """The header says 8 x 8, the codestream 60,000 x 60,000: the decoder would believe it."""
    samples = chest(12)
    data = bytearray(encode_all(samples, 12)[codec])
    if codec.endswith(".90"):  # SIZ: the image's size, and the tile's so that there is one
        for place in (8, 12, 24, 28):
            data[place : place + 4] = (60000).to_bytes(4, "big")
    else:  # the frame header: length, precision, rows, columns
        place = data.index(b"\xff\xf7" if codec.endswith(".80") else b"\xff\xc3") + 5
        data[place : place + 4] = (60000).to_bytes(2, "big") * 2
    tags = {"Rows": samples.shape[0], "Columns": samples.shape[1], "BitsStored": 12}
    with limited_memory(MEBIBYTE), pytest.raises(PixelError, match="the header says"):
        view_pixels(write(bytes(data), syntax=codec, **tags), 224)


def test_many_tiles_are_not_decoded(write: ImageWriter) -> None:
    samples = chest(12)
    data = bytearray(encode_all(samples, 12)["1.2.840.10008.1.2.4.90"])
    at = data.index(b"\xff\x51") + 22
    data[at : at + 8] = (1).to_bytes(4, "big") * 2
    path = write(bytes(data), syntax="1.2.840.10008.1.2.4.90", Rows=96, Columns=128, BitsStored=12)
    with pytest.raises(PixelError, match="tiles"):
        view_pixels(path, 224)


def raw_file(*elements: bytes) -> bytes:
    """A Part 10 file of explicit little endian elements, as given."""
    syntax = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00"
    length = b"\x02\x00\x00\x00UL\x04\x00" + len(syntax).to_bytes(4, "little")
    return b"\0" * 128 + b"DICM" + length + syntax + b"".join(elements)


@pytest.mark.parametrize(
    "element",
    [
        pytest.param(b"\x09\x00\x10\x10OB\x00\x00\xf0\xff\xff\xff", id="a value of 4 GB"),
        pytest.param(b"\x09\x00\x10\x10LO\x02\x00ab" * 100_000, id="a million tiny elements"),
        pytest.param(
            b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff"
            b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000,
            id="sequences in sequences",
        ),
    ],
)  # fmt: skip
def test_a_header_without_bounds_costs_little(tmp_path: Path, element: bytes) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(raw_file(element))
    with limited_memory(40 * MEBIBYTE), pytest.raises(PixelError):
        check_header(read_header(path))


@pytest.mark.slow
def test_deflated_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    import zlib

    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflate.compress(b"\0" * (200 * MEBIBYTE)) + deflate.flush()
    path = tmp_path / "image.dcm"
    path.write_bytes(
        raw_file()
        .replace(b"UI\x14\x001.2.840.10008.1.2.1\x00", b"UI\x16\x001.2.840.10008.1.2.1.99")
        .replace(b"UL\x04\x00\x1c", b"UL\x04\x00\x1e")
        + bomb
    )
    with limited_memory(MEBIBYTE), pytest.raises(PixelError, match="deflated"):
        read_header(path)


def test_odd_values_neither_warn_nor_raise_later(tmp_path: Path) -> None:
    """Values that pydicom would quote in a warning; and numbers that cannot be parsed."""
    path = tmp_path / "image.dcm"
    path.write_bytes(
        raw_file(
            b"\x08\x00\x60\x00CS\x04\x00dx!?",
            b"\x10\x00\x10\x00PN\x0a\x00A^B=C=D=E^",
            b"\x10\x00\x10\x10AS\x06\x00abcdef",
            b"\x20\x00\x13\x00IS\x06\x00one   ",
            b"\x28\x00\x50\x10DS\x06\x001,5   ",
        )
    )
    header = read_header(path)
    assert header.Modality == "dx!?"
    assert "InstanceNumber" not in header
    assert header.WindowCenter == 1.5


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"NumberOfFrames": 2}, "2 frames"),
        ({"Rows": 0}, "no image"),
        ({"BitsAllocated": 32, "BitsStored": 12}, "32 bits"),
        ({"SamplesPerPixel": 2}, "2 samples"),
        ({"BitsStored": 12, "HighBit": 5}, "cannot be"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"Rows": 97}, "ends early"),
    ],
)
def test_an_image_that_cannot_be_read_gets_a_reason(
    write: ImageWriter, tags: dict[str, Any], message: str
) -> None:
    with pytest.raises(PixelError, match=message):
        view_pixels(write(chest(12), **tags), 64)


def test_a_folder_and_a_missing_file_are_pixel_errors(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.dcm"):
        with pytest.raises(PixelError, match="cannot be opened"):
            read_header(path)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_a_pixel_error_or_a_view(data: st.DataObject) -> None:
    """Cut anywhere, or bytes changed anywhere: no other error, no memory beyond the image's."""
    samples = chest(12, side=32)
    streams = encode_all(samples, 12)
    size = data.draw(st.sampled_from([4, 32]))  # 4: JPEG 2000 is halved
    syntax = data.draw(st.sampled_from([EXPLICIT, *streams]))
    tags = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    tags |= {"Rows": samples.shape[0], "Columns": samples.shape[1]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.dcm"
        write_image(path, samples if syntax == EXPLICIT else bytes(streams[syntax]), syntax, **tags)
        content = bytearray(path.read_bytes())
        if data.draw(st.booleans()):
            # The last ten bytes may be no more than a delimiter and padding.
            path.write_bytes(content[: data.draw(st.integers(0, len(content) - 11))])
            with limited_memory(20 * MEBIBYTE), pytest.raises(PixelError):
                view_pixels(path, size)
            return
        for _ in range(data.draw(st.integers(1, 6))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        with limited_memory(20 * MEBIBYTE), suppress(PixelError):
            assert view_pixels(path, size).shape == (size, size)


# ---- Real images ----


@pytest.mark.slow
def test_a_real_image_gives_the_same_view_in_four_codecs(samples: Path) -> None:
    paths = sorted((samples / "dicom/radiograph_other").glob("wg04_RG3_*.dcm"))
    views = {path.stem[9:]: view_pixels(path, 224).astype(int) for path in paths}
    reduced = views.pop("J2KR")
    assert len(views) == 3
    assert all(np.array_equal(view, views["RLE"]) for view in views.values())
    exact = view_by_pydicom(paths[0], 224)
    assert np.abs(views["RLE"] - exact).max() <= 2
    assert 0 < np.abs(reduced - exact).mean() < 0.3


@pytest.mark.parametrize(
    ("name", "levels"),
    [("CR-MONO1-10-chest.dcm", 2), ("wg04_RG1_J2KI.dcm", 3)],  # steep edges: 3 at one pixel
)
def test_real_chest_images_are_as_pydicom_shows_them(samples: Path, name: str, levels: int) -> None:
    path = samples / "dicom/chest" / name
    assert largest_error(path, view_by_pydicom(path, 224)) <= levels


def test_all_that_may_arrive_is_a_view_or_a_pixel_error(samples: Path) -> None:
    refused = {}
    for path in sorted((samples / "dicom").rglob("*")):
        if path.is_file():
            try:
                assert view_pixels(path, 64).shape == (64, 64)
            except PixelError as error:
                refused[path.name] = str(error)
    assert "deflated" in refused["1.2.840.10008.1.2.1.99.dcm"]
    assert "ends early" in refused["MR_truncated.dcm"]
    assert "no pixel data" in refused["cr_pa_chrJapMulti_nopixel.dcm"]
    unread = {"sr", "worklist", "awkward"}
    paths = [p for p in (samples / "dicom").rglob("*.dcm") if p.parent.name not in unread]
    assert sum(p.name in refused for p in paths) == 4  # and a PDF, and 30 frames of ultrasound
