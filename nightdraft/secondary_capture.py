"""Wraps a PNG or JPEG picture of a film as a DICOM Secondary Capture (PS3.3, A.8.1).

The header says no more than what is known of a picture: it is a radiograph that came as a picture
file. Body part, view, age and date stay open. Patient and UIDs are generated from the file's bytes,
so the same picture is the same study whenever it is sent.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from records.errors import NightdraftError

UID_ROOT = "2.25."
"""The root of generated UIDs; behind it is a UUID derived from the file's bytes (PS3.5, B.2)."""

MIN_SIDE = 256
"""A smaller picture is an icon or a preview, and no film."""
MAX_PIXELS = 80_000_000
"""The largest films have some 30 million."""

COLOUR_STEP = 24
"""Grey levels of 255 by which a channel may stray from what the brightness gives it."""
COLOUR_SHARE = 0.01
"""The share of pixels that may stray further: a coloured marker is no colour picture."""

_SIGNATURES = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff"}


class PictureRefused(NightdraftError):
    """The picture cannot stand for a film. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it is wrapped.

    Attributes:
        grey: Height and width, uint8 or uint16, black is 0.
        kind: "PNG" or "JPEG".
        remark: What was done to it, for people; "" where nothing was.
    """

    grey: NDArray[Any]
    kind: str
    remark: str


def picture_kind(start: bytes) -> str:
    """Return "PNG" or "JPEG" by the first bytes of a file; "" where it is neither."""
    return next((kind for kind, mark in _SIGNATURES.items() if start.startswith(mark)), "")


def read_picture(path: Path) -> Picture:
    """Read a picture, upright by its EXIF orientation, as shades of grey.

    Raises:
        OSError: The file cannot be opened.
        PictureRefused: It cannot be decoded, or it is none of one grey film: too small or too
            large, several frames, black and white only, or in colour.
    """
    with path.open("rb") as file:
        kind = picture_kind(file.read(8))
    try:
        opened = Image.open(path, formats=("PNG", "JPEG", "MPO"))
    except Exception:  # Pillow raises many types for what is damaged
        raise PictureRefused("it cannot be read as a picture") from None
    with opened as image:
        _check_shape(image)
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
        except Exception:
            raise PictureRefused("it cannot be decoded: it is damaged or was cut off") from None
        remarks = ["turned upright"] if image.getexif().get(0x0112, 1) != 1 else []
        if upright.mode in ("L", "I", "F") or upright.mode.startswith("I;16"):
            grey = _whole_numbers(np.asarray(upright))
        else:
            grey, had_colours = _to_grey(upright)
            remarks += ["turned grey"] * had_colours
    return Picture(grey, kind, ", ".join(remarks))


def wrap_picture(path: Path) -> tuple[Dataset, Picture]:
    """Return a picture as a Secondary Capture with its file meta group, and what was read.

    Modality is RG, radiographic imaging, which claims no device. (0028,0301) Burned In Annotation
    is YES, for nobody can rule out that a name is in the picture.

    Raises:
        OSError: The file cannot be opened.
        PictureRefused: As `read_picture`.
    """
    picture = read_picture(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    short = digest[:10].upper()
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.SOPInstanceUID = _uid(digest, "image")
    ds.StudyDate = ds.StudyTime = ""
    ds.AccessionNumber = f"PIC{short}"
    ds.Modality = "RG"
    ds.ConversionType = "WSD"  # workstation: PS3.3, C.8.6.1
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = ds.SeriesDescription = f"{picture.kind} picture"
    ds.PatientName = f"PICTURE^{short}"
    ds.PatientID = f"PICTURE{short}"
    ds.PatientBirthDate = ds.PatientSex = ""
    ds.SecondaryCaptureDeviceManufacturer = "Nightdraft"
    remark = f", {picture.remark}" if picture.remark else ""
    ds.DerivationDescription = f"Wrapped from a {picture.kind} picture{remark}"
    ds.StudyInstanceUID = _uid(digest, "study")
    ds.SeriesInstanceUID = _uid(digest, "series")
    ds.StudyID = short
    ds.SeriesNumber = ds.InstanceNumber = 1
    ds.PatientOrientation = None
    ds.BurnedInAnnotation = "YES"
    _put_pixels(ds, picture.grey)
    if picture.kind == "JPEG":
        # PS3.3, C.7.6.1.1.5: it stays lossy, although it is sent uncompressed.
        ds.LossyImageCompression = "01"
        ds.LossyImageCompressionRatio = round(picture.grey.nbytes / path.stat().st_size, 2)
        ds.LossyImageCompressionMethod = "ISO_10918_1"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds, picture


def _uid(digest: str, part: str) -> str:
    name = f"nightdraft picture/{digest}/{part}"
    return f"{UID_ROOT}{uuid.uuid5(uuid.NAMESPACE_URL, name).int}"


def _check_shape(image: Image.Image) -> None:
    """Refuse by the header what need not be decoded."""
    if min(image.size) < MIN_SIDE:
        raise PictureRefused(f"it is an icon or a preview, below {MIN_SIDE} pixels a side")
    if image.width * image.height > MAX_PIXELS:
        raise PictureRefused(f"it has more than {MAX_PIXELS // 1_000_000} million pixels")
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise PictureRefused("it has several frames: save each film as a picture of its own")
    if image.mode == "1":
        raise PictureRefused("it has black and white only: save it with shades of grey")


def _whole_numbers(grey: NDArray[Any]) -> NDArray[Any]:
    """Return grey values as uint8 or uint16; Pillow may widen those of 16 bits."""
    if grey.dtype == np.uint8:
        return grey
    words: NDArray[Any] = np.clip(grey, 0, 65535).astype(np.uint16)
    return words


def _to_grey(image: Image.Image) -> tuple[NDArray[np.uint8], bool]:
    """Return the brightness of a picture, and whether its channels differed.

    A blue film base or a warm light box gives each brightness one hue, which is no information. A
    picture whose hues differ at one brightness is a photograph of something, or has an overlay.

    Raises:
        PictureRefused: It is in colour.
    """
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layers.size, "black"), layers)
    rgb = image.convert("RGB")
    grey = np.asarray(rgb.convert("L"))
    step = max(1, round((grey.size / 250_000) ** 0.5))
    channels = np.asarray(rgb)[::step, ::step].astype(np.float64)
    brightness = grey[::step, ::step].astype(np.float64)
    centred = brightness - brightness.mean()
    spread = float((centred**2).sum()) or 1.0
    stray = np.zeros(brightness.shape)
    for channel in np.moveaxis(channels, 2, 0):
        slope = float((centred * (channel - channel.mean())).sum()) / spread
        stray = np.maximum(stray, np.abs(channel - channel.mean() - slope * centred))
    if float((stray > COLOUR_STEP).mean()) > COLOUR_SHARE:
        raise PictureRefused("it is in colour, and a film has none: save it in shades of grey")
    had_colours = bool(np.ptp(channels, axis=2).max(initial=0) > 2)
    return grey, had_colours


def _put_pixels(ds: Dataset, grey: NDArray[Any]) -> None:
    bits = grey.dtype.itemsize * 8
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = grey.shape
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = 0
    content = grey.astype(grey.dtype.newbyteorder("<")).tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OB" if bits == 8 else "OW"
