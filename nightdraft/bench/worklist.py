"""`nightdraft bench worklist`: how long a reader waits for a page of the worklist.

A fresh embedded database is filled, and each address is asked for over loopback from a web server
in a process of its own: the first page, each filter, each order, the search, further pages, and the
question that an open page asks every few seconds. The time is that from the question to the last
byte of the page, everything on the server included.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from html import unescape
from pathlib import Path
from statistics import quantiles
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import text

from nightdraft.bench.fresh_database import fresh_database, vacuum
from nightdraft.bench.growth_fill import fill
from nightdraft.bench.machine import machine_facts
from nightdraft.bench.web_server import ask, read, serving
from records.database.session import unit_of_work, wait_without_limit
from records.states import WARNING, VisibleState

GOAL_MS = 200.0
"""No page should take longer, among a million studies."""

# Patients and examinations of all kinds: the fill makes all of one kind.
_VARIED = """
UPDATE studies SET
    patient_sex = (ARRAY['F', 'M', 'F', 'M', 'O'])[1 + hashtext(id::text) & 3],
    patient_birth_date = (1930 + (hashtext(id::text) & 63)) || '0101',
    study_description = CASE WHEN (hashtext(id::text) & 1023) = 0 THEN 'CHEST PORTABLE'
        ELSE study_description END
WHERE (hashtext(id::text) & 3) = 0
"""


def measure(rows: int, runs: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench in temporary folders.

    Args:
        rows: studies.
        runs: questions for each address; the median and the 99th percentile count.
        log: gets a line for each step.

    Returns:
        The measurements, as JSON has them.

    Raises:
        PartError: PostgreSQL or the web server does not start.
    """
    pages = []
    with (
        tempfile.TemporaryDirectory(prefix="nightdraft-bench-") as folder,
        # Nobody is logged in: all questions come from one address.
        fresh_database(serve_port="0", serve_host="127.0.0.1", stranger_requests_per_minute="0"),
    ):
        log(f"filling {rows:,} studies")
        with unit_of_work() as session:
            fill(session, rows, WARNING)
            wait_without_limit(session.connection())
            session.execute(text("SET LOCAL statement_timeout = 0"))
            session.execute(text(_VARIED))
        vacuum("(ANALYZE)")
        with serving(Path(folder)) as port:
            for name, path in _addresses(port, rows).items():
                log(name)
                ask(port, path)
                asked = [ask(port, path) for _ in range(runs)]
                times = [milliseconds for milliseconds, _ in asked]
                cuts = quantiles(times, n=100, method="inclusive")
                pages.append(
                    {
                        "page": name,
                        "median_ms": round(cuts[49], 1),
                        "p99_ms": round(cuts[98], 1),
                        "kb": round(asked[0][1] / 1000, 1),
                    }
                )
    return {"studies": rows, "runs": runs, "pages": pages, **machine_facts()}


def _addresses(port: int, rows: int) -> dict[str, str]:
    """What is asked for, by name."""
    first = read(port, "/?all=1")
    (next_page,) = re.findall(r'id="older" href="([^"]+)"', first)
    second = read(port, unescape(next_page))
    (previous,) = re.findall(r'id="newer" href="([^"]+)"', second)
    (study,) = re.findall(r'id="study-([0-9a-f-]+)"', first)[:1]
    middle = rows // 2
    return {
        "first page": "/?all=1",
        "what an open page gets after a change": "/live?all=1",
        "next page": unescape(next_page),
        "previous page": unescape(previous),
        **{f"state {state.lower()}": f"/?state={state}" for state in VisibleState},
        "order: newest": "/?order=NEWEST",
        "order: oldest": "/?order=OLDEST",
        "priority STAT (none)": "/?priority=STAT",
        "site": "/?site=default",
        "received on one day": "/?received_from=2026-01-01&received_to=2026-01-01",
        "modality DX": "/?modality=DX",
        "modality that is rare (none)": "/?modality=MG",
        "procedure that is rare": "/?procedure=portable",
        "sex M": "/?sex=M",
        "age 0 to 17": "/?age=CHILD",
        "age 65 and more": "/?age=OLD",
        "held for its age": "/?hold_reason=AGE_UNKNOWN",
        "held for its age, of the held": "/?state=HELD&hold_reason=AGE_UNKNOWN",
        "nobody has read": "/?state=DRAFTED&review=OPEN",
        "signed (none)": "/?state=DRAFTED&review=SIGNED",
        "prior report used (none)": "/?prior=yes",
        "search: an accession number": f"/?words=A{middle:010d}",
        "search: a frequent name": "/?words=family0",
        "search: nothing": "/?words=zzz",
        "a study's neighbours by REST": f"/api/studies/{study}/neighbours",
        "a page by REST": "/api/worklist",
    }


def render(measured: dict[str, Any]) -> RenderableType:
    """The measurement as a table; yellow is what misses the goal."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("page")
    for column in ("median, ms", "99th, ms", "KB"):
        table.add_column(column, justify="right")
    for row in measured["pages"]:
        figures = (f"{row[key]:.1f}" for key in ("median_ms", "p99_ms", "kb"))
        table.add_row(row["page"], *figures, style="yellow" if row["p99_ms"] > GOAL_MS else "")
    note = (
        f"{measured['studies']:,} studies, {measured['runs']} questions for each page; yellow is "
        f"what takes longer than {GOAL_MS:.0f} ms."
    )
    return Group(Text(note, "dim"), table)
