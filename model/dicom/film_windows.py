"""The windows and LUTs of a film from which a viewer begins, and which of them is shown first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.dicom.grey_scale import GreyScale, Values, own_limits
from model.dicom.header import Layout
from model.dicom.pixel_data import StoredArray
from model.dicom.pixels import NO_PADDING, NO_VOI, OTHER_VOI, shows_nothing

MAX_NAME = 64
"""Characters of a window's name that are delivered, as many as a Long String may have (PS3.5)."""

_JUDGED_SIDE = 448  # samples of the longer side of the view by which a window is judged


def list_presets(
    scale: GreyScale, layout: Layout, stored: StoredArray, counts: NDArray[np.int64]
) -> tuple[list[dict[str, Any]], list[Values], int, NDArray[np.bool_], list[str]]:
    """Return presets, the shares of LUTs, which preset is first, the padding, and notes.

    A window is judged as for the network's view, so that picture and film look alike.
    """
    presets: list[dict[str, Any]] = []
    luts: list[Values] = []
    shares: list[Values] = []
    limits = own_limits(scale.values, np.where(scale.padding, 0, counts))
    for voi in scale.vois:
        if voi.share is None:
            continue
        number = len(presets) + 1
        shares.append(voi.share)
        if voi.window is not None:
            function = voi.function if voi.function in ("SIGMOID", "LINEAR_EXACT") else "LINEAR"
            name = voi.name or f"Window {number} of the film"
            presets.append(_window(name, function, *voi.window))
        else:
            centre, width = _window_of_lut(voi.share, scale.values, limits)
            presets.append(
                _window(voi.name or f"Lookup table {number} of the film", "LUT", centre, width)
                | {"lut": len(luts)}
            )
            luts.append(voi.share)
    if not scale.vois and layout.stored <= 8 and scale.values is scale.raw and not layout.signed:
        # Eight bits without a window were made for display, so they are shown unchanged.
        white = float(2**layout.stored - 1)
        shares.append(scale.raw / white)
        presets.append(_window("As stored", "LINEAR_EXACT", white / 2, white))
    padding, notes = scale.padding, []
    step = max(1, max(stored.shape) // _JUDGED_SIDE)
    view = stored[::step, ::step]
    first = _first_that_shows(scale, shares, padding, view)
    if first is None and padding.any() and not _shows(scale, limits, padding, view):
        bare, whole = np.zeros_like(padding), own_limits(scale.values, counts)
        first = _first_that_shows(scale, shares, bare, view)
        if first is not None or _shows(scale, whole, bare, view):
            padding, limits = bare, whole
            notes.append(NO_PADDING)
    if first is None:
        first = len(presets)
        if scale.vois:
            notes.append(NO_VOI)
    elif first > 0:
        notes.append(OTHER_VOI)
    low, high = limits or (float(scale.values.min()), float(scale.values.max()))
    width = (high - low) or 1.0
    presets.append(_window("Range of this film", "LINEAR_EXACT", (low + high) / 2, width))
    ends = (("Dark parts", low + width / 4), ("Light parts", high - width / 4))
    if scale.is_inverted:
        ends = (("Dark parts", ends[1][1]), ("Light parts", ends[0][1]))
    presets += [_window(name, "LINEAR_EXACT", centre, width / 2) for name, centre in ends]
    return presets, luts, min(first, len(presets) - 1), padding, notes


def _window(name: str, function: str, centre: float, width: float) -> dict[str, Any]:
    return {"name": name[:MAX_NAME], "function": function, "centre": centre, "width": width}


def _first_that_shows(
    scale: GreyScale, shares: list[Values], padding: NDArray[np.bool_], view: StoredArray
) -> int | None:
    for number, share in enumerate(shares):
        if not shows_nothing(_levels(scale, share, padding).take(view)):
            return number
    return None


def _levels(scale: GreyScale, share: Values, padding: NDArray[np.bool_]) -> NDArray[np.uint8]:
    levels = np.rint(255 * np.clip(1 - share if scale.is_inverted else share, 0, 1))
    levels[padding] = 0
    return levels.astype(np.uint8)


def _shows(
    scale: GreyScale,
    limits: tuple[float, float] | None,
    padding: NDArray[np.bool_],
    view: StoredArray,
) -> bool:
    """Return whether the range between two values shows something."""
    if limits is None:
        return False
    low, high = limits
    share = np.asarray((scale.values - low) / ((high - low) or 1.0))
    return not shows_nothing(_levels(scale, share, padding).take(view))


def _window_of_lut(
    share: Values, values: Values, limits: tuple[float, float] | None
) -> tuple[float, float]:
    """Return the centre and width of the window from which changing a LUT's window begins."""
    inner = values[(share > 0.02) & (share < 0.98)]
    if inner.size:
        low, high = float(inner.min()), float(inner.max())
    else:
        low, high = limits or (float(values.min()), float(values.max()))
    return (low + high) / 2, (high - low) or 1.0
