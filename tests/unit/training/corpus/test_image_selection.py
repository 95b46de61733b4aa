"""Which images of a study are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.corpus.example import ImageFile
from training.corpus.image_selection import select_images

F, L, U = "frontal", "lateral", "unknown"


@pytest.mark.parametrize(
    ("positions", "order"),
    [
        ((), ()),
        ((L, F), (1, 0)),
        ((F, F, F, L), (0, 3, 1)),
        ((L, L, U), (2, 0, 1)),
        ((U, U), (0, 1)),
        ((U, F), (1, 0)),
        ((L, U, F), (2, 0, 1)),
        ((L, L), (0, 1)),
    ],
)
def test_a_frontal_then_a_lateral_then_the_rest(
    positions: tuple[str, ...], order: tuple[int, ...]
) -> None:
    images = [ImageFile(Path(f"{n}.png"), position, f"{n}") for n, position in enumerate(positions)]
    assert tuple(int(image.source) for image in select_images(images)) == order
