"""A corpus of listed studies, with images of one grey and images whose files are missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.case import Priors
from model.errors import PixelError
from model.manifest import Preprocessing
from model.prompting.oracle import Oracle
from training.corpus.example import TEST, TRAIN, Example, ExcludedStudy


@dataclass(frozen=True)
class GreyImage:
    """An image of one grey; its source tells it from others."""

    source: str
    position: str = "frontal"

    def pixels(self, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        return np.full((preprocessing.size, preprocessing.size), 90, np.uint8)


@dataclass(frozen=True)
class MissingImage:
    """An image whose file is missing."""

    source: str
    position: str = "frontal"

    def pixels(self, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        raise PixelError(f"there is no film {self.source}")


@dataclass(frozen=True)
class ListedCorpus:
    """A corpus of these examples, in their order."""

    examples: Sequence[Example | ExcludedStudy]
    name: str = "listed"

    @property
    def identity(self) -> dict[str, str]:
        return {"name": self.name, "examples": repr(self.examples)}

    def read(self, split: str = "") -> Iterator[Example | ExcludedStudy]:
        return (
            study
            for study in self.examples
            if isinstance(study, ExcludedStudy) or study.split == split
        )


def make_study(
    key: str,
    target: str,
    *,
    split: str = TEST,
    views: int = 1,
    indication: str = "",
    prior_report: str = "",
    problems: tuple[str, ...] = (),
    missing: bool = False,
) -> Example:
    """A study with `views` images."""
    image_class = MissingImage if missing else GreyImage
    return Example(
        key=key,
        patient=key,
        split=split,
        images=tuple(image_class(f"{key}-{n}") for n in range(views)),
        target=target,
        priors=Priors(indication=indication, prior_report=prior_report),
        oracle=Oracle(problems=problems) if problems else None,
        oracle_template="oracle_iu" if problems else "",
    )


def make_training_study(key: str, target: str, indication: str = "") -> Example:
    """A study of the training split."""
    return make_study(key, target, split=TRAIN, indication=indication)
