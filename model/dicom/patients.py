"""What headers say about the patient: a human or an animal, and how old.

Every place that may say it is read. Sources that contradict each other give no answer, and the
contradiction in words. No sentence of this module quotes a birth date.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from model.dicom.evidence import (
    IMAGE_KEYWORDS,
    ORDER_KEYWORDS,
    UNKNOWN,
    Classification,
    Evidence,
    Header,
    Rule,
    Strength,
    match_rules,
    read_texts,
)

OLDEST = 122
"""Years. What gives more is a placeholder and no age: 999Y, a birth date of 19000101."""

# ---- Human or animal ----

HUMAN, ANIMAL = "human", "animal"

_WORDS = (*IMAGE_KEYWORDS, *ORDER_KEYWORDS)
_PLACES = ("InstitutionName", "InstitutionalDepartmentName")
_HUMAN = r"(HUMANS?|HOMO( SAPIENS)?|MENSCH|HUMAIN|HUMANO|UMANO|PERSON)"
_PLACEHOLDER = (
    r"(UNKNOWN|UNK|UNSPECIFIED|NONE|NO|N ?/? ?A|NOT (APPLICABLE|SPECIFIED)|OTHER|ANONYM\w*|REMOVED"
    r"|DEFAULT|NULL|NIL|H|[\W_X]*)"
)
_REAL_VALUE = rf"^(?!\W*{_PLACEHOLDER}\W*$)"

SPECIES_RULES = (
    Rule("species: human", HUMAN, Strength.INSTANCE,
        ("PatientSpeciesDescription", "PatientSpeciesCodeSequence.CodeMeaning"),
        rf"^\W*{_HUMAN}\b", "The species, where a human one is given."),
    Rule("species code: human", HUMAN, Strength.INSTANCE, ("PatientSpeciesCodeSequence.CodeValue",),
        r"^(L-85003|337915000)$", "Homo sapiens in SNOMED, old codes and new (PS3.16 CID 7454)."),
    Rule("species: animal", ANIMAL, Strength.INSTANCE,
        ("PatientSpeciesDescription", "PatientSpeciesCodeSequence.CodeMeaning"),
        rf"{_REAL_VALUE}(?!\W*{_HUMAN}\b)", "Any other species (PS3.3 C.7.1.1)."),
    Rule("species code: animal", ANIMAL, Strength.INSTANCE,
        ("PatientSpeciesCodeSequence.CodeValue",),
        rf"{_REAL_VALUE}(?!(L-85003|337915000)$)", "Any other species."),
    Rule("breed", ANIMAL, Strength.INSTANCE,
        ("PatientBreedDescription", "PatientBreedCodeSequence.CodeMeaning",
         "BreedRegistrationSequence.BreedRegistrationNumber"),
        _REAL_VALUE, "Only animals have a breed (PS3.3 C.7.1.1)."),
    Rule("responsible person's role", ANIMAL, Strength.INSTANCE, ("ResponsiblePersonRole",),
        r"^(OWNER|VETERINARIAN)$", "A human patient has a parent or guardian, and no owner."),
    Rule("view position: animal", ANIMAL, Strength.INSTANCE, ("ViewPosition",), r"^(VD|DV)$",
        "Ventrodorsal and dorsoventral are views of animals that lie."),
    Rule("film's words: view of an animal", ANIMAL, Strength.INSTANCE, IMAGE_KEYWORDS,
        r"\b(THORAX|CHEST|ABD\w*|PELVIS|HIPS?|SPINE|SKULL) (VD|DV)\b|^(VD|DV)\b"
        r"|\b(VD|DV) (THORAX|CHEST)\b|\b(VD|DV) (AND )?(LAT|LL|RL)\b", "The same in words."),
    Rule("words: animal", ANIMAL, Strength.INSTANCE, (*_WORDS, "BodyPartExamined"),
        r"\b(CANINE|FELINE|EQUINE|BOVINE|OVINE|CAPRINE|PORCINE|MURINE|LAPINE|CANIS|FELIS|EQUUS"
        r"|VETERINAR\w*|V[EÉ]T[EÉ]RINAIR\w*|(SMALL|LARGE|EXOTIC) ANIMALS?|TIERARZT\w*|KLEINTIER\w*"
        r"|PFERDE\w*|PUPPY|KITTEN|FOAL)\b", "Words for animals that no human's film has."),
    Rule("institution: animals", ANIMAL, Strength.INSTANCE, _PLACES,
        r"\b(VETERINAR\w*|V[EÉ]T[EÉ]RINAIR\w*|ANIMAL (HOSPITAL|CLINIC|HEALTH|MEDICAL|CARE)\w*"
        r"|TIER(ARZT|ÄRZT|KLINIK|SPITAL|MEDIZIN)\w*|(KLEINTIER|PFERDE)\w*"
        r"|EQUINE (HOSPITAL|CLINIC))",
        "A hospital for animals. VETERANS are humans."),
    Rule("words: perhaps animal", ANIMAL, Strength.HINT, _WORDS,
        r"\b(DOGS?|CATS?(?! SCAN)|HORSES?|PONY|COW|SHEEP|GOAT|PIG|RABBIT|BIRD|PARROT|AVIAN"
        r"|REPTILE|VET|HUND|KATZE|PFERD|CHIEN|CHEVAL|PERRO|GATO|CABALLO"
        r"|VENTRO[ -]?DORSAL|DORSO[ -]?VENTRAL)\b",
        "They may be of an accident with an animal, of a veteran, or a name of a human's view.",
        group="words"),
    Rule("neutered", ANIMAL, Strength.HINT, ("PatientSexNeutered",), r"^(ALTERED|UNALTERED)$",
        "Required of animals only, but some devices have it as a default.", group="neutered"),
    Rule("responsible person: investigator", ANIMAL, Strength.HINT, ("ResponsiblePersonRole",),
        r"^INVESTIGATOR$", "Of a laboratory animal, or of a study with human patients.",
        group="responsible"),
)  # fmt: skip
"""Rules on the patient's species. Their answers are "human" and "animal"."""

