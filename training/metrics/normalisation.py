"""Normalises the words of a report before they are scored.

Lower-casing and removing punctuation alone moves BLEU-4 of one fixed text on IU X-ray from .1 to
.17 (docs/train/metrics.md), so a score without the name of its normalisation says little.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

UNKNOWN = "<unk>"
"""R2Gen's word for every word that its vocabulary does not hold."""


def normalise_raw(text: str) -> str:
    """Return the words between white space, unchanged. This is how nlg-eval splits."""
    return " ".join(text.split())


_WORD = re.compile(r"\d+(?:\.\d+)+|\w+")


def normalise_lower(text: str) -> str:
    """Return lower case with every punctuation mark as a space; decimal numbers stay whole."""
    return " ".join(_WORD.findall(text.lower()))


_LIST_NUMBERS = "2345"
_DROPPED = re.compile(r"[.,?;*!%^&_+():<=>@\[\]{}\"/\\']")


def normalise_r2gen(text: str) -> str:
    """Clean a report as R2Gen does: lower-case sentences without punctuation, a dot after each.

    The rules are those of `clean_report_mimic_cxr` in github.com/cuhksz-nlp/R2Gen,
    modules/tokenizers.py, its oddities kept, since its figures were made with them: "1. " goes
    wherever it stands ("T1. " too), "1.5" becomes "15", a hyphen stays. Its rules for IU X-ray
    are the same without joining lines; both give the same words on every report of its IU split.
    """
    line = " ".join(text.split())
    while ".." in line:
        line = line.replace("..", ".")
    line = line.replace("1. ", "")
    for number in _LIST_NUMBERS:
        line = line.replace(f". {number}. ", ". ")
    for number in _LIST_NUMBERS:
        line = line.replace(f" {number}. ", ". ")
    split_sentences = (_DROPPED.sub("", sentence) for sentence in line.lower().split(". "))
    return " ".join((" . ".join(split_sentences) + " .").split()) if line else ""


NORMALISATIONS: dict[str, Callable[[str], str]] = {
    "raw": normalise_raw,
    "lower": normalise_lower,
    "r2gen": normalise_r2gen,
}
"""Name, as it stands with a score -> function."""


@dataclass(frozen=True)
class Vocabulary:
    """The words that R2Gen's tokenizer keeps; every other word becomes UNKNOWN.

    R2Gen scores against references that have gone through its tokenizer: rare words unknown, the
    end cut off. That makes its references easier than the reports. A score that is to stand beside
    R2Gen's needs the same.

    Attributes:
        words: The words that are kept.
        max_words: How many words of a text are kept.
        min_count: How often a word occurs at least in the reports that the vocabulary is from.
    """

    words: frozenset[str]
    max_words: int
    min_count: int

    @classmethod
    def from_reports(
        cls, reports: Iterable[str], min_count: int = 3, max_words: int = 59
    ) -> Vocabulary:
        """Build the vocabulary of the training reports.

        R2Gen takes 3 and 59 for IU X-ray, 10 and 99 for MIMIC-CXR. Its own lengths, 60 and 100,
        count the mark at the start.
        """
        counts = Counter(word for report in reports for word in normalise_r2gen(report).split())
        words = frozenset(word for word, count in counts.items() if count >= min_count)
        return cls(words, max_words, min_count)

    def apply(self, text: str) -> str:
        """Return a cleaned text as the tokenizer gives it back."""
        words = text.split()[: self.max_words]
        return " ".join(word if word in self.words else UNKNOWN for word in words)


def normalise(text: str, normalisation: str, vocabulary: Vocabulary | None = None) -> str:
    """Return the words of a text, one space between them, by one of NORMALISATIONS.

    Raises:
        ValueError: there is no such normalisation, or a vocabulary comes with another than r2gen.
    """
    if normalisation not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise ValueError(f"there is no normalisation {normalisation!r}; there are {known}")
    if vocabulary is not None and normalisation != "r2gen":
        raise ValueError(f"a vocabulary goes with the normalisation r2gen, not {normalisation!r}")
    normalised = NORMALISATIONS[normalisation](text)
    return vocabulary.apply(normalised) if vocabulary else normalised


def describe_normalisation(normalisation: str, vocabulary: Vocabulary | None = None) -> str:
    """Return a description such as "normalisation r2gen with a vocabulary of 760 words ..."."""
    if vocabulary is None:
        return f"normalisation {normalisation}"
    return (
        f"normalisation {normalisation} with a vocabulary of {len(vocabulary.words)} words "
        f"(seen {vocabulary.min_count} times or more), "
        f"first {vocabulary.max_words} words of a report"
    )
