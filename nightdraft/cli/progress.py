"""A line on a terminal that counts what is done, of work whose total is not known."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.progress import ProgressCallback


@contextmanager
def show_progress() -> Iterator[ProgressCallback]:
    """Show on a terminal, for each step, how much is done and how much in a second."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}: {task.completed:,.0f}"),
        TextColumn("{task.fields[pace]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as bars:
        bar_of_step: dict[str, TaskID] = {}

        def update(step: str, done: float, _total: float | None) -> None:
            if step not in bar_of_step:
                bar_of_step[step] = bars.add_task(step, total=None, pace="")
            bar = bar_of_step[step]
            bars.update(bar, completed=done)
            speed = bars.tasks[bars.task_ids.index(bar)].speed
            if speed:
                bars.update(bar, pace=f"{speed:,.0f}/s")

        yield update
