"""A DiagnosticReport as a report from elsewhere (FHIR R4B and R5, DiagnosticReport)."""

from __future__ import annotations

from dataclasses import dataclass

from records.fhir.elements import (
    Identifier,
    Json,
    ResourceError,
    attachment_text,
    clean,
    codes,
    concept_text,
    first,
    items,
    read_identifiers,
    read_time,
    read_uid,
    text,
)
from records.fhir.references import ReadingRules, read_author, read_subject
from records.reports.report import OutsideReport
from records.section_codes import add_text, section_of
from records.states import Origin, ReportStatus

STATUSES = {
    "registered": None,
    "unknown": None,
    "partial": ReportStatus.PRELIMINARY,
    "preliminary": ReportStatus.PRELIMINARY,
    "final": ReportStatus.FINAL,
    "amended": ReportStatus.CORRECTED,
    "corrected": ReportStatus.CORRECTED,
    "appended": ReportStatus.CORRECTED,
    "modified": ReportStatus.CORRECTED,
    "cancelled": ReportStatus.CANCELLED,
    "entered-in-error": ReportStatus.CANCELLED,
}
"""How far a report is, by DiagnosticReport.status; None: there is no report yet."""

SERVICE_SECTIONS = "http://terminology.hl7.org/CodeSystem/v2-0074"

IMAGING_SECTIONS = frozenset(
    ("RAD", "RX", "XRC", "CT", "RUS", "OUS", "VUS", "CUS", "NMR", "NMS", "IMG")
)
"""Codes of HL7 table 0074 that a report on images may have; a laboratory's has none of them."""


def read_diagnostic_report(
    resource: Json, rules: ReadingRules, sender: str, address: str = ""
) -> OutsideReport | None:
    """The report that a DiagnosticReport is.

    Args:
        resource: the resource, checked by `versions.check`.
        rules: how it is read, and where references lead.
        sender: who sent it.
        address: where the resource is: what two versions of it have in common. An identifier
            takes its place where it is "".

    Returns:
        The report; None for what is none: one that is only registered, one on something else than
        images, and one that software wrote.

    Raises:
        ResourceError: its status is not known, its subject is not to be found, or it has no text.
    """
    code = text(resource.get("status"))
    if code not in STATUSES:
        raise ResourceError(
            f"the status is none of {', '.join(STATUSES)}",
            "DiagnosticReport.status",
            "code-invalid",
        )
    status = STATUSES[code]
    if status is None or not _is_on_images(resource) or _is_by_software(resource):
        return None
    subject = read_subject(resource, rules)
    sections = _read_sections(resource, rules)
    if status is not ReportStatus.CANCELLED:
        _require_text(resource, sections)
    studies = _imaging_studies(resource, rules)
    orders = _orders(resource, rules)
    own = read_identifiers(resource)
    numbers = [*own, *orders, *(entry for study in studies for entry in read_identifiers(study))]
    accessions = [entry for entry in numbers if rules.is_accession(entry)]
    effective = (
        resource.get("effectiveDateTime")
        or first(resource.get("effectivePeriod")).get("start")
        or next((study["started"] for study in studies if study.get("started")), None)
    )
    return OutsideReport(
        origin=Origin.FHIR,
        sender=sender,
        status=status,
        patient=subject.patient,
        other_patient_ids=subject.other_ids,
        report_number=address or next((rules.number(entry) for entry in own), ""),
        placer_order_number=_number(orders, "PLAC", rules),
        filler_order_number=_number([*orders, *own], "FILL", rules),
        accession_numbers=tuple(dict.fromkeys(entry.value for entry in accessions)),
        accession_number_issuer=rules.accession_issuer(accessions[0]) if accessions else "",
        study_instance_uid=next(filter(None, map(read_uid, numbers)), ""),
        procedure=clean(concept_text(first(resource.get("code")))),
        modality=_modality(studies),
        performed_on=text(effective),
        findings=sections.findings,
        impression=sections.impression,
        text=sections.text,
        author=read_author(resource, rules),
        sent_at=read_time(first(resource.get("meta")).get("lastUpdated"))
        or read_time(resource.get("issued")),
    )


@dataclass(frozen=True, slots=True)
class _Sections:
    findings: str
    impression: str
    text: str
    unread: str  # the type of what was presented and holds no plain text


