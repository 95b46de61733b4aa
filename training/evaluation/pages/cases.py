"""The best and the worst drafts, with their images."""

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
from training.evaluation.pages.grid import format_score

CASES_SHOWN = 5
SIDE = 256
"""The side of a picture in pixels."""


@dataclass(frozen=True)
class Picture:
    """An image as PNG bytes, or why there is none; `name` is its file name."""

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
    """Return the worst cases, worst first, and the best cases, best first.

    There are CASES_SHOWN of each, fewer in a small set, and no case is in both. Studies that failed
    are left out, since they have a list of their own.
    """
    result, examples = evaluation.main, evaluation.held_out.examples
    failed = {failure.key for failure in result.drafts.failures}
    scores = result.scores
    order = sorted(
        (index for index, example in enumerate(examples) if example.key not in failed),
        # Findings count first, where they are known; the wording decides between equals.
        key=lambda index: (
            scores.finding_f1[index] if scores.finding_f1 else 0.0,
            scores.rouge_l[index],
            index,
        ),
    )
    count = min(CASES_SHOWN, len(order) // 2)

    def excerpts(indices: Sequence[int], kind: str) -> list[CaseExcerpt]:
        return [
            _excerpt(evaluation, index, f"{kind}-{rank}") for rank, index in enumerate(indices, 1)
        ]

    return excerpts(order[:count], "worst"), excerpts(order[::-1][:count], "best")


def _excerpt(evaluation: Evaluation, index: int, name: str) -> CaseExcerpt:
    held_out, scores = evaluation.held_out, evaluation.main.scores
    example = held_out.examples[index]
    score = f"ROUGE-L {format_score(scores.rouge_l[index])}"
    if scores.finding_f1:
        score = f"finding F1 {format_score(scores.finding_f1[index])}, {score}"
    return CaseExcerpt(
        key=example.key,
        score=score,
        indication=example.priors.indication,
        reference=held_out.references[index],
        draft=evaluation.main.drafts.texts[index],
        pictures=tuple(_pictures(example, evaluation.manifest.preprocessing, name)),
    )


def _pictures(example: Example, preprocessing: Preprocessing, name: str) -> list[Picture]:
    """Return the images as the bundle reads them, in another size."""
    pictures = []
    for rank, image in enumerate(example.images, 1):
        file = f"{name}-{rank}.png"
        try:
            pixels = image.pixels(replace(preprocessing, size=SIDE))
        except PixelError as error:
            pictures.append(Picture(file, image.position, b"", str(error)))
            continue
        out = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG", optimize=True)
        pictures.append(Picture(file, image.position, out.getvalue()))
    return pictures
