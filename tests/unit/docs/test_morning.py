"""The radiologist's morning names every state and every hold, as the page writes them."""

from __future__ import annotations

import re

from records.states import HoldReason, VisibleState
from tests.support.paths import DOCS

MORNING = (DOCS / "use/morning.md").read_text()
IN_FULL = (DOCS / "use/radiologist.md").read_text()


def first_cells(text: str) -> list[str]:
    """Return what stands in the first column of the tables, taken apart at commas."""
    cells = re.findall(r"^\| ([^|]+) \|", text, re.M)
    return [part.strip() for cell in cells for part in cell.split(",")]


def test_every_state_is_explained() -> None:
    for page in (MORNING, IN_FULL):
        assert {state.value for state in VisibleState} <= set(first_cells(page))


def test_every_hold_is_explained() -> None:
    plain = {reason.value.lower().replace("_", " ") for reason in HoldReason}
    for page in (MORNING, IN_FULL):
        assert plain <= set(first_cells(page))


def test_it_says_that_a_draft_is_no_report_and_where_signing_is_explained() -> None:
    assert "**A draft is not a report.**" in MORNING
    assert "[Read, correct and sign](sign.md)" in MORNING
    assert "Nothing is sent to the RIS or the PACS" in MORNING
