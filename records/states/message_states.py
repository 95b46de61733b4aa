"""How far orders, reports, messages and questions of other systems are."""

from __future__ import annotations

from enum import StrEnum


class Origin(StrEnum):
    """By which interface an order or a report came."""

    HL7 = "HL7"  # HL7 v2 over MLLP
    FHIR = "FHIR"
    WORKLIST = "WORKLIST"  # a DICOM modality worklist that was asked
    DICOM = "DICOM"  # a structured report that came by C-STORE
    REST = "REST"
    FILE = "FILE"  # a file that a person imported


class ChangeOrigin(StrEnum):
    """What changed an order or a study: a message, by its interface; a person; an order's study."""

    HL7 = Origin.HL7.value
    FHIR = Origin.FHIR.value
    WORKLIST = Origin.WORKLIST.value
    DICOM = Origin.DICOM.value
    REST = Origin.REST.value
    FILE = Origin.FILE.value
    PERSON = "PERSON"  # who moved a study to another site, or took a merge of patients back
    STUDY = "STUDY"  # an order of no known site took that of its study


class OrderStatus(StrEnum):
    """What is known of an order."""

    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"  # the placer or filler says that it is done; its texts still count
    CANCELLED = "CANCELLED"  # its texts do not count any more


class OrderTextSource(StrEnum):
    """What an order says about why an examination was requested, and in which of its fields.

    In brackets: the HL7 v2 field, the element of FHIR's ServiceRequest, the DICOM attribute.
    """

    REASON = "order_reason"  # (OBR-31, reasonCode, (0040,1002))
    REASON_CODE = "order_reason_code"  # (the code of OBR-31 where it has no text, -, (0040,100A))
    CLINICAL_INFORMATION = "order_clinical_information"  # (OBR-13, supportingInfo, -)
    NOTE = "order_note"  # (NTE-3, note, (0040,1400))
    DIAGNOSIS = "order_diagnosis"  # (DG1-3 and DG1-4, reasonReference to a Condition, (0008,1080))


class MatchState(StrEnum):
    """Whether an order counts for a study."""

    MATCHED = "MATCHED"  # accession number or study UID, and patient, are equal
    MISMATCH = "MISMATCH"  # the accession number is equal and the patient is another; it is a hold
    ACCEPTED = "ACCEPTED"  # a person decided that it is the study's order
    REFUSED = "REFUSED"  # a person decided that it is not
    # It is another site's order of another patient: accession numbers are unique by issuer alone.
    OTHER_SITE = "OTHER_SITE"


class OrderChangeKind(StrEnum):
    """What happened to an order."""

    PLACED = "PLACED"
    CHANGED = "CHANGED"
    CANCELLED = "CANCELLED"
    REINSTATED = "REINSTATED"  # it was cancelled and counts again
    PATIENT_CORRECTED = "PATIENT_CORRECTED"
    PATIENT_MERGED = "PATIENT_MERGED"
    PATIENT_SEPARATED = "PATIENT_SEPARATED"  # a person took a merge back
    MOVED = "MOVED"  # a visit was moved to another patient
    OUTDATED = "OUTDATED"  # an older message came after a newer one, and changed nothing


class ReportStatus(StrEnum):
    """How far a report from elsewhere is (HL7 table 0123, OBX-11, FHIR DiagnosticReport.status)."""

    PRELIMINARY = "PRELIMINARY"
    FINAL = "FINAL"
    CORRECTED = "CORRECTED"  # a final that took the place of another one
    CANCELLED = "CANCELLED"


FINAL_STATUSES = (ReportStatus.FINAL, ReportStatus.CORRECTED)
"""The states of a report that a physician answers for."""


class MessageOutcome(StrEnum):
    """What became of a message that was received."""

    ACCEPTED = "ACCEPTED"  # its effect is committed
    IGNORED = "IGNORED"  # it was read and is about nothing that is kept here
    REFUSED = "REFUSED"  # it could not be used; a person can look at it
    TEST = "TEST"  # MSH-11 says training or debugging: it was read, and had no effect


class QueryKind(StrEnum):
    """What another system is asked about a study."""

    WORKLIST = "WORKLIST"  # the order, by C-FIND at a modality worklist
    REPORTS = "REPORTS"  # the patient's earlier reports, at a FHIR server


class QueryState(StrEnum):
    """How far a question to another system is."""

    WAITING = "WAITING"  # to be asked, or to be asked again
    ANSWERED = "ANSWERED"
    GIVEN_UP = "GIVEN_UP"  # asked as often as the settings say, without an answer
