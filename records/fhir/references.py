"""References between FHIR resources, and the patient that a resource is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from records.fhir.elements import (
    Identifier,
    Json,
    ResourceError,
    dicom_date,
    first,
    items,
    person_name,
    person_text,
    read_identifiers,
    text,
)
from records.workflow.identifiers import PatientId
from records.workflow.patients import Patient

Finder = Callable[[str], Json | None]
"""Finds the resource that a reference names, as `Patient/17` or an absolute URL; None where it is
not to be had."""

_SEXES = {"male": "M", "female": "F", "other": "O"}
PATIENT_ID_TYPES = {"MR": 0, "PI": 1, "": 1, "PT": 1, "AN": 1}
"""Types of a patient's identifier (HL7 table 0203) that may be in (0010,0020), the likeliest first;
others, as SS and PPN, come after them."""


def find_nothing(_reference: str) -> Json | None:
    """A `Finder` where there is nothing but the resource itself."""
    return None


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """How a site's FHIR resources are read.

    Attributes:
        issuers: what DICOM calls a system, by the system's URI. A system that is not in it stands
            for itself.
        accession_systems: systems of accession numbers whose identifiers name no type.
        find: finds what references point to.
    """

    issuers: Mapping[str, str] = field(default_factory=dict)
    accession_systems: tuple[str, ...] = ()
    find: Finder = find_nothing

    def issuer(self, identifier: Identifier) -> str:
        """What DICOM calls the system of an identifier."""
        return self.issuers.get(identifier.system, identifier.system)

    def accession_issuer(self, identifier: Identifier) -> str:
        """What DICOM calls the system of an accession number; "" where that is not set.

        (0008,0051) is never a URI, and of two issuers that differ no one is asked: the order would
        silently not count.
        """
        return self.issuers.get(identifier.system, "")

    def number(self, identifier: Identifier) -> str:
        """An order's number with its namespace, as other interfaces write it."""
        issuer = self.issuer(identifier)
        return f"{identifier.value}^{issuer}" if issuer else identifier.value

    def resolve(self, reference: Json, container: Json) -> Json | None:
        """The resource that a Reference points to: contained in another one, or found."""
        name = text(reference.get("reference"))
        if name.startswith("#"):
            contained = items(container.get("contained"))
            return next((entry for entry in contained if entry.get("id") == name[1:]), None)
        return self.find(name.split("/_history/")[0]) if name else None

    def is_accession(self, identifier: Identifier) -> bool:
        """Whether an identifier is an accession number."""
        return "ACSN" in identifier.types or identifier.system in self.accession_systems


@dataclass(frozen=True, slots=True)
class Subject:
    """The patient of a resource, and further ids."""

    patient: Patient
    other_ids: tuple[PatientId, ...]


def read_subject(resource: Json, rules: ReadingRules) -> Subject:
    """The patient of a ServiceRequest or a DiagnosticReport.

    The reference leads to a contained Patient or to one that can be found; or it gives the
    patient's identifier itself.

    Raises:
        ResourceError: it leads nowhere, to something else, or to a patient without an identifier.
    """
    at = f"{resource['resourceType']}.subject"
    reference = first(resource.get("subject"))
    found = rules.resolve(reference, resource)
    if found is not None:
        if found.get("resourceType") != "Patient":
            raise ResourceError("the subject is no Patient", at, "business-rule")
        return read_patient(found, rules, at)
    given = read_identifiers(reference)
    if given:
        return Subject(Patient(given[0].value, rules.issuer(given[0])), ())
    raise ResourceError(
        "the subject is not known here: send the Patient before, with it in one transaction, or "
        "contained in it; or give subject.identifier",
        at,
        "not-found",
    )


def read_patient(patient: Json, rules: ReadingRules, at: str = "Patient") -> Subject:
    """The patient of a Patient resource.

    Args:
        patient: the resource.
        rules: how it is read.
        at: where an error says that it is.

    Raises:
        ResourceError: it has no identifier: another system's id of the resource says nothing here.
    """
    identifiers = sorted(read_identifiers(patient), key=_likelihood)
    if not identifiers:
        raise ResourceError(
            "the Patient has no identifier, which (0010,0020) of films is compared with",
            at if at == "Patient" else f"{at}.resolve()",
            "business-rule",
        )
    ids = [PatientId(entry.value, rules.issuer(entry)) for entry in identifiers]
    main, *others = dict.fromkeys(ids)
    return Subject(
        Patient(
            main.id,
            main.issuer,
            person_name(patient.get("name")),
            dicom_date(patient.get("birthDate")),
            _SEXES.get(text(patient.get("gender")), ""),
        ),
        tuple(others),
    )


def read_author(resource: Json, rules: ReadingRules) -> str:
    """Who answers for a report: resultsInterpreter, else performer, by name."""
    for element in ("resultsInterpreter", "performer"):
        for reference in items(resource.get(element)):
            if name := _person_of(reference, resource, rules):
                return name
    return ""


def _person_of(reference: Json, resource: Json, rules: ReadingRules) -> str:
    if display := text(reference.get("display")):
        return display
    found = rules.resolve(reference, resource) or {}
    if found.get("resourceType") == "PractitionerRole":
        return _person_of(first(found.get("practitioner")), found, rules)
    if found.get("resourceType") == "Organization":
        return text(found.get("name"))
    return person_text(found.get("name"))


def _likelihood(identifier: Identifier) -> tuple[int, int]:
    types = identifier.types or {""}
    return (
        min(PATIENT_ID_TYPES.get(kind, 2) for kind in types),
        1 if identifier.use in ("temp", "secondary") else 0,
    )
