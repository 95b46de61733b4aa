"""Takes what identifies a person out of free text, and says with a mark what stood there.

Two ways, both always: what the records know of this patient (name, ids, dates) is looked for in
whatever case, spelling and order; then what has the form of an identifier (HIPAA's Safe Harbor,
45 CFR 164.514(b)(2), as far as it is found in reports). Where the two err, they err towards taking
too much, but for a measurement, a vertebra or a rib. It is not perfect: a person must look.

A mark is "(NAME)". It says what was there, so that a person who looks can tell a mistake; round
brackets pass `model.prompting.prompt.clean` as they are, so a prompt and a report spell it alike, where
square ones would be changed in one of them.

Knows no rows, no corpus and no network.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from training.deid.identifiers import Kind, Span, found, is_count_or_measurement
from training.deid.person_names import APART, NO_NAME

MARKS = tuple(f"({kind})" for kind in Kind)
"""All that can stand in the place of something."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the records know of the patient and the study, as it was sent."""

    name: str = ""  # (0010,0010), all its groups
    patient_id: str = ""  # (0010,0020)
    accession_number: str = ""  # (0008,0050)
    birth_date: str = ""  # (0010,0030)
    study_date: str = ""  # (0008,0020)


def deidentify(text: str, known: Known = Known()) -> str:
    """The text with marks in the place of what identifies a person; the rest as it was."""
    spans = sorted(
        [*_known(text, known), *found(text)], key=lambda span: (span.start, -span.end, span.kind)
    )
    whole: list[Span] = []
    for span in spans:
        last = whole[-1] if whole else None
        if last is not None and _one_thing(text, last, span):
            whole[-1] = Span(last.start, max(last.end, span.end), last.kind)
        else:
            whole.append(span)
    for span in reversed(whole):
        text = f"{text[: span.start]}({span.kind}){text[span.end :]}"
    return text


def has_content(text: str) -> bool:
    """Whether anything but marks is left of a text."""
    for mark in MARKS:
        text = text.replace(mark, "")
    return any(character.isalnum() for character in text)


def _one_thing(text: str, last: Span, span: Span) -> bool:
    if span.start < last.end:
        return True
    between = text[last.end : span.start]
    return last.kind == span.kind == Kind.NAME and re.fullmatch(APART, between) is not None


def _known(text: str, known: Known) -> Iterator[Span]:
    """Where the text has what the records know."""
    folded, places = _folded(text)
    for kind, pattern in _patterns(known):
        for match in re.finditer(pattern, folded):
            if kind is not Kind.DATE or not is_count_or_measurement(
                folded, match.start(), match.end()
            ):
                yield Span(places[match.start()], places[match.end() - 1] + 1, kind)


def _patterns(known: Known) -> Iterator[tuple[Kind, str]]:
    """Regular expressions over folded text."""
    if name := _name_pattern(known.name):
        yield Kind.NAME, name
    for sent in (known.patient_id, known.accession_number):
        if pattern := _id_pattern(sent):
            yield Kind.ID, pattern
    for sent in (known.birth_date, known.study_date):
        yield from ((Kind.DATE, pattern) for pattern in _date_patterns(sent))
    if born := re.match(r"[12]\d{3}", known.birth_date.strip()):
        # A year may stay, but not the one that tells the age of a person over 89.
        yield Kind.DATE, rf"(?<!\d){born[0]}(?!\d)"


# ---- Names ----


def _name_pattern(name: str) -> str:
    """Any part of the name as a word of its own, with what of it stands beside; "" without one.

    Words of grammar ("no", "an"), particles ("de", "la") and initials name nobody by themselves,
    and taking them everywhere would spoil the report: they go where they stand by another part.
    """
    parts: set[str] = set()
    wholes: set[str] = set()
    for group in name.split("="):  # alphabetic, ideographic, phonetic (PS3.5, 6.2.1.1)
        components = [_LETTERS.findall(component) for component in group.split("^")]
        parts.update(*components)
        runs = ["".join(component) for component in components if component]
        wholes.update(runs, ("".join(pair) for pair in (runs[:2], runs[1::-1])))
    forms = {form for part in parts | wholes for form in _spellings(part)}
    strong = {form for form in forms if len(form) > 1 and form not in NO_NAME}
    if not strong:
        return ""
    one, any_of_it = _either(strong), _either(forms)
    return rf"(?:{any_of_it}{APART})*{one}(?:{APART}{any_of_it})*"


def _spellings(part: str) -> Iterator[str]:
    """A name's part as `_folded` spells it, with and without the e that stands for an umlaut."""
    folded = _folded(part)[0]
    yield folded
    yield _folded(part.translate(_UMLAUTS))[0]
    if len(short := re.sub(r"(?<=[aou])e", "", folded)) > 2:
        yield short


def _either(forms: set[str]) -> str:
    """One of the forms as a word of its own; scripts without capitals have no spaces either."""
    words = [re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form))]
    spaced = [word for word in words if word.upper() != word]
    unspaced = [word for word in words if word.upper() == word]
    bounded = [rf"(?<![^\W\d_])(?:{'|'.join(spaced)})(?:'?s)?(?![^\W\d_])"] if spaced else []
    return f"(?:{'|'.join([*bounded, *unspaced])})"


# ---- Ids and dates ----


def _id_pattern(sent: str) -> str:
    """An id, however it is broken up; "" where it is too short to be told from a measurement."""
    pieces = re.findall(r"[^\W_]+", _folded(sent)[0])
    plain = "".join(pieces)
    if plain in NO_NAME or len(plain) < 2 or (plain.isdecimal() and len(plain) < 4):
        return ""
    if len(plain) >= 6:
        pieces = list(plain)
    pattern = r"[\s./_-]?".join(map(re.escape, pieces))
    if plain.isdecimal() and len(short := plain.lstrip("0")) >= 4:
        pattern = "0*" + r"[\s./_-]?".join(short)
    return rf"(?<![^\W_]){pattern}(?![^\W_])"


def _date_patterns(sent: str) -> Iterator[str]:
    """A known date in the forms that a date which is not known could not be told by."""
    digits = re.sub(r"\D", "", sent)
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
"""Letters that Unicode does not take apart, and the apostrophe as typesetters write it."""


def _folded(text: str) -> tuple[str, list[int]]:
    """Without case, accents and characters that are not seen; the place in `text` of each."""
    spelt = [_letter(character) for character in text]
    places = [place for place, letters in enumerate(spelt) for _ in letters]
    return "".join(spelt), places


@lru_cache(maxsize=4096)
def _letter(character: str) -> str:
    apart = unicodedata.normalize("NFKD", character)
    seen = (one for one in apart if unicodedata.category(one) not in ("Mn", "Cf"))
    return "".join(seen).casefold().translate(_STROKES)
