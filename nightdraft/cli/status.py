"""Renders the state of the system for a terminal and as JSON: `nightdraft status` and the demo."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from api.night_schemas import Tonight as TonightModel
from api.operation_schemas import Counts, Parts
from model.dicom.characters import remove_controls
from nightdraft.cli.nights import promise_line
from records.operations.alarms import runbook_path
from records.operations.lights import Light, LightState
from records.operations.overview import OPEN_MESSAGES_COUNTED, Overview, Pace
from records.operations.scrub import ScrubState
from records.operations.tonight import Tonight
from records.settings import settings
from records.states import ENDED, WARNING, VisibleState
from records.workflow import worklist_rows

STATE_COLOURS = {
    VisibleState.DRAFTED: "green",
    VisibleState.HELD: "yellow",
    VisibleState.FAILED: "red",
    VisibleState.SKIPPED: "cyan",
}


def overview_json(overview: Overview, tonight: Tonight) -> dict[str, Any]:
    """The overview as `nightdraft status --json` writes it.

    `counts` is what REST gives as `/api/counts`, `tonight` what it gives as `/api/tonight`, and
    `parts`, `missing` and `alarms` are what it gives as `/api/parts`.
    """
    return {
        "counts": Counts.from_workload(overview.workload),
        "tonight": TonightModel.from_tonight(tonight),
        **Parts.from_overview(overview.parts).model_dump(),
        "refusals": dict(overview.refusals),
        "open_messages": overview.open_messages,
        "stored_files": {
            "damaged": overview.scrub.damaged,
            "read_this_round": overview.scrub.round_read,
            "last_read_at": overview.scrub.read_at,
            "all_read_at": overview.scrub.round_ended_at,
        },
    }


def render_overview(overview: Overview, tonight: Tonight) -> RenderableType:
    """Render what `nightdraft status` prints."""
    workload, parts = overview.workload, overview.parts
    lines: list[RenderableType] = [
        render_counts(workload.counts, workload.pace),
        promise_line(tonight),
    ]
    running = Table("part", "process", "says", box=None, pad_edge=False, header_style="bold")
    for heartbeat in parts.running:
        # The first twelve characters of a digest are enough to tell bundles apart.
        facts = ", ".join(
            f"{name} {value[:12] if name == 'bundle' else value}"
            for name, value in heartbeat.facts.items()
        )
        running.add_row(heartbeat.part, heartbeat.owner, facts)
    lines += [Text(), running if parts.running else Text("no part runs", style="yellow"), Text()]
    lines.append(_render_lights(parts.lights))
    for alarm in parts.alarms:
        since = _local_time(alarm.opened_at)
        head = f"ALARM {alarm.kind}, {alarm.part}, since {since}"
        lines.append(Text(f"{head}: {alarm.cause}", style="bold red"))
        link = f"{settings().pages_address()}{runbook_path(alarm.kind)}"
        lines.append(Text(f"  {alarm.remedy} ({link})", style="red"))
    if overview.refusals:
        listed = ", ".join(f"{reason} {count}" for reason, count in overview.refusals.items())
        lines.append(Text(f"refused by the listener: {listed}", style="yellow"))
    if overview.open_messages:
        more = " or more" if overview.open_messages >= OPEN_MESSAGES_COUNTED else ""
        lines.append(
            Text(
                f"messages of other systems that were refused and that nobody has settled: "
                f"{overview.open_messages}{more} (`nightdraft messages list --open`)",
                style="yellow",
            )
        )
    lines.append(_stored_files(overview.scrub))
    return Group(*lines)


_LIGHT_COLOURS = {LightState.UP: "green", LightState.DOWN: "bold red"}


def _render_lights(lights: Sequence[Light]) -> RenderableType:
    """One line for each part, Redis, database, disk and bundle, with when it was last well."""
    table = Table("light", "", "last seen", "", box=None, pad_edge=False, header_style="bold")
    for light in lights:
        link = "" if light.is_well else f" ({settings().pages_address()}{light.runbook})"
        table.add_row(
            Text(light.name),
            Text(light.word, style=_LIGHT_COLOURS.get(light.state, "yellow")),
            Text(_local_time(light.seen_at) if light.seen_at else "never"),
            Text(f"{light.sentence}{link}", style="dim"),
        )
    return table


def _stored_files(scrub: ScrubState) -> Text:
    """One line on the scrub, and on what it found."""
    if scrub.damaged:
        return Text(
            f"stored files: {scrub.damaged} damaged (`nightdraft blobs damaged`)", style="bold red"
        )
    if scrub.read_at is None:
        return Text("stored files: none damaged, none read again yet", style="dim")
    all_read = (
        f", all of them by {_local_time(scrub.round_ended_at)}" if scrub.round_ended_at else ""
    )
    return Text(
        f"stored files: none damaged; {scrub.round_read} read again in this round, "
        f"the last at {_local_time(scrub.read_at)}{all_read}",
        style="dim",
    )


def render_counts(counts: Mapping[VisibleState, int], pace: Pace) -> RenderableType:
    """Render the studies by state, a bar, the pace, and the time left or why there is none."""
    total = sum(counts.values())
    ended = sum(counts.get(state, 0) for state in ENDED)
    states = Text()
    for state in VisibleState:
        if counts.get(state):
            states.append(f"{state.value} {counts[state]}   ", style=STATE_COLOURS.get(state, ""))
    if not total:
        states.append("no studies yet", style="dim")
    line = Text(
        f"{ended} of {total} ended, {pace.per_minute:.0f} a minute, {_time_left(pace.seconds_left)}"
    )
    if pace.stalled:
        line.append(f"\n{pace.stalled}", style="bold yellow")
    bar = Table.grid()
    bar.add_row(ProgressBar(total=max(1, total), completed=ended, width=60))
    return Group(states, bar, line)


def render_drafts(
    rows: Sequence[worklist_rows.WorklistRow], *, plain: bool = False
) -> RenderableType:
    """Render drafts and other ends, each with its first line, under the warning.

    Args:
        rows: The studies.
        plain: Without a frame and only as wide as the text, for a file.
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
            Text(row.state.value, style=STATE_COLOURS.get(row.state, "")),
            row.model_name,
            Text(remove_controls(line.splitlines()[0]) if line else ""),
        )
    return Group(Text(WARNING, style="bold red"), table)


def _time_left(seconds: float | None) -> str:
    if seconds is None:
        return "time left not known"
    if seconds < 1:
        return "nothing left to do"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min left"
    return f"{minutes} min {rest} s left" if minutes else f"{rest} s left"


def _local_time(at: dt.datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
