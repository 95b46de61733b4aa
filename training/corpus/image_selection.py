"""Which images of a study become its example, and in what order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from model.case import MAX_VIEWS
from training.corpus.example import POSITION_ORDER, StudyImage

ImageT = TypeVar("ImageT", bound=StudyImage)


def select_images(images: Sequence[ImageT]) -> tuple[ImageT, ...]:
    """Select at most three images, in the order that serving uses.

    The first frontal and the first lateral come first, then the rest, frontals first. So a study
    of three frontals and a lateral keeps its lateral. Among images of one position, the first come
    first.
    """
    first = [next((i for i in images if i.position == p), None) for p in ("frontal", "lateral")]
    selected = [image for image in first if image is not None]
    rest = sorted(
        (image for image in images if image not in selected),
        key=lambda image: POSITION_ORDER.index(image.position),
    )
    # Without a frontal, an image of unknown position is more likely to be one, so it comes first.
    if selected and selected[0].position == "lateral" and rest and rest[0].position == "unknown":
        selected, rest = [rest[0], *selected], rest[1:]
    return tuple([*selected, *rest][:MAX_VIEWS])