_RESPONSIBLE_PERSON = Rule(
    "responsible person without a role", ANIMAL, Strength.HINT, ("ResponsiblePerson",), "",
    "The owner of an animal, or the parent of a child.", group="responsible",
)  # fmt: skip


def classify_species(header: Header) -> Classification:
    """Say whether the patient is "human", "animal" or "unknown".

    A patient is a human where nothing says otherwise. A rule that decides, or hints of two groups,
    say "animal". One hint alone gives "unknown", and so do a human's and an animal's species beside
    each other.
    """
    evidence = tuple(match_rules(SPECIES_RULES, header))
    has_role = any(read_texts(header, "ResponsiblePersonRole"))
    if any(read_texts(header, "ResponsiblePerson")) and not has_role:
        # The name itself is not quoted.
        evidence += (Evidence(_RESPONSIBLE_PERSON, "ResponsiblePerson", "without a role"),)
    deciding = {e.rule.answer for e in evidence if e.rule.strength is Strength.INSTANCE}
    hint_groups = {e.rule.group for e in evidence if e.rule.strength is Strength.HINT}
    if deciding:
        answer = deciding.pop() if len(deciding) == 1 else UNKNOWN
    else:
        answer = (HUMAN, UNKNOWN, ANIMAL)[min(len(hint_groups), 2)]
    return Classification(answer, evidence)


# ---- Age ----

EXAMINATION_DATES = (
    ("acquisition date", ("AcquisitionDateTime", "AcquisitionDate")),
    ("study date", ("StudyDate",)),
    ("series date", ("SeriesDate",)),
    ("content date", ("ContentDate",)),
)
"""Dates that a birth date is held against, by their names for people."""

