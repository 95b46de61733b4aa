"""The patient that a header names, and whether two headers may be of one person."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from records.database.tables import Study
from records.states import NameSpelling


@dataclass(frozen=True, slots=True)
class Patient:
    """The patient of a study, as sent; compared with `same_patient`."""

    patient_id: str = ""  # (0010,0020)
    issuer: str = ""  # (0010,0021)
    name: str = ""  # (0010,0010)
    birth_date: str = ""  # (0010,0030)
    sex: str = ""  # (0010,0040)

    def columns(self) -> dict[str, str]:
        """The patient by column of `studies`, `orders` and `received_reports`."""
        return {
            "patient_id": self.patient_id,
            "patient_id_issuer": self.issuer,
            "patient_name": self.name,
            "patient_birth_date": self.birth_date,
            "patient_sex": self.sex,
        }

    @classmethod
    def of_study(cls, study: Study) -> Patient:
        """The patient whose name stands on a study."""
        return cls(
            study.patient_id,
            study.patient_id_issuer,
            study.patient_name,
            study.patient_birth_date,
            study.patient_sex,
        )


@dataclass(frozen=True, slots=True)
class _Compared:
    """A patient's fields as they are compared: without what senders write differently."""

    patient_id: str
    issuer: str
    names: frozenset[str]  # one for each component group
    birth_date: str
    sex: str

    @classmethod
    def of(cls, patient: Patient) -> _Compared:
        sex = patient.sex.strip().upper()[:1]
        return cls(
            patient.patient_id.strip(),
            patient.issuer.strip(),
            frozenset(filter(None, map(_plain_name, patient.name.split("=")))),
            re.sub(r"[.\-/ ]", "", patient.birth_date),  # 1970.01.01 (PS3.5 table 6.2-1)
            "" if sex == "U" else sex,  # what some senders write for unknown
        )


def same_patient(first: Patient, second: Patient) -> bool:
    """Whether two headers may be of one person.

    A blank field never contradicts; a field that both have and that differs does. Of names one
    component group must be equal, without case, carets and doubled spaces (PS3.5, 6.2.1.1): of two
    devices one may send the alphabetic and the ideographic name, the other the ideographic alone.
    """
    one, other = _Compared.of(first), _Compared.of(second)
    # A header without an id cannot confirm one that has it; then the name must.
    if bool(one.patient_id) != bool(other.patient_id) and not one.names & other.names:
        return False
    return not _ids_differ(one, other) and not any(_differing_words(one, other))


def may_be_corrected(first: Patient, second: Patient) -> bool:
    """Whether what is said of one object under one UID may be a correction, or an older version.

    The id and its issuer must not differ. Of name, birth date and sex one may: a name that was
    married or mistyped, a wrong birth date. Two that differ are another person.
    """
    one, other = _Compared.of(first), _Compared.of(second)
    if _ids_differ(one, other):
        return False
    if not (one.patient_id and other.patient_id):
        return same_patient(first, second)
    return sum(_differing_words(one, other)) <= 1


def differing_fields(first: Patient, second: Patient) -> frozenset[str]:
    """The names of the fields that both patients have and that contradict each other."""
    one, other = _Compared.of(first), _Compared.of(second)
    differs = {
        "patient_id": _both_differ(one.patient_id, other.patient_id),
        "issuer": _both_differ(one.issuer, other.issuer),
        **dict(zip(("name", "birth_date", "sex"), _differing_words(one, other), strict=True)),
    }
    return frozenset(name for name, is_other in differs.items() if is_other)


def _both_differ(one: str, other: str) -> bool:
    return bool(one and other and one != other)


def _ids_differ(one: _Compared, other: _Compared) -> bool:
    """Whether the ids or their issuers, where both are given, differ."""
    return _both_differ(one.patient_id, other.patient_id) or _both_differ(one.issuer, other.issuer)


def _differing_words(one: _Compared, other: _Compared) -> tuple[bool, bool, bool]:
    """Whether name, birth date and sex, where both are given, differ."""
    return (
        bool(one.names and other.names and not one.names & other.names),
        _both_differ(one.birth_date, other.birth_date),
        _both_differ(one.sex, other.sex),
    )


def spelled_otherwise(first: Patient, second: Patient, allowed: NameSpelling) -> bool:
    """Whether two headers are of one person whose name is spelled in two ways.

    Id, issuer, birth date and sex must be equal, and all but the issuer must be there. For SIMILAR
    every part of one name must be in the other, whole or as its initial, and one part whole. A
    mistyped part is not similar: twins are called Jane and Jana.
    """
    one, other = _Compared.of(first), _Compared.of(second)
    if allowed is NameSpelling.EXACT or one.issuer != other.issuer:
        return False
    pairs = (
        (one.patient_id, other.patient_id),
        (one.birth_date, other.birth_date),
        (one.sex, other.sex),
    )
    if not all(a and a == b for a, b in pairs):
        return False
    if allowed is NameSpelling.ANY:
        return True
    shorter, longer = sorted((_name_parts(first.name), _name_parts(second.name)), key=len)
    if not set(shorter) & {part for part in longer if len(part) > 1}:
        return False
    return _all_in(shorter, longer)


def _all_in(shorter: list[str], longer: list[str]) -> bool:
    """Whether each part is in the longer name, each time another one of its parts."""
    remaining = list(longer)
    for part in sorted(shorter, key=len, reverse=True):
        match = next((other for other in remaining if other == part), None) or next(
            (o for o in remaining if (len(o) == 1 or len(part) == 1) and o[0] == part[0]), None
        )
        if match is None:
            return False
        remaining.remove(match)
    return True


def _name_parts(name: str) -> list[str]:
    """The parts of a name's first group, without accents; umlauts as they are often written."""
    text = unicodedata.normalize("NFKD", _plain_name(name.split("=")[0]).replace("\u00df", "ss"))
    text = "".join(character for character in text if not unicodedata.combining(character))
    for written, plain in (("ae", "a"), ("oe", "o"), ("ue", "u")):
        text = text.replace(written, plain)
    return [part for part in re.split(r"[^\w]+", text) if part]


def _plain_name(group: str) -> str:
    """A component group in one of its ways of writing: accents, wide and half-wide letters."""
    text = unicodedata.normalize("NFKC", group)
    return " ".join(re.sub(r"[\^,]", " ", text).split()).casefold()
