"""What a check of `nightdraft doctor` answers, and how its lines are shown."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from api.operation_schemas import Readiness, ReadinessCheck


class CheckWarning(Exception):
    """Something works, but will have to be fixed."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check; a failure must be fixed, a warning will have to be."""

    name: str
    sentence: str
    failed: bool = False
    warning: bool = False


def readiness(results: list[CheckResult]) -> Readiness:
    """The results as REST gives those of `/readyz`."""
    return Readiness(
        ready=not any(result.failed for result in results),
        missing=[result.name for result in results if result.failed],
        checks=[
            ReadinessCheck(
                name=result.name,
                ok=not result.failed,
                warning=result.warning,
                sentence=result.sentence,
            )
            for result in results
        ],
    )


def render_results(results: list[CheckResult]) -> RenderableType:
    """Render one line for each result."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for result in results:
        verdict, style = (
            ("WRONG", "bold red")
            if result.failed
            else ("warning", "yellow")
            if result.warning
            else ("ok", "green")
        )
        table.add_row(Text(verdict, style=style), result.name, Text(result.sentence))
    return table