AGE_WORDS: tuple[tuple[str, float], ...] = (
    (r"NEO-?NAT\w*|NEW-?BORNS?|NICU|PRE-?MATURES?|PREEMIES?|NEUGEBOREN\w*|NOUVEAUX?[ -]N[EÉ]S?"
     r"|RECI[EÉ]N NACIDO", 0.5),
    (r"INFANT\w*|BABY|BABIES|BABYGRAM|S[AÄ]UGLING\w*|NOURRISSONS?|LACTANTE", 2.0),
    (r"TODDLERS?|PICU|PA?ED(?! (?:VS?|VERSUS|STRUCK|HIT)\b)|PA?EDS|PA?EDIA\w*"
     r"|P[EÉ]DIA\w*|PEDI|CHILD|CHILDREN|CHILDS|KIND|KINDER\w*|ENFANTS?"
     r"|NI[NÑ][OA]S?|BAMBIN[OI]", 18.0),
)  # fmt: skip
"""Words in descriptions, and the age in years that such a patient has not reached."""

_NO_AGE_WORDS = re.compile(r"\b(ADULTS?|ERWACHSENE?\w*|ADULTES?|ADULTO|CHILD[ -]PUGH)\b")
"""A line with one of these says nothing of a child: "ADULT/PAED"."""

_ONE_DAY = 1.5 / 365.25
"""Years. Clocks of two time zones may differ by a day, with some room for rounding."""

_UNITS = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


@dataclass(frozen=True, slots=True)
class AgeClaim:
    """What one source says: at least `low` years, and less than or just `high`.

    `text` is that for people: "PatientAge says 45 years".
    """

    text: str
    low: float
    high: float


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
    text = next(read_texts(header, "PatientAge"), "").upper()
    if match := re.fullmatch(r"(\d{1,3}) ?([DWMY])", text):
        number, unit = int(match[1]), _UNITS[match[2]]
        if number / unit <= OLDEST:
            name = {"D": "days", "W": "weeks", "M": "months", "Y": "years"}[match[2]]
            claim = f"PatientAge says {number} {name}"
            # Until the day before the next birthday (or the next month, week or day).
            yield AgeClaim(claim, number / unit, (number + 1) / unit - 1 / 366)
    yield from _claims_of_dates(header)
    for keyword in (*IMAGE_KEYWORDS, *ORDER_KEYWORDS, "BodyPartExamined"):
        for value in read_texts(header, keyword):
            yield from _claims_of_words(keyword, value)


def _claims_of_dates(header: Header) -> Iterator[AgeClaim]:
    """Yield what the birth date says against the examination's dates; one claim for all of them.

    The dates of one examination may be years apart where an old film was digitised.
    """
    birth = _dates(next(read_texts(header, "PatientBirthDate"), ""))
    if birth is None:
        return
    ages: list[tuple[str, float, float]] = []
    for name, keywords in EXAMINATION_DATES:
        day = next((d for k in keywords for t in read_texts(header, k) if (d := _dates(t))), None)
        if day is not None:
            low, high = _years(birth[1], day[0]), _years(birth[0], day[1])
            if low <= OLDEST:
                ages.append((name, low, high))
    if not ages:
        return
    names = " and ".join(dict.fromkeys(name for name, *_ in ages))
    low, high = min(low for _, low, _ in ages), max(high for *_, high in ages)
    yield AgeClaim(f"the birth date against the {names} says {_format_years(low, high)}", low, high)


def _claims_of_words(keyword: str, value: str) -> Iterator[AgeClaim]:
    words = value.upper().replace("_", " ")
    if _NO_AGE_WORDS.search(words):
        return
    for pattern, years in AGE_WORDS:
        if match := re.search(rf"\b({pattern})\b", words):
            claim = f'"{match[0]}" in {keyword} says less than {years:g} years'
            yield AgeClaim(claim, 0.0, years)


def _dates(text: str) -> tuple[date, date] | None:
    """Return the first and last day that a DICOM date may mean, in both of its forms.

    These are YYYYMMDD and the older YYYY.MM.DD (PS3.5 table 6.2-1); a time may follow. Month and
    day may be missing or zero.
    """
    match = re.match(r"(\d{4})(?:[.-]?(\d{2})(?:[.-]?(\d{2}))?)?", text.strip())
    if not match:
        return None
    year, month, day = (int(part or 0) for part in match.groups())
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
