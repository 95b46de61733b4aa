"""Computes BLEU, METEOR and ROUGE-L of drafts, each by name, and again for any resample of cases.

    score(["heart size normal"], [["heart size is normal"]], normalisation="lower").bleu_4
    measure(hypotheses, references).scores_at(indices)["bleu_4"]

The scores are those of pycocoevalcap and nltk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.rouge.rouge import Rouge

from training.metrics.meteor import (
    Meteor15,
    MeteorNltk,
    MeteorUnavailable,
    meteor_from_statistics,
    start_meteor_15,
)
from training.metrics.normalisation import Vocabulary, describe_normalisation, normalise

_COCO = f"pycocoevalcap {version('pycocoevalcap')}"
_BLEU = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")
NAMES = (*_BLEU, "bleu_a", "meteor_1_5", "meteor_nltk", "rouge_l", "rouge_l_google")


@dataclass(frozen=True)
class Scores(Mapping[str, float | None]):
    """The scores of a set of cases, 0 to 1, as attributes and by the names in NAMES.

    Attributes:
        meteor_1_5, meteor_nltk: None where it could not be computed here; `notes` says why.
        descriptions: Name -> implementation, version and normalisation.
        notes: Name -> what a reader of the score must know.
    """

    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float
    bleu_a: float
    meteor_1_5: float | None
    meteor_nltk: float | None
    rouge_l: float
    rouge_l_google: float
    descriptions: Mapping[str, str] = field(default_factory=dict, compare=False)
    notes: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __getitem__(self, name: str) -> float | None:
        if name not in NAMES:
            raise KeyError(name)
        value: float | None = getattr(self, name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


@dataclass(frozen=True)
class Measurement:
    """The scores of a set of cases, and the counts to score any resample of them again.

    BLEU and METEOR 1.5 of several cases are not the mean of the cases' scores but follow from their
    counts together, as in their libraries. nltk's METEOR and both ROUGE-L are the mean.

    Attributes:
        scores: Of all cases.
        cases: Name -> each case scored by itself, shape (cases,); for BLEU-4 that is often 0.
    """

    scores: Scores
    cases: Mapping[str, NDArray[np.float64]]
    _bleu: NDArray[np.float64] = field(repr=False)
    _meteor: NDArray[np.float64] | None = field(repr=False)

    def scores_at(self, indices: ArrayLike) -> dict[str, float]:
        """Return the scores of some cases; a score that could not be computed is left out.

        Every case once gives `scores`, to the last digits of a float.

        Args:
            indices: The cases, at least one, of any shape. An index that occurs twice counts twice.

        Raises:
            ValueError: there is no index.
        """
        chosen = np.asarray(indices, dtype=np.intp)
        if not chosen.size:
            raise ValueError("no case is named; give at least one index")
        weights = np.bincount(chosen, minlength=len(self._bleu)).astype(np.float64)
        scores = _bleu_from_counts(weights @ self._bleu)
        if self._meteor is not None:
            scores["meteor_1_5"] = float(meteor_from_statistics(weights @ self._meteor))
        for name in ("meteor_nltk", "rouge_l", "rouge_l_google"):
            scores[name] = float(weights @ self.cases[name] / weights.sum())
        return scores


def score(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    normalisation: str = "raw",
    vocabulary: Vocabulary | None = None,
) -> Scores:
    """Return the scores of drafts against reports; arguments and errors are those of `measure`."""
    measured = measure(hypotheses, references, normalisation=normalisation, vocabulary=vocabulary)
    return measured.scores


def measure(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    normalisation: str = "raw",
    vocabulary: Vocabulary | None = None,
) -> Measurement:
    """Score drafts against one or more reports each. An empty draft scores 0.

    Args:
        hypotheses: The drafts.
        references: The reports of each draft.
        normalisation: A name in training.metrics.normalisation.NORMALISATIONS.
        vocabulary: R2Gen's, which the references go through and the drafts do not; with r2gen only.

    Raises:
        ValueError: there is nothing to score, a draft has no reference, the lists differ in length,
            or the normalisation is unknown.
    """
    if isinstance(hypotheses, str) or any(isinstance(texts, str) for texts in references):
        raise ValueError("one text is given where a list of texts is wanted; put it in a list")
    if not hypotheses:
        raise ValueError("there is nothing to score: no draft is given")
    if len(hypotheses) != len(references):
        raise ValueError(
            f"{len(hypotheses)} drafts and references for {len(references)} are given; "
            "give a list of references for each draft"
        )
    if not all(references):
        missing = next(n for n, texts in enumerate(references) if not texts)
        raise ValueError(f"draft number {missing + 1} has no reference; give at least one")
    drafts = [normalise(text, normalisation) for text in hypotheses]
    reports = [[normalise(t, normalisation, vocabulary) for t in texts] for texts in references]

    bleu, corpus_scores, by_case = _bleu(drafts, reports)
    notes: dict[str, str] = {}
    meteor, jar_score = None, None
    try:
        meteor, jar_score = _meteor(drafts, reports)
        by_case["meteor_1_5"] = meteor_from_statistics(meteor)
    except MeteorUnavailable as error:
        notes["meteor_1_5"] = str(error)
    meteor_nltk = MeteorNltk()
    if meteor_nltk.note:
        notes["meteor_nltk"] = meteor_nltk.note
    pairs = list(zip(drafts, reports, strict=True))
    by_case["meteor_nltk"] = np.array([meteor_nltk.score(*pair) for pair in pairs])
    by_case["rouge_l"] = np.array([_rouge(*pair) for pair in pairs])
    by_case["rouge_l_google"] = np.array([rouge_l_google(*pair) for pair in pairs])
    scores = Scores(
        **corpus_scores,
        meteor_1_5=jar_score,
        meteor_nltk=float(by_case["meteor_nltk"].mean()),
        rouge_l=float(by_case["rouge_l"].mean()),
        rouge_l_google=float(by_case["rouge_l_google"].mean()),
        descriptions=_descriptions(
            meteor_nltk.name, describe_normalisation(normalisation, vocabulary)
        ),
        notes=notes,
    )
    return Measurement(scores, by_case, bleu, meteor)


def _bleu(
    drafts: Sequence[str], reports: Sequence[Sequence[str]]
) -> tuple[NDArray[np.float64], dict[str, float], dict[str, NDArray[np.float64]]]:
    """Return the library's counts (cases, 10), its scores, and its scores of each case."""
    scorer = BleuScorer(n=4)
    for draft, texts in zip(drafts, reports, strict=True):
        scorer += (draft, list(texts))
    corpus_scores, cases = scorer.compute_score(option="closest", verbose=0)
    counts = np.array(
        [
            [
                case["testlen"],
                min((abs(length - case["testlen"]), length) for length in case["reflen"])[1],
                *case["guess"],
                *case["correct"],
            ]
            for case in scorer.ctest
        ],
        dtype=np.float64,
    )
    by_case = dict(zip(_BLEU, np.array(cases), strict=True))
    by_case["bleu_a"] = np.array(cases[1:]).mean(axis=0)
    return counts, _with_mean(corpus_scores), by_case


