"""How old the patient was at the examination, by every place in a header that may say so.

Sources that contradict each other give no age, and the contradiction in words. No sentence of this
module quotes a birth date or a name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date

from model.dicom.evidence import IMAGE_KEYWORDS, ORDER_KEYWORDS, Header, read_texts, to_capitals

OLDEST = 122
"""Years. What gives more is a placeholder and no age: 999Y, a birth date of 19000101."""

EXAMINATION_DATES = (
    ("acquisition date", ("AcquisitionDateTime", "AcquisitionDate")),
    ("study date", ("StudyDate",)),
    ("series date", ("SeriesDate",)),
    ("content date", ("ContentDate",)),
)
"""Dates that a birth date is held against, by their names for people."""

SUBSTITUTE_DATES = (
    ("procedure's date", ("PerformedProcedureStepStartDate",)),
    ("date of the file", ("InstanceCreationDate", "DateOfSecondaryCapture")),
)
"""Dates for a header that has none of the others."""

AGE_WORDS: tuple[tuple[str, float], ...] = (
    (r"NEO-?NAT\w*|NEW-?BORNS?|NICU|SCBU|PRE-?TERMS?|PREE?MIES?|NEUGEBOREN\w*"
     r"|PRE-?MATURES?(?! (?:VENT|ATR|BEAT|CONTR|COMPL|MENO|RUPT)\w*)"
     r"|FR(U|UE)HGEBOREN\w*|NOUVEAUX?[ -]NES?|RECIEN NACIDO|НОВОРОЖД\w*", 0.5),
    (r"INFANTS?|INFANTIL\w*|BABY(?! (?:ASPIRIN|DELIVERY|SITT\w*))|BABIES|BABYGRAM"
     r"|BABY(BOY|GIRL)|S(A|AE)UGLING\w*|NOURRISSONS?|LACTENTES?|LACTANTES?"
     r"|МЛАДЕН\w*|ГРУДНИЧ\w*", 2.0),
    (r"TODDLERS?|PICU|PA?ED(?! (?:VS?|VERSUS|STRUCK|HIT|O?EDEMA)\b)|PA?EDS|PA?EDIA\w*|PEDI"
     r"|PA?EDS?(CHEST|THORAX|CXR)|(CHEST|THORAX|CXR)PA?EDS?|CHILD|CHILDREN|CHILDS"
     r"|KIDS?(?! (?:STONES?|TX|TRANSPL\w*))|KIND|(KLEIN)?KINDER\w*|KLEINKIND|JUGENDLICH\w*"
     r"|ENFANTS?|NIN[OA]S?|BAMBIN[OI]|CRIANCAS?|ДЕТ(И|ЕЙ|СК\w*)|РЕБЕНО?К\w*", 18.0),
    (r"ADOLESCEN(T|TS|TE|TES)(?! IDIOPATHIC)|TEEN(AGERS?)?", 20.0),
)  # fmt: skip
"""Words without accents, and the age in years that such a patient has not reached."""

AGE_SIGNS: tuple[tuple[str, float], ...] = (
    (r"新生[儿兒児]|신생아", 0.5),
    (r"[婴嬰乳]幼?[儿兒児]|영아", 2.0),
    (r"[儿兒]童|小[儿兒児]|소아", 18.0),
)  # fmt: skip
"""The same in scripts that do not part words by spaces."""

_NO_AGE_WORDS = re.compile(r"\b(ADULTS?|ERWACHSENE?\w*|ADULTES?|ADULTO|CHILD[ -]PUGH)\b")
"""A line with one of these says nothing of a child: "ADULT/PAED"."""

_ONE_DAY = 1.5 / 365.25
"""Years. Clocks of two time zones may differ by a day, with some room for rounding."""

_UNITS = {"days": 365.25, "weeks": 52.18, "months": 12.0, "years": 1.0}
_UNIT_WORDS = (
    (r"Y|YRS?|YO|YEARS?|JAHRE?|ANS?|ANOS?|ANNI|[岁歲歳세]", "years"),
    (r"M|MOS?|MTHS?|MONTHS?|MONATE?|MOIS|MES|MESES|MESI|MESE|个?月", "months"),
    (r"W|WKS?|WEEKS?|WOCHEN?", "weeks"),
    (r"D|DAYS?|TAGE?|JOURS?|DIAS?|GIORN[IO]|[天日]", "days"),
)
"""What senders write behind the number of an age; the standard has Y, M, W and D."""

_AGE = re.compile(r"[<>~ ]*0*(?P<number>\d{1,3})(?:[.,]\d+)? ?(?P<unit>\D*).*")
_AGE_BACKWARDS = re.compile(r"(?P<unit>[DWMY]) ?0*(?P<number>\d{1,3})")

_CHILD_IN_ANY_UNIT = 18
"""Fewer of a unit that is not given are a child's age, whatever it is; 0 is a placeholder. 54 may
be months."""

_SUGGESTING_KEYWORDS = (
    "InstitutionName", "InstitutionalDepartmentName", "RequestingService", "CurrentPatientLocation",
    "StationName", "ReasonForStudy", "ReasonForTheRequestedProcedure", "AdditionalPatientHistory",
    "AdmittingDiagnosesDescription",
)  # fmt: skip
"""Where a word does not prove that this patient is a child: a clinic for children and adults."""

_NAME_OF_A_BABY = re.compile(
    r"\b(BABY|NEWBORN|INFANT)[\W_]*(BOY|GIRL|OF)\b|\b(BOY|GIRL)[\W_]+(BABY|NEWBORN)\b|^NEWBORN\b"
)
"""What hospitals write as the name of a child that has none yet."""

_AGE_IN_WORDS = re.compile(
    r"\b(?P<number>\d{1,3})[ -]?(?:(?P<unit>Y|YR|YRS|YEARS?|MOS?|MONTHS?|WEEKS?|DAYS?)[ -]OLD"
    r"|(?:YO|Y[ /]O)\b)"
)
"""As orders have it: "2 YO", "6 MONTH OLD"."""

_CHILDS_PROTOCOL = re.compile(
    r"(?<!\d)(?:1?\d ?-|<|BIS|UP TO) ?1?\d ?(?:Y|YRS?|YEARS?|JAHRE|J|ANS|MO|MONTHS?)\b"
    r"|(?<!\d)(?:\d ?-|<) ?[12]?\d ?KG\b"
)
"""As devices name their protocols for children: "CHEST 1-5 YRS", "< 10 KG"."""

_CHILDS_KILOGRAMS = 25.0


@dataclass(frozen=True, slots=True)
class AgeClaim:
    """What one source says: at least `low` years, and less than or just `high`.

    `text` is that for people: "PatientAge says 45 years". A suggestion counts only where no other
    source says anything: the name of a ward, or what somebody wrote about the patient.
    """

    text: str
    low: float
    high: float
    is_suggestion: bool = False


@dataclass(frozen=True, slots=True)
class Age:
    """What all sources say together.

    Attributes:
        claims: What each source says; empty where none says anything.
        low: The least age in years; with a contradiction that of the lowest claim.
        high: The age in years that the patient has not passed.
        is_contradictory: Whether the claims cannot be true together.
    """

    claims: tuple[AgeClaim, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_contradictory: bool = False

    def is_below(self, years: float) -> bool:
        """Return whether the patient is certainly younger than that."""
        return bool(self.claims) and not self.is_contradictory and self.low < years >= self.high

    def is_doubtful(self, years: float) -> bool:
        """Return whether the sources contradict each other, or lie on both sides of that age."""
        return self.is_contradictory or (bool(self.claims) and self.low < years < self.high)

    def describe(self) -> str:
        """Return what the sources say, in one sentence without a birth date."""
        return "; ".join(dict.fromkeys(claim.text for claim in self.claims)) + "."


def read_age(header: Header) -> Age:
    """Return the patient's age at the examination, by everything in one header that says it."""
    return combine_claims(_claims(header))


