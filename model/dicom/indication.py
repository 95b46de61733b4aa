"""Why an examination was asked for, what was asked for and how urgently, by the film's headers.

Knows DICOM only; an order by HL7 or FHIR is better, and its caller asks there first. All that
comes back is untrusted text, without control characters and otherwise as it was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from model.dicom.evidence import Header, texts

NOT_PROVIDED = "Not provided"
CUT_AT = 64
"""Characters in an LO value (PS3.5 table 6.2-1); senders cut longer texts there."""


@dataclass(frozen=True, slots=True)
class Found:
    """A text with where it came from (a Source's name, "none" where nothing was found).

    label: what a reader is told of the text beyond "indication" ("history", "admitting
    diagnosis"), or "". cut: the text is as long as its kind of value allows, so it may end early.
    """

    text: str
    source: str
    label: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """One place in a header. limit: the longest value that the place can hold, 0 for no limit."""

    name: str
    place: str
    tag: str
    limit: int = 0
    label: str = ""


_ORDER = "RequestAttributesSequence"

INDICATION: tuple[Source, ...] = (
    Source("request_reason", f"{_ORDER}.ReasonForTheRequestedProcedure",
           "(0040,0275)>(0040,1002)", CUT_AT),
    Source("request_reason_code", f"{_ORDER}.ReasonForRequestedProcedureCodeSequence.CodeMeaning",
           "(0040,0275)>(0040,100A)", CUT_AT),
    Source("request_comments", f"{_ORDER}.RequestedProcedureComments",
           "(0040,0275)>(0040,1400)", 10240),
    Source("reason", "ReasonForTheRequestedProcedure", "(0040,1002)", CUT_AT),
    Source("reason_code", "ReasonForRequestedProcedureCodeSequence.CodeMeaning",
           "(0040,100A)", CUT_AT),
    Source("reason_for_study", "ReasonForStudy", "(0032,1030)", CUT_AT),
    Source("patient_history", "AdditionalPatientHistory", "(0010,21B0)", 10240, "history"),
    Source("admitting_diagnosis", "AdmittingDiagnosesDescription",
           "(0008,1080)", CUT_AT, "admitting diagnosis"),
    Source("admitting_diagnosis_code", "AdmittingDiagnosesCodeSequence.CodeMeaning",
           "(0008,1084)", CUT_AT, "admitting diagnosis"),
)  # fmt: skip
"""Where an indication may be, best first. The procedure's name is never one."""

PROCEDURE: tuple[Source, ...] = (
    Source("request_procedure", f"{_ORDER}.RequestedProcedureDescription",
           "(0040,0275)>(0032,1060)", CUT_AT),
    Source("requested_procedure", "RequestedProcedureDescription", "(0032,1060)", CUT_AT),
    Source("requested_procedure_code", "RequestedProcedureCodeSequence.CodeMeaning",
           "(0032,1064)", CUT_AT),
    Source("study_description", "StudyDescription", "(0008,1030)", CUT_AT),
    Source("procedure_code", "ProcedureCodeSequence.CodeMeaning", "(0008,1032)", CUT_AT),
    Source("performed_procedure", "PerformedProcedureStepDescription", "(0040,0254)", CUT_AT),
)  # fmt: skip
"""Where the name of the procedure may be, best first."""

PRIORITY = (f"{_ORDER}.RequestedProcedurePriority", "RequestedProcedurePriority", "StudyPriorityID")
"""(0040,1003) of the request, (0040,1003) at the root, the retired (0032,000C)."""

PRIORITIES = {
    "STAT": "STAT",
    "HIGH": "URGENT",
    "URGENT": "URGENT",
    "ROUTINE": "ROUTINE",
    "NORMAL": "ROUTINE",
    "MEDIUM": "ROUTINE",
    "MED": "ROUTINE",
    "LOW": "ROUTINE",
}
"""Defined terms of (0040,1003) and (0032,000C), and what is sent in their place."""


def indication(headers: Header | Iterable[Header], order: Sequence[str] | None = None) -> Found:
    """The indication in one header, or in the first of a study's that has one in the best place.

    order: names of the sources of INDICATION in a site's own order; one left out is not asked.

    Raises:
        ValueError: `order` names a source that INDICATION does not have.
    """
    return _search(headers, INDICATION, order) or Found(NOT_PROVIDED, "none")


def procedure(headers: Header | Iterable[Header], order: Sequence[str] | None = None) -> Found:
    """The procedure's name, as `indication` finds its text; "" where there is none."""
    return _search(headers, PROCEDURE, order) or Found("", "none")


def priority(headers: Header | Iterable[Header]) -> str | None:
    """The most urgent that any header asks for, "STAT", "URGENT" or "ROUTINE"; None without one."""
    asked = {
        PRIORITIES.get(text.upper())
        for header in _several(headers)
        for place in PRIORITY
        for text in texts(header, place)
    }
    return next((p for p in ("STAT", "URGENT", "ROUTINE") if p in asked), None)


def _search(
    headers: Header | Iterable[Header], sources: tuple[Source, ...], order: Sequence[str] | None
) -> Found | None:
    headers = _several(headers)
    for source in _ordered(sources, order):
        for header in headers:
            # Several items or codes are one text, each said once.
            said = list(dict.fromkeys(texts(header, source.place)))
            if said:
                cut = bool(source.limit) and max(map(len, said)) >= source.limit
                return Found("; ".join(said).replace("\\", "; "), source.name, source.label, cut)
    return None


def _ordered(sources: tuple[Source, ...], order: Sequence[str] | None) -> Iterable[Source]:
    if order is None:
        return sources
    by_name = {source.name: source for source in sources}
    if strange := [name for name in order if name not in by_name]:
        raise ValueError(f"no such source: {', '.join(strange)}; there are {', '.join(by_name)}")
    return [by_name[name] for name in order]


def _several(headers: Header | Iterable[Header]) -> list[Header]:
    """A Dataset and a mapping are iterable too, so what has `get` is one header."""
    return [cast(Header, headers)] if hasattr(headers, "get") else list(headers)