def _read_sections(resource: Json, rules: ReadingRules) -> _Sections:
    sections: dict[str, str] = {}
    others = []
    for reference in items(resource.get("result")):
        observation = rules.resolve(reference, resource) or {}
        words = clean(text(observation.get("valueString")))
        if not words or observation.get("status") in ("cancelled", "entered-in-error"):
            continue
        concept = first(observation.get("code"))
        section = section_of(tuple(codes(concept)), concept_text(concept))
        if section in ("findings", "impression"):
            add_text(sections, section, words)
        else:
            title = concept_text(concept).upper()
            others.append(f"{title}:\n{words}" if title else words)
    findings = sections.get("findings", "")
    impression = sections.get("impression", "") or clean(text(resource.get("conclusion")))
    presented, unread = _presented(resource)
    parts = [
        *others,
        *(
            f"{name}:\n{words}"
            for name, words in (("FINDINGS", findings), ("IMPRESSION", impression))
            if words
        ),
    ]
    whole = presented or "\n\n".join(parts)
    return _Sections(findings, impression, whole, unread)


def _presented(resource: Json) -> tuple[str, str]:
    """The text of the first form that has one, and the type of one that has none."""
    unread = ""
    for form in items(resource.get("presentedForm")):
        written = attachment_text(form, "DiagnosticReport.presentedForm")
        if written:
            return written, ""
        unread = text(form.get("contentType")) or text(form.get("url")) or "no type"
    return "", unread


def _require_text(resource: Json, sections: _Sections) -> None:
    if sections.text:
        return
    if sections.unread:
        raise ResourceError(
            "the report is presented in a form that is not read (text/plain and text/html with "
            "data are), and has no text in conclusion or in result",
            "DiagnosticReport.presentedForm",
            "not-supported",
        )
    if items(resource.get("result")):
        raise ResourceError(
            "the results are not known here, and the report has no other text: send the "
            "Observations before, with it in one transaction, or contained in it",
            "DiagnosticReport.result",
            "not-found",
        )
    raise ResourceError(
        "the report has no text in conclusion, presentedForm or result",
        "DiagnosticReport",
        "business-rule",
    )


def _is_on_images(resource: Json) -> bool:
    """Whether a report may be on an imaging study; one without a category may."""
    sections = {
        text(coding.get("code"))
        for category in items(resource.get("category"))
        for coding in items(category.get("coding"))
        if coding.get("system") == SERVICE_SECTIONS
    }
    return not sections or bool(sections & IMAGING_SECTIONS)


def _is_by_software(resource: Json) -> bool:
    """Whether its label says that software wrote it (AIAST of v3-ObservationValue)."""
    labels = {text(c.get("code")) for c in items(first(resource.get("meta")).get("security"))}
    return "AIAST" in labels


def _orders(resource: Json, rules: ReadingRules) -> list[Identifier]:
    """The identifiers of the orders that a report answers."""
    identifiers: list[Identifier] = []
    for reference in items(resource.get("basedOn")):
        identifiers += read_identifiers(reference)
        found = rules.resolve(reference, resource) or {}
        if found.get("resourceType") == "ServiceRequest":
            identifiers += read_identifiers(found)
            identifiers += read_identifiers(found, "requisition")
    return identifiers


def _imaging_studies(resource: Json, rules: ReadingRules) -> list[Json]:
    """The studies that a report names (R4: imagingStudy; R5: study) or contains."""
    references = [*items(resource.get("imagingStudy")), *items(resource.get("study"))]
    studies = []
    for reference in references:
        found = rules.resolve(reference, resource)
        # A reference may give the study's identifier itself.
        studies.append(found or {"identifier": items(reference.get("identifier"))})
    return [
        study for study in studies if study.get("resourceType", "ImagingStudy") == "ImagingStudy"
    ]


def _modality(studies: list[Json]) -> str:
    for study in studies:
        for modality in items(study.get("modality")):
            coding = first(modality.get("coding")) or modality  # R5: a CodeableConcept
            if code := text(coding.get("code")):
                return code
    return ""


def _number(identifiers: list[Identifier], kind: str, rules: ReadingRules) -> str:
    return next((rules.number(entry) for entry in identifiers if kind in entry.types), "")
