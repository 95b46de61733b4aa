"""Films for the viewer: every sample comes back, and the header says what it means."""

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut

from model.dicom.film_format import pack, unpack
from model.dicom.film_pixels import COLOUR, read_film
from model.dicom.film_windows import MAX_NAME
from model.dicom.image_process import ImageProcess, compress
from model.dicom.pixels import NO_PADDING, NO_VOI, OTHER_VOI, render
from model.errors import HeaderLimit, NoPixels, PixelError
from tests.support.dicom_images import (
    BIG_ENDIAN,
    chest,
    encode_all,
    lut_item,
    write_image,
)

FRAMES = "1.2.840.10008.1.2.4.80"


@pytest.fixture
def write(tmp_path):
    def write(samples, syntax="1.2.840.10008.1.2.1", **tags):
        return write_image(tmp_path / "image.dcm", samples, syntax, **tags)

    return write


def values(film):
    header = film.header
    return (film.samples.astype(float) + header.offset) * header.slope + header.intercept


def grey(film, preset=None):
    """The film's grey levels by the rules of the module's description alone."""
    header = film.header
    window = header.presets[header.preset if preset is None else preset]
    if window["function"] == "LUT":
        share = film.luts[window["lut"]][film.samples] / 65535
    else:
        centre, width, value = window["centre"], window["width"], values(film)
        share = {
            "LINEAR": lambda: (value - (centre - 0.5)) / (width - 1) + 0.5,
            "LINEAR_EXACT": lambda: (value - centre) / width + 0.5,
            "SIGMOID": lambda: 1 / (1 + np.exp(-4 * (value - centre) / width)),
        }[window["function"]]()
    levels = np.rint(255 * np.clip(1 - share if header.inverted else share, 0, 1))
    if header.padding:
        levels[(film.samples >= header.padding[0]) & (film.samples <= header.padding[1])] = 0
    return levels


def assert_looks_like_its_picture(path, film):
    """The film by its first preset is what the picture of the page shows."""
    side = max(film.samples.shape)
    picture = np.asarray(render(path, 224).picture(side)).astype(int)
    assert picture.shape == film.samples.shape
    assert np.abs(picture - grey(film)).max() <= 1


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_every_codec_gives_every_sample(write, bits):
    drawn = chest(bits)
    size = {"Rows": drawn.shape[0], "Columns": drawn.shape[1], "BitsStored": bits}
    files = {None: drawn, BIG_ENDIAN: drawn, "1.2.840.10008.1.2.1": drawn}
    for syntax, data in (files | encode_all(drawn, bits)).items():
        path = write(data, syntax or "1.2.840.10008.1.2.1", **size)
        film = unpack(pack(read_film(path)))
        assert np.array_equal(film.samples, drawn), syntax
        assert film.header.bits == bits
        assert film.header.range == (0, 2**bits - 1)
        assert (film.header.offset, film.header.slope, film.header.intercept) == (0, 1, 0)
        assert film.header.notes == ()
        assert_looks_like_its_picture(path, film)


def test_what_is_packed_is_as_described(write):
    drawn = np.array([[1, 3, 65535], [0, 256, 2]], np.uint16)
    content = pack(read_film(write(drawn)))
    assert content[:4] == b"NDF1"
    (length,) = struct.unpack("<I", content[4:8])
    assert length % 4 == 0
    planes = content[8 + length :]
    differences = [1, 2, 65532, 65535, 256, 65282]
    assert planes == bytes(n >> 8 for n in differences) + bytes(n & 255 for n in differences)


@pytest.mark.parametrize("harm", [b"", b"NDF1", b"JPEG", "cut"])
def test_what_is_no_film_is_not_unpacked(write, harm):
    content = pack(read_film(write(chest())))
    with pytest.raises(ValueError, match=r"no film|cut off|Expecting"):
        unpack(content[:-1] if harm == "cut" else harm + bytes(4 * (harm == b"NDF1")))


