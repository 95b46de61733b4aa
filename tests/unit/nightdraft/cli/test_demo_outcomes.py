"""The demonstration's last table: one line for each kind of study, and what ended wrongly."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from nightdraft.cli.demo_outcomes import Outcome, render_outcomes
from nightdraft.demo_studies import DEMO_STUDIES, SPECIAL, WrittenStudy


def outcomes(wrong: int | None = None) -> list[Outcome]:
    """What becomes of the studies; the one with this number ends wrongly."""
    rows: list[Any] = [SimpleNamespace(state=study.state) for study in DEMO_STUDIES]
    return [
        Outcome(
            WrittenStudy(study, f"1.{number}", f"D1127023446{number:02d}"),
            row,
            ("state is WAITING and must be HELD",) if number == wrong else (),
        )
        for number, (study, row) in enumerate(zip(DEMO_STUDIES, rows, strict=True), start=1)
    ]


def printed(found: list[Outcome], width: int = 80, *, plain: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(render_outcomes(found, plain=plain))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_it_is_readable_on_80_characters() -> None:
    lines = printed(outcomes())
    assert max(map(len, lines)) <= 80
    # A head, a frame, and no study that takes more than two lines.
    assert len(lines) <= 4 + 2 * (len(SPECIAL) + 1)


def test_studies_of_one_kind_are_one_line() -> None:
    lines = printed(outcomes(), 200, plain=True)
    assert len(lines) == 1 + len(SPECIAL) + 1
    assert "11 times an ordinary study" in lines[-1]
    assert all(study.sent in line for study, line in zip(SPECIAL, lines[1:], strict=False))


def test_what_ended_wrongly_has_a_line_of_its_own() -> None:
    lines = printed(outcomes(wrong=20), 200, plain=True)
    assert len(lines) == 1 + len(SPECIAL) + 2
    (line,) = [line for line in lines if "NOT AS IT MUST BE" in line]
    assert line.split()[0] == "D112702344620"
    assert "state is WAITING and must be HELD" in line
    assert "10 times an ordinary study" in "\n".join(lines)
