"""Results in HL7 v2 messages, ORU^R01: each OBR with what belongs to it (HL7 2.9, chapter 7).

Both the importer of reports for training and the listener for reports read them with this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from records.hl7_messages import Segment
from records.section_codes import add_text, section_of

TEXT_TYPES = ("TX", "FT", "ST", "")
"""OBX-2 of observations that are text."""

FINAL, CORRECTED, CANCELLED = "F", "C", "X"
"""Statuses of results whose report counts, or that say that there is none (HL7 table 0123)."""

_WITHDRAWN = ("D", "W", "X")
_STUDY_UID_CODES = ("113014", "110180")  # DICOM Study; Study Instance UID
_INDICATION_FIELDS = ((31, 2), (31, 1), (13, 1))
"""OBR-31, reason for study (its text, else its code), and OBR-13, relevant clinical information."""


@dataclass(frozen=True, slots=True)
class Result:
    """One OBR of a message, with the segments that belong to it.

    Attributes:
        request: OBR.
        order: The ORC before it; None where there is none.
        observations: Its OBX.
        study_uid: (0020,000D), of ZDS or of an observation; "" where none names it.
    """

    request: Segment
    order: Segment | None
    observations: list[Segment]
    study_uid: str

    @property
    def status(self) -> str:
        """OBR-25, or else what all its texts have: a term of HL7 table 0123, or "none"."""
        if status := self.request.part(25).upper():
            return status
        statuses = {s.part(11).upper() for s in self.observations if s.part(2) in TEXT_TYPES}
        if statuses and statuses <= {*_WITHDRAWN}:
            return CANCELLED
        return next((s for s in (CORRECTED, FINAL) if s in statuses), min(statuses, default="none"))

    def read_texts(self) -> dict[str, str]:
        """The texts by section; only observations that are final themselves are taken."""
        texts = read_sections(self.observations, (FINAL, CORRECTED, ""))
        given = (self.request.part(field, component) for field, component in _INDICATION_FIELDS)
        if indication := next(filter(None, given), ""):
            texts["indication"] = indication
        if procedure := self.request.part(4, 2):
            texts["procedure"] = procedure
        return texts


def read_results(segments: Sequence[Segment]) -> Iterator[Result]:
    """Yield each OBR with the ORC before it and the OBX after it."""
    uid = next((s.part(1) for s in segments if s.name == "ZDS"), "")
    order: Segment | None = None
    current: Result | None = None
    for segment in segments:
        if segment.name == "ORC":
            order = segment
        elif segment.name == "OBR":
            if current:
                yield _with_study_uid(current)
            current, order = Result(segment, order, [], uid), None
        elif segment.name == "OBX" and current:
            current.observations.append(segment)
    if current:
        yield _with_study_uid(current)


def read_sections(observations: Sequence[Segment], statuses: Sequence[str]) -> dict[str, str]:
    """The texts of observations by section: report, findings, impression, indication.

    Args:
        observations: OBX.
        statuses: OBX-11 of those that are taken.
    """
    texts: dict[str, str] = {}
    for observation in observations:
        if observation.part(2) not in TEXT_TYPES or observation.part(11).upper() not in statuses:
            continue
        identifier, _, suffix = observation.part(3).partition("&")
        if not _names_study(observation, identifier):
            section = section_of((suffix, identifier), observation.part(3, 2))
            add_text(texts, section, observation.text(5))
    return texts


def _names_study(observation: Segment, identifier: str) -> bool:
    return identifier in _STUDY_UID_CODES or "instance uid" in observation.part(3, 2).lower()


def _with_study_uid(result: Result) -> Result:
    """Return the result with the study that an observation of its names, if ZDS names none."""
    uids = (
        segment.part(5)
        for segment in result.observations
        if segment.part(3) in _STUDY_UID_CODES or segment.part(3, 2).lower() == "study instance uid"
    )
    return replace(result, study_uid=result.study_uid or next(uids, ""))
