"""Why an examination was requested, what was requested and how urgently, by the DICOM headers.

The texts of orders come before those of a header (`records.orders.indications`). All texts are
untrusted: they have no control characters and are otherwise as they were sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

from model.dicom.characters import remove_controls
from model.dicom.evidence import Header, read_texts

NOT_PROVIDED = "Not provided"
LO_LIMIT = 64
"""The longest LO value in characters (PS3.5 table 6.2-1); senders cut longer texts there."""


@dataclass(frozen=True, slots=True)
class OrderText:
    """A text of the order, and where it came from.

    Attributes:
        text: The text.
        source: The name of its TextSource, or "none" where there was no text.
        label: What the draft calls the text where it is not an indication in the strict sense
                ("history", "admitting diagnosis"), or "".
        cut: Whether the text is as long as its field allows, so that it may be cut short.
        header: Which of the headers it came from, counted from 0.
    """

    text: str
    source: str
    label: str = ""
    cut: bool = False
    header: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class TextSource:
    """One place in a header that may hold a text.

    Attributes:
        name: The name of the source in settings and drafts.
        keyword: The keyword, as for `read_texts`.
        tag: The tag, for people.
        limit: The longest value that fits there, in characters; 0 for no limit.
        label: As `OrderText.label`.
    """

    name: str
    keyword: str
    tag: str
    limit: int = 0
    label: str = ""


_REQUEST = "RequestAttributesSequence"

INDICATION_SOURCES: tuple[TextSource, ...] = (
    TextSource("request_reason", f"{_REQUEST}.ReasonForTheRequestedProcedure",
               "(0040,0275)>(0040,1002)", LO_LIMIT),
    TextSource("request_reason_code",
               f"{_REQUEST}.ReasonForRequestedProcedureCodeSequence.CodeMeaning",
               "(0040,0275)>(0040,100A)", LO_LIMIT),
    TextSource("request_comments", f"{_REQUEST}.RequestedProcedureComments",
               "(0040,0275)>(0040,1400)", 10240),
    TextSource("reason", "ReasonForTheRequestedProcedure", "(0040,1002)", LO_LIMIT),
    TextSource("reason_code", "ReasonForRequestedProcedureCodeSequence.CodeMeaning",
               "(0040,100A)", LO_LIMIT),
    TextSource("reason_for_study", "ReasonForStudy", "(0032,1030)", LO_LIMIT),
    TextSource("patient_history", "AdditionalPatientHistory", "(0010,21B0)", 10240, "history"),
    TextSource("admitting_diagnosis", "AdmittingDiagnosesDescription",
               "(0008,1080)", LO_LIMIT, "admitting diagnosis"),
    TextSource("admitting_diagnosis_code", "AdmittingDiagnosesCodeSequence.CodeMeaning",
               "(0008,1084)", LO_LIMIT, "admitting diagnosis"),
)  # fmt: skip
"""Where an indication may be, best first. The name of the procedure is never an indication."""

PROCEDURE_SOURCES: tuple[TextSource, ...] = (
    TextSource("request_procedure", f"{_REQUEST}.RequestedProcedureDescription",
               "(0040,0275)>(0032,1060)", LO_LIMIT),
    TextSource("requested_procedure", "RequestedProcedureDescription", "(0032,1060)", LO_LIMIT),
    TextSource("requested_procedure_code", "RequestedProcedureCodeSequence.CodeMeaning",
               "(0032,1064)", LO_LIMIT),
    TextSource("study_description", "StudyDescription", "(0008,1030)", LO_LIMIT),
    TextSource("procedure_code", "ProcedureCodeSequence.CodeMeaning", "(0008,1032)", LO_LIMIT),
    TextSource("performed_procedure", "PerformedProcedureStepDescription",
               "(0040,0254)", LO_LIMIT),
)  # fmt: skip
"""Where the name of the procedure may be, best first."""

PRIORITY_KEYWORDS = (
    f"{_REQUEST}.RequestedProcedurePriority",
    "RequestedProcedurePriority",
    "StudyPriorityID",
)
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
"""Priorities of the defined terms of (0040,1003) and (0032,000C), and of what senders write."""


def list_indications(headers: Header | Iterable[Header]) -> list[OrderText]:
    """Return the texts of all sources that a study's headers fill, best first.

    Args:
        headers: One header or several. A source's text is that of the first header that fills it.
    """
    return list(_texts(headers, INDICATION_SOURCES))


def find_indication(headers: Header | Iterable[Header]) -> OrderText:
    """Return the indication of headers alone: the first of `list_indications`."""
    return next(_texts(headers, INDICATION_SOURCES), OrderText(NOT_PROVIDED, "none"))


def find_procedure(headers: Header | Iterable[Header]) -> OrderText:
    """Return the name of the procedure from its best source; "" where there is none."""
    return next(_texts(headers, PROCEDURE_SOURCES), OrderText("", "none"))


def find_priority(headers: Header | Iterable[Header]) -> str | None:
    """Return the most urgent priority of all headers: "STAT", "URGENT", "ROUTINE", or None."""
    priorities = {
        PRIORITIES.get(text.upper())
        for header in _as_list(headers)
        for keyword in PRIORITY_KEYWORDS
        for text in read_texts(header, keyword)
    }
    return next((p for p in ("STAT", "URGENT", "ROUTINE") if p in priorities), None)


def _texts(
    headers: Header | Iterable[Header], sources: tuple[TextSource, ...]
) -> Iterator[OrderText]:
    headers = _as_list(headers)
    for source in sources:
        for place, header in enumerate(headers):
            # Several items or codes make one text, without repetitions.
            values = list(dict.fromkeys(read_texts(header, source.keyword)))
            if values:
                cut = bool(source.limit) and max(map(len, values)) >= source.limit
                text = remove_controls("; ".join(values).replace("\\", "; "))
                yield OrderText(text, source.name, source.label, cut, place)
                break


def _as_list(headers: Header | Iterable[Header]) -> list[Header]:
    """Return a list of headers. One header is iterable too, and is known by its `get`."""
    return [cast(Header, headers)] if hasattr(headers, "get") else list(headers)