def test_signed_and_rescaled_values_are_those_of_pydicom(write):
    drawn = (chest(12).astype(np.int16) - 1000) * 7 // 8
    path = write(
        drawn, RescaleSlope="0.5", RescaleIntercept="-12.25", WindowCenter=100, WindowWidth=900
    )
    film = unpack(pack(read_film(path)))
    dataset = pydicom.dcmread(path)
    assert np.array_equal(values(film), apply_modality_lut(dataset.pixel_array, dataset))
    assert film.header.signed
    assert film.header.offset == -(2**15)
    assert_looks_like_its_picture(path, film)


def test_a_modality_lut_is_applied(write):
    entries = [int(4095 * (n / 4095) ** 0.5) for n in range(4096)]
    path = write(chest(12), BitsStored=12, ModalityLUTSequence=[lut_item(0, 12, entries)])
    film = read_film(path)
    assert np.array_equal(film.samples, np.array(entries)[chest(12)])
    assert (film.header.offset, film.header.slope, film.header.intercept) == (0, 1, 0)
    assert_looks_like_its_picture(path, film)


def test_windows_of_the_header_are_presets_by_their_names(write):
    path = write(
        chest(12), BitsStored=12, WindowCenter=[2000, 1000, 500], WindowWidth=[3000, 500, 0],
        WindowCenterWidthExplanation=["NORMAL", "x" * 64, "NO WIDTH"], VOILUTFunction="SIGMOID",
    )  # fmt: skip
    presets = read_film(path).header.presets
    assert [preset["name"] for preset in presets] == [
        "NORMAL", "x" * MAX_NAME, "Range of this film", "Dark parts", "Light parts",
    ]  # fmt: skip
    assert [preset["function"] for preset in presets[:3]] == ["SIGMOID", "SIGMOID", "LINEAR_EXACT"]
    assert [presets[0][key] for key in ("centre", "width")] == [2000, 3000]
    assert presets[3]["centre"] < presets[4]["centre"]
    assert_looks_like_its_picture(path, read_film(path))


def test_a_voi_lut_is_a_preset(write):
    entries = [int(1023 * np.sin(n / 4095 * np.pi / 2)) for n in range(4096)]
    item = lut_item(0, 10, entries)
    item.LUTExplanation = "CHEST"
    path = write(chest(12), BitsStored=12, VOILUTSequence=[item], WindowCenter=9, WindowWidth=9)
    film = unpack(pack(read_film(path)))
    assert [preset["name"] for preset in film.header.presets][:2] == [
        "CHEST",
        "Window 2 of the film",
    ]
    assert film.luts.shape == (1, 4096)
    assert_looks_like_its_picture(path, film)


def test_a_window_that_shows_nothing_is_not_the_first_one(write):
    path = write(chest(12), BitsStored=12, WindowCenter=[60000, 2000], WindowWidth=[10, 4000])
    film = read_film(path)
    assert film.header.preset == 1
    assert film.header.notes == (OTHER_VOI,)
    path = write(chest(12), BitsStored=12, WindowCenter=60000, WindowWidth=10)
    film = read_film(path)
    assert film.header.presets[film.header.preset]["name"] == "Range of this film"
    assert film.header.notes == (NO_VOI,)
    assert_looks_like_its_picture(path, film)


@pytest.mark.parametrize("tags", [
    {"PhotometricInterpretation": "MONOCHROME1"},
    {"PresentationLUTShape": "INVERSE"},
])  # fmt: skip
def test_low_values_may_be_light(write, tags):
    path = write(chest(12), BitsStored=12, **tags)
    film = read_film(path)
    assert film.header.inverted
    names = {preset["name"]: preset["centre"] for preset in film.header.presets}
    assert names["Dark parts"] > names["Light parts"]
    assert_looks_like_its_picture(path, film)


