"""What the system is doing, at one look: for `nightdraft status` and the progress display.

Knows how to read and how to show; changes nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session

from records.operations import alarms, heartbeats, refusals
from records.states import ENDED, WARNING, VisibleState
from records.workflow import worklist

GOING_ON = tuple(
    state for state in VisibleState if state not in ENDED and state is not VisibleState.HELD
)
"""States that lead on by themselves; HELD waits for a person."""

_COLOURS = {
    VisibleState.DRAFTED: "green",
    VisibleState.HELD: "yellow",
    VisibleState.FAILED: "red",
    VisibleState.SKIPPED: "cyan",
}


@dataclass(frozen=True)
class Part:
    """A running part, as its heartbeat says."""

    part: str
    owner: str
    seen_at: dt.datetime
    facts: dict[str, Any]


@dataclass(frozen=True)
class Overview:
    """One look. per_minute: drafts a minute of late; seconds_left: None where nothing moves."""

    counts: dict[VisibleState, int]
    per_minute: float
    seconds_left: float | None
    parts: list[Part] = field(default_factory=list)
    alarms: list[tuple[str, str, dt.datetime]] = field(default_factory=list)  # part, sentence, at
    refusals: dict[str, int] = field(default_factory=dict)  # by reason

    def as_json(self) -> dict[str, Any]:
        """For `--json`: plain words and numbers."""
        return {
            "studies": {state.value: number for state, number in self.counts.items()},
            "drafts_per_minute": round(self.per_minute, 2),
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left),
            "parts": [
                {"part": p.part, "owner": p.owner, "seen_at": p.seen_at.isoformat(), **p.facts}
                for p in self.parts
            ],
            "alarms": [
                {"part": part, "sentence": sentence, "opened_at": at.isoformat()}
                for part, sentence, at in self.alarms
            ],
            "refusals": self.refusals,
        }


def look(session: Session) -> Overview:
    """Everything that `nightdraft status` shows."""
    counts = worklist.count_by_state(session)
    # The last minute where it saw a draft, else the last ten: a pace that is neither stale nor 0.
    lately = worklist.count_drafts(session, 60)
    per_minute = float(lately) if lately else worklist.count_drafts(session, 600) / 10
    return Overview(
        counts=counts,
        per_minute=per_minute,
        seconds_left=time_left(counts, per_minute),
        parts=[
            Part(beat.part, beat.owner, beat.seen_at, dict(beat.facts))
            for beat in heartbeats.running_parts(session)
        ],
        alarms=[
            (alarm.part, alarm.sentence, alarm.opened_at) for alarm in alarms.open_alarms(session)
        ],
        refusals=refusals.count_by_reason(session),
    )


def time_left(counts: dict[VisibleState, int], per_minute: float) -> float | None:
    """Seconds until what goes on is drafted at this pace; None where nothing moves."""
    waiting = sum(counts.get(state, 0) for state in GOING_ON)
    if not waiting:
        return 0.0
    return waiting / per_minute * 60 if per_minute else None


def show_overview(seen: Overview) -> RenderableType:
    """The page of `nightdraft status`."""
    shown: list[RenderableType] = [show_counts(seen.counts, seen.per_minute, seen.seconds_left)]
    running = Table("part", "process", "says", box=None, pad_edge=False, header_style="bold")
    for part in seen.parts:
        # A digest's first twelve characters tell it from every other.
        facts = ", ".join(
            f"{name} {value[:12] if name == 'bundle' else value}"
            for name, value in part.facts.items()
        )
        running.add_row(part.part, part.owner, facts)
    shown += [Text(), running if seen.parts else Text("no part runs", style="yellow")]
    for part_name, sentence, at in seen.alarms:
        shown.append(Text(f"ALARM {part_name} since {_clock(at)}: {sentence}", style="bold red"))
    if seen.refusals:
        listed = ", ".join(f"{reason} {count}" for reason, count in seen.refusals.items())
        shown.append(Text(f"refused at the door: {listed}", style="yellow"))
    return Group(*shown)


def show_counts(
    counts: dict[VisibleState, int], per_minute: float, seconds_left: float | None
) -> RenderableType:
    """Studies by state, a bar, the pace and the time left."""
    total = sum(counts.values())
    done = sum(counts.get(state, 0) for state in ENDED)
    words = Text()
    for state in VisibleState:
        if counts.get(state):
            words.append(f"{state.value} {counts[state]}   ", style=_COLOURS.get(state, ""))
    if not total:
        words.append("no studies yet", style="dim")
    pace = Text(f"{done} of {total} ended, {per_minute:.0f} a minute, {_left(seconds_left)}")
    bar = Table.grid()
    bar.add_row(ProgressBar(total=max(1, total), completed=done, width=60))
    return Group(words, bar, pace)


def show_drafts(rows: Sequence[worklist.WorklistRow], *, plain: bool = False) -> RenderableType:
    """Drafts and other ends, each with its first line, under the warning.

    plain: without frames and as wide as the words, for a file.
    """
    table = Table(header_style="bold", expand=not plain, box=None if plain else ROUNDED)
    for column in ("study", "state", "model"):
        table.add_column(column, no_wrap=True)
    table.add_column(
        "first line of the draft, or the reason", overflow="ellipsis", no_wrap=True, ratio=1
    )
    for row in sorted(rows, key=lambda row: (row.accession_number, row.study_instance_uid)):
        line = row.impression or row.findings or row.detail or ", ".join(row.hold_reasons)
        table.add_row(
            row.accession_number or f"...{row.study_instance_uid[-8:]}",
            Text(row.state.value, style=_COLOURS.get(row.state, "")),
            row.model_name,
            Text(line.splitlines()[0] if line else ""),
        )
    return Group(Text(WARNING, style="bold red"), table)


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "time left not known yet"
    if seconds < 1:
        return "nothing left to do"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min left"
    return f"{minutes} min {rest} s left" if minutes else f"{rest} s left"


def _clock(at: dt.datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
