"""Which images show an exposure that another image shows better: dual energy, processed copies.

One exposure may come as a standard film, as soft-tissue and bone images, with tubes and lines
emphasised, and as copies in another processing. The model reads it once, from the standard film.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from model.dicom.evidence import LATERAL, UNKNOWN
from model.dicom.instances import Instance, Rendering
from model.dicom.reasons import Reason

RENDERING_SECONDS = 300.0
"""An image that names its rendering is of a film that was taken at most so long before or after."""

_ORDER = list(Rendering)
_REASONS = {
    Rendering.STANDARD: Reason.DERIVED_COPY,
    Rendering.SOFT_TISSUE: Reason.SOFT_TISSUE_IMAGE,
    Rendering.ENHANCED: Reason.ENHANCED_COPY,
    Rendering.BONE: Reason.BONE_IMAGE,
    Rendering.PAGE: Reason.PAGE,
}
NEVER_READ = {Rendering.BONE, Rendering.PAGE}
"""Nothing of the lungs is in them."""


def find_copies(instances: Iterable[Instance]) -> list[tuple[Instance, Reason]]:
    """Return the images that give way to a better image of the same exposure, with the reason.

    Bone images and pages with text always give way.
    """
    copies: list[tuple[Instance, Reason]] = []
    films: list[Instance] = []
    for instance in sorted(instances, key=_standard_first):
        is_never_read = instance.rendering in NEVER_READ
        if is_never_read or any(_shows_the_same(instance, film) for film in films):
            copies.append((instance, _REASONS[instance.rendering]))
        else:
            films.append(instance)
    return copies


def _standard_first(instance: Instance) -> tuple[int, bool, bool, int, str]:
    # A copy is made after the film, so its number is higher.
    return (
        _ORDER.index(instance.rendering),
        instance.secondary,
        instance.derived,
        instance.number,
        instance.sop_instance_uid,
    )


def _shows_the_same(copy: Instance, film: Instance) -> bool:
    """Return whether both images are of one exposure."""
    positions = {copy.position.answer, film.position.answer}
    if len(positions - {UNKNOWN}) > 1:
        return False
    if film.sop_instance_uid and film.sop_instance_uid in copy.made_from:
        return True
    if copy.event and copy.event == film.event:
        return True
    seconds = _seconds_between(copy, film)
    if copy.rendering is not film.rendering:
        # Which film it was made from is open where neither times nor positions say it.
        if seconds is not None:
            return seconds <= RENDERING_SECONDS
        # The output of a program names neither; next to a film it is no film of its own.
        is_output = copy.rendering is Rendering.ENHANCED and film.position.answer != LATERAL
        return len(positions) == 1 or is_output
    # Two of one rendering: a device takes no two exposures in one second. A sender that gives all
    # images of a study one time gives its laterals that time too, so their shape must be the same,
    # and either both are of one known position or one of them was made from something.
    return (
        seconds == 0
        and _same_shape(copy, film)
        and (UNKNOWN not in positions or copy.derived != film.derived)
    )


def _seconds_between(one: Instance, other: Instance) -> float | None:
    """Return the seconds between two acquisitions; None where one has no time."""
    try:
        first, second = (
            datetime.strptime(f"{i.exposed}+0000", "%Y%m%d%H%M%S%z") for i in (one, other)
        )
    except ValueError:
        return None
    return abs((first - second).total_seconds())


def _same_shape(one: Instance, other: Instance) -> bool:
    """Return whether two images have the same ratio of height to width, to two hundredths."""
    return abs(one.rows * other.columns - other.rows * one.columns) <= 0.02 * max(
        one.rows * other.columns, 1
    )
