"""`nightdraft bench growth`: what operations cost among ten thousand or ten million studies.

A fresh embedded database is filled for each size, and each operation is timed by the functions that
listener, workers, sweep and pages call. Beside the time of the clock stands processor time, of this
process and of PostgreSQL's: it says more on a machine that others use, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import text

from nightdraft.bench.fresh_database import fresh_database, vacuum
from nightdraft.bench.growth_fill import fill
from nightdraft.bench.growth_operations import list_operations
from nightdraft.bench.machine import machine_facts
from nightdraft.bench.operation import Operation
from records.database.session import unit_of_work
from records.states import WARNING

GOAL_RATIO, GOAL_MS = 1.3, 100.0
"""No operation should cost more than so many times what it costs at the first size, or take longer
than so many milliseconds."""


def measure(rows: Sequence[int], runs: int, log: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench on a temporary data folder for each size.

    Args:
        rows: how many studies, one measurement each.
        runs: runs of each operation, of which the median counts.
        log: gets a line for each step.

    Returns:
        The measurements, as JSON has them.

    Raises:
        PartError: PostgreSQL does not start.
    """
    return {
        **machine_facts(),
        "runs": runs,
        "sizes": [_measure_size(number, runs, log) for number in rows],
    }


def render(measured: dict[str, Any]) -> RenderableType:
    """The measurements as a table: milliseconds, and how many times the first size's."""
    sizes = measured["sizes"]
    table = Table(box=None, header_style="bold")
    table.add_column("operation")
    for size in sizes:
        table.add_column(f"{size['studies']:,} studies, ms", justify="right")
        table.add_column("processor", justify="right")
    for size in sizes[1:]:
        table.add_column(f"{size['studies']:,}: times", justify="right")
    for name in sizes[0]["operations"]:
        figures = [size["operations"][name] for size in sizes]
        cells = [f"{figure[key]:.2f}" for figure in figures for key in ("ms", "processor_ms")]
        ratios = [figure["processor_ms"] / figures[0]["processor_ms"] for figure in figures[1:]]
        bad = (
            any(figure["ms"] > GOAL_MS for figure in figures) or max(ratios, default=1) > GOAL_RATIO
        )
        table.add_row(
            name, *cells, *(f"{ratio:.2f}" for ratio in ratios), style="yellow" if bad else ""
        )
    return Group(
        Text(
            f'Median of {measured["runs"]} runs. "times" compares processor time; yellow is what '
            f"misses the goal (more than {GOAL_RATIO} times, or more than {GOAL_MS:.0f} ms)."
        ),
        table,
    )


def _measure_size(studies: int, runs: int, log: Callable[[str], None]) -> dict[str, Any]:
    with fresh_database():
        log(f"filling {studies:,} studies")
        start = time.perf_counter()
        with unit_of_work() as session:
            fill(session, studies, WARNING)
        vacuum("(ANALYZE)")
        seconds = time.perf_counter() - start
        log(f"filled in {seconds:.0f} s; measuring")
        operations = {
            operation.name: _time(operation, runs) for operation in list_operations(studies)
        }
        return {
            "studies": studies,
            "filled_seconds": round(seconds, 1),
            "database_mb": _database_mb(),
            "operations": operations,
        }


def _time(operation: Operation, runs: int) -> dict[str, float]:
    """Median milliseconds of the clock and of the processor; the first run only warms up."""
    clock, processor = [], []
    with unit_of_work() as session:
        if operation.before is not None:
            operation.before(session)
    for run in range(runs + 1):
        argument = operation.prepare(run) if operation.prepare is not None else None
        backend = _backend()
        clock_start, processor_start = time.perf_counter(), _processor_seconds(backend)
        operation.run(argument)
        if run:
            clock.append(time.perf_counter() - clock_start)
            processor.append(_processor_seconds(backend) - processor_start)
    with unit_of_work() as session:
        if operation.after is not None:
            operation.after(session)
    return {
        "ms": round(median(clock) * 1000, 3),
        "processor_ms": round(median(processor) * 1000, 3),
    }


def _backend() -> int:
    """PostgreSQL's process that serves this one; the pool gives the same connection each time."""
    with unit_of_work() as session:
        return int(session.execute(text("SELECT pg_backend_pid()")).scalar_one())


def _processor_seconds(backend: int) -> float:
    """Processor time of this process, and of PostgreSQL's process where Linux tells it."""
    try:
        spent = Path(f"/proc/{backend}/schedstat").read_text().split()[0]
    except OSError:
        spent = "0"
    return time.process_time() + int(spent) / 1e9


def _database_mb() -> int:
    with unit_of_work() as session:
        size = session.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
        return int(size) // 1_000_000
