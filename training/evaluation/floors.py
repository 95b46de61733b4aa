"""Writes the floors: reports that need no look at an image, to be scored beside every bundle.

There are three: one fixed report for every study, the report of the training study with the most
similar indication, and each study's reference given to another study. The fixed report is chosen to
be hard to beat, for a floor that is easy to beat flatters.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from training.corpus.example import Example, ExcludedStudy
from training.metrics.normalisation import normalise_lower

FIXED, NEAREST, SHUFFLED = "fixed", "nearest", "shuffled"
TITLES = {FIXED: "fixed report", NEAREST: "nearest indication", SHUFFLED: "shuffled reports"}
FLOOR_DESCRIPTIONS = {
    FIXED: "one fixed report for every study",
    NEAREST: "the report of the training study with the most similar indication",
    SHUFFLED: "the reference of another test study",
}

MOST_TRAINING = 20_000
"""Training studies kept for the floors, the first of the split; about 20 MB of text."""
ENDLESS_TRAINING = 2_000
"""Training studies that are read of an endless corpus."""
CANDIDATES = 200
"""The fixed report is one of this many most frequent reports..."""
COMPARED = 200
"""...and of these the most similar to this many training reports."""


@dataclass
class Training:
    """A training split: the texts of its first studies and a digest of every text."""

    indications: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)
    studies: int = 0

    def holds(self, text: str) -> bool:
        """Return whether a training report is the same text, word for word."""
        return _digest(text) in self.digests


def read_training(
    examples: Iterable[Example | ExcludedStudy],
    *,
    max_texts: int = MOST_TRAINING,
    stop: int | None = None,
) -> Training:
    """Read a training split once.

    Args:
        examples: The studies.
        max_texts: How many texts to keep.
        stop: How many studies to read, for an endless split.
    """
    training = Training()
    for example in examples:
        if isinstance(example, ExcludedStudy):
            continue
        if training.studies < max_texts:
            training.indications.append(example.priors.indication)
            training.targets.append(example.target)
        training.digests.add(_digest(example.target))
        training.studies += 1
        if training.studies == stop:
            break
    return training


def fixed_report(targets: Sequence[str]) -> str:
    """Return the report that is most similar to the training reports.

    Of the CANDIDATES most frequent reports (of equally frequent ones, the first) it has the
    highest BLEU-4 against COMPARED training reports, spread evenly over the split. The most
    frequent report itself may be a line of five words that scores nothing.
    """
    counts = Counter(map(normalise_lower, targets))
    if not counts:
        return ""
    first = {normalise_lower(text): text for text in reversed(targets)}
    step = max(1, len(targets) // COMPARED)
    compared = [_grams(normalise_lower(text)) for text in targets[::step][:COMPARED]]
    candidates = [text for text, _ in counts.most_common(CANDIDATES)]
    return first[max(candidates, key=lambda text: _bleu_4(_grams(text), compared))]


class NearestIndication:
    """Finds training reports by indication: cosine of TF-IDF over words, from an inverted index.

    tf is 1 + ln(count) and idf ln(N / df), as Manning, Raghavan and Schuetze, Introduction to
    Information Retrieval (2008), section 6.4.3, "ltc".
    """

    def __init__(self, indications: Sequence[str], targets: Sequence[str], fallback: str) -> None:
        """Index the training reports; `fallback` is for indications without a known word."""
        self._targets, self._fallback = targets, fallback
        counts = [Counter(normalise_lower(indication).split()) for indication in indications]
        documents = Counter(word for words in counts for word in words)
        self._idf = {word: math.log(len(counts) / n) for word, n in documents.items()}
        postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for index, words in enumerate(counts):
            for word, weight in self._weights(words).items():
                postings[word].append((index, weight))
        self._postings = {
            word: (np.array([i for i, _ in entries]), np.array([w for _, w in entries]))
            for word, entries in postings.items()
        }

    def report(self, indication: str) -> str:
        """Return the report of the most similar indication; of equally similar ones, the first."""
        weights = self._weights(Counter(normalise_lower(indication).split()))
        scores = np.zeros(len(self._targets))
        for word, weight in weights.items():
            indices, other_weights = self._postings[word]
            scores[indices] += weight * other_weights
        if not scores.any():
            return self._fallback
        # Sums of the same weights in another order are equal but for their last digits.
        return self._targets[int(np.argmax(np.round(scores, 9)))]

    def _weights(self, words: Counter[str]) -> dict[str, float]:
        """Return the weights of words that are known and not in every indication, of length 1."""
        weights = {
            word: (1 + math.log(count)) * self._idf[word]
            for word, count in words.items()
            if self._idf.get(word, 0.0) > 0
        }
        length = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {word: weight / length for word, weight in weights.items()}


def shuffle_references(references: Sequence[str], seed: int) -> list[str]:
    """Return the references in another order, none at its own index (Sattolo's shuffle)."""
    shuffled = list(references)
    rng = np.random.default_rng(seed)
    for index in range(len(shuffled) - 1, 0, -1):
        other = int(rng.integers(0, index))
        shuffled[index], shuffled[other] = shuffled[other], shuffled[index]
    return shuffled


def write_floors(
    training: Training, indications: Sequence[str], references: Sequence[str], seed: int
) -> dict[str, list[str]]:
    """Return floor -> one report for each test study; a floor without material is left out.

    `indications` and `references` are those of the test studies, in order.
    """
    floors: dict[str, list[str]] = {}
    if training.targets:
        fixed = fixed_report(training.targets)
        nearest = NearestIndication(training.indications, training.targets, fixed)
        floors[FIXED] = [fixed] * len(references)
        floors[NEAREST] = [nearest.report(indication) for indication in indications]
    if len(references) > 1:
        floors[SHUFFLED] = shuffle_references(references, seed)
    return floors


def _digest(text: str) -> bytes:
    return hashlib.blake2b(normalise_lower(text).encode(), digest_size=12).digest()


_Grams = list[Counter[tuple[str, ...]]]
"""The n-grams of a text, for n from 1 to 4."""


def _grams(text: str) -> _Grams:
    words = text.split()
    return [Counter(zip(*(words[n:] for n in range(size)), strict=False)) for size in (1, 2, 3, 4)]


def _bleu_4(candidate: _Grams, references: Sequence[_Grams]) -> float:
    """Return the corpus BLEU-4 of one text for all references (Papineni et al. 2002)."""
    length = candidate[0].total() * len(references)
    reference_length = sum(reference[0].total() for reference in references)
    if not candidate[3] or not reference_length:
        return 0.0
    precision = 1.0
    for size, grams in enumerate(candidate):
        matches = sum((grams & reference[size]).total() for reference in references)
        precision *= (matches / (grams.total() * len(references))) ** 0.25
    return precision * min(1.0, math.exp(1 - reference_length / length))