def test_eight_bits_are_shown_as_stored(write):
    drawn = chest(8).astype(np.uint8)
    path = write(drawn)
    film = unpack(pack(read_film(path)))
    assert np.array_equal(film.samples, drawn)
    assert film.header.bits == 8
    assert np.array_equal(grey(film), drawn)


@pytest.mark.parametrize(("value", "limit"), [(4000, 4095), (65535, None)])
def test_padding_is_a_range_of_its_own(write, value, limit):
    drawn = np.minimum(chest(12), 3900)
    drawn[:, :20] = value
    tags = {"PixelPaddingRangeLimit": limit} if limit else {}
    path = write(drawn, BitsStored=12, PixelPaddingValue=value, **tags)
    film = unpack(pack(read_film(path)))
    first, last = film.header.padding
    is_padding = (film.samples >= first) & (film.samples <= last)
    assert is_padding[:, :20].all()
    assert not is_padding[:, 20:].any()
    assert np.array_equal(film.samples[:, 20:], drawn[:, 20:])
    assert film.header.range[1] == 3900
    assert_looks_like_its_picture(path, film)


def test_padding_above_the_stored_bits_is_told_from_white(write):
    drawn = chest(12)
    drawn[:, :20] = 65535
    path = write(drawn, BitsStored=12, PixelPaddingValue=65535)
    film = read_film(path)
    assert film.header.padding == (4096, 4096)
    assert film.header.bits == 13
    assert (film.samples[:, 20:] == 4095).any()
    assert_looks_like_its_picture(path, film)


def test_padding_that_covers_everything_is_none(write):
    path = write(chest(12), BitsStored=12, PixelPaddingValue=0, PixelPaddingRangeLimit=4095)
    film = read_film(path)
    assert film.header.padding is None
    assert NO_PADDING in film.header.notes
    assert_looks_like_its_picture(path, film)


