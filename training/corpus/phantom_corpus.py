"""Phantoms as a corpus: without end, by seed. Knows no network.

Those to learn from and those to be scored on never meet: seeds from HELD_OUT on are of the test
split, those a little below it are to look at while training.
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

_FIRST = {TRAIN: 0, VALIDATE: HELD_OUT // 2, TEST: HELD_OUT}
_APART = 1_000_000
"""Seeds from one evaluation's first phantom to the next one's."""


@dataclass(frozen=True, slots=True)
class PhantomImage:
    """A view of a phantom, drawn when it is asked for."""

    phantom: Phantom
    position: str

    @property
    def source(self) -> str:
        """Seed and position."""
        return f"{self.phantom.seed}-{self.position}"

    def pixels(self, how: Preprocessing) -> NDArray[np.uint8]:
        """As `example.Film.pixels`."""
        return self.phantom.render(self.position, how.size)


@dataclass(frozen=True, slots=True)
class PhantomCorpus:
    """Phantoms as examples, of one of phantoms.SITES.

    reading.seed: which stretch of the held-out ones is the test split.
    """

    reading: CorpusOptions = field(default_factory=CorpusOptions)
    site: Site = USUAL
    name: str = "phantoms"

    @property
    def identity(self) -> dict[str, str]:
        """As `Corpus.identity`."""
        return {"name": self.name, "site": self.site.name}

    def read(self, split: str = "") -> Iterator[Example]:
        """Without end; "" gives those to learn from."""
        return (self.example(split or TRAIN, number) for number in count())

    def example(self, split: str, number: int) -> Example:
        """The example at a place of a split, 0 the first."""
        if split not in SPLITS:
            raise ValueError(f"no such split: {split}")
        first = _FIRST[split] + (self.reading.seed * _APART if split == TEST else 0)
        return as_example(phantom(first + number, self.site), split, self.reading)


def as_example(one: Phantom, split: str, reading: CorpusOptions) -> Example:
    """A phantom as an example, its priors those of the order."""
    return Example(
        key=f"phantom-{one.seed}",
        patient=f"PHANTOM{one.seed}",
        split=split,
        images=tuple(PhantomImage(one, position) for position in one.positions),
        target=one.findings_text if reading.target == "findings" else one.report,
        priors=Priors(one.indication, one.procedure, one.prior_report),
        prior_sources=dict.fromkeys(("indication", "procedure", "prior_report"), "drawn"),
        truth=one.findings,
    )
