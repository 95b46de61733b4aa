"""Audit messages: each kind of line is valid by the schema of PS3.15, A.5.1, which jing checks."""

import datetime as dt
import re
import shutil
import subprocess
import uuid
from xml.etree import ElementTree as ET

import pytest

from records.audit.lines import LinePatient, LineStudy, TrailLine
from records.audit.messages import audit_message, frame, syslog_message
from records.states import ActorKind, AuditAction, AuditOutcome, EventKind
from tests.support.paths import ROOT

SCHEMA = ROOT / "tests/data/audit_message.rnc"
AT = dt.datetime(2026, 11, 24, 1, 2, 3, 456789, dt.UTC)
PATIENT = LinePatient(uuid.UUID(int=1), "P<1>&\"'", "HOSPITAL")
STUDY = LineStudy(uuid.UUID(int=2), "1.2.3")


def line(**changed):
    values = {
        "is_event": False,
        "id": 1,
        "at": AT,
        "action": AuditAction.VIEW,
        "outcome": AuditOutcome.SUCCESS,
        "actor_kind": ActorKind.ACCOUNT,
        "actor_name": "ana",
        "actor_id": "17",
        "actor_address": "10.0.0.7",
        "patients": [PATIENT],
        "studies": [STUDY],
        "detail": "GET /studies/{study}",
    }
    return TrailLine(**(values | changed))


def check(folder, messages):
    """Let jing check messages; returns what it says."""
    if shutil.which("jing") is None:
        pytest.skip("jing is not installed")
    files = []
    for number, message in enumerate(messages):
        files.append(folder / f"{number}.xml")
        files[-1].write_text(message, encoding="utf-8")
    done = subprocess.run(
        ["jing", "-c", SCHEMA, *files], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_every_line_is_valid_by_the_schema(tmp_path):
    lines = [
        *(line(action=action) for action in AuditAction),
        *(line(action=kind, is_event=True) for kind in EventKind),
        *(line(actor_kind=kind, actor_name="", actor_address="") for kind in ActorKind),
        *(line(outcome=outcome) for outcome in AuditOutcome),
        line(actor_address="2001:db8::1"),
        line(patients=[], studies=[], detail=""),
        line(patients=[PATIENT, LinePatient(uuid.UUID(int=3), "", "")], studies=[STUDY, STUDY]),
        line(actor_name="D\u00f6e \u6f22\u5b57 \x07\n\t\ufffe\ud800 <&>\"'", detail="\x00 ]]>"),
    ]
    messages = [
        audit_message(one, with_numbers=numbers) for one in lines for numbers in (True, False)
    ]
    assert check(tmp_path, messages) == (0, "")


def test_the_schema_refuses_what_is_wrong(tmp_path):
    """So that the test above can fail."""
    good = audit_message(line(), with_numbers=True)
    for wrong in (
        good.replace('EventActionCode="R"', 'EventActionCode="X"'),
        good.replace("EventDateTime", "EventTime"),
        re.sub(r"<ParticipantObjectName>.*?</ParticipantObjectName>", "", good),
        re.sub(r"<AuditSourceIdentification.*?</AuditSourceIdentification>", "", good),
        good.replace('EventDateTime="2026', 'EventDateTime="yesterday'),
    ):
        assert wrong != good
        assert check(tmp_path, [wrong])[0] == 1, wrong


def test_a_look_at_a_study_is_an_access_of_its_instances():
    """PS3.15, A.5.3.6; the patient by number and the study by its UID."""
    message = ET.fromstring(audit_message(line(), with_numbers=True))
    event = message.find("EventIdentification")
    assert event.attrib == {
        "EventActionCode": "R",
        "EventDateTime": "2026-11-24T01:02:03.456Z",
        "EventOutcomeIndicator": "0",
    }
    assert event.find("EventID").attrib == {
        "csd-code": "110103",
        "codeSystemName": "DCM",
        "originalText": "DICOM Instances Accessed",
    }
    person, program = message.findall("ActiveParticipant")
    assert person.attrib == {
        "UserID": "ana",
        "AlternativeUserID": "17",
        "UserIsRequestor": "true",
        "NetworkAccessPointID": "10.0.0.7",
        "NetworkAccessPointTypeCode": "2",
    }
    assert program.get("UserIsRequestor") == "false"
    patient, study = message.findall("ParticipantObjectIdentification")
    assert patient.get("ParticipantObjectID") == PATIENT.patient_id
    assert study.get("ParticipantObjectID") == "1.2.3"


def test_with_pseudonyms_no_number_is_in_it():
    message = audit_message(line(), with_numbers=False)
    assert "P&lt;1" not in message
    assert "1.2.3" not in message
    assert str(PATIENT.pseudonym) in message
    assert str(STUDY.id) in message


def test_what_somebody_typed_about_a_study_is_not_sent():
    message = audit_message(
        line(action=EventKind.WITHDRAWN, is_event=True, detail="by Dr. Roe: Jane is ill"),
        with_numbers=True,
    )
    assert "Jane" not in message
    assert "WITHDRAWN" in message


def test_the_form_is_that_of_syslog():
    """RFC 5424, 6: priority, version, time, host, program, process, MSGID, no data, BOM, text."""
    message = syslog_message("IHE+RFC-3881", "<a>\u00f6</a>", AT)
    head, _, text = message.partition(b"\xef\xbb\xbf")
    assert re.fullmatch(
        rb"<85>1 2026-11-24T01:02:03\.456Z [!-~]+ nightdraft \d+ IHE\+RFC-3881 - ", head
    )
    assert text.decode() == "<a>\u00f6</a>"
    assert frame(message) == f"{len(message)} ".encode() + message
