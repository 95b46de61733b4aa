"""The studies of a measurement: two views each, and texts as long as real ones. Knows no network.

Random weights know no end of text, so each study says how many tokens are written for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.case import Case, Priors, View
from model.network.clinicalblip import ClinicalBLIP

LENGTHS = (40, 47, 56, 63, 70, 77, 85, 93, 107, 131, 150)
"""Tenths of the lengths of reports, in tokens: findings and impression of the 3,328 reports of
Indiana University (Demner-Fushman et al., JAMIA 2016) that have findings, pieces counted by word
length, cut to 40 and 150."""

READ_TOKENS = 50
"""Of an instruction in T5's pieces: image, indication and procedure, with the fixed question."""


@dataclass(frozen=True)
class Workload:
    """Studies and the number of tokens to be written for each, by the case's key."""

    asked: tuple[tuple[Case, str], ...]
    lengths: dict[str, int]

    @property
    def tokens(self) -> int:
        """To be written in all."""
        return sum(self.lengths.values())

    def some(self, count: int) -> Workload:
        """So many of them, of the same spread of lengths."""
        by_length = sorted(self.asked, key=lambda one: self.lengths[one[0].key])
        places = np.linspace(0.5, len(by_length) - 0.5, min(count, len(by_length))).astype(int)
        chosen = tuple(by_length[place] for place in places)
        return self._of(chosen)

    def first(self, count: int) -> Workload:
        """The first of them, in their order."""
        return self._of(self.asked[:count])

    def _of(self, asked: tuple[tuple[Case, str], ...]) -> Workload:
        return Workload(asked, {case.key: self.lengths[case.key] for case, _ in asked})


def make_workload(
    model: ClinicalBLIP, studies: int, views: int = 2, seed: int = 0, longest: int = LENGTHS[-1]
) -> Workload:
    """Studies of noise, in an order in which lengths come as they come in life."""
    rng = np.random.default_rng(seed)
    size = model.preprocessing.size
    # Evenly over the tenths, so that a small workload has the same spread as a large one.
    shares = (np.arange(studies) + 0.5) / studies
    lengths = np.interp(shares, np.linspace(0, 1, len(LENGTHS)), LENGTHS).round().astype(int)
    rng.shuffle(lengths)
    instruction = instruction_of(model, min(READ_TOKENS, model.max_instruction_tokens))
    asked = []
    for number in range(studies):
        pixels = rng.integers(0, 256, (views, size, size), dtype=np.uint8)
        shown = tuple(View(film, "frontal") for film in pixels)
        asked.append((Case(str(number), shown, Priors()), instruction))
    told = {str(n): int(min(length, longest)) for n, length in enumerate(lengths)}
    return Workload(tuple(asked), told)


def instruction_of(model: ClinicalBLIP, tokens: int) -> str:
    """An instruction of just so many pieces of T5's tokenizer, its end among them."""
    words: list[str] = []
    while len(model.language_tokenizer(" ".join(words))["input_ids"]) < tokens:
        words.append("a")
    while words and len(model.language_tokenizer(" ".join(words))["input_ids"]) > tokens:
        words.pop()
    return " ".join(words)
