"""What has the form of an identifier in a report, as a table of patterns.

Each row is a kind and a regular expression; the group "it" is what identifies, else all of it. A
form that a count of ribs or a measurement can have too is taken for neither where it `is_counted`.
The words of a person's name have no form: they are told by what stands before or after them.

Knows no patient: see `training.deidentify`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an identifier is of; the word of its mark."""

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
    """Where in a text something identifies a person: text[start:end]."""

    start: int
    end: int
    kind: Kind


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


NO_NAME = _words(
    # grammar
    "a about after also an and any are as at be been before but by can could did do for from had",
    "has have he her him his i if in into is it its may me more my no nor not of off on one or our",
    "out over she so than that the their them then there these they this to two under up us was",
    "we were who will with would you",
    # particles of names
    "al bin da das de del della den der di dos du el ibn la le san st te ten ter van vom von zu",
    # titles and what follows names
    "dr drs doctor md phd prof professor mr mrs ms miss sir rev jr sr ii iii iv",
    # what stands where the name is not known
    "anon anonymized anonymous male female none patient unidentified unknown unnamed",
)
"""Words, folded, that name nobody by themselves, whoever is called so."""

APART = r"[\s,.'’^_-]{1,3}"
"""What may stand between two parts of one name."""

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|(?-i:May|MAY)|june?|july?|aug(?:ust)?|"
    r"sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)(?![^\W\d_])\.?"
)
_DAY = r"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
_YEAR = r"(?:(?:19|20)\d\d|['’]\d\d)(?!\d)"
_BY = r"(?:\s{1,2}|[./-])"
_HALF = r"(?:a\.m\.|p\.m\.|am|pm)(?!\w)"
_CAPITAL = r"(?-i:[A-Z][\w'’.-]*)"


@dataclass(frozen=True, slots=True)
class _Form:
    kind: Kind
    pattern: re.Pattern[str]
    counts: bool = False  # a count or a measurement may look the same


def _form(kind: Kind, pattern: str, *, counts: bool = False) -> _Form:
    return _Form(kind, re.compile(pattern, re.IGNORECASE), counts)


