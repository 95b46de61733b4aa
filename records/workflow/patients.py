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


def same_patient(first: Patient, second: Patient) -> bool:
    """Whether two headers may be of one person.

    A blank field never contradicts; a field that both have and that differs does. Of names only the
    first component group is compared, without case, carets and doubled spaces (PS3.5, 6.2.1.1).
    """
    pairs = (
        (first.patient_id.strip(), second.patient_id.strip()),
        (first.issuer.strip(), second.issuer.strip()),
        (_plain_name(first.name), _plain_name(second.name)),
        (first.birth_date.strip(), second.birth_date.strip()),
        (first.sex.strip().upper(), second.sex.strip().upper()),
    )
    # A header without an id cannot confirm one that has it; then the name must.
    if bool(pairs[0][0]) != bool(pairs[0][1]) and not (pairs[2][0] and pairs[2][0] == pairs[2][1]):
        return False
    return all(not a or not b or a == b for a, b in pairs)


def may_be_corrected(first: Patient, second: Patient) -> bool:
    """Whether one object under one UID may come again with the second patient as a correction.

    The id and its issuer must not differ. Of name, birth date and sex one may: a name that was
    married or mistyped, a wrong birth date. Two that differ are another person.
    """
    if any(
        a and b and a != b
        for a, b in (
            (first.patient_id.strip(), second.patient_id.strip()),
            (first.issuer.strip(), second.issuer.strip()),
        )
    ):
        return False
    if not (first.patient_id.strip() and second.patient_id.strip()):
        return same_patient(first, second)
    differing = [
        bool(a and b and a != b)
        for a, b in (
            (_plain_name(first.name), _plain_name(second.name)),
            (first.birth_date.strip(), second.birth_date.strip()),
            (first.sex.strip().upper(), second.sex.strip().upper()),
        )
    ]
    return sum(differing) <= 1


def spelled_otherwise(first: Patient, second: Patient, allowed: NameSpelling) -> bool:
    """Whether two headers are of one person whose name is spelled in two ways.

    Id, issuer, birth date and sex must be equal, and all but the issuer must be there. For SIMILAR
    every part of one name must be in the other, whole or as its initial, and one part whole. A
    mistyped part is not similar: twins are called Jane and Jana.
    """
    if allowed is NameSpelling.EXACT or first.issuer.strip() != second.issuer.strip():
        return False
    pairs = (
        (first.patient_id.strip(), second.patient_id.strip()),
        (first.birth_date.strip(), second.birth_date.strip()),
        (first.sex.strip().upper(), second.sex.strip().upper()),
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
    text = unicodedata.normalize("NFKD", _plain_name(name).replace("\u00df", "ss"))
    text = "".join(character for character in text if not unicodedata.combining(character))
    for written, plain in (("ae", "a"), ("oe", "o"), ("ue", "u")):
        text = text.replace(written, plain)
    return [part for part in re.split(r"[^\w]+", text) if part]


def _plain_name(value: str) -> str:
    return " ".join(re.sub(r"[\^,]", " ", value.split("=")[0]).split()).casefold()
