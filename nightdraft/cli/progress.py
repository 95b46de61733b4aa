"""Progress of long work on a terminal: bars where the total is known, else counts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Task, TaskID

    from model.progress import ProgressCallback


@contextmanager
def show_bars(*, paced_step: str = "", unit: str = "") -> Iterator[ProgressCallback]:
    """Show a bar for each step on standard error, if that is a terminal.

    Args:
        paced_step: How the names of steps begin whose pace is shown, too.
        unit: What these steps count, as "studies".
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Pace(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            is_shown = unit and speed and task.description.startswith(paced_step)
            return Text(f"{speed:.1f} {unit}/s" if is_shown else "")

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        Pace(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as bars:
        bar_of_step: dict[str, TaskID] = {}

        def update(step: str, done: float, total: float | None) -> None:
            bar = bar_of_step.get(step)
            if bar is None or done < bars.tasks[bar].completed:
                bar = bar_of_step[step] = bars.add_task(step, total=total)
            bars.update(bar, completed=done, total=total)

        yield update


@contextmanager
def show_counts() -> Iterator[ProgressCallback]:
    """Show on a terminal, for each step, how much is done and how much in a second."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

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
