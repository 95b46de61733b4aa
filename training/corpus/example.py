"""The types that every corpus reader yields: an Example, or a study that was excluded and why.

A corpus is read as a stream, once through and always in the same order. Pixels are read only when
they are needed, so an Example in memory holds texts and no image.
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
from model.dicom.pixels import grey_view, view_pixels
from model.errors import PixelError
from model.manifest import Preprocessing
from model.prompting.oracle import Oracle
from model.prompting.prompt import Symptoms

TRAIN, VALIDATE, TEST = "train", "validate", "test"
SPLITS = (TRAIN, VALIDATE, TEST)
POSITION_ORDER = ("frontal", "unknown", "lateral")
"""The order of a case's views, as in serving."""


class StudyImage(Protocol):
    """One image of an example."""

    @property
    def position(self) -> str:
        """The view position: "frontal", "lateral" or "unknown"."""
        ...

    @property
    def source(self) -> str:
        """The id that the corpus gives the image."""
        ...

    def pixels(self, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        """Read the image and prepare it as a bundle reads images.

        Returns:
            (S, S) uint8, air dark.

        Raises:
            PixelError: the file is missing or cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image in a file.

    A DICOM file is prepared as in serving, and so is a PNG of 16 bits: by its own range, like a
    film without a window. A PNG or JPEG of 8 bits was windowed by whoever made it.
    """

    path: Path
    position: str
    source: str

    def pixels(self, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        """See `StudyImage.pixels`."""
        size = preprocessing.size
        if self.path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            return view_pixels(self.path, size, preprocessing.resize)
        try:
            with Image.open(self.path) as opened:
                if opened.mode.startswith("I"):
                    return grey_view(np.asarray(opened).astype(np.uint16, copy=False), size)
                # A JPEG need not be decoded larger than twice the size that is needed.
                opened.draft("L", (2 * size, 2 * size))
                grey = opened.convert("L")
            resized = grey.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
        except FileNotFoundError as error:
            raise PixelError(f"there is no film {self.path.name}") from error
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise PixelError(f"the film {self.path.name} cannot be read: {error}") from error
        return np.array(resized)


@dataclass(frozen=True, slots=True)
class Example:
    """One study to train on or to be scored on.

    Attributes:
        key: The study's id in the corpus.
        patient: The patient's id; all studies of a patient are in one split.
        split: One of SPLITS.
        images: One to three, frontal first.
        target: The text to write.
        priors: What a hospital would have had before the study was read.
        prior_sources: Field of `Priors` -> where its text is from.
        oracle: What the paper's templates hold of the report itself, for `oracle_template` alone.
        oracle_template: The name of the paper's template for this corpus.
        truth: The findings that are known to be present (phantoms); None elsewhere.
        symptoms: What finding heads saw in the images, for the template `predicted` alone. A corpus
            never has them; a training adds them (`training.finetuning.predicted_priors`).
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
    symptoms: Symptoms | None = None

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"there is no split {self.split!r}; there are {', '.join(SPLITS)}")
        if not 1 <= len(self.images) <= MAX_VIEWS:
            raise ValueError(f"an example has 1 to {MAX_VIEWS} images, not {len(self.images)}")

    def case(self, preprocessing: Preprocessing) -> Case:
        """Read the images and return the study as the model reads it.

        Raises:
            PixelError: an image cannot be read.
        """
        views = tuple(
            View(image.pixels(preprocessing), image.position, image.source) for image in self.images
        )
        return Case(self.key, views, self.priors)


@dataclass(frozen=True, slots=True)
class ExcludedStudy:
    """A study of the corpus that gives no example.

    Attributes:
        key: The study's id in the corpus.
        reason: A short phrase; the same for all studies that are excluded for the same reason.
    """

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """The choices in reading a corpus that the paper leaves open.

    Attributes:
        target: "findings" (the paper's and R2Gen's: comparable scores) or "report" ("Findings: ...
            Impression: ...", what a department reads); "" takes the corpus's default.
        split: "paper" (IU X-ray's 2,668 and 669 at random by `seed`), "r2gen" (its published
            split), "official" (MIMIC-CXR's own), "given" (the table's own, of `folder`) or
            "patients" (at random by patient, four to one); "" takes the corpus's default.
        seed: Of a random split.
        validate: The share of the training patients that is moved to the validation split, to be
            looked at during training; the paper has none.
    """

    target: Literal["", "findings", "report"] = ""
    split: str = ""
    seed: int = 0
    validate: float = 0.0


class Corpus(Protocol):
    """A reader of one corpus."""

    @property
    def name(self) -> str:
        """The name on the command line, such as "iu_xray"."""
        ...

    @property
    def identity(self) -> dict[str, str]:
        """Everything but the `CorpusOptions` that the examples depend on.

        It is the same in every process.
        """
        ...

    def read(self, split: str = "") -> Iterator[Example | ExcludedStudy]:
        """Yield the examples of one split, always in the same order.

        Without a split, yield the whole corpus with the studies that are excluded.

        Raises:
            CorpusError: a file of the corpus is missing or is not what it should be.
        """
        ...


def target_text(target: str, findings: str, impression: str) -> str:
    """Return the text to write, for a `CorpusOptions.target` of "findings" or "report".

    It is "" where the report does not have it.
    """
    if target == "findings":
        return findings
    parts = (("Findings", findings), ("Impression", impression))
    return " ".join(f"{name}: {text}" for name, text in parts if text)
