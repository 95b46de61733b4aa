"""Which films of a study are read, and in what order. Knows no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from model.case import MAX_VIEWS
from training.corpus.example import POSITION_ORDER, StudyImage

F = TypeVar("F", bound=StudyImage)


def select_images(images: Sequence[F]) -> tuple[F, ...]:
    """At most three: a frontal, a lateral, then the rest, frontals first; as in serving.

    So a study of three frontals and a lateral keeps its lateral, and of one kind the first come
    first.
    """
    first = [next((f for f in images if f.position == p), None) for p in ("frontal", "lateral")]
    best = [image for image in first if image is not None]
    rest = sorted(
        (image for image in images if image not in best),
        key=lambda image: POSITION_ORDER.index(image.position),
    )
    # Without a frontal, a film of unknown position is the likelier one, and stands first.
    if best and best[0].position == "lateral" and rest and rest[0].position == "unknown":
        best, rest = [rest[0], *best], rest[1:]
    return tuple([*best, *rest][:MAX_VIEWS])
