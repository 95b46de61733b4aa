"""The best and the worst drafts, with their films. Knows no markup."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from model.errors import PixelError
from model.manifest import Preprocessing
from training.corpus.example import Example
from training.evaluation.evaluate import Evaluation
from training.evaluation.pages.grid import number

SHOWN = 5
SIDE = 256
"""Of a film, in pixels."""


@dataclass(frozen=True)
class Picture:
    """A film as PNG bytes, or why there is none. name: a file's name."""

    name: str
    position: str
    png: bytes
    missing: str = ""


@dataclass(frozen=True)
class CaseExcerpt:
    """A study, its report and its draft."""

    key: str
    score: str
    indication: str
    reference: str
    draft: str
    pictures: tuple[Picture, ...]


def extreme_cases(evaluation: Evaluation) -> tuple[list[CaseExcerpt], list[CaseExcerpt]]:
    """SHOWN of each, fewer of a small set, none in both; the worst first, and the best first.

    Studies that failed are not among them: they have a list of their own.
    """
    came, examples = evaluation.main, evaluation.held.examples
    failed = {one.key for one in came.drafts.failures}
    scored = came.scored
    order = sorted(
        (place for place, one in enumerate(examples) if one.key not in failed),
        # What counts first: findings, where they are known; the wording tells equals apart.
        key=lambda place: (
            scored.finding_f1[place] if scored.finding_f1 else 0.0,
            scored.rouge_l[place],
            place,
        ),
    )
    count = min(SHOWN, len(order) // 2)

    def shown(places: Sequence[int], kind: str) -> list[CaseExcerpt]:
        return [_shown(evaluation, place, f"{kind}-{rank}") for rank, place in enumerate(places, 1)]

    return shown(order[:count], "worst"), shown(order[::-1][:count], "best")


def _shown(evaluation: Evaluation, place: int, name: str) -> CaseExcerpt:
    held, scored = evaluation.held, evaluation.main.scored
    example = held.examples[place]
    said = f"ROUGE-L {number(scored.rouge_l[place])}"
    if scored.finding_f1:
        said = f"finding F1 {number(scored.finding_f1[place])}, {said}"
    return CaseExcerpt(
        key=example.key,
        score=said,
        indication=example.priors.indication,
        reference=held.references[place],
        draft=evaluation.main.drafts.texts[place],
        pictures=tuple(_pictures(example, evaluation.manifest.preprocessing, name)),
    )


def _pictures(example: Example, how: Preprocessing, name: str) -> list[Picture]:
    """The films as the bundle reads them, larger or smaller."""
    pictures = []
    for number_, image in enumerate(example.images, 1):
        file = f"{name}-{number_}.png"
        try:
            pixels = image.pixels(replace(how, size=SIDE))
        except PixelError as error:
            pictures.append(Picture(file, image.position, b"", str(error)))
            continue
        out = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG", optimize=True)
        pictures.append(Picture(file, image.position, out.getvalue()))
    return pictures
