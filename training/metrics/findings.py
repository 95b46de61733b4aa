"""How far the findings named in drafts of phantoms are those that were drawn. Knows no network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.corpus.example import Example
from training.corpus.phantoms import FINDINGS
from training.corpus.phantoms_words import extract_findings

F1, PRECISION, RECALL = "finding_f1_micro", "finding_precision", "finding_recall"


@dataclass(frozen=True)
class Agreement:
    """How far the findings named in drafts are those of the films, all counted together.

    exact: share of studies with every finding right. by_finding: F1 of each. there: how many
    studies have it; where none has, its F1 says nothing.
    """

    precision: float
    recall: float
    f1: float
    exact: float
    by_finding: dict[str, float]
    there: dict[str, int]


@dataclass(frozen=True)
class FindingCounts:
    """Findings of each draft, counted: named and there, named, there; (cases,) each."""

    hit: NDArray[np.int64]
    said: NDArray[np.int64]
    there: NDArray[np.int64]

    def of(self, places: NDArray[np.int64]) -> dict[str, float]:
        """Micro-averaged scores of the cases at these places; a place may come several times.

        Not a number where there is nothing to count, as the recall of normal studies.
        """
        hit, said, there = (
            int(counts[places].sum()) for counts in (self.hit, self.said, self.there)
        )
        return {
            F1: _ratio(2 * hit, said + there),
            PRECISION: _ratio(hit, said),
            RECALL: _ratio(hit, there),
        }

    @property
    def by_case(self) -> tuple[float, ...]:
        """F1 of each case alone; 1 where nothing is there and nothing was named."""
        counts = zip(self.hit.tolist(), self.said.tolist(), self.there.tolist(), strict=True)
        return tuple(_f1(h, s, t) if s + t else 1.0 for h, s, t in counts)


def count_findings(truth: Sequence[frozenset[str]], drafts: Sequence[str]) -> FindingCounts:
    """The counts of each draft against what was drawn."""
    named = [extract_findings(text) for text in drafts]
    return FindingCounts(
        hit=np.array([len(r & n) for r, n in zip(truth, named, strict=True)], dtype=np.int64),
        said=np.array([len(n) for n in named], dtype=np.int64),
        there=np.array([len(r) for r in truth], dtype=np.int64),
    )


def agree(truth: Sequence[frozenset[str]], drafts: Sequence[str]) -> Agreement:
    """Findings named in the drafts against those that are there, micro-averaged."""
    hit: Counter[str] = Counter()
    said: Counter[str] = Counter()
    there: Counter[str] = Counter()
    exact = 0
    for real, text in zip(truth, drafts, strict=True):
        named = extract_findings(text)
        hit.update(real & named)
        said.update(named)
        there.update(real)
        exact += named == real
    return Agreement(
        precision=hit.total() / max(said.total(), 1),
        recall=hit.total() / max(there.total(), 1),
        f1=_f1(hit.total(), said.total(), there.total()),
        exact=exact / max(len(truth), 1),
        by_finding={name: _f1(hit[name], said[name], there[name]) for name in FINDINGS},
        there={name: there[name] for name in FINDINGS},
    )


def swap_images(examples: Sequence[Example]) -> list[Example]:
    """Each study with the films of the next one that has as many views; its words are its own.

    What a bundle still finds then is what can be known without looking.
    """
    places = swapped_indices([len(one.images) for one in examples])
    return [
        replace(one, images=examples[there].images)
        for one, there in zip(examples, places, strict=True)
    ]


def swapped_indices(views: Sequence[int]) -> list[int]:
    """For each study the place of the next one with as many views, round in a ring.

    A study that is alone with its number of views stays where it is.
    """
    swapped = list(range(len(views)))
    for count in set(views):
        places = [n for n, own in enumerate(views) if own == count]
        for here, there in zip(places, places[1:] + places[:1], strict=True):
            swapped[here] = there
    return swapped


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _f1(hit: int, said: int, there: int) -> float:
    return 2.0 * hit / max(said + there, 1)
