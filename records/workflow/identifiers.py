"""Patient ids with their issuers, and the keys by which orders and reports are found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class PatientId:
    """A patient's id and who gave it.

    (0010,0020) and (0010,0021); PID-3.1 and PID-3.4; value and system of an Identifier.
    """

    id: str
    issuer: str = ""

    def as_json(self) -> dict[str, str]:
        """The columns `other_patient_ids` hold these."""
        return {"id": self.id, "issuer": self.issuer}

    def contradicts(self, other: PatientId) -> bool:
        """Whether both cannot be the same id of one person; a blank issuer never contradicts."""
        if plain_key(self.id) != plain_key(other.id):
            return True
        issuers = plain_key(self.issuer), plain_key(other.issuer)
        return bool(all(issuers) and issuers[0] != issuers[1])


class KeyKind(StrEnum):
    """What an order or a report is found by."""

    ACCESSION = "ACCESSION"
    STUDY = "STUDY"
    PATIENT = "PATIENT"
    VISIT = "VISIT"
    ORDER = "ORDER"
    ADDENDUM = "ADDENDUM"
    PARENT = "PARENT"


def plain_key(value: str) -> str:
    """A value as keys hold it: systems differ in spaces and capitals."""
    return value.strip().upper()


def make_keys(**values: Iterable[str]) -> set[tuple[str, str]]:
    """(kind, value) of each value that is not blank; the names are those of KeyKind, small."""
    return {
        (KeyKind[kind.upper()].value, plain_key(value))
        for kind, texts in values.items()
        for value in texts
        if value.strip()
    }


def patient_ids(row: Any) -> list[PatientId]:
    """All ids of the patient of an `Order` or a `ReceivedReport` (rows of the tables)."""
    others: list[Mapping[str, str]] = row.other_patient_ids
    ids = [PatientId(row.patient_id, row.patient_id_issuer)]
    ids += [PatientId(other["id"], other["issuer"]) for other in others]
    return [given for given in ids if given.id.strip()]
