"""Cases of random noise, for networks of random weights."""

from __future__ import annotations

import numpy as np

from model.case import Case, View
from model.network.clinicalblip import ClinicalBLIP

INSTRUCTION = "Image: Chest, 1 view, frontal \n Write the report of this chest radiograph."


def noise_cases(model: ClinicalBLIP, number: int = 3) -> list[Case]:
    """Return cases of one, two, three, one ... views, of the size that the network reads."""
    side, noise = model.preprocessing.size, np.random.default_rng(0)
    return [
        Case(
            str(n),
            tuple(
                View(noise.integers(0, 256, (side, side)).astype(np.uint8), "frontal")
                for _ in range(1 + n % 3)
            ),
        )
        for n in range(number)
    ]