def combine_ages(ages: Iterable[Age]) -> Age:
    """Return the one age of a patient of whom several headers speak."""
    return combine_claims(claim for age in ages for claim in age.claims)


def combine_claims(claims: Iterable[AgeClaim]) -> Age:
    """Return the age on which claims agree.

    Claims that differ a little (an age that was registered last year) give the range of both.
    Claims further apart contradict each other.
    """
    distinct = tuple(dict.fromkeys(claims))
    distinct = tuple(c for c in distinct if not c.is_suggestion) or distinct
    if not distinct:
        return Age()
    low, high = max(c.low for c in distinct), min(c.high for c in distinct)
    if min(c.low for c in distinct) < -_ONE_DAY:
        # The patient was born after the examination: one of the dates is wrong.
        return Age(distinct, low, high, is_contradictory=True)
    if low <= high:
        return Age(distinct, low, high)
    # No age fits all claims: `high` is now the lower side of the gap.
    tolerance = 2.0 if high >= 20 else 1.0
    lowest, highest = min(c.low for c in distinct), max(c.high for c in distinct)
    return Age(distinct, lowest, highest, is_contradictory=low - high > tolerance)


def _claims(header: Header) -> Iterator[AgeClaim]:
    for text in next(read_texts(header, "PatientAge"), "").split("\\"):
        yield from _claims_of_age(text)
    yield from _claims_of_dates(header)
    for keyword in (*IMAGE_KEYWORDS, *ORDER_KEYWORDS, "BodyPartExamined"):
        for value in read_texts(header, keyword):
            yield from _claims_of_words(keyword, value)
    yield from _suggestions(header)


