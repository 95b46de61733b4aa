"""`nightdraft bench worklist` asks a real server for each page, and says which are slow."""

from __future__ import annotations

import io
import os

from rich.console import Console

from nightdraft.bench import worklist


def test_every_page_is_asked_for_and_shown() -> None:
    environment = dict(os.environ)
    measured = worklist.measure(1000, 2, lambda _: None)
    assert dict(os.environ) == environment
    names = {row["page"] for row in measured["pages"]}
    assert {"first page", "previous page", "state drafted", "age 0 to 17"} <= names
    sizes = {row["page"]: row["kb"] for row in measured["pages"]}
    assert sizes["priority STAT (none)"] < 20 < sizes["first page"]  # it has its rows
    measured["pages"][0]["p99_ms"] = 201.0
    page = io.StringIO()
    Console(file=page, width=120).print(worklist.render(measured))
    for name in names:
        assert name in page.getvalue()