# They keep the library from dividing by zero: pycocoevalcap/bleu/bleu_scorer.py.
_SMALL, _TINY = 1e-9, 1e-15


def _bleu_from_counts(counts: NDArray[np.float64]) -> dict[str, float]:
    """Return BLEU from counts (10,) as the library computes it: closest length, no smoothing."""
    length, reference_length, guessed, correct = (counts[0], counts[1], counts[2:6], counts[6:10])
    precision = np.cumprod((correct + _TINY) / (guessed + _SMALL)) ** (1 / np.arange(1, 5))
    ratio = (length + _TINY) / (reference_length + _SMALL)
    return _with_mean(precision * (np.exp(1 - 1 / ratio) if ratio < 1 else 1.0))


def _with_mean(bleu: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """Return BLEU-1 to 4 by name, and BLEU-A, the paper's mean of BLEU-2, 3 and 4."""
    scores = dict(zip(_BLEU, map(float, bleu), strict=True))
    return scores | {"bleu_a": float(np.mean(bleu[1:]))}


def _meteor(
    drafts: Sequence[str], reports: Sequence[Sequence[str]]
) -> tuple[NDArray[np.float64], float]:
    with start_meteor_15() as jar:
        pairs = zip(drafts, reports, strict=True)
        statistics = np.array([jar.statistics(draft, texts) for draft, texts in pairs])
        return statistics, jar.score(statistics)


def _rouge(draft: str, texts: Sequence[str]) -> float:
    # The library counts one empty word in an empty draft and in an empty reference.
    return float(Rouge().calc_score([draft], list(texts))) if draft else 0.0


_GOOGLE_WORD = re.compile(r"[a-z0-9]+")


def rouge_l_google(draft: str, texts: Sequence[str]) -> float:
    """ROUGE-L as Google's rouge-score 0.1.2 computes it, which Hugging Face's `rouge` calls.

    F1 of the longest common subsequence, over words of lower-case letters and digits, without
    stemming; of several references the best counts.
    """
    words = _GOOGLE_WORD.findall(draft.lower())
    return max(_f1_of_sequences(words, _GOOGLE_WORD.findall(text.lower())) for text in texts)


def _f1_of_sequences(hypothesis: Sequence[str], reference: Sequence[str]) -> float:
    """F1 by the longest common subsequence."""
    if not hypothesis or not reference:
        return 0.0
    lengths = [0] * (len(reference) + 1)
    for word in hypothesis:
        diagonal = 0
        for n, other in enumerate(reference, start=1):
            above = lengths[n]
            lengths[n] = diagonal + 1 if word == other else max(above, lengths[n - 1])
            diagonal = above
    return 2 * lengths[-1] / (len(hypothesis) + len(reference))


def _descriptions(meteor_nltk: str, normalisation: str) -> dict[str, str]:
    methods = {name: f"BLEU-{name[-1]}, {_COCO}" for name in _BLEU}
    methods["bleu_a"] = f"BLEU-A (mean of BLEU-2, 3 and 4), {_COCO}"
    methods["meteor_1_5"] = Meteor15.name
    methods["meteor_nltk"] = meteor_nltk
    methods["rouge_l"] = f"ROUGE-L (F, beta 1.2), {_COCO}"
    methods["rouge_l_google"] = "ROUGE-L (F1) as Google's rouge-score 0.1.2, without stemming"
    return {name: f"{methods[name]}, {normalisation}" for name in NAMES}
