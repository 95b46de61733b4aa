"""What is done to a report's words before they are scored. Knows no score.

Lower-casing and losing the punctuation alone moves BLEU-4 of one fixed text on IU X-ray from .1 to
.17 (docs/train/metrics.md), so a score without the name of its normalisation says little.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

UNKNOWN = "<unk>"
"""R2Gen's word for every word that its vocabulary does not hold."""


def raw(text: str) -> str:
    """The words between white space, as they stand. This is how nlg-eval splits."""
    return " ".join(text.split())


_WORD = re.compile(r"\d+(?:\.\d+)+|\w+")


def lower(text: str) -> str:
    """Lower case, every mark of punctuation a space; a decimal number stays whole."""
    return " ".join(_WORD.findall(text.lower()))


_LIST_NUMBERS = "2345"
_DROPPED = re.compile(r"[.,?;*!%^&_+():<=>@\[\]{}\"/\\']")


def r2gen(text: str) -> str:
    """R2Gen's cleaning of a report: lower-case sentences without marks, a dot after each.

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


NORMALISATIONS: dict[str, Callable[[str], str]] = {"raw": raw, "lower": lower, "r2gen": r2gen}
"""By the name that stands with a score."""


@dataclass(frozen=True)
class Vocabulary:
    """The words that a tokenizer of R2Gen's kept; every other becomes UNKNOWN.

    R2Gen scores against references that have gone through its tokenizer: rare words unknown, the
    end cut off. That makes its references easier than the reports; a score that is to stand beside
    its own needs the same.

    words: those that are kept. most: how many words of a text are kept. at_least: how often a word
    was in the reports that the vocabulary is from.
    """

    words: frozenset[str]
    most: int
    at_least: int

    @classmethod
    def of(cls, reports: Iterable[str], at_least: int = 3, most: int = 59) -> Vocabulary:
        """From the training reports. R2Gen: 3 and 59 for IU X-ray, 10 and 99 for MIMIC-CXR.

        Its own lengths, 60 and 100, count the mark at the start.
        """
        seen = Counter(word for report in reports for word in r2gen(report).split())
        kept = frozenset(word for word, times in seen.items() if times >= at_least)
        return cls(kept, most, at_least)

    def seen(self, text: str) -> str:
        """A cleaned text as the tokenizer gives it back."""
        words = text.split()[: self.most]
        return " ".join(word if word in self.words else UNKNOWN for word in words)


def normalise(text: str, normalisation: str, vocabulary: Vocabulary | None = None) -> str:
    """The words of a text, one space between them, by one of NORMALISATIONS.

    Raises:
        ValueError: there is no such normalisation, or a vocabulary is given to another than r2gen.
    """
    if normalisation not in NORMALISATIONS:
        known = ", ".join(NORMALISATIONS)
        raise ValueError(f"there is no normalisation {normalisation!r}; there are {known}")
    if vocabulary is not None and normalisation != "r2gen":
        raise ValueError(f"a vocabulary goes with the normalisation r2gen, not {normalisation!r}")
    words = NORMALISATIONS[normalisation](text)
    return vocabulary.seen(words) if vocabulary else words


def named(normalisation: str, vocabulary: Vocabulary | None = None) -> str:
    """As it stands in the name of a score: "normalisation r2gen with its vocabulary of 760 ..."."""
    if vocabulary is None:
        return f"normalisation {normalisation}"
    return (
        f"normalisation {normalisation} with a vocabulary of {len(vocabulary.words)} words "
        f"(seen {vocabulary.at_least} times or more), first {vocabulary.most} words of a report"
    )
