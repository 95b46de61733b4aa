"""Recognises what this system sent itself when it is routed or mirrored back.

Our own text is never a report of somebody else: it becomes no prior, closes no request, and draws
no draft.
"""

from __future__ import annotations

import re
import unicodedata

from sqlalchemy.orm import Session

from records.reports.report import OutsideReport
from records.settings import settings
from records.states import WARNING, Origin

OWN_NAME = "NIGHTDRAFT"
"""How this system names itself: MSH-3, (0008,0070) of what it makes, an author."""


def _letters(text: str) -> str:
    """The letters alone: interfaces break lines, escape dashes and change capitals."""
    return re.sub(r"[^a-z]+", "", unicodedata.normalize("NFKC", text).casefold())


_WARNING_START = _letters(WARNING.split(" - NOT FOR")[0])


def has_warning(text: str) -> bool:
    """Whether a text holds the line with which every draft begins."""
    return _WARNING_START in _letters(text)


def is_own_name(name: str) -> bool:
    """Whether a manufacturer, a model, a sending application or an author is this system."""
    return re.split(r"[\s^|_.-]", name.strip().upper())[0] == OWN_NAME


def is_own_output(session: Session, received: OutsideReport) -> bool:
    """Whether a report is what this system sent itself.

    Deliveries extend it with what they kept of what they sent: SOP Instance UIDs and control ids.

    Args:
        session: the caller's transaction.
        received: the report as sent.
    """
    del session  # deliveries keep no rows yet
    texts = (received.text, received.findings, received.impression)
    if any(has_warning(text) for text in texts) or is_own_name(received.author):
        return True
    if received.origin is Origin.FILE:
        return False  # the sender is a file's name
    if received.origin is Origin.DICOM:
        return received.sender.strip() == settings().ae_title
    return is_own_name(received.sender)