def test_colour_is_shown_by_its_brightness(write):
    colours = np.stack([chest(8), 255 - chest(8), chest(8) // 2], axis=-1).astype(np.uint8)
    path = write(
        colours, PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0,
        WindowCenter=1, WindowWidth=1,
    )  # fmt: skip
    film = read_film(path)
    assert film.header.notes == (COLOUR,)
    assert film.header.bits == 8
    assert_looks_like_its_picture(path, film)


@pytest.mark.parametrize(
    "syntax", ["native", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", FRAMES]
)
def test_of_several_frames_the_first_one_is_shown(write, syntax):
    frames = [chest(12), 4095 - chest(12)]
    size = {"Rows": 96, "Columns": 128, "BitsStored": 12, "NumberOfFrames": 2}
    if syntax == "native":
        path = write(np.concatenate(frames), **size)
        dataset = pydicom.dcmread(path)
        dataset.Rows = 96
        dataset.save_as(path)
    else:
        path = write(encode_all(frames[0], 12)[syntax], syntax, **size)
        dataset = pydicom.dcmread(path)
        dataset.PixelData = encapsulate([encode_all(frame, 12)[syntax] for frame in frames])
        dataset.save_as(path)
    film = read_film(path)
    assert np.array_equal(film.samples, frames[0])
    assert film.header.notes == ("This object has 2 frames, and only the first one is shown.",)


def test_a_film_that_is_too_large_is_reduced_and_says_so(write):
    drawn = np.arange(70 * 101, dtype=np.uint16).reshape(70, 101)
    path = write(drawn, ImagerPixelSpacing=[0.1, 0.2])
    film = read_film(path, max_side=50)
    assert film.samples.shape == (24, 34)
    assert film.samples[0, 0] == drawn[:3, :3].mean()
    assert film.samples[0, 33] == np.rint(np.pad(drawn[:3, 99:], ((0, 0), (0, 1)), "edge").mean())
    assert (film.header.film_rows, film.header.film_columns) == (70, 101)
    assert "has 101 x 70 pixels. It is shown with its sides reduced to 1/3" in film.header.notes[0]
    assert film.header.spacing["columns"] == pytest.approx(0.6)
    assert film.header.aspect == 0.5


@pytest.mark.parametrize("large", [3072, 3073])
def test_the_limit_is_3072(write, large):
    film = read_film(write(np.zeros((4, large), np.uint16)))
    assert film.samples.shape == ((4, 3072) if large == 3072 else (2, 1537))


def test_padding_does_not_leak_into_a_reduced_film(write):
    drawn = np.full((60, 60), 1000, np.uint16)
    drawn[:, 31:] = 4095
    drawn[0, 0] = 0
    path = write(drawn, BitsStored=12, PixelPaddingValue=4095)
    film = read_film(path, max_side=30)
    assert (film.samples[1:, :16] == 1000).all()
    assert (film.samples[:, 16:] == 4095).all()


CALIBRATED = {"PixelSpacing": [0.1, 0.1], "ImagerPixelSpacing": [0.14, 0.14]}


@pytest.mark.parametrize(("tags", "expected"), [
    ({}, None),
    ({"ImagerPixelSpacing": [0.14, 0.14]}, (0.14, "DETECTOR")),
    ({"PixelSpacing": [0.14, 0.14], "ImagerPixelSpacing": [0.14, 0.14]}, (0.14, "DETECTOR")),
    (CALIBRATED, (0.1, "CALIBRATED")),
    ({"PixelSpacing": [0.1, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"}, (0.1, "CALIBRATED")),
    ({"PixelSpacing": [0.1, 0.1]}, (0.1, "UNKNOWN")),
    ({"NominalScannedPixelSpacing": [0.2, 0.2]}, (0.2, "SCANNED")),
    ({"PixelSpacing": [0, 0.1]}, None),
])  # fmt: skip
def test_spacing_says_where_it_is_measured(write, tags, expected):
    spacing = read_film(write(chest(), **tags)).header.spacing
    assert (spacing and (spacing["columns"], spacing["at"])) == expected


def test_the_view_is_that_of_the_header_and_the_patient_is_not_in_it(write):
    path = write(
        chest(), ViewPosition="PA", Laterality="U", PatientOrientation=["L", "F"],
        BodyPartExamined="CHEST", PatientName="PLANTED^NAME", PatientID="4711", WindowWidth=5,
    )  # fmt: skip
    content = pack(read_film(path))
    assert unpack(content).header.view == {
        "position": "PA", "laterality": "U", "orientation": "L\\F", "body_part": "CHEST",
    }  # fmt: skip
    assert b"PLANTED" not in content
    assert b"4711" not in content


def test_the_child_reads_films_and_reports_errors(write, tmp_path):
    process = ImageProcess(512, 10.0)
    try:
        path = write(chest(12), BitsStored=12)
        assert process.read_film(path, 3072) == compress(pack(read_film(path)))
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(PixelError, match="ends early"):
            process.read_film(path, 3072)
        dataset = pydicom.dcmread(write(chest(12)))
        del dataset.PixelData
        dataset.save_as(tmp_path / "image.dcm")
        with pytest.raises(NoPixels):
            process.read_film(tmp_path / "image.dcm", 3072)
        with pytest.raises(HeaderLimit):
            process.read_film(write(chest(12), Rows=20000), 3072)
        assert process.read_film(write(chest(12)), 3072)
    finally:
        process.close()


def test_jpeg_of_colour_is_read(write):
    colours = np.stack([chest(8)] * 3, axis=-1).astype(np.uint8)
    path = write(
        imagecodecs.jpeg8_encode(colours, level=95), "1.2.840.10008.1.2.4.50", Rows=96, Columns=128,
        BitsAllocated=8, BitsStored=8, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422",
    )  # fmt: skip
    film = read_film(Path(path))
    assert np.abs(film.samples.astype(int) - chest(8)).max() < 12
    assert film.header.notes == (COLOUR,)
