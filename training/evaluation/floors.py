"""What can be scored without looking at a film, to be printed under every score. Knows no network.

Three floors: one fixed report for every study, the report of the training study whose indication
is most alike, and each study's reference given to another study. The fixed report is chosen to be
hard to beat, for a floor that is easy flatters.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from training.corpus.example import Example, ExcludedStudy
from training.metrics.normalisation import lower

FIXED, NEAREST, SHUFFLED = "fixed", "nearest", "shuffled"
TITLES = {FIXED: "fixed report", NEAREST: "nearest indication", SHUFFLED: "shuffled reports"}
ABOUT = {
    FIXED: "one fixed report for every study",
    NEAREST: "the report of the training study with the most similar indication",
    SHUFFLED: "the reference of another test study",
}

MOST_TRAINING = 20_000
"""Training studies that are kept for the floors, the first of the split. About 20 MB of text."""
ENDLESS_TRAINING = 2_000
"""Of a corpus without end."""
CANDIDATES = 200
"""The fixed report is one of so many most frequent ones..."""
COMPARED = 200
"""...and the one most like so many training reports."""


@dataclass
class Training:
    """What is kept of a training split: texts of its first studies, a digest of every text."""

    indications: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)
    studies: int = 0

    def holds(self, text: str) -> bool:
        """Whether the text stands word for word among all the training reports."""
        return _digest(text) in self.digests


def read_training(
    examples: Iterable[Example | ExcludedStudy],
    *,
    most: int = MOST_TRAINING,
    stop: int | None = None,
) -> Training:
    """Stream a training split once. most: texts kept. stop: studies read, for one without end."""
    training = Training()
    for example in examples:
        if isinstance(example, ExcludedStudy):
            continue
        if training.studies < most:
            training.indications.append(example.priors.indication)
            training.targets.append(example.target)
        training.digests.add(_digest(example.target))
        training.studies += 1
        if training.studies == stop:
            break
    return training


def fixed_report(targets: Sequence[str]) -> str:
    """The one report that is most like the training reports.

    Of the CANDIDATES most frequent ones (word for word; of equals the first) the one with the
    highest BLEU-4 against COMPARED training reports, spread evenly over the split. The most
    frequent report itself may be a line of five words that scores nothing.
    """
    counts = Counter(map(lower, targets))
    if not counts:
        return ""
    first = {lower(text): text for text in reversed(targets)}
    step = max(1, len(targets) // COMPARED)
    compared = [_grams(lower(text)) for text in targets[::step][:COMPARED]]
    candidates = [words for words, _ in counts.most_common(CANDIDATES)]
    return first[max(candidates, key=lambda words: _bleu_4(_grams(words), compared))]


class Nearest:
    """Training reports by indication: cosine of TF-IDF over words, from an inverted index.

    tf is 1 + ln(count) and idf ln(N / df), as Manning, Raghavan and Schuetze, Introduction to
    Information Retrieval (2008), section 6.4.3, "ltc".
    """

    def __init__(self, indications: Sequence[str], targets: Sequence[str], fallback: str) -> None:
        """fallback: the report where no training indication has a word in common."""
        self._targets, self._fallback = targets, fallback
        counts = [Counter(lower(indication).split()) for indication in indications]
        documents = Counter(word for words in counts for word in words)
        self._idf = {word: math.log(len(counts) / n) for word, n in documents.items()}
        postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for place, words in enumerate(counts):
            for word, weight in self._weights(words).items():
                postings[word].append((place, weight))
        self._postings = {
            word: (np.array([p for p, _ in found]), np.array([w for _, w in found]))
            for word, found in postings.items()
        }

    def report(self, indication: str) -> str:
        """The report of the most similar indication; of several alike, the first."""
        weights = self._weights(Counter(lower(indication).split()))
        scores = np.zeros(len(self._targets))
        for word, weight in weights.items():
            places, others = self._postings[word]
            scores[places] += weight * others
        if not scores.any():
            return self._fallback
        # Sums of the same weights in another order are the same likeness.
        return self._targets[int(np.argmax(np.round(scores, 9)))]

    def _weights(self, words: Counter[str]) -> dict[str, float]:
        """Of the words that are known and tell anything, to length 1."""
        found = {
            word: (1 + math.log(count)) * self._idf[word]
            for word, count in words.items()
            if self._idf.get(word, 0.0) > 0
        }
        length = math.sqrt(sum(weight * weight for weight in found.values()))
        return {word: weight / length for word, weight in found.items()}


def shuffled(references: Sequence[str], seed: int) -> list[str]:
    """Each reference at another study's place, none at its own (Sattolo's shuffle)."""
    moved = list(references)
    rng = np.random.default_rng(seed)
    for place in range(len(moved) - 1, 0, -1):
        other = int(rng.integers(0, place))
        moved[place], moved[other] = moved[other], moved[place]
    return moved


def write_floors(
    training: Training, indications: Sequence[str], references: Sequence[str], seed: int
) -> dict[str, list[str]]:
    """Each floor's reports, one for each test study; a floor that nothing can be made of is not.

    indications, references: of the test studies, in order.
    """
    floors: dict[str, list[str]] = {}
    if training.targets:
        fixed = fixed_report(training.targets)
        nearest = Nearest(training.indications, training.targets, fixed)
        floors[FIXED] = [fixed] * len(references)
        floors[NEAREST] = [nearest.report(indication) for indication in indications]
    if len(references) > 1:
        floors[SHUFFLED] = shuffled(references, seed)
    return floors


def _digest(text: str) -> bytes:
    return hashlib.blake2b(lower(text).encode(), digest_size=12).digest()


_Grams = list[Counter[tuple[str, ...]]]
"""A text's runs of one word, of two, of three and of four."""


def _grams(words: str) -> _Grams:
    text = words.split()
    return [Counter(zip(*(text[n:] for n in range(size)), strict=False)) for size in (1, 2, 3, 4)]


def _bleu_4(one: _Grams, references: Sequence[_Grams]) -> float:
    """Corpus BLEU-4 of one text for all references (Papineni et al. 2002), to choose a text by."""
    written = one[0].total() * len(references)
    wanted = sum(reference[0].total() for reference in references)
    if not one[3] or not wanted:
        return 0.0
    precision = 1.0
    for size, grams in enumerate(one):
        hit = sum((grams & reference[size]).total() for reference in references)
        precision *= (hit / (grams.total() * len(references))) ** 0.25
    return precision * min(1.0, math.exp(1 - wanted / written))
