"""Serves phantoms as a corpus without end, by seed.

Training and test phantoms never meet: seeds from HELD_OUT on are the test split, and the seeds
from half of that on are the validation split.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

from model.case import Priors
from model.manifest import Preprocessing
from training.corpus.example import SPLITS, TEST, TRAIN, VALIDATE, CorpusOptions, Example
from training.corpus.phantoms import HELD_OUT, USUAL, Phantom, Site, phantom

_FIRST_SEED = {TRAIN: 0, VALIDATE: HELD_OUT // 2, TEST: HELD_OUT}
_TEST_STRIDE = 1_000_000
"""Test seeds between the first phantoms of two values of `CorpusOptions.seed`."""


@dataclass(frozen=True, slots=True)
class PhantomImage:
    """A view of a phantom; it is drawn when its pixels are read."""

    phantom: Phantom
    position: str

    @property
    def source(self) -> str:
        """Return seed and position."""
        return f"{self.phantom.seed}-{self.position}"

    def pixels(self, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        """See `StudyImage.pixels`."""
        return self.phantom.render(self.position, preprocessing.size)


@dataclass(frozen=True, slots=True)
class PhantomCorpus:
    """Phantoms of one site as examples.

    `options.seed` chooses which stretch of the held-out phantoms is the test split.
    """

    options: CorpusOptions = field(default_factory=CorpusOptions)
    site: Site = USUAL
    name: str = "phantoms"

    @property
    def identity(self) -> dict[str, str]:
        """See `Corpus.identity`."""
        return {"name": self.name, "site": self.site.name}

    def read(self, split: str = "") -> Iterator[Example]:
        """Yield examples without end; "" gives the training split."""
        return (self.example(split or TRAIN, index) for index in count())

    def example(self, split: str, index: int) -> Example:
        """Return the example at an index of a split."""
        if split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
        first = _FIRST_SEED[split] + (self.options.seed * _TEST_STRIDE if split == TEST else 0)
        return as_example(phantom(first + index, self.site), split, self.options)


def as_example(drawn: Phantom, split: str, options: CorpusOptions) -> Example:
    """Return a phantom as an example; its priors are those of its order."""
    return Example(
        key=f"phantom-{drawn.seed}",
        patient=f"PHANTOM{drawn.seed}",
        split=split,
        images=tuple(PhantomImage(drawn, position) for position in drawn.positions),
        target=drawn.findings_text if options.target == "findings" else drawn.report,
        priors=Priors(drawn.indication, drawn.procedure, drawn.prior_report),
        prior_sources=dict.fromkeys(("indication", "procedure", "prior_report"), "drawn"),
        truth=drawn.findings,
    )