def _claims_of_age(text: str) -> Iterator[AgeClaim]:
    """Yield what a value of PatientAge says, in the standard's form (PS3.5 6.2) or near it."""
    words = _plain_capitals(text)
    match = _AGE.fullmatch(words) or _AGE_BACKWARDS.fullmatch(words)
    if not match:
        return
    number, word = int(match["number"]), match["unit"].strip(" .+")
    unit = next((u for pattern, u in _UNIT_WORDS if re.fullmatch(pattern, word)), "")
    if unit and number / _UNITS[unit] <= OLDEST:
        # Until the day before the next birthday (or the next month, week or day).
        low, high = number / _UNITS[unit], (number + 1) / _UNITS[unit] - 1 / 366
        yield AgeClaim(f"PatientAge says {number} {unit}", low, high)
    elif not unit and len(word) <= 1 and 0 < number < _CHILD_IN_ANY_UNIT:
        claim = f"PatientAge says {number} without a known unit"
        yield AgeClaim(claim, number / _UNITS["days"], number + 1 - 1 / 366)


def _suggestions(header: Header) -> Iterator[AgeClaim]:
    """Yield what suggests a child, or an age, and proves neither."""
    for keyword in _SUGGESTING_KEYWORDS:
        for value in read_texts(header, keyword):
            for word, _ in _find_words(value):
                yield _suggest(f'"{word}" in {keyword} suggests a child')
    for keyword in (*_SUGGESTING_KEYWORDS, *IMAGE_KEYWORDS, *ORDER_KEYWORDS):
        for value in read_texts(header, keyword):
            if match := _AGE_IN_WORDS.search(_plain_capitals(value)):
                for claim in _claims_of_age(f"{match['number']}{match['unit'] or 'Y'}"):
                    text = claim.text.replace("PatientAge says", f"{keyword} speaks of")
                    yield replace(claim, text=text, is_suggestion=True)
    for keyword in IMAGE_KEYWORDS:
        for value in read_texts(header, keyword):
            if _CHILDS_PROTOCOL.search(_plain_capitals(value)):
                yield _suggest(f"{keyword} names a range of ages or weights of children")
    if any(_NAME_OF_A_BABY.search(n.upper()) for n in read_texts(header, "PatientName")):
        yield _suggest("the patient's name suggests a newborn")
    if "PARENT" in (t.upper() for t in read_texts(header, "ResponsiblePersonRole")):
        yield _suggest("a parent is responsible for the patient")
    with suppress(ValueError):
        if 0 < float(next(read_texts(header, "PatientWeight"), "0")) < _CHILDS_KILOGRAMS:
            yield _suggest("the patient's weight suggests a child")


