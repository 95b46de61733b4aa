"""Checks single words: comparisons, figures, words for sex and age, and places left blank."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from model.consistency.flags import Flag, FlagKind, ReportFacts, Sentence

_CHANGED = "increased|decreased|improved|worsened|resolved|progressed|cleared"
_EARLIER = "prior|previous|earlier|last"
_COMPARISON = re.compile(
    r"\b(?:unchanged|(?:no|little|without) (?:\w+ ){0,2}(?:interval )?change"
    r"|(?<!hemodynamically )(?<!haemodynamically )stabl[ey]|similar to|as before"
    r"|again (?:seen|noted|demonstrated|identified)|re-?demonstrat\w+|new(?:ly)?|interval(?:ly)?"
    rf"|(?:has|have) (?:\w+ )?(?:{_CHANGED})|(?:{_CHANGED}|worsening|improving) (?:since|from)"
    rf"|compared (?:to|with)|in comparison (?:to|with)|since (?:the )?(?:{_EARLIER})"
    rf"|(?:{_EARLIER}) (?:study|exam\w*|film|radiograph|x-?ray|image)|persistent|persists?)\b"
)
# "No prior study for comparison" says itself that there is nothing to compare with.
_NO_COMPARISON = re.compile(
    r"\b(?:no|without|none)\b[^.;]{0,40}\b(?:prior|previous|comparison)\b"
    r"|\bcomparison[: -]+(?:none|not available|unavailable)\b"
    r"|\b(?:prior|previous|comparison)[^.;]{0,30}\b(?:not|un)[ -]?available\b"
)
_FIGURE = re.compile(r"(?<![\w.])(\d+(?:[.,]\d+)?)(?: ?(?:x|by|to|-) ?\d+(?:[.,]\d+)?)* ?(mm|cm)\b")
_BLANK = re.compile(
    r"_{2,}|\[[^\]\n]{0,40}\]|<[a-z_ ]{1,30}>|\{[^}\n]{0,40}\}|\*{3,}|\?{2,}|\bxxx+\b"
)

_SEX_WORDS = {
    "M": r"\b(?:she|hers?|woman|female|lady|girl|pregnan\w+|gravid|breast shadows?|uter\w+)\b",
    "F": r"\b(?:he|his|him|man|male|gentleman|boy|prostat\w+|testicular)\b",
}
_SEX_NAMES = {"M": "male", "F": "female"}

_YEARS = re.compile(r"\b(\d{1,3})[- ]?(?:years?[- ]old|y/?o|yo)\b")
_AGE_WORDS: tuple[tuple[str, float, float], ...] = (
    (r"newborn|neonat\w*|preterm|premature infant", 0, 0.5),
    (r"infant|baby|umbilical (?:arterial|venous|artery|vein) (?:catheter|line)", 0, 2),
    (r"child(?!-pugh)|pa?ediatric|thymus|thymic shadow|open (?:physes|growth plates?)", 0, 18),
    (r"elderly|senile|age-related|osteopeni[ac]|osteoporo\w+", 18, 200),
)
"""Words, and the ages in years, from and to, that they fit."""

_AGE_TOLERANCE = 1.0  # years: an age at the order and one at the examination differ by a birthday


def find_comparisons(sentences: Sequence[Sentence]) -> Iterator[Flag]:
    """Flag comparisons; for a study with nothing to compare with."""
    for sentence in sentences:
        masked = _NO_COMPARISON.sub("", sentence.words)
        if word := _COMPARISON.search(masked):
            yield sentence.flag(
                FlagKind.NO_PRIOR,
                f'It says "{word.group()}", and no prior report or study is known.',
            )


def find_figures(sentences: Sequence[Sentence], facts: ReportFacts) -> Iterator[Flag]:
    """Flag lengths that stand in the draft and in nothing that the model was given.

    A model measures nothing. What a reader wrote is the reader's.
    """
    written = _figures(facts.draft)
    given = _figures(facts.prior_report) | _figures(facts.indication)
    for sentence in sentences:
        for figure in sorted((_figures(sentence.words) & written) - given):
            yield sentence.flag(
                FlagKind.MEASUREMENT, f"The model wrote {' '.join(figure)}; it measures nothing."
            )


def _figures(text: str) -> set[tuple[str, str]]:
    return {(match[1].replace(",", "."), match[2]) for match in _FIGURE.finditer(text.lower())}


def find_sex_faults(sentences: Sequence[Sentence], sex: str) -> Iterator[Flag]:
    """Flag words for the other sex, where the header says M or F."""
    if sex not in _SEX_WORDS:
        return
    for sentence in sentences:
        if word := re.search(_SEX_WORDS[sex], sentence.words):
            yield sentence.flag(
                FlagKind.SEX, f'It says "{word.group()}"; the header says {_SEX_NAMES[sex]}.'
            )


def find_age_faults(sentences: Sequence[Sentence], age_years: float | None) -> Iterator[Flag]:
    """Flag ages and words for an age that are not the patient's."""
    if age_years is None:
        return
    age = f"{int(age_years)} years" if age_years >= 2 else f"{int(age_years * 12)} months"
    for sentence in sentences:
        for match in _YEARS.finditer(sentence.words):
            if abs(int(match[1]) - int(age_years)) > _AGE_TOLERANCE:
                yield sentence.flag(
                    FlagKind.AGE, f'It says "{match.group()}"; the patient is {age} old.'
                )
        for words, least, most in _AGE_WORDS:
            word = re.search(rf"\b(?:{words})\b", sentence.words)
            if word and not least <= age_years <= most:
                yield sentence.flag(
                    FlagKind.AGE, f'It says "{word.group()}"; the patient is {age} old.'
                )


def find_blanks(sentences: Sequence[Sentence]) -> Iterator[Flag]:
    """Flag places that were to be filled in."""
    for sentence in sentences:
        if blank := _BLANK.search(sentence.words):
            yield sentence.flag(FlagKind.BLANK, f'"{blank.group()}" was to be filled in.')
