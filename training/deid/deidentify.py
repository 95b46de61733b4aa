"""Replaces identifiers of persons in free text by marks.

Two searches always run. One looks for the identifiers of this patient in the records (name, ids,
dates), in any case, spelling and order. The other looks for what has the form of an identifier
(HIPAA's Safe Harbor, 45 CFR 164.514(b)(2), as far as it occurs in reports). In doubt both remove
too much, but measurements, vertebrae and ribs stay. Neither is perfect: a person must check the
result.

A mark, such as "(NAME)", names the kind of what was removed, so that a reader can tell a mistake.
It has round brackets, which `model.prompting.prompt.clean_prior` leaves as they are, so that a mark
is spelled alike in a prompt and in a report.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from training.deid.identifiers import Kind, Span, find_identifiers, is_count_or_measurement
from training.deid.person_names import NAME_GAP, NO_NAME

MARKS = tuple(f"({kind})" for kind in Kind)
"""All marks."""


@dataclass(frozen=True, slots=True)
class KnownIdentifiers:
    """The identifiers of the patient and the study that the records have, as they were sent."""

    name: str = ""  # (0010,0010), all its groups
    patient_id: str = ""  # (0010,0020)
    accession_number: str = ""  # (0008,0050)
    birth_date: str = ""  # (0010,0030)
    study_date: str = ""  # (0008,0020)


def deidentify(text: str, known: KnownIdentifiers = KnownIdentifiers()) -> str:
    """Return the text with a mark in place of each identifier; everything else is unchanged."""
    spans = sorted(
        [*_find_known(text, known), *find_identifiers(text)],
        key=lambda span: (span.start, -span.end, span.kind),
    )
    merged: list[Span] = []
    for span in spans:
        last = merged[-1] if merged else None
        if last is not None and _belongs_to(text, last, span):
            merged[-1] = Span(last.start, max(last.end, span.end), last.kind)
        else:
            merged.append(span)
    for span in reversed(merged):
        text = f"{text[: span.start]}({span.kind}){text[span.end :]}"
    return text


def has_content(text: str) -> bool:
    """Return whether a text has any letter or digit beside marks."""
    for mark in MARKS:
        text = text.replace(mark, "")
    return any(character.isalnum() for character in text)


def _belongs_to(text: str, last: Span, span: Span) -> bool:
    """Return whether a span and the one before it are one identifier."""
    if span.start < last.end:
        return True
    between = text[last.end : span.start]
    return last.kind == span.kind == Kind.NAME and re.fullmatch(NAME_GAP, between) is not None


def _find_known(text: str, known: KnownIdentifiers) -> Iterator[Span]:
    """Yield where the text has an identifier of the records."""
    folded, origins = _fold(text)
    for kind, pattern in _patterns(known):
        for match in re.finditer(pattern, folded):
            if kind is Kind.DATE and is_count_or_measurement(folded, match.start(), match.end()):
                continue
            yield Span(origins[match.start()], origins[match.end() - 1] + 1, kind)


def _patterns(known: KnownIdentifiers) -> Iterator[tuple[Kind, str]]:
    """Yield regular expressions over folded text."""
    if name := _name_pattern(known.name):
        yield Kind.NAME, name
    for value in (known.patient_id, known.accession_number):
        if pattern := _id_pattern(value):
            yield Kind.ID, pattern
    for value in (known.birth_date, known.study_date):
        yield from ((Kind.DATE, pattern) for pattern in _date_patterns(value))
    if year := re.match(r"[12]\d{3}", known.birth_date.strip()):
        # A year may stay, but the year of birth would reveal the age of a person over 89.
        yield Kind.DATE, rf"(?<!\d){year[0]}(?!\d)"


# ---- Names ----


def _name_pattern(name: str) -> str:
    """Return a pattern for any part of the name, with the other parts next to it.

    Words of grammar ("no", "an"), particles ("de", "la") and initials name nobody by themselves,
    and removing them everywhere would spoil the report. They are removed next to another part.
    The pattern is "" where the name has no other part.
    """
    parts: set[str] = set()
    joined: set[str] = set()
    for group in name.split("="):  # alphabetic, ideographic, phonetic (PS3.5, 6.2.1.1)
        components = [_LETTERS.findall(component) for component in group.split("^")]
        parts.update(*components)
        runs = ["".join(component) for component in components if component]
        joined.update(runs, ("".join(pair) for pair in (runs[:2], runs[1::-1])))
    forms = {form for part in parts | joined for form in _spellings(part)}
    strong = {form for form in forms if len(form) > 1 and form not in NO_NAME}
    if not strong:
        return ""
    strong_part, any_part = _alternatives(strong), _alternatives(forms)
    return rf"(?:{any_part}{NAME_GAP})*{strong_part}(?:{NAME_GAP}{any_part})*"


def _spellings(part: str) -> Iterator[str]:
    """Yield a part of a name as `_fold` spells it, with and without the e of a spelt-out umlaut."""
    folded = _fold(part)[0]
    yield folded
    yield _fold(part.translate(_UMLAUTS))[0]
    if len(short := re.sub(r"(?<=[aou])e", "", folded)) > 2:
        yield short


def _alternatives(forms: set[str]) -> str:
    """Return a pattern for one of the forms as a word; scripts without capitals need no spaces."""
    patterns = [re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form))]
    spaced = [word for word in patterns if word.upper() != word]
    unspaced = [word for word in patterns if word.upper() == word]
    bounded = [rf"(?<![^\W\d_])(?:{'|'.join(spaced)})(?:'?s)?(?![^\W\d_])"] if spaced else []
    return f"(?:{'|'.join([*bounded, *unspaced])})"


# ---- Ids and dates ----


def _id_pattern(value: str) -> str:
    """Return a pattern for an id, however it is broken up; "" if it could be a measurement."""
    pieces = re.findall(r"[^\W_]+", _fold(value)[0])
    plain = "".join(pieces)
    if plain in NO_NAME or len(plain) < 2 or (plain.isdecimal() and len(plain) < 4):
        return ""
    if len(plain) >= 6:
        pieces = list(plain)
    pattern = r"[\s./_-]?".join(map(re.escape, pieces))
    if plain.isdecimal() and len(short := plain.lstrip("0")) >= 4:
        pattern = "0*" + r"[\s./_-]?".join(short)
    return rf"(?<![^\W_]){pattern}(?![^\W_])"


def _date_patterns(value: str) -> Iterator[str]:
    """Yield patterns for a known date in forms that do not show by themselves that it is a date."""
    digits = re.sub(r"\D", "", value)
    try:
        day = date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return
    for form in ("%Y%m%d", "%m%d%Y", "%d%m%Y", "%y%m%d", "%m%d%y", "%d%m%y"):
        yield rf"(?<!\d){day.strftime(form)}(?!\d)"
    for form in (r"%m[/.-]%d", r"%d[/.-]%m"):
        yield rf"(?<![\d/.-]){day.strftime(form)}(?![\d/-]|\.\d)"


# ---- Spelling ----

_LETTERS = re.compile(r"[^\W\d_]+")
_UMLAUTS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "Å": "Aa"}
)
_STROKES = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "’": "'"}
)
"""Letters that Unicode does not decompose, and the typographic apostrophe."""


def _fold(text: str) -> tuple[str, list[int]]:
    """Remove case, accents and invisible characters.

    Returns:
        The folded text, and for each of its characters the index in `text` that it is from.
    """
    letters = [_fold_character(character) for character in text]
    origins = [index for index, folded in enumerate(letters) for _ in folded]
    return "".join(letters), origins


@lru_cache(maxsize=4096)
def _fold_character(character: str) -> str:
    decomposed = unicodedata.normalize("NFKD", character)
    visible = (part for part in decomposed if unicodedata.category(part) not in ("Mn", "Cf"))
    return "".join(visible).casefold().translate(_STROKES)