def _suggest(text: str) -> AgeClaim:
    return AgeClaim(text, 0.0, OLDEST, is_suggestion=True)


def _claims_of_dates(header: Header) -> Iterator[AgeClaim]:
    """Yield what the birth date says against the examination's dates; one claim for all of them.

    The dates of one examination may be years apart where an old film was digitised.
    """
    birth = _dates(next(read_texts(header, "PatientBirthDate"), ""))
    if birth is None:
        return
    ages = _ages_at(EXAMINATION_DATES, birth, header)
    ages = ages or _ages_at(SUBSTITUTE_DATES, birth, header)
    if not ages:
        return
    names = " and ".join(dict.fromkeys(name for name, *_ in ages))
    low, high = min(low for _, low, _ in ages), max(high for *_, high in ages)
    yield AgeClaim(f"the birth date against the {names} says {_format_years(low, high)}", low, high)


def _ages_at(
    dates: tuple[tuple[str, tuple[str, ...]], ...], birth: tuple[date, date], header: Header
) -> list[tuple[str, float, float]]:
    """Return the least and the greatest age at each of the dates, with the date's name."""
    ages = []
    for name, keywords in dates:
        day = next((d for k in keywords for t in read_texts(header, k) if (d := _dates(t))), None)
        if day is not None:
            low, high = _years(birth[1], day[0]), _years(birth[0], day[1])
            if low <= OLDEST:
                ages.append((name, low, high))
    return ages


def _claims_of_words(keyword: str, value: str) -> Iterator[AgeClaim]:
    for word, years in _find_words(value):
        yield AgeClaim(f'"{word}" in {keyword} says less than {years:g} years', 0.0, years)


def _find_words(value: str) -> Iterator[tuple[str, float]]:
    """Yield words for children, with the age in years that such a child has not reached."""
    words = _plain_capitals(value)
    if _NO_AGE_WORDS.search(words):
        return
    patterns = [(rf"\b({pattern})\b", years) for pattern, years in AGE_WORDS]
    for pattern, years in (*patterns, *AGE_SIGNS):
        if match := re.search(pattern, words):
            yield match[0], years


def _plain_capitals(text: str) -> str:
    """Return a text in capitals without accents."""
    letters = unicodedata.normalize("NFD", to_capitals(text))
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", plain)  # syllables of Hangul are whole again


_DATE = re.compile(r"(?P<y>(?:18|19|20|21)\d{2})(?:[./-]?(?P<m>\d{2})(?:[./-]?(?P<d>\d{2}))?)?")
_DATE_BACKWARDS = re.compile(r"\d{2}[./-]?\d{2}[./-]?(?P<y>(?:18|19|20|21)\d{2})(?!\d)")


def _dates(text: str) -> tuple[date, date] | None:
    """Return the first and last day that a date may mean.

    The forms are YYYYMMDD and the older YYYY.MM.DD (PS3.5 table 6.2-1); a time may follow. Month
    and day may be missing or zero. Some senders write the year behind them: then only the year is
    taken, for whether the day or the month comes first is not known.
    """
    match = _DATE.match(text.strip()) or _DATE_BACKWARDS.match(text.strip())
    if not match:
        return None
    parts = match.groupdict()
    year, month, day = (int(parts.get(part) or 0) for part in ("y", "m", "d"))
    try:
        first = date(year, month or 1, day or 1)
        if month and day:
            return first, first
        if month:
            following = date(year + month // 12, month % 12 + 1, 1)
            return first, date.fromordinal(following.toordinal() - 1)
        return first, date(year, 12, 31)
    except ValueError:
        return None


def _years(birth: date, day: date) -> float:
    return (day - birth).days / 365.25


def _format_years(low: float, high: float) -> str:
    if low < -_ONE_DAY:
        return "that the patient was not born yet"
    if low < 2 and high - low < 1:
        return f"{max(0, int(low * 12 + 1e-6))} months"
    lower, upper = int(low + 1e-6), int(high + 1e-6)
    return f"{lower} years" if upper == lower else f"{lower} to {upper} years"
