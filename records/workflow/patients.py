"""The patient that a header names, and whether two headers may be of one person."""

from __future__ import annotations

import re
from dataclasses import dataclass

from records.database.tables import Study


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

    def name(value: str) -> str:
        return " ".join(re.sub(r"[\^,]", " ", value.split("=")[0]).split()).casefold()

    pairs = (
        (first.patient_id.strip(), second.patient_id.strip()),
        (first.issuer.strip(), second.issuer.strip()),
        (name(first.name), name(second.name)),
        (first.birth_date.strip(), second.birth_date.strip()),
        (first.sex.strip().upper(), second.sex.strip().upper()),
    )
    # A header without an id cannot confirm one that has it; then the name must.
    if bool(pairs[0][0]) != bool(pairs[0][1]) and not (pairs[2][0] and pairs[2][0] == pairs[2][1]):
        return False
    return all(not a or not b or a == b for a, b in pairs)
