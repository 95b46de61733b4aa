"""Finds what has the form of an identifier in a report, by a table of patterns.

Each row is a kind and a regular expression. The group "it" is the identifier; without the group the
whole match is. A form that a count of ribs or a measurement can have too is passed over where
`is_count_or_measurement` holds; a date with a year of four digits never is. A person's name has no
form of its own: `training.deid.person_names` finds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from training.deid.person_names import find_names


class Kind(StrEnum):
    """The kind of an identifier, which is the word of its mark."""

    NAME = "NAME"
    EMAIL = "EMAIL"
    URL = "URL"
    DATE = "DATE"
    TIME = "TIME"
    AGE = "AGE"  # over 89
    PHONE = "PHONE"
    ADDRESS = "ADDRESS"
    ID = "ID"


@dataclass(frozen=True, slots=True)
class Span:
    """The place of an identifier in a text: text[start:end]."""

    start: int
    end: int
    kind: Kind


_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|(?-i:May|MAY)|june?|july?|aug(?:ust)?|"
    r"sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)(?![^\W\d_])\.?"
)
_DAY = r"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
_IN_MONTH = r"(?:0?[1-9]|[12]\d|3[01])"
_FULL_YEAR = r"(?:19|20)\d\d(?!\d)"
_YEAR = rf"(?:{_FULL_YEAR}|['’]\d\d(?!\d))"
_BY = r"(?:\s{1,2}|[./-])"
_HALF = r"(?:a\.m\.|p\.m\.|am|pm)(?!\w)"
_CAPITAL = r"(?-i:[A-Z][\w'’.-]*)"
_OLD = r"(?:9\d|1[0-2]\d)"
_SEX = r"(?:male|female|man|woman|gentleman|lady)"
_EXTENSION = r"(?:\s*(?:x|ext\.?)\s*\d+(?!\s*[cm]?m\b))?"
_LABELS = r"(?:\s+(?:number|num|no|id)\b\.?)?(?:\s+is)?\s*[:#=]?\s*"
_NO_SIZE = r"(?!\d+(?:\.\d+)?\s*[cm]?m\b)"


@dataclass(frozen=True, slots=True)
class _Form:
    kind: Kind
    pattern: re.Pattern[str]
    ambiguous: bool = False  # a count or a measurement may look the same


def _form(kind: Kind, pattern: str, *, ambiguous: bool = False) -> _Form:
    return _Form(kind, re.compile(pattern, re.IGNORECASE), ambiguous)


_FORMS = (
    _form(Kind.EMAIL, r"(?<![\w.+'-])[\w.+'-]+@[\w-]+(?:\.[\w-]+)*"),
    _form(Kind.URL, r"(?:https?://|ftp://|www\.)[^\s<>]*[^\s<>.,;:)]"),
    _form(
        Kind.URL, r"(?<![\w@.])(?:[a-z][\w-]*\.)+(?:com|org|edu|gov)\b(?:/[^\s<>]*[^\s<>.,;:)])?"
    ),
    # Ids: DICOM UIDs and addresses of machines, social security numbers, what a label names, runs.
    _form(Kind.ID, r"(?<![\w.])\d+(?:\.\d+){4,}(?!\w)|(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w)"),
    _form(Kind.ID, r"(?<![\w.-])\d{3}([- ])\d{2}\1\d{4}(?![\w-])"),
    _form(
        Kind.ID,
        rf"\b(?:ssn|social security|nhs|national (?:insurance|id))\b\.?{_LABELS}"
        r"(?P<it>[a-z]{0,2} ?\d[\d -]{5,}\d)",
    ),
    _form(
        Kind.ID,
        r"\b(?:mrn|m\.\s?r\.\s?n|medical record|accession|acc|patient id|account|ssn|nhs|serial|s/n"
        rf"|id)\b\.?{_LABELS}(?P<it>{_NO_SIZE}[a-z]{{0,6}}-?\d[\w-]*"
        # "MRN 12 34 56", but not the age or the size behind it.
        r"(?: \d{2,}(?![\w./-])(?! (?:[cm]?m|ml|cc|y|yrs?|years?|yo|f|m|male|female|views?)\b))*)",
    ),
    _form(
        Kind.ID,
        r"\b(?:hospital|case|chart|unit|visit|encounter|file|record|patient|order|requisition|policy"
        r"|insurance|licen[cs]e|specimen|episode|registration|reference)\s+(?:number|num|no|id)\b\.?"
        rf"(?:\s+is)?\s*[:#=]?\s*(?P<it>{_NO_SIZE}[a-z]{{0,6}}-?\d[\w/-]*\w)",
    ),
    _form(Kind.ID, r"(?<![\w.])[a-z]{0,6}[-_]?\d{6,}[a-z]{0,3}(?!\w)"),
    _form(Kind.ID, r"(?<!\w)[a-z]{1,6}-?\d{5}\w*"),
    # Dates: year first, year last, month and year, months by name, and by what stands before.
    _form(Kind.DATE, rf"(?<!\d)(?:19|20)\d\d([-/.])(?:0?[1-9]|1[0-2])\1{_IN_MONTH}(?!\d)"),
    _form(
        Kind.DATE,
        rf"(?<![\w/.-]){_IN_MONTH} ?([/.-]) ?{_IN_MONTH} ?\1 ?{_FULL_YEAR}(?!/)",
    ),
    _form(Kind.DATE, rf"(?<![\w/.-]){_IN_MONTH}([/.-]){_IN_MONTH}\1\d\d(?![\d/])", ambiguous=True),
    _form(Kind.DATE, rf"(?<![\w/.-])(?:0?[1-9]|1[0-2])[/-]{_FULL_YEAR}"),
    _form(
        Kind.DATE,
        rf"(?<![\w.]){_DAY}{_BY}?(?:of\s+)?{_MONTH}(?:(?:,?\s{{0,2}}|[./-])"
        rf"(?:of\s+)?{_YEAR}|[/-]\d\d(?!\d))?",
    ),
    _form(Kind.DATE, rf"(?<!\w){_MONTH}{_BY}{_DAY}(?:,?\s{{1,2}}|[,./-]){_YEAR}"),
    _form(Kind.DATE, rf"(?<!\w){_MONTH}{_BY}{_DAY}(?![\w/-]|\.\d)", ambiguous=True),
    _form(Kind.DATE, rf"(?<!\w){_MONTH}(?:,?\s{{0,2}}|[./-])(?:of\s+)?{_YEAR}"),
    _form(
        Kind.DATE,
        # "On 1/2" and its like are halves, thirds and quarters before they are days.
        r"\b(?:(?:dated|since|exam(?:ination)? of|study of|film of)\s+"
        r"|(?:from|on|compared (?:to|with))\s+(?!(?:1/[234]|2/3|3/4)\b))"
        r"(?P<it>(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01])|(?:1[3-9]|2\d|3[01])/(?:0?[1-9]|1[0-2]))"
        r"(?![\d/])",
        ambiguous=True,
    ),
    _form(
        Kind.DATE,
        r"\b(?:dob|d\.o\.b\.?|date of birth|born(?:\s+(?:on|in))?)[:\s]+(?P<it>\d[\d\s./-]*\d)",
    ),
    # Times of day.
    _form(
        Kind.TIME,
        rf"(?<![\w:.])(?:[01]?\d|2[0-4])[:h][0-5]\d(?::[0-5]\d)?(?![\d:])"
        rf"(?:\s*(?:{_HALF}|h(?:rs|ours)?\b))?",
    ),
    _form(Kind.TIME, rf"(?<![\w.])(?:1[0-2]|0?[1-9])(?:\.[0-5]\d)?\s*{_HALF}"),
    _form(Kind.TIME, r"(?<![\w.])(?:[01]\d|2[0-4])[0-5]\d\s*(?:h|hrs|hours)\b"),
    _form(Kind.TIME, r"\bat\s+(?P<it>(?:[01]\d|2[0-4])[0-5]\d)(?![\w/-]|\.\d)", ambiguous=True),
    # Ages over 89; "101 F" may be a fever.
    _form(
        Kind.AGE,
        rf"(?<![\w.])(?P<it>{_OLD}|ninety(?:[ -]\w+)?)[ -]*"
        r"(?:(?:years?|yrs?|y)(?:\b|[mf]\b)\.?(?![ -]*(?:ago|hx|history|smok|of (?:smok|tobac)))"
        r"|old\b|of age\b|y?[/.]?o\.?[mf]?\b)",
    ),
    _form(Kind.AGE, rf"\b(?:age|aged)[:\s]+(?P<it>{_OLD})(?![\w/.-]*\d)"),
    _form(Kind.AGE, rf"(?<![\w.])(?P<it>{_OLD})[ -]+{_SEX}\b"),
    _form(Kind.AGE, rf"\b{_SEX},? (?P<it>{_OLD})(?=\s*(?:[.,;)\n]|\Z))"),
    _form(
        Kind.AGE,
        rf"(?<![\w.])(?P<it>{_OLD}) ?/? ?(?-i:(?:(?:[WBH]|AA) ?/?)?[MF])\b",
        ambiguous=True,
    ),
    _form(
        Kind.AGE,
        rf"(?<![\w.])(?P<it>{_OLD})"
        r"(?:/?[mf](?=\s+(?:with|w/|s/p|c/o|p/w|h/o)|,)| ?(?:[wbh]|aa)[mf]\b)",
        ambiguous=True,
    ),
    _form(Kind.AGE, rf"(?-i:(?<!\w)[MF])/(?P<it>{_OLD})(?![\w/.-])"),
    _form(Kind.AGE, r"\b(?:nonagenarian|centenarian)\b"),
    # Telephones: international, North American, with an area code that begins with 0, labelled.
    _form(Kind.PHONE, r"\+\d[\d\s().-]{7,}\d"),
    _form(
        Kind.PHONE,
        r"(?<![\w.-])(?:1[-. ]?)?(?:\(\d{3}\)\s*|\d{3}[-. ])\d{3}[-. ]\d{4}(?!\d)" + _EXTENSION,
    ),
    _form(Kind.PHONE, rf"(?<![\w.-])\d{{3}}-\d{{4}}{_EXTENSION}(?![\w-])", ambiguous=True),
    _form(
        Kind.PHONE,
        r"(?<![\w./(-])(?!\d\d?([./-])\d\d?\1\d{4})(?=(?:[()/ -]{0,2}\d){9,14}(?![\d:]))"
        rf"\(?0\d{{1,5}}(?:\)[ /-]?|[ /-])\d{{2,}}(?:[ /-]\d{{2,}})*{_EXTENSION}(?![\w-])",
    ),
    _form(
        Kind.PHONE,
        r"\b(?:tel|telephone|phone|fax|pager|beeper|bleep|mobile|ext|extension|call|dial)\b\.?"
        rf"\s*(?:number|no\.?|#)?[:\s]*(?P<it>\(?\+?\d[\d\s().-]{{2,}}\d{_EXTENSION})",
        ambiguous=True,
    ),
    # Addresses.
    _form(
        Kind.ADDRESS,
        rf"(?<![\w.])\d{{1,5}}\s+(?![cm]m\b|ml\b|views?\b)(?:{_CAPITAL}\s+){{1,3}}"
        r"(?:street|st|avenue|ave|road|rd|boulevard|blvd|lane|ln|drive|square|terrace|highway)\b\.?",
    ),
    _form(Kind.ADDRESS, r"\bp\.?\s?o\.?\s?box\s+\d+"),
    _form(Kind.ADDRESS, r"(?<!\w)(?-i:[A-Z]{2})\s+\d{5}(?:-\d{4})?(?!\w)"),
    _form(
        Kind.ADDRESS,
        r"(?-i:(?<!\w)[A-Z]{1,2}\d[A-Z\d]?\s+\d(?!ST|ND|RD|TH)[ABD-HJLNP-UW-Z]{2}(?!\w))",
    ),
    # Whose degree follows: "Jane Roe, MD", "J Roe MD".
    _form(
        Kind.NAME,
        r"(?-i:(?<!\w)(?P<it>[A-Z](?:\.|[a-z]+)?\s+(?:[A-Z]\.?\s+)?[A-Z][\w'’-]*[a-z])\s+"
        r"(?:MD|M\.D\.|RN|PhD|FRCR)(?!\w))",
    ),
    _form(
        Kind.NAME,
        rf"(?P<it>(?:{_CAPITAL}\s+){{1,2}}(?-i:[A-Z][\w'’-]+)),\s*"
        r"(?-i:MD|M\.D\.|DO|D\.O\.|RN|NP|PA|PA-C|PhD|FRCR|MBBS)(?!\w)",
    ),
)

_BONES = r"(?:ribs?|vertebra\w*|levels?|segments?)\b"
_BEFORE = re.compile(
    r"\b(?:(?:levels?|grade|stage)[\s:]+|(?:ribs?|vertebra\w*|segments?)\b"
    # Not "rib pain since".
    r"(?:(?!\b(?:since|from|on(?! (?:the|left|right)\b)|dated?|compar|prior|previous|until|as of"
    r"|stud|exam|films?|series|ct|mri?|radiogr|x-?ray|scan|seen|last|after|before|pain|trauma|injur|fall))"
    r"[^.;\n])*?)(?:[\d/-]+(?:,| and)\s)*$",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"\s*-?(?:of\s+(?:the\s+)?)?(?:(?:left|right|bilateral|upper|lower|mid|old|healed|healing"
    rf"|\w*(?:posterior|anterior|lateral))\s*){{0,3}}{_BONES}",
    re.IGNORECASE,
)
_MEASURED = re.compile(
    r"\s*-?(?:(?:st|nd|rd|th|[cm]m|ml|cc|hu|kg|mmhg|degrees?)\b|%|(?:x\s*[\d.]+\s*)+[cm]m\b)",
    re.IGNORECASE,
)
_TEMPERATURE = re.compile(
    r"\b(?:fevers?|a?febrile|temp\w*|t ?max|t)\b[\s:=-]*"
    r"(?:(?:of|to|up|as|high|at|max|is|was|above|over|[<>~]|[\d.]+\s?-)\s*)*$",
    re.IGNORECASE,
)


def is_count_or_measurement(text: str, start: int, end: int) -> bool:
    """Return whether the text around text[start:end] says that it counts or measures something."""
    if _MEASURED.match(text, end):
        return True
    before = text[max(0, start - 60) : start]
    numbers = re.findall(r"\d+", text[start:end])
    if _TEMPERATURE.search(before) and all(95 <= int(number) <= 110 for number in numbers):
        return True
    # Ribs, vertebrae and grades are few, and named in their order: 3/5/24 is none of them.
    few = all(number[0] != "0" and int(number) <= 12 for number in numbers)
    ordered = sorted(numbers, key=int) in (numbers, numbers[::-1])
    return few and ordered and bool(_BEFORE.search(before) or _AFTER.match(text, end))


_TYPEWRITER = str.maketrans(dict.fromkeys("‐‑‒–—−", "-") | dict.fromkeys("\u00a0\u2007\u202f", " "))
"""Typographic dashes and spaces -> the ones on a keyboard, one character for one."""


def find_identifiers(text: str) -> Iterator[Span]:
    """Yield everything that has the form of an identifier; spans may overlap."""
    text = text.translate(_TYPEWRITER)
    for form in _FORMS:
        for match in form.pattern.finditer(text):
            group = "it" if "it" in form.pattern.groupindex else 0
            start, end = match.span(group)
            if not (form.ambiguous and is_count_or_measurement(text, start, end)):
                yield Span(start, end, form.kind)
    yield from (Span(start, end, Kind.NAME) for start, end in find_names(text))
