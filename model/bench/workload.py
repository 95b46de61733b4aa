"""The studies of a measurement: two views each, and texts as long as those of real reports.

Random weights never end a text by themselves, so each study says how many tokens are generated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.case import Case, Priors, View
from model.inference.types import PromptedCase
from model.network.clinicalblip import ClinicalBLIP

REPORT_LENGTHS = (40, 47, 56, 63, 70, 77, 85, 93, 107, 131, 150)
"""The minimum, the deciles and the maximum of report lengths in tokens: findings and impression of
the 3,328 reports of Indiana University (Demner-Fushman et al., JAMIA 2016) that have findings, with
tokens counted by word length, cut to 40 and 150."""

INSTRUCTION_TOKENS = 50
"""Tokens of an instruction for T5: image, indication and procedure, with the fixed question."""


@dataclass(frozen=True)
class Workload:
    """Studies to draft.

    Attributes:
        cases: The cases with their instructions.
        lengths: How many tokens are generated for each, by the case's key.
    """

    cases: tuple[PromptedCase, ...]
    lengths: dict[str, int]

    @property
    def tokens(self) -> int:
        """Tokens that are generated for all studies together."""
        return sum(self.lengths.values())

    def sample(self, count: int) -> Workload:
        """`count` of the studies, with the same spread of lengths."""
        by_length = sorted(self.cases, key=lambda prompted: self.lengths[prompted[0].key])
        places = np.linspace(0.5, len(by_length) - 0.5, min(count, len(by_length))).astype(int)
        return self._of(tuple(by_length[place] for place in places))

    def first(self, count: int) -> Workload:
        """The first `count` studies, in their order."""
        return self._of(self.cases[:count])

    def _of(self, cases: tuple[PromptedCase, ...]) -> Workload:
        return Workload(cases, {case.key: self.lengths[case.key] for case, _ in cases})


def make_workload(
    model: ClinicalBLIP,
    studies: int,
    views: int = 2,
    seed: int = 0,
    longest: int = REPORT_LENGTHS[-1],
) -> Workload:
    """Studies of noise, with lengths in random order as in practice.

    Args:
        model: The network that will draft them.
        studies: How many.
        views: Views of each study.
        seed: Of the noise and of the order.
        longest: Longer texts are cut to this many tokens.
    """
    rng = np.random.default_rng(seed)
    size = model.preprocessing.size
    # Evenly over the deciles, so that a small workload has the same spread as a large one.
    quantiles = (np.arange(studies) + 0.5) / studies
    deciles = np.linspace(0, 1, len(REPORT_LENGTHS))
    lengths = np.interp(quantiles, deciles, REPORT_LENGTHS).round().astype(int)
    rng.shuffle(lengths)
    instruction = make_instruction(model, min(INSTRUCTION_TOKENS, model.max_instruction_tokens))
    cases = []
    for number in range(studies):
        pixels = rng.integers(0, 256, (views, size, size), dtype=np.uint8)
        images = tuple(View(image, "frontal") for image in pixels)
        cases.append((Case(str(number), images, Priors()), instruction))
    limits = {str(n): int(min(length, longest)) for n, length in enumerate(lengths)}
    return Workload(tuple(cases), limits)


def make_instruction(model: ClinicalBLIP, tokens: int) -> str:
    """An instruction of exactly so many tokens of T5, the end token included."""
    words: list[str] = []
    while len(model.language_tokenizer(" ".join(words))["input_ids"]) < tokens:
        words.append("a")
    while words and len(model.language_tokenizer(" ".join(words))["input_ids"]) > tokens:
        words.pop()
    return " ".join(words)
