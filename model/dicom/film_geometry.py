"""What a film's header says of its sizes and of its view: spacing, shape of pixels, orientation."""

from __future__ import annotations

import math
from typing import Any

import pydicom

SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
VIEW = (
    "ViewPosition", "ImageLaterality", "Laterality", "PatientOrientation", "BodyPartExamined",
)  # fmt: skip


def find_spacing(header: pydicom.Dataset, block: int) -> dict[str, Any] | None:
    """Return the spacing of samples and where it is measured (PS3.3 10.7.1.3, C.8.11.4).

    Pixel Spacing (0028,0030) of a projection is calibrated if (0028,0A02) says so, or if it differs
    from Imager Pixel Spacing (0018,1164), which is at the front of the detector. Where both are
    equal it is that of the detector, too. Alone and without (0028,0A02) it may be either.
    """
    calibrated, detector, scanned = (_pair(header, keyword) for keyword in SPACINGS)
    kind = str(header.get("PixelSpacingCalibrationType") or "").strip().upper()
    if calibrated and (kind or (detector and not _are_equal(calibrated, detector))):
        pair, at = calibrated, "CALIBRATED"
    elif detector:
        pair, at = detector, "DETECTOR"
    elif calibrated:
        pair, at = calibrated, "UNKNOWN"
    elif scanned:
        pair, at = scanned, "SCANNED"
    else:
        return None
    return {"rows": pair[0] * block, "columns": pair[1] * block, "at": at}


def _pair(header: pydicom.Dataset, keyword: str) -> tuple[float, float] | None:
    """Return two numbers above 0; None where the header does not give them."""
    try:
        first, second = (float(number) for number in header.get(keyword) or ())
    except (TypeError, ValueError):
        return None
    if not (0 < first < math.inf and 0 < second < math.inf):
        return None
    return first, second


def _are_equal(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-4) for a, b in zip(first, second, strict=True))


def find_aspect(header: pydicom.Dataset, spacing: dict[str, Any] | None) -> float:
    """Return the height of a pixel by its width, by its spacing or else (0028,0034)."""
    pair = _pair(header, "PixelAspectRatio")
    aspect = pair[0] / pair[1] if pair else 1.0
    if spacing:
        aspect = spacing["rows"] / spacing["columns"]
    return aspect if 0.2 <= aspect <= 5 else 1.0


def describe_view(header: pydicom.Dataset) -> dict[str, str]:
    """Return what the header says of the view, as `FilmHeader.view` holds it."""
    orientation = header.get("PatientOrientation") or ""
    if not isinstance(orientation, str):
        orientation = "\\".join(str(part) for part in orientation)
    laterality = header.get("ImageLaterality") or header.get("Laterality") or ""
    fields = {
        "position": header.get("ViewPosition") or "",
        "laterality": laterality,
        "orientation": orientation,
        "body_part": header.get("BodyPartExamined") or "",
    }
    return {name: str(value).strip()[:16] for name, value in fields.items()}