_FORMS = (
    _form(Kind.EMAIL, r"[\w.+'-]+@[\w-]+(?:\.[\w-]+)*"),
    _form(Kind.URL, r"(?:https?://|ftp://|www\.)[^\s<>]*[^\s<>.,;:)]"),
    _form(
        Kind.URL, r"(?<![\w@.])(?:[a-z][\w-]*\.)+(?:com|org|edu|gov)\b(?:/[^\s<>]*[^\s<>.,;:)])?"
    ),
    # Ids: DICOM UIDs and addresses of machines, social security numbers, what a label names, runs.
    _form(Kind.ID, r"(?<![\w.])\d+(?:\.\d+){4,}(?!\w)|(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w)"),
    _form(Kind.ID, r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"),
    _form(
        Kind.ID,
        r"\b(?:mrn|medical record|accession|acc|patient id|account|ssn|nhs|serial|s/n|id)\b\.?"
        r"(?:\s+(?:number|no)\b\.?)?\s*[:#]?\s*(?P<it>(?!\d+(?:\.\d+)?\s*[cm]?m\b)"
        r"[a-z]{0,6}-?\d[\w-]*)",
    ),
    _form(Kind.ID, r"(?<![\w.])[a-z]{0,6}[-_]?\d{6,}[a-z]{0,3}(?!\w)"),
    _form(Kind.ID, r"(?<!\w)[a-z]{1,6}-?\d{5}\w*"),
    # Dates: year first, year last, month and year, months by name, and by what stands before.
    _form(
        Kind.DATE,
        r"(?<!\d)(?:19|20)\d\d([-/.])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])(?!\d)",
    ),
    _form(
        Kind.DATE,
        r"(?<![\w/.-])(?:0?[1-9]|[12]\d|3[01])([/.-])(?:0?[1-9]|[12]\d|3[01])\1"
        r"(?:(?:19|20)\d\d|\d\d)(?![\d/])",
        counts=True,
    ),
    _form(Kind.DATE, r"(?<![\w/.-])(?:0?[1-9]|1[0-2])[/-](?:19|20)\d\d(?!\d)"),
    _form(
        Kind.DATE,
        rf"(?<![\w.]){_DAY}{_BY}?(?:of\s+)?{_MONTH}(?:(?:,?\s{{0,2}}|[./-])"
        rf"(?:of\s+)?{_YEAR}|[/-]\d\d(?!\d))?",
    ),
    _form(
        Kind.DATE, rf"(?<!\w){_MONTH}{_BY}{_DAY}(?![\w/-]|\.\d)(?:,?\s{{1,2}}{_YEAR})?", counts=True
    ),
    _form(Kind.DATE, rf"(?<!\w){_MONTH}(?:,?\s{{0,2}}|[./-])(?:of\s+)?{_YEAR}"),
    _form(
        Kind.DATE,
        # "On 1/2" and its like are halves, thirds and quarters before they are days.
        r"\b(?:(?:dated|since|exam(?:ination)? of|study of|film of)\s+"
        r"|(?:from|on|compared (?:to|with))\s+(?!(?:1/[234]|2/3|3/4)\b))"
        r"(?P<it>(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01])|(?:1[3-9]|2\d|3[01])/(?:0?[1-9]|1[0-2]))"
        r"(?![\d/])",
        counts=True,
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
    _form(Kind.TIME, r"\bat\s+(?P<it>(?:[01]\d|2[0-4])[0-5]\d)(?![\w/-]|\.\d)", counts=True),
    # Ages over 89.
    _form(
        Kind.AGE,
        r"(?<![\w.])(?P<it>9\d|1[0-2]\d|ninety(?:[ -]\w+)?)[ -]*(?:years?|yrs?|y)?[ ./-]*"
        r"(?:old\b|of age\b|y?/?o\b|y\.?o\.)",
    ),
    _form(Kind.AGE, r"\b(?:age|aged)[:\s]+(?P<it>9\d|1[0-2]\d)(?![\w/.-]*\d)"),
    _form(
        Kind.AGE,
        r"(?<![\w.])(?P<it>9\d|1[0-2]\d)(?:(?-i:M)\b|\s+(?:male|female|man|woman|gentleman|lady)\b)",
    ),
    _form(Kind.AGE, r"^\s*(?P<it>9\d|1[0-2]\d)[ -]?(?-i:[MF])\b"),
    # Telephones.
    _form(Kind.PHONE, r"\+\d[\d\s().-]{7,}\d"),
    _form(
        Kind.PHONE,
        r"(?<![\w.-])(?:\(\d{3}\)\s*|\d{3}[-. ])\d{3}[-. ]\d{4}(?!\d)(?:\s*(?:x|ext\.?)\s*\d+)?",
    ),
    _form(Kind.PHONE, r"(?<![\w.-])\d{3}-\d{4}(?![\w-])", counts=True),
    _form(Kind.PHONE, r"(?<![\w.-])0\d{3,4}\s\d{3}\s?\d{3,4}(?!\d)"),
    _form(
        Kind.PHONE,
        r"\b(?:tel|telephone|phone|fax|pager|beeper|ext|extension)\b\.?\s*(?:number|no\.?|#)?[:\s]*"
        r"(?P<it>\(?\+?\d[\d\s().-]{2,}\d)",
        counts=True,
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
    # Whose degree follows: "Jane Roe, MD".
    _form(
        Kind.NAME,
        rf"(?P<it>(?:{_CAPITAL}\s+){{1,2}}(?-i:[A-Z][\w'’-]+)),\s*"
        r"(?-i:MD|M\.D\.|DO|D\.O\.|RN|NP|PA|PA-C|PhD|FRCR|MBBS)(?!\w)",
    ),
)

_BEFORE = re.compile(
    r"\b(?:ribs?|vertebra\w*|levels?|grade|stage|segments?)[\s:]+"
    r"(?:[\d/-]+(?:,| and)\s)*$",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"\s*-?(?:(?:st|nd|rd|th|[cm]m|ml|cc|hu|kg|mmhg)\b|(?:posterior|anterior|lateral|left|right)?\s*"
    r"(?:ribs?|vertebra\w*|views?|images?|films?|levels?|segments?|x|of|the)\b|%)",
    re.IGNORECASE,
)


def is_counted(text: str, start: int, end: int) -> bool:
    """Whether what stands around text[start:end] says that it counts or measures something."""
    before = _BEFORE.search(text[max(0, start - 40) : start])
    return before is not None or _AFTER.match(text, end) is not None


def found(text: str) -> Iterator[Span]:
    """All that has the form of an identifier; spans may overlap."""
    for form in _FORMS:
        for match in form.pattern.finditer(text):
            group = "it" if "it" in form.pattern.groupindex else 0
            start, end = match.span(group)
            if not (form.counts and is_counted(text, start, end)):
                yield Span(start, end, form.kind)
    yield from _told_names(text)


# ---- Names by what stands before them ----

_TITLE = re.compile(
    r"\b(?:(?:Drs?|DRS?|drs?|Mrs|MRS|mrs|Mr|Ms|(?P<full>[Dd]octors?|DOCTORS?|Prof|[Pp]rofessor"
    r"|PROF|PROFESSOR|Miss|Mister))\b\.?|(?:MR|MS|mr|ms)\.)[ \t]*\n?[ \t]*(?=[^\W\d_])"
)
_TOLD = re.compile(
    r"\b(?:discussed\s+with|(?:communicated|conveyed|relayed|reported|called)\s+to|communicated\s+with"
    r"|telephoned|paged|notified|informed|sp(?:oke|oken)\s+(?:to|with)"
    r"|(?:signed|dictated|read|verified|interpreted|reviewed|transcribed|referred|requested)\s+by"
    r"|attending(?:\s+physician)?|radiologist|physician|provider)(?:\s*:\s*|\s+)(?=[^\W\d_])",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_](?:[\w'’-]*\w)?(?:(?<=\b[A-Z])\.)?")
_BETWEEN = re.compile(r"[ \t]*\n?[ \t]*(?:(?:,|and|&)[ \t]+(?=[A-Z][a-z]))?")
_NOT_NAMED = NO_NAME | _words(
    "aware called chest clinic detector film films findings image images imaging immediately",
    "impression informed notified office panel phone portable radiograph radiographs room service",
    "system team telephone via view views",
)
"""Words after a title, or after a name, that are of the sentence."""


def _told_names(text: str) -> Iterator[Span]:
    for title in _TITLE.finditer(text):
        small = title["full"] is None  # "the doctor asked for" names nobody
        end = _name_end(text, title.end(), small=small)
        if end > title.end():
            yield Span(title.end(), end, Kind.NAME)
    for told in _TOLD.finditer(text):
        end = _name_end(text, told.end(), small=False)
        # In capitals throughout, a name cannot be told from a department.
        if end > told.end() and not text[told.end() : end].isupper():
            yield Span(told.end(), end, Kind.NAME)


def _name_end(text: str, start: int, *, small: bool) -> int:
    """The end of the name that starts here, `start` where none does; three words at most.

    small: the first word may begin with a small letter ("dr smith"); then it is the only one.
    """
    end = at = start
    for number in range(3):
        word = _WORD.match(text, at)
        if word is None:
            break
        said = word[0].rstrip(".")
        capital = said[0].isupper()
        initial = capital and len(said) == 1
        if said.casefold() in _NOT_NAMED and not initial:
            break
        if not (capital or (small and number == 0)):
            break
        end = word.end()
        # Of words in capitals throughout, the third is the sentence's more often than the name's.
        if not capital or (number == 1 and said.isupper() and not initial):
            break
        gap = _BETWEEN.match(text, end)
        if gap is None or gap.end() == end:
            break
        at = gap.end()
    return end
