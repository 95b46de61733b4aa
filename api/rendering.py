"""Templates, and how values are worded for people. Knows no rows and no requests.

Everything is escaped: patients' names, indications and drafts are untrusted text.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from records.states import WARNING, VisibleState

HERE = Path(__file__).parent

STATE_SENTENCES: dict[VisibleState, str] = {
    VisibleState.RECEIVING: "Images are still coming.",
    VisibleState.HELD: "A person must decide before it goes on.",
    VisibleState.WAITING: "Waits to be prepared.",
    VisibleState.PREPARING: "Its films are being prepared.",
    VisibleState.PREPARED: "Ready, waits for the model.",
    VisibleState.DRAFTING: "The model is reading it.",
    VisibleState.DRAFTED: "A draft can be read. It is not a report.",
    VisibleState.SKIPPED: "Not for this model; a person reads it without a draft.",
    VisibleState.FAILED: "It could not be drafted; a person reads it without a draft.",
    VisibleState.CANCELLED: "A person decided against a draft.",
}
"""What each state means to a reader."""

RETRY_WORDS: dict[VisibleState, str] = {
    VisibleState.FAILED: "Draft it again",
    VisibleState.SKIPPED: "Look at it again",
    VisibleState.CANCELLED: "Draft it after all",
}
"""The way back from an end, where there is one."""


def person(name: str) -> str:
    """A Person Name (PS3.5, 6.2.1) for people: `MEIER^ANNA^^DR` is `MEIER, ANNA (DR)`."""
    groups = []
    for group in name.split("="):
        family, given, middle, prefix, suffix = ([*group.split("^"), "", "", "", "", ""])[:5]
        first = " ".join(part.strip() for part in (given, middle) if part.strip())
        titles = " ".join(part.strip() for part in (prefix, suffix) if part.strip())
        whole = ", ".join(part for part in (family.strip(), first) if part)
        groups.append(f"{whole} ({titles})" if titles and whole else whole or titles)
    return " / ".join(group for group in groups if group)


def day(value: str) -> str:
    """A DICOM date as 2026-11-24; what is no date as it was sent."""
    if re.fullmatch(r"\d{8}", value):
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    return value


def moment(value: dt.datetime | None) -> str:
    """A time on this machine's clock, with its zone."""
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if value else ""


def minute(value: dt.datetime | None) -> str:
    """A time on this machine's clock, short."""
    return value.astimezone().strftime("%d %b %H:%M") if value else ""


def duration(seconds: float) -> str:
    """About how long: `40 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


UNSURE = 0.5
"""Below this confidence a sentence is marked. Where it lies is no more than a convention: on the
phantoms, confidence tells wrong sentences from right ones no better than chance."""


def marked(
    text: str, section: str, sentences: Sequence[Mapping[str, Any]] | None
) -> list[tuple[str, Mapping[str, Any] | None]]:
    """A section's text in pieces, each with its sentence where the model was unsure of its words.

    The pieces are the whole text, whatever the sentences say.
    """
    pieces: list[tuple[str, Mapping[str, Any] | None]] = []
    read = shown = 0
    for sentence in sentences or ():
        start = text.find(sentence["text"], read) if sentence["section"] == section else -1
        if start < 0:
            continue
        read = start + len(sentence["text"])
        if sentence["confidence"] < UNSURE:
            pieces += [(text[shown:start], None), (text[start:read], sentence)]
            shown = read
    return [*pieces, (text[shown:], None)]


def words(value: str) -> str:
    """A stable word of ours for people: `needed_view_missing` is `needed view missing`."""
    return value.replace("_", " ").casefold()


_TEMPLATES = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "person": person,
    "day": day,
    "moment": moment,
    "minute": minute,
    "duration": duration,
    "words": words,
    "marked": marked,
}
_TEMPLATES.globals |= {
    "WARNING": WARNING,
    "UNSURE": UNSURE,
    "STATE_SENTENCES": STATE_SENTENCES,
    "RETRY_WORDS": RETRY_WORDS,
}


def render(template: str, **values: Any) -> str:
    """A template's HTML, everything in it escaped."""
    return _TEMPLATES.get_template(template).render(**values)
