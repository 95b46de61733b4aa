"""What a corpus gives: an Example, or what was left out and why. Knows no data set and no torch.

A corpus is read as a stream, once through, in the same order every time. Films are read when their
pixels are asked for and not before, so an Example costs its words alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.case import MAX_VIEWS, Case, Priors, View
from model.dicom.pixels import view_pixels
from model.errors import PixelError
from model.manifest import Preprocessing
from model.prompting.oracle import Oracle

TRAIN, VALIDATE, TEST = "train", "validate", "test"
SPLITS = (TRAIN, VALIDATE, TEST)
POSITION_ORDER = ("frontal", "unknown", "lateral")
"""The order of a case's views, as in serving."""


class StudyImage(Protocol):
    """One film of an example. position: "frontal", "lateral" or "unknown". source: its id."""

    @property
    def position(self) -> str:
        """Where it was taken from."""
        ...

    @property
    def source(self) -> str:
        """The corpus's own id of the film."""
        ...

    def pixels(self, how: Preprocessing) -> NDArray[np.uint8]:
        """The film as (S, S) uint8, air dark, prepared as a bundle reads films.

        Raises:
            PixelError: the file is missing or cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A film in a file: DICOM, prepared as in serving; or PNG or JPEG, windowed by who made it."""

    path: Path
    position: str
    source: str

    def pixels(self, how: Preprocessing) -> NDArray[np.uint8]:
        """As `Film.pixels`."""
        if self.path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            return view_pixels(self.path, how.size, how.resize)
        try:
            with Image.open(self.path) as opened:
                # A JPEG need not be decoded larger than twice what is wanted.
                opened.draft("L", (2 * how.size, 2 * how.size))
                grey = opened.convert("L")
            small = grey.resize((how.size, how.size), Image.Resampling.BICUBIC, reducing_gap=3.0)
        except FileNotFoundError as error:
            raise PixelError(f"there is no film {self.path.name}") from error
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise PixelError(f"the film {self.path.name} cannot be read: {error}") from error
        return np.array(small)


@dataclass(frozen=True, slots=True)
class Example:
    """One study to learn from or to be scored on.

    key: its id in the corpus. patient: whose it is; all of a patient is in one split. split: one
    of SPLITS. films: one to three, frontal first. priors: what a hospital would have had before
    the film was read; prior_sources: field of Priors -> where its text is from. target: the text
    to write. oracle: what the paper's templates are told of the report, for the template
    oracle_template alone. truth: findings that are known to be there (phantoms); None elsewhere.
    """

    key: str
    patient: str
    split: str
    images: tuple[StudyImage, ...]
    target: str
    priors: Priors = field(default_factory=Priors)
    prior_sources: dict[str, str] = field(default_factory=dict)
    oracle: Oracle | None = None
    oracle_template: str = ""
    truth: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"no such split: {self.split}")
        if not 1 <= len(self.images) <= MAX_VIEWS:
            raise ValueError(f"an example has 1 to {MAX_VIEWS} films, not {len(self.images)}")

    def case(self, how: Preprocessing) -> Case:
        """The study as the model reads it.

        Raises:
            PixelError: a film cannot be read.
        """
        views = tuple(
            View(image.pixels(how), image.position, image.source) for image in self.images
        )
        return Case(self.key, views, self.priors)


@dataclass(frozen=True, slots=True)
class ExcludedStudy:
    """A study of the corpus that is no example. reason: a short phrase, the same for all alike."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """How a corpus is read, where the paper leaves it open.

    target: "findings" (the paper's and R2Gen's: comparable scores) or "report" ("Findings: ...
    Impression: ...", what a department reads); "" takes the corpus's default. split: "paper"
    (IU X-ray's 2,668 and 669 at random by `seed`), "r2gen" (its published split), "official"
    (MIMIC-CXR's own), "patients" (at random by patient, four to one); "" takes the corpus's
    default. seed: of a split at random. validate: share of the training patients that is set
    apart to look at while training; the paper has none.
    """

    target: Literal["", "findings", "report"] = ""
    split: str = ""
    seed: int = 0
    validate: float = 0.0


class Corpus(Protocol):
    """A reader. name: as on the command line ("iu_xray")."""

    @property
    def name(self) -> str:
        """As on the command line."""
        ...

    @property
    def identity(self) -> dict[str, str]:
        """All that its examples depend on beside the Reading; the same in every process."""
        ...

    def read(self, split: str = "") -> Iterator[Example | ExcludedStudy]:
        """The examples of one split, or all of it with what is left out; always in one order.

        Raises:
            CorpusError: a file of the corpus is missing or is not what it should be.
        """
        ...
