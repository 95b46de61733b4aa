"""Pictures of films: what is wrapped, how, and what is refused and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image

from intake.dicom.limits import is_radiograph
from model.dicom.instances import parse_instance
from model.dicom.pixels import view_pixels
from nightdraft.secondary_capture import MIN_SIDE, PictureRefused, read_picture, wrap_picture

HEIGHT, WIDTH = 300, 280


def ramp(dtype: Any = np.uint8, top: int = 255) -> NDArray[Any]:
    """A picture that tells its four corners apart."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    shades = (rows / HEIGHT * 0.75 + columns / WIDTH * 0.25) * top
    result: NDArray[Any] = shades.astype(dtype)
    return result


Save = Callable[[Any, str], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save(pixels: Any, name: str, **options: Any) -> Path:
        path = tmp_path / name
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(path, **options)
        return path

    return save  # type: ignore[return-value]


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.uint16, 4095)])
def test_greys_of_8_and_16_bits_are_kept_exactly(save: Save, dtype: Any, top: int) -> None:
    grey = ramp(dtype, top)
    ds, picture = wrap_picture(save(grey, "film.png"))
    assert (picture.kind, picture.remark) == ("PNG", "")
    assert np.array_equal(ds.pixel_array, grey)
    assert ds.BitsStored == grey.itemsize * 8
    assert ds.PhotometricInterpretation == "MONOCHROME2"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_stands_upright(save: Save, orientation: int) -> None:
    # How the upright picture lies in the file (Exif 2.32, table 6).
    stored = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, 3),
    }[orientation](ramp())
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(np.ascontiguousarray(stored), "film.png", exif=exif)  # type: ignore[call-arg]
    picture = read_picture(path)
    assert np.array_equal(picture.grey, ramp())
    assert picture.remark == ("" if orientation == 1 else "turned upright")


def test_grey_that_is_stored_in_colours_and_a_tinted_film_turn_grey(save: Save) -> None:
    grey = ramp().astype(float)
    plain = read_picture(save(Image.fromarray(ramp()).convert("RGB"), "rgb.png"))
    assert np.array_equal(plain.grey, ramp())
    assert plain.remark == ""
    # The blue base of a film that was scanned in colour.
    blue = np.stack([grey * 0.8, grey * 0.9, 40 + grey * 0.84], axis=-1).astype(np.uint8)
    tinted = read_picture(save(blue, "blue.jpg"))
    assert tinted.remark == "turned grey"
    assert np.corrcoef(tinted.grey.ravel(), grey.ravel())[0, 1] > 0.999
    # A small coloured marker does not make a colour picture.
    marked = np.stack([ramp()] * 3, axis=-1)
    marked[:20, :20] = (255, 255, 0)
    assert read_picture(save(marked, "marked.png")).remark == "turned grey"


def test_what_is_transparent_is_black(save: Save) -> None:
    shades = np.stack([ramp(), np.full((HEIGHT, WIDTH), 255, np.uint8)], axis=-1)
    shades[-50:, :, 1] = 0
    picture = read_picture(save(Image.fromarray(shades, "LA"), "cut-out.png"))
    assert np.array_equal(picture.grey[:-50], ramp()[:-50])
    assert not picture.grey[-50:].any()


def coloured() -> NDArray[np.uint8]:
    pixels = np.stack([ramp()] * 3, axis=-1)
    pixels[: HEIGHT // 3] = (200, 60, 30)
    pixels[HEIGHT // 3 : HEIGHT // 2] = (30, 90, 200)
    return pixels


@pytest.mark.parametrize(
    ("pixels", "name", "sentence"),
    [
        (Image.fromarray(coloured()), "photo.png", "it is in colour"),
        (Image.fromarray(coloured()), "photo.jpg", "it is in colour"),
        (Image.fromarray(coloured()).quantize(16), "palette.png", "it is in colour"),
        (Image.fromarray(coloured()).convert("CMYK"), "print.jpg", "it is in colour"),
        (Image.new("L", (MIN_SIDE - 1, 2000)), "icon.png", "an icon or a preview"),
        (Image.new("1", (300, 300)), "fax.png", "black and white only"),
    ],
)
def test_what_is_no_film_is_refused_with_the_reason(
    save: Save, pixels: Image.Image, name: str, sentence: str
) -> None:
    with pytest.raises(PictureRefused, match=sentence):
        read_picture(save(pixels, name))


def test_frames_and_too_many_pixels_are_refused(
    save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [Image.fromarray(ramp()), Image.fromarray(255 - ramp())]
    path = save(frames[0], "two.png", save_all=True, append_images=frames[1:])  # type: ignore[call-arg]
    with pytest.raises(PictureRefused, match="several frames"):
        read_picture(path)
    monkeypatch.setattr("nightdraft.secondary_capture.MAX_PIXELS", HEIGHT * WIDTH - 1)
    with pytest.raises(PictureRefused, match="million pixels"):
        read_picture(save(ramp(), "large.png"))


@pytest.mark.parametrize("name", ["film.png", "film.jpg"])
def test_a_damaged_picture_is_refused(save: Save, name: str) -> None:
    path = save(np.random.default_rng(0).integers(0, 255, (300, 300), dtype=np.uint8), name)
    content = path.read_bytes()
    for cut in (len(content) // 2, 40):
        path.write_bytes(content[:cut])
        with pytest.raises(PictureRefused, match="it cannot be"):
            read_picture(path)


def test_the_header_claims_no_more_than_is_known(save: Save, tmp_path: Path) -> None:
    ds, _ = wrap_picture(save(ramp(), "meier_anna_1956.jpg"))
    ds.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    ds = pydicom.dcmread(tmp_path / "film.dcm")
    assert "meier" not in str(ds).lower()
    assert ds.SOPClassUID.name == "Secondary Capture Image Storage"
    assert (ds.Modality, ds.ConversionType) == ("RG", "WSD")
    assert list(ds.ImageType) == ["DERIVED", "SECONDARY"]
    assert ds.BurnedInAnnotation == "YES"
    assert (ds.LossyImageCompression, ds.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert str(ds.PatientName).startswith("PICTURE^")
    assert not any([ds.StudyDate, ds.PatientBirthDate, ds.PatientSex])
    assert not {"BodyPartExamined", "ViewPosition", "PatientAge"} & {e.keyword for e in ds}
    # Type 1 and 2 elements of the modules of PS3.3, A.8.1.3, are there.
    assert all(keyword in ds for keyword in (
        "ReferringPhysicianName", "StudyID", "StudyTime", "AccessionNumber", "SeriesNumber",
        "InstanceNumber", "PatientOrientation"))  # fmt: skip
    assert is_radiograph(str(ds.SOPClassUID), str(ds.Modality))
    instance = parse_instance(ds)
    assert (instance.chest.answer, instance.rejected) == ("unknown", False)
    assert view_pixels(tmp_path / "film.dcm", 64).std() > 20


def test_the_same_picture_is_the_same_study_and_another_is_another(
    save: Save, tmp_path: Path
) -> None:
    first = save(ramp(), "a.png")
    copy = tmp_path / "b.png"
    copy.write_bytes(first.read_bytes())
    one, same = wrap_picture(first)[0], wrap_picture(copy)[0]
    other = wrap_picture(save(255 - ramp(), "c.png"))[0]
    assert one == same
    for keyword in ("StudyInstanceUID", "SOPInstanceUID", "PatientID", "AccessionNumber"):
        assert one[keyword].value != other[keyword].value
    assert len(one.AccessionNumber) <= 16
    assert len({one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID}) == 3
