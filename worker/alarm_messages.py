"""What a message about a trouble or a night says, as JSON and as a mail.

A message leaves the hospital's own network. It holds kinds, parts, causes, times and counts, and
nothing of a patient: causes are our own sentences, and a UID in one is left out all the same.
"""

from __future__ import annotations

import datetime as dt
import re
import socket
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from records.alarm_kinds import ALARM_TITLES, AlarmKind, MessageEvent
from records.database.operation_tables import Alarm
from records.operations import night_wording
from records.operations.alarms import runbook_path
from records.operations.night_summaries import NightRecord
from records.operations.troubles import ClaimedMessage
from records.settings import Settings

# A UID (PS3.5, 9.1) that can be one of DICOM has more components than an IPv4 address, or the root
# of UUIDs. Digits that are as long as an accession number are left out with it.
_UID = re.compile(r"\b(?:2\.25\.\d+|\d+(?:\.\d+){4,}|\d{8,})\b")


@dataclass(frozen=True, slots=True)
class Content:
    """What a message says, by whatever channel.

    Attributes:
        key: the same for each attempt, so that a receiver knows a message that came twice.
        event: "START", "END", "SUMMARY" or "TEST".
        subject: one line.
        text: plain text.
        values: the same as JSON.
        start_key: the key of the message about the start, in a message about the end; else "".
    """

    key: str
    event: str
    subject: str
    text: str
    values: dict[str, Any]
    start_key: str = ""


def without_identifiers(text: str) -> str:
    """The text without UIDs and long numbers."""
    return _UID.sub("[number left out]", text)


def describe(claimed: ClaimedMessage, config: Settings) -> Content:
    """The message about the start or the end of a trouble, or about a night."""
    trouble = claimed.trouble
    if claimed.night is not None:
        return _describe_night(claimed.night, config)
    assert trouble is not None, "a message is about a trouble or a night"
    event = MessageEvent(claimed.message.event)
    alarms = [_alarm_values(alarm, config) for alarm in claimed.alarms]
    began = f"{trouble.id}.{trouble.began_at:%Y%m%d%H%M%S}"
    titles = list(dict.fromkeys(alarm["title"] for alarm in alarms))
    more = f" (and {len(titles) - 1} more)" if len(titles) > 1 else ""
    if event is MessageEvent.START:
        subject = f"Nightdraft: {titles[0]}{more}"
        head = f"Trouble since {_local(trouble.began_at)} on {socket.gethostname()}."
    else:
        ended = trouble.ended_at or trouble.began_at
        subject = f"Nightdraft: over: {titles[0]}{more}"
        head = f"The trouble of {_local(trouble.began_at)} was over at {_local(ended)}."
    lines = [head]
    for alarm in alarms:
        lines += ["", f"{alarm['title']}: {alarm['part']}", alarm["cause"]]
        if event is MessageEvent.START:
            lines += [f"What to do: {alarm['remedy']}" if alarm["remedy"] else "", alarm["runbook"]]
    return _content(
        f"{began}.{event.lower()}",
        event.value,
        subject,
        lines,
        {
            "trouble": trouble.id,
            "began_at": trouble.began_at.isoformat(),
            "ended_at": trouble.ended_at.isoformat() if trouble.ended_at else None,
            "alarms": alarms,
        },
        f"{began}.{MessageEvent.START.lower()}" if event is MessageEvent.END else "",
    )


def _describe_night(record: NightRecord, config: Settings) -> Content:
    """The summary of a night."""
    row = record.row
    page = f"{config.pages_address()}/nights/{row.night}"
    subject = (
        f"Nightdraft: night of {row.night}: {row.drafted} drafted, {record.skipped} skipped, "
        f"{record.failed} failed"
    )
    return _content(
        f"night.{row.night:%Y%m%d}",
        MessageEvent.SUMMARY.value,
        subject,
        [*night_wording.describe_lines(record), "", page],
        {
            "trouble": None,
            "began_at": None,
            "ended_at": None,
            "alarms": [],
            "night": night_wording.as_values(record),
            "page": page,
        },
    )


def describe_test(now: dt.datetime) -> Content:
    """A message that says that messages arrive. now: the time, which makes its key."""
    return _content(
        f"test.{now:%Y%m%d%H%M%S%f}",
        "TEST",
        "Nightdraft: test message",
        [f"This is a test from {socket.gethostname()}. Messages about alarms come this way."],
        {"trouble": None, "began_at": None, "ended_at": None, "alarms": []},
    )


def as_mail(content: Content, config: Settings) -> EmailMessage:
    """The message as a mail; the end of a trouble answers the mail about its start."""
    sender = config.alarm_mail_from or f"nightdraft@{socket.getfqdn()}"
    domain = sender.rpartition("@")[2].strip("<> ") or "nightdraft"
    mail = EmailMessage()
    mail["Subject"] = content.subject
    mail["From"] = sender
    mail["To"] = ", ".join(config.alarm_mail_to)
    mail["Date"] = format_datetime(dt.datetime.now(dt.UTC))
    mail["Message-ID"] = f"<nightdraft.{content.key}@{domain}>"
    if content.start_key:
        mail["In-Reply-To"] = mail["References"] = f"<nightdraft.{content.start_key}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer by a machine
    mail.set_content(content.text)
    return mail


def _content(
    key: str,
    event: str,
    subject: str,
    lines: list[str],
    values: dict[str, Any],
    start_key: str = "",
) -> Content:
    text = "\n".join(lines) + "\n"
    shared = {"message": key, "event": event, "host": socket.gethostname(), "text": text}
    return Content(key, event, subject, text, shared | values, start_key)


def _alarm_values(alarm: Alarm, config: Settings) -> dict[str, Any]:
    return {
        "kind": alarm.kind,
        "title": ALARM_TITLES[AlarmKind(alarm.kind)],
        "part": without_identifiers(alarm.part),
        "cause": without_identifiers(alarm.cause),
        "remedy": without_identifiers(alarm.remedy),
        "opened_at": alarm.opened_at.isoformat(),
        "closed_at": alarm.closed_at.isoformat() if alarm.closed_at else None,
        "runbook": f"{config.pages_address()}{runbook_path(alarm.kind)}",
    }


def _local(at: dt.datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
