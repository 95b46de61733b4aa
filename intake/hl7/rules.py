"""What is read out of messages, and from which fields where a site says nothing else, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from records.orders.order import OrderAction
from records.states import Priority, ReportStatus


class Use(StrEnum):
    """For which messages a field is read."""

    PATIENT = "all messages"
    BOTH = "orders and reports"
    ORDER = "orders"
    REPORT = "reports"


class Pick(StrEnum):
    """What is taken of the fields that a rule names."""

    FIRST = "the first that is filled"
    ALL = "all values of the first that is filled"
    JOINED = "the texts of all that are filled"


@dataclass(frozen=True, slots=True)
class Rule:
    """What is read, and from where where a mapping says nothing else.

    Attributes:
        use: For which messages.
        pick: What is taken of its sources.
        meaning: What it is, in words.
        sources: The fields, in the order in which they are tried.
    """

    use: Use
    pick: Pick
    meaning: str
    sources: tuple[str, ...]


RULES: Mapping[str, Rule] = {
    "patient_id": Rule(
        Use.PATIENT,
        Pick.FIRST,
        "the patient's id; of several the first one whose type is among patient_id_types",
        ("PID-3", "PID-2"),
    ),
    "patient_name": Rule(Use.PATIENT, Pick.FIRST, "the patient's name", ("PID-5",)),
    "patient_birth_date": Rule(Use.PATIENT, Pick.FIRST, "date of birth", ("PID-7",)),
    "patient_sex": Rule(Use.PATIENT, Pick.FIRST, "sex", ("PID-8",)),
    "visit_number": Rule(Use.PATIENT, Pick.FIRST, "the visit, which ADT^A45 moves", ("PV1-19",)),
    "placer_order_number": Rule(
        Use.BOTH, Pick.FIRST, "the number of whoever asked", ("OBR-2", "ORC-2", "TXA-14")
    ),
    "filler_order_number": Rule(
        Use.BOTH, Pick.FIRST, "the number of the department", ("OBR-3", "ORC-3", "TXA-15")
    ),
    "accession_numbers": Rule(
        Use.BOTH,
        Pick.ALL,
        "accession number (0008,0050), and its issuer (0008,0051) in component 2",
        ("IPC-1", "OBR-18", "OBR-3.1", "ORC-3.1", "TXA-15.1"),
    ),
    "study_instance_uids": Rule(
        Use.BOTH, Pick.ALL, "Study Instance UID (0020,000D)", ("IPC-3.1", "ZDS-1.1")
    ),
    "procedure": Rule(Use.BOTH, Pick.FIRST, "what was asked for", ("OBR-4.2", "OBR-4.1")),
    "reason": Rule(Use.ORDER, Pick.JOINED, "reason for study, as text", ("OBR-31",)),
    "reason_code": Rule(Use.ORDER, Pick.FIRST, "its code, where it has no text", ("OBR-31.1",)),
    "clinical_information": Rule(
        Use.ORDER, Pick.JOINED, "relevant clinical information", ("OBR-13",)
    ),
    "note": Rule(Use.ORDER, Pick.JOINED, "notes to the order", ("NTE-3",)),
    "diagnosis": Rule(Use.ORDER, Pick.JOINED, "diagnoses", ("DG1-3", "DG1-4")),
    "priority": Rule(Use.ORDER, Pick.FIRST, "priority", ("TQ1-9", "ORC-7.6", "OBR-27.6", "OBR-5")),
    "scheduled_at": Rule(
        Use.ORDER,
        Pick.FIRST,
        "when it is to be performed",
        ("TQ1-7", "ORC-7.4", "OBR-27.4", "OBR-36"),
    ),
    "due_at": Rule(
        Use.ORDER, Pick.FIRST, "when it is to be done", ("TQ1-8", "ORC-7.5", "OBR-27.5")
    ),
    "site": Rule(Use.ORDER, Pick.FIRST, "the site", ("PV1-3.4", "ORC-21.1", "MSH-4.1")),
    "report_number": Rule(Use.REPORT, Pick.FIRST, "the report's own number", ("TXA-12", "OBR-3")),
    "performed_on": Rule(
        Use.REPORT, Pick.FIRST, "when the examination was performed", ("OBR-7", "TXA-4")
    ),
    "author": Rule(
        Use.REPORT, Pick.FIRST, "who answers for it", ("OBR-32", "TXA-22", "TXA-10", "TXA-9")
    ),
    "modality": Rule(Use.REPORT, Pick.FIRST, "modality (0008,0060)", ("IPC-5", "OBR-24")),
}
"""Everything that is read by the mapping. Sources: HL7 2.9, chapters 3, 4, 7 and 9; IHE RAD TF-2,
tables 4.2-1 and 4.4-6; the scheduled time and the priority as dcm4chee and its users have them."""

PRIORITIES: Mapping[str, Priority] = {
    **dict.fromkeys(("S", "STAT"), Priority.STAT),
    **dict.fromkeys(("A", "ASAP", "T", "C", "P", "U", "URGENT", "H", "HIGH"), Priority.URGENT),
    **dict.fromkeys(("R", "ROUTINE", "N", "NORMAL", "PRN"), Priority.ROUTINE),
}
"""Codes of priority (HL7 tables 0027 and 0485), and what many systems send in their place."""

ACTIONS: Mapping[str, OrderAction] = {
    **dict.fromkeys(("NW", "OK", "NA", "PA", "RF"), OrderAction.PLACE),
    **dict.fromkeys(
        [
            "XO",
            "XX",
            "XR",
            "RP",
            "RO",
            "RR",
            "RQ",
            "RU",
            "SC",
            "SN",
            "SR",
            "SS",
            "ST",
            "CN",
            "HD",
            "HR",
            "OH",
            "RL",
            "OR",
            "CH",
            "PR",
            "MC",
            "RE",
            "UA",
            "UC",
            "UD",
            "UH",
            "UM",
            "UN",
            "UR",
            "UX",
            "LI",
            "AF",
            "DF",
            "FU",
            "DE",
        ],
        OrderAction.CHANGE,
    ),
    **dict.fromkeys(("CA", "OC", "CR", "DC", "OD", "DR"), OrderAction.CANCEL),
}
"""ORC-1 (HL7 table 0119). A hold, a release or a refused change says that the order stands."""

STATUS_ACTIONS: Mapping[str, OrderAction] = {
    "CM": OrderAction.COMPLETE,
    "CA": OrderAction.CANCEL,
    "DC": OrderAction.CANCEL,
}
"""ORC-5 (HL7 table 0038): what it makes of an order that ORC-1 does not cancel."""

PATIENT_ID_TYPES = ("MR", "PI", "PT")
"""PID-3.5 (HL7 table 0203) of the id that images most likely have, best first."""

OTHER_SERVICES = frozenset(
    [
        "AU",
        "BG",
        "BLB",
        "CH",
        "CP",
        "CTH",
        "EC",
        "EN",
        "HM",
        "IMM",
        "LAB",
        "MB",
        "MCB",
        "MYC",
        "NRS",
        "OTH",
        "PAT",
        "PF",
        "PHR",
        "PHY",
        "RC",
        "RT",
        "SP",
        "SR",
        "TX",
        "VR",
    ]
)
"""OBR-24 (HL7 table 0074) of results that no imaging department made."""

OTHER_DOCUMENTS = frozenset(
    ["AR", "CD", "CN", "DS", "ED", "HP", "OP", "PC", "PH", "PN", "PR", "SP", "TS"]
)
"""TXA-2 (HL7 table 0270) of documents that no imaging department made."""

REPORT_STATUSES: Mapping[str, ReportStatus] = {
    "F": ReportStatus.FINAL,
    "C": ReportStatus.CORRECTED,
    "X": ReportStatus.CANCELLED,
    **dict.fromkeys("PRISA", ReportStatus.PRELIMINARY),
}
"""OBR-25 (HL7 table 0123). What else there is says that there is no result yet."""

DOCUMENT_STATUSES: Mapping[str, ReportStatus] = {
    **dict.fromkeys(("AU", "LA"), ReportStatus.FINAL),
    **dict.fromkeys(("DI", "DO", "IP", "IN", "PA"), ReportStatus.PRELIMINARY),
}
"""TXA-17 (HL7 table 0271)."""

MODALITIES = frozenset(["CR", "CT", "DR", "DX", "MG", "MR", "NM", "PT", "RF", "US", "XA", "XR"])
"""(0008,0060) where a field of the modality holds it; table 0074 has others there, as RAD."""
