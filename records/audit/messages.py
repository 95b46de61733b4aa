"""Lines of the trail as DICOM audit messages (PS3.15, A.5), in the form of syslog (RFC 5424)."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from records.audit.lines import TrailLine
from records.states import ActorKind, AuditAction, AuditOutcome

MESSAGE_ID = "IHE+RFC-3881"
"""MSGID of an audit message (PS3.15, A.6)."""

SEAL_MESSAGE_ID = "NIGHTDRAFT-SEAL"
"""MSGID of the head of a seal."""

_PRIORITY = 10 * 8 + 5
"""Facility 10 (security messages), severity 5 (notice)."""

_BOM = b"\xef\xbb\xbf"

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_OUTCOMES = {AuditOutcome.SUCCESS: "0", AuditOutcome.REFUSED: "4", AuditOutcome.FAILED: "8"}


@dataclass(frozen=True, slots=True)
class _Code:
    """A code of DICOM (DCM) or of RFC 3881."""

    code: str
    meaning: str
    system: str = "DCM"

    def add_to(self, parent: ET.Element, name: str) -> None:
        ET.SubElement(
            parent,
            name,
            {"csd-code": self.code, "codeSystemName": self.system, "originalText": self.meaning},
        )


_ACCESSED = _Code("110103", "DICOM Instances Accessed")
_PATIENT_RECORD = _Code("110110", "Patient Record")
_PROCEDURE_RECORD = _Code("110111", "Procedure Record")
_ALERT = _Code("110113", "Security Alert")
_LOGIN = _Code("110114", "User Authentication")
_APPLICATION = _Code("110150", "Application")
_STUDY_UID = _Code("110180", "Study Instance UID")
_PATIENT_NUMBER = _Code("2", "Patient Number", "RFC-3881")

# EventID, EventTypeCode, EventActionCode (PS3.16, CID 400 and CID 401).
_EVENTS: Mapping[AuditAction, tuple[_Code, _Code | None, str]] = {
    AuditAction.VIEW: (_PATIENT_RECORD, None, "R"),
    AuditAction.EXPORT: (_Code("110106", "Export"), None, "R"),
    AuditAction.CHANGE: (_PATIENT_RECORD, None, "U"),
    AuditAction.LOGIN: (_LOGIN, _Code("110122", "Login"), "E"),
    AuditAction.LOGOUT: (_LOGIN, _Code("110123", "Logout"), "E"),
    AuditAction.EMERGENCY: (_ALERT, _Code("110127", "Emergency Override Started"), "E"),
    AuditAction.REFUSED: (_ALERT, _Code("110132", "Use of Restricted Function"), "E"),
    AuditAction.ACCOUNT: (_ALERT, _Code("110137", "User Security Attributes Changed"), "E"),
    AuditAction.ROLE: (_ALERT, _Code("110136", "Security Roles Changed"), "E"),
    AuditAction.SETTING: (_ALERT, _Code("110131", "Software Configuration"), "E"),
    AuditAction.TRAIL: (_Code("110101", "Audit Log Used"), None, "R"),
    AuditAction.ERASURE: (_PATIENT_RECORD, None, "D"),
    AuditAction.REMOVAL: (_Code("110105", "DICOM Study Deleted"), None, "D"),
    AuditAction.BACKUP: (_Code("110106", "Export"), None, "R"),
}


def audit_message(line: TrailLine, *, with_numbers: bool) -> str:
    """A line of the trail as XML by the schema of PS3.15, A.5.1.

    Args:
        line: the line.
        with_numbers: whether patients and studies are named by patient id and Study Instance UID,
            as the receiver's other sources name them. Else they have the trail's pseudonyms and our
            own ids.
    """
    message = ET.Element("AuditMessage")
    if line.is_event:
        event, kind, action = _PROCEDURE_RECORD, None, "U"
    else:
        event, kind, action = _EVENTS[AuditAction(line.action)]
        if line.action == AuditAction.EMERGENCY and line.detail.endswith(": ended"):
            kind = _Code("110138", "Emergency Override Stopped")
        if line.action == AuditAction.VIEW and line.studies:
            event = _ACCESSED
    identification = ET.SubElement(
        message,
        "EventIdentification",
        {
            "EventActionCode": action,
            "EventDateTime": _time(line.at),
            "EventOutcomeIndicator": _OUTCOMES[AuditOutcome(line.outcome)],
        },
    )
    event.add_to(identification, "EventID")
    if kind is not None:
        kind.add_to(identification, "EventTypeCode")
    # What somebody typed about a study stays here: a line of a timeline is named by its kind.
    described = line.action if line.is_event else line.detail
    if described:
        ET.SubElement(identification, "EventOutcomeDescription").text = _plain(described)
    _add_actor(message, line)
    application = ET.SubElement(
        message,
        "ActiveParticipant",
        {
            "UserID": source_id(),
            "AlternativeUserID": str(os.getpid()),
            "UserIsRequestor": "false",
            "NetworkAccessPointID": socket.gethostname(),
            "NetworkAccessPointTypeCode": "1",
        },
    )
    _APPLICATION.add_to(application, "RoleIDCode")
    source = ET.SubElement(message, "AuditSourceIdentification", {"AuditSourceID": source_id()})
    ET.SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})
    for patient in line.patients:
        number = patient.patient_id if with_numbers else ""
        _add_object(
            message,
            _PATIENT_NUMBER,
            number or str(patient.pseudonym),
            str(patient.pseudonym),
            type_code="1",
            role="1",
        )
    for study in line.studies:
        uid = study.study_instance_uid if with_numbers else ""
        _add_object(
            message, _STUDY_UID, uid or str(study.id), str(study.id), type_code="2", role="3"
        )
    return ET.tostring(message, encoding="unicode")


def source_id() -> str:
    """By which name the messages say that they are from here."""
    return f"nightdraft@{socket.gethostname()}"


def syslog_message(message_id: str, content: str, at: dt.datetime) -> bytes:
    """A message by RFC 5424, of the facility of security messages.

    Args:
        message_id: MSGID.
        content: MSG; what is not ASCII begins with a byte order mark (6.4).
        at: when it happened.
    """
    host = re.sub(r"[^\x21-\x7e]", "?", socket.gethostname())[:255] or "-"
    head = f"<{_PRIORITY}>1 {_time(at)} {host} nightdraft {os.getpid()} {message_id} - "
    return head.encode("ascii") + _BOM + content.encode("utf-8")


def frame(message: bytes) -> bytes:
    """A message as it goes over TLS: its length in bytes, a space, itself (RFC 5425, 4.3)."""
    return b"%d %s" % (len(message), message)


def _add_actor(message: ET.Element, line: TrailLine) -> None:
    attributes = {"UserID": _plain(line.actor_name) or line.actor_kind.lower()}
    if line.actor_id:
        attributes["AlternativeUserID"] = _plain(line.actor_id)
    attributes["UserIsRequestor"] = "true"
    place = line.actor_address
    if not place and line.actor_kind in (ActorKind.COMMAND, ActorKind.PART):
        place = socket.gethostname()
    if place:
        attributes["NetworkAccessPointID"] = _plain(place)
        attributes["NetworkAccessPointTypeCode"] = "2" if _is_address(place) else "1"
    ET.SubElement(message, "ActiveParticipant", attributes)


def _add_object(
    message: ET.Element, kind: _Code, id_: str, name: str, *, type_code: str, role: str
) -> None:
    found = ET.SubElement(
        message,
        "ParticipantObjectIdentification",
        {
            "ParticipantObjectID": _plain(id_),
            "ParticipantObjectTypeCode": type_code,
            "ParticipantObjectTypeCodeRole": role,
        },
    )
    kind.add_to(found, "ParticipantObjectIDTypeCode")
    ET.SubElement(found, "ParticipantObjectName").text = _plain(name)


def _is_address(place: str) -> bool:
    try:
        ipaddress.ip_address(place)
    except ValueError:
        return False
    return True


def _time(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(text: str) -> str:
    """Text without what XML 1.0 cannot hold."""
    return _NOT_XML.sub("?", text)
