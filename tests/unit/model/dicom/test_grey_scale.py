"""Windows and lookup tables as senders write them, against the shares of white that they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from model.dicom.pixels import NO_PADDING, NO_VOI, OTHER_VOI, PERHAPS_NEGATIVE, render, view_pixels
from tests.support.dicom_images import (
    BIG_ENDIAN,
    EXPLICIT,
    ImageWriter,
    chest,
    encode_all,
    resize_exactly,
    write_image,
)

SIZE = 64
SHARE = chest(12) / 4095
CURVE = (np.arange(4096) / 4095) ** 0.7  # what most tables here are made of
CURVED = resize_exactly(CURVE[chest(12)], SIZE)


@pytest.fixture
def write(tmp_path: Path) -> ImageWriter:
    return lambda *args, **tags: write_image(tmp_path / "image.dcm", *args, **tags)


def lut(
    descriptor: list[int], entries: Any, vr: str = "US", descriptor_vr: str = "US"
) -> list[pydicom.Dataset]:
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", descriptor_vr, descriptor)
    is_bytes = isinstance(entries, bytes)
    item.add_new(
        "LUTData", "OW" if is_bytes else vr, entries if is_bytes else [int(n) for n in entries]
    )
    return [item]


def scaled(white: int) -> NDArray[np.int64]:
    return np.rint(white * CURVE).astype(np.int64)


def assert_shown(path: Path, expected: NDArray[np.int_], *notes: str) -> None:
    rendering = render(path, SIZE)
    assert np.abs(rendering.view - expected).max() <= 2
    assert rendering.notes == notes
    assert not rendering.is_empty


# ---- Lookup tables ----


@pytest.mark.parametrize(
    ("claimed", "white"), [(16, 4095), (16, 1023), (16, 255), (12, 1023), (16, 32767), (0, 4095),
                           (99, 4095), (8, 4095)]
)  # fmt: skip
def test_white_is_what_the_entries_fill(write: ImageWriter, claimed: int, white: int) -> None:
    tables = lut([4096, 0, claimed], scaled(white))
    assert_shown(write(chest(12), BitsStored=12, VOILUTSequence=tables), CURVED)


def test_a_table_that_ends_below_white_stays_as_dark_as_it_says(write: ImageWriter) -> None:
    tables = lut([4096, 0, 12], scaled(2500))
    expected = resize_exactly(CURVE[chest(12)] * 2500 / 4095, SIZE)
    assert_shown(write(chest(12), BitsStored=12, VOILUTSequence=tables), expected)
    tables = lut([4096, 0, 12], scaled(1900))  # all bits but one
    expected = resize_exactly(CURVE[chest(12)] * 1900 / 4095, SIZE)
    assert_shown(write(chest(12), BitsStored=12, VOILUTSequence=tables), expected)


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_entries_are_unsigned_whatever_their_vr(write: ImageWriter, sequence: str) -> None:
    entries = scaled(65535).astype(np.uint16).view(np.int16)
    tables = lut([4096, -2048, 16], entries, vr="SS", descriptor_vr="SS")
    tags = {sequence: tables, "PixelRepresentation": 1, "BitsStored": 12}
    if sequence == "ModalityLUTSequence":
        tags |= {"WindowCenter": 32768, "WindowWidth": 65536}
    assert_shown(write(chest(12).astype(np.int16) - 2048, **tags), CURVED)


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("length", [4096, 4095])
@pytest.mark.parametrize("claimed", [8, 16])
def test_entries_of_eight_bits_may_be_packed_two_in_a_word(
    write: ImageWriter, syntax: str, vr: str, length: int, claimed: int
) -> None:
    """The low byte comes first, as words are read: DCMTK unpacks them so."""
    packed = np.append(scaled(255)[:length].astype(np.uint8), [0] * (length % 2))
    words = packed.astype(np.uint8).view("<u2")
    order = ">u2" if syntax == BIG_ENDIAN else "<u2"
    entries = words.astype(order).tobytes() if vr == "OW" else words.tolist()
    tags = {"BitsStored": 12, "VOILUTSequence": lut([length, 0, claimed], entries)}
    assert_shown(write(chest(12), syntax, **tags), CURVED)


def test_entries_of_eight_bits_in_words_of_their_own_are_read_as_they_are(
    write: ImageWriter,
) -> None:
    assert_shown(
        write(chest(12), BitsStored=12, VOILUTSequence=lut([4096, 0, 8], scaled(255))), CURVED
    )


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_the_first_value_may_be_written_with_the_other_sign(
    write: ImageWriter, sequence: str
) -> None:
    window: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}
    tags = window if sequence == "ModalityLUTSequence" else {}
    high = chest(12) + np.uint16(40000)
    tables = lut([4096, 40000 - 65536, 12], scaled(4095), descriptor_vr="SS")
    assert_shown(write(high, **tags, **{sequence: tables}), CURVED)
    low = chest(12).astype(np.int16) - 2048
    tables = lut([4096, 65536 - 2048, 12], scaled(4095))
    assert_shown(write(low, BitsStored=12, **tags, **{sequence: tables}), CURVED)
    below = lut([4196, -100, 12], [0] * 100 + scaled(4095).tolist(), descriptor_vr="SS")
    assert_shown(write(chest(12), BitsStored=12, **tags, **{sequence: below}), CURVED)


def test_a_table_longer_than_a_signed_number_can_say(write: ImageWriter) -> None:
    entries = np.rint(65535 * (np.arange(40000) / 39999) ** 0.7).astype("<u2")
    values = np.rint(SHARE * 39999).astype(np.uint16)
    path = write(values, VOILUTSequence=lut([40000, 0, 16], entries.tobytes()))
    descriptor = b"US\x06\0" + (40000).to_bytes(2, "little")
    assert path.read_bytes().count(descriptor) == 1
    path.write_bytes(path.read_bytes().replace(descriptor, b"SS" + descriptor[2:]))
    assert_shown(path, resize_exactly(SHARE**0.7, SIZE))
    whole = np.rint(65535 * (np.arange(65536) / 65535) ** 0.7).astype("<u2")
    tables = lut([0, 0, 16], whole.tobytes())
    values = np.rint(SHARE * 65535).astype(np.uint16)
    assert_shown(write(values, VOILUTSequence=tables), resize_exactly(SHARE**0.7, SIZE))


def test_a_damaged_table_gives_way_and_says_so(write: ImageWriter) -> None:
    damaged = lut([4096, 0], scaled(4095))
    window: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096, "BitsStored": 12}
    expected = resize_exactly(SHARE, SIZE)
    assert_shown(write(chest(12), VOILUTSequence=damaged, **window), expected)
    assert_shown(write(chest(12), VOILUTSequence=damaged, BitsStored=12), expected, NO_VOI)
    # What the values are is not known, so the window is not of them.
    assert_shown(write(chest(12), ModalityLUTSequence=damaged, **window), expected, NO_VOI)


def test_the_second_table_is_used_where_the_first_shows_nothing(write: ImageWriter) -> None:
    tables = lut([4096, 0, 12], [4095] * 4096) + lut([4096, 0, 12], scaled(4095))
    assert_shown(write(chest(12), BitsStored=12, VOILUTSequence=tables), CURVED, OTHER_VOI)


# ---- Windows ----


def window_of(centre: float, width: float) -> NDArray[np.int_]:
    return resize_exactly((chest(12) - (centre - 0.5)) / (width - 1) + 0.5, SIZE)


@pytest.mark.parametrize(
    ("centre", "width"),
    [
        (["0", "1500"], ["0", "2000"]),
        (["1500", "1500"], ["-2000", "2000"]),
        (["", "1500"], ["", "2000"]),
    ],
)
def test_the_first_window_that_is_one_is_used(write: ImageWriter, centre: Any, width: Any) -> None:
    path = write(chest(12), BitsStored=12, WindowCenter=centre, WindowWidth=width)
    assert_shown(path, window_of(1500, 2000))


@pytest.mark.parametrize("multiple", [False, True])
def test_decimal_commas_are_read(write: ImageWriter, multiple: bool) -> None:
    places = {"1500.5": "1500,5", "2000.5": "2000,5"}
    tags: dict[str, Any] = {"WindowCenter": "1500.5", "WindowWidth": "2000.5"}
    if multiple:
        tags = {"WindowCenter": ["1500.5", "9"], "WindowWidth": ["2000.5", "9"]}
    path = write(chest(12), BitsStored=12, **tags)
    content = path.read_bytes()
    for point, comma in places.items():
        assert point.encode() in content
        content = content.replace(point.encode(), comma.encode())
    path.write_bytes(content)
    assert_shown(path, window_of(1500.5, 2000.5))


def test_a_rescale_with_decimal_commas_is_read(write: ImageWriter) -> None:
    path = write(
        chest(12), BitsStored=12, RescaleSlope="0.50", RescaleIntercept="100.50",
        WindowCenter=850.5, WindowWidth=1000,
    )  # fmt: skip
    plain = view_pixels(path, SIZE)
    path.write_bytes(path.read_bytes().replace(b"0.50", b"0,50").replace(b"100.50", b"100,50"))
    assert np.array_equal(view_pixels(path, SIZE), plain)


@pytest.mark.parametrize(("centre", "width"), [(0, 0), (2048, -5), ("x", "y")])
def test_a_window_that_is_none_is_noted(write: ImageWriter, centre: Any, width: Any) -> None:
    path = write(chest(12), BitsStored=12, WindowCenter="1500.0", WindowWidth="2000.0")
    content = path.read_bytes()
    for old, new in (("1500.0", centre), ("2000.0", width)):
        content = content.replace(old.encode(), f"{new}".ljust(6).encode())
    path.write_bytes(content)
    # Text that is no number is as good as no window.
    notes = () if centre == "x" else (NO_VOI,)
    assert_shown(path, resize_exactly(SHARE, SIZE), *notes)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("border", [None, 0, 65535])
def test_a_window_of_other_values_gives_way_to_the_films_own_range(
    write: ImageWriter, photometric: str, border: int | None
) -> None:
    """A dead border keeps such a view from being of one grey, and would take most of the range."""
    values = chest(12) + np.uint16(30000)
    share = 1 - SHARE if photometric == "MONOCHROME1" else SHARE.copy()
    tags = {"WindowCenter": 2048, "WindowWidth": 4096, "PhotometricInterpretation": photometric}
    if border is not None:
        values[:, :14] = border
        share[:, :14] = (border == 65535) ^ (photometric == "MONOCHROME1")
    rendering = render(write(values, **tags), SIZE)
    assert np.abs(rendering.view - resize_exactly(share, SIZE)).max() <= 3
    assert rendering.notes == (NO_VOI,)


def test_a_border_takes_no_range_from_a_film_without_a_window(write: ImageWriter) -> None:
    values, share = chest(12) + np.uint16(30000), SHARE.copy()
    values[:, :14], values[:, -9:], share[:, :14], share[:, -9:] = 0, 65535, 0, 1
    rendering = render(write(values), SIZE)
    assert np.abs(rendering.view - resize_exactly(share, SIZE)).max() <= 3
    assert rendering.notes == ()


@pytest.mark.parametrize(
    ("centre", "width"),
    [(30000, 4000), (-3000, 100), (2048, 200_000), (0, 1)],
    ids=["black", "white", "grey", "a step"],
)
def test_a_view_of_one_grey_is_never_shown_for_a_film(
    write: ImageWriter, centre: int, width: int
) -> None:
    path = write(chest(12), BitsStored=12, WindowCenter=centre, WindowWidth=width)
    assert_shown(path, resize_exactly(SHARE, SIZE), NO_VOI)


def test_another_window_of_the_header_comes_before_the_films_own_range(write: ImageWriter) -> None:
    path = write(chest(12), BitsStored=12, WindowCenter=[30000, 1500], WindowWidth=[4000, 2000])
    assert_shown(path, window_of(1500, 2000), OTHER_VOI)


def test_a_reduced_image_falls_back_on_the_whole_one(write: ImageWriter) -> None:
    samples = chest(12, side=300)
    data = bytes(encode_all(samples, 12)["1.2.840.10008.1.2.4.90"])
    path = write(
        data, "1.2.840.10008.1.2.4.90", Rows=300, Columns=332, BitsStored=12, WindowCenter=30000,
        WindowWidth=4000,
    )  # fmt: skip
    assert_shown(path, resize_exactly(samples / 4095, SIZE), NO_VOI)


@pytest.mark.parametrize("shape", ["", "IDENTITY", "INVERSE"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_header_that_says_both_light_and_dark_is_noted(
    write: ImageWriter, photometric: str, shape: str
) -> None:
    path = write(
        chest(12), BitsStored=12, WindowCenter=2048, WindowWidth=4096,
        PhotometricInterpretation=photometric, PresentationLUTShape=shape,
    )  # fmt: skip
    is_light = photometric == "MONOCHROME1" or shape == "INVERSE"
    is_unclear = (photometric == "MONOCHROME1", shape) in ((True, "IDENTITY"), (False, "INVERSE"))
    expected = resize_exactly(1 - SHARE if is_light else SHARE, SIZE)
    assert_shown(path, expected, *([PERHAPS_NEGATIVE] if is_unclear else []))


# ---- Films that show nothing ----


@pytest.mark.parametrize("value", [0, 2000, 4095])
@pytest.mark.parametrize("is_window", [False, True])
def test_a_film_of_one_value_is_empty(write: ImageWriter, value: int, is_window: bool) -> None:
    window = {"WindowCenter": 2048, "WindowWidth": 4096} if is_window else {}
    path = write(np.full((300, 300), value, np.uint16), BitsStored=12, **window)
    assert render(path, SIZE).is_empty


def test_an_exposure_of_nothing_with_a_letter_on_it_is_empty(write: ImageWriter) -> None:
    """Noise averages out, and a marker is no film."""
    samples = np.random.default_rng(0).normal(2000, 5, (1500, 1500)).astype(np.uint16)
    samples[100:160, 100:140] = 4095
    assert render(write(samples, BitsStored=12), SIZE).is_empty


def test_a_film_in_colour_is_judged_too(write: ImageWriter) -> None:
    samples = np.full((50, 50, 3), 255, np.uint8)
    path = write(samples, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    assert render(path, SIZE).is_empty


# ---- Padding ----


def padded(value: int) -> tuple[NDArray[np.uint16], NDArray[np.int_]]:
    """Return samples from 1,000 on with a border, and the view without a window."""
    samples, share = chest(12) // 2 + np.uint16(1000), SHARE.copy()
    samples[:, :20] = value
    share[:, :20] = 0
    low, high = samples[:, 20:].min(), samples[:, 20:].max()
    share[:, 20:] = (samples[:, 20:] - float(low)) / (high - low)
    return samples, resize_exactly(share, SIZE)


@pytest.mark.parametrize(
    ("border", "bits", "vr", "tags"),
    [
        (65535, 16, "SS", {"PixelPaddingValue": -1}),
        (65535, 16, "US", {"PixelPaddingValue": 65535}),
        (65000, 16, "SS", {"PixelPaddingValue": -1, "PixelPaddingRangeLimit": 64000 - 65536}),
        (65000, 16, "SS", {"PixelPaddingValue": 64000 - 65536, "PixelPaddingRangeLimit": -1}),
        (3500, 12, "US", {"PixelPaddingValue": 3400, "PixelPaddingRangeLimit": 4095}),
        (3500, 12, "US", {"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 3400}),
        (65535, 12, "US", {"PixelPaddingValue": 65535}),
    ],
)
def test_padding_is_black_and_out_of_the_range(
    tmp_path: Path, border: int, bits: int, vr: str, tags: dict[str, int]
) -> None:
    samples, expected = padded(border)
    path = write_image(tmp_path / "image.dcm", samples, BitsStored=bits)
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        dataset.add_new(keyword, vr, value)
    dataset.save_as(path)
    assert np.abs(view_pixels(path, SIZE) - expected).max() <= 3


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2048, "WindowWidth": 4096}])
def test_padding_that_covers_the_whole_film_is_none(tmp_path: Path, window: dict[str, Any]) -> None:
    path = write_image(tmp_path / "image.dcm", chest(12), BitsStored=12, **window)
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", 0)
    dataset.add_new("PixelPaddingRangeLimit", "US", 4095)
    dataset.save_as(path)
    assert_shown(path, resize_exactly(SHARE, SIZE), NO_PADDING)


def test_padding_of_signed_pixels_may_be_written_without_its_sign(tmp_path: Path) -> None:
    samples, expected = padded(1000)
    signed = samples.astype(np.int16) - 2000
    signed[:, :20] = -2048
    path = write_image(tmp_path / "image.dcm", signed, BitsStored=12)
    for value in (65536 - 2048, -2048):
        dataset = pydicom.dcmread(path)
        dataset.add_new("PixelPaddingValue", "US" if value > 0 else "SS", value)
        dataset.save_as(path)
        assert np.abs(view_pixels(path, SIZE) - expected).max() <= 3


# ---- Bits that are not stored ----


@pytest.mark.parametrize("high", [11, 15])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_that_are_not_stored_are_cut_off_in_every_codec(
    write: ImageWriter, high: int, signed: bool
) -> None:
    """An overlay in the spare bits is not a part of the picture (PS3.5 8.1.2)."""
    samples = chest(12, side=300)
    patterns = (samples ^ np.uint16(0x800)) if signed else samples
    overlay = np.zeros_like(samples)
    overlay[60:75, 50:300] = 0xF
    overlay[::7, ::9] = 0xA
    patterns = patterns << 4 | overlay if high == 15 else overlay << 12 | patterns
    tags: dict[str, Any] = {
        "Rows": samples.shape[0], "Columns": samples.shape[1], "BitsStored": 12, "HighBit": high,
        "PixelRepresentation": int(signed), "WindowCenter": 0 if signed else 2048,
        "WindowWidth": 4096,
    }  # fmt: skip
    expected = resize_exactly(samples / 4095, SIZE)
    assert_shown(write(patterns.astype(np.uint16), **tags), expected)
    streams: dict[str, Any] = dict(encode_all(patterns.astype(np.uint16), 16))
    for syntax, data in streams.items():
        path = write(bytes(data), syntax, **tags)
        add_overlay(path, bit=0 if high == 15 else 12)
        rendering = render(path, SIZE)
        assert np.abs(rendering.view - expected).max() <= 2, syntax


def add_overlay(path: Path, bit: int) -> None:
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", bit)
    dataset.save_as(path)


# ---- The cases that strangers sent ----


@pytest.mark.parametrize(
    ("name", "mean", "notes"),
    [
        ("voi_lut_narrow/film", 141.7, ()),
        ("lut_data_ss/film", 141.7, ()),
        ("lut_8bit_packed/film", 141.7, ()),
        ("window_not_used/comma", 157.7, ()),
        ("window_not_used/first_zero", 157.7, ()),
        ("window_of_other_values/film", 111.6, (NO_VOI,)),
        ("padding_value_ss/film", 107.5, ()),
        ("overlay_bits_ljpeg/film", 115.7, ()),
        ("padding_after_eoi/film", 115.7, ()),
    ],
)
def test_films_that_were_shown_wrongly(
    samples: Path, name: str, mean: float, notes: tuple[str, ...]
) -> None:
    """The means are those of DCMTK's dcm2pnm, where it reads the file."""
    rendering = render(samples / "cases" / f"{name}.dcm", 224)
    assert rendering.view.mean() == pytest.approx(mean, abs=0.4)
    assert rendering.notes == notes
    whole = samples / "cases" / "overlay_bits_ljpeg" / "same_uncompressed.dcm"
    if name.startswith("overlay"):
        assert np.array_equal(rendering.view, view_pixels(whole, 224))
