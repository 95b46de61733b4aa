"""`nightdraft bench growth` times every operation, and says which of them grow."""

from __future__ import annotations

import io
import os

from rich.console import Console
from typer.testing import CliRunner

from nightdraft.bench import growth
from nightdraft.cli.main import app


def test_every_operation_is_timed_on_a_database_of_its_own() -> None:
    environment = dict(os.environ)
    (size,) = growth.measure([2000], 1, lambda _: None)["sizes"]
    assert dict(os.environ) == environment
    assert size["studies"] == 2000
    assert len(size["operations"]) > 45
    assert all(figure["ms"] > 0 for figure in size["operations"].values())


def figures(ms: float, processor_ms: float) -> dict[str, float]:
    return {"ms": ms, "processor_ms": processor_ms}


def test_the_table_compares_processor_time_with_the_first_size() -> None:
    measured = {
        "runs": 3,
        "sizes": [
            {"studies": 10_000, "operations": {"claim": figures(3.0, 2.0)}},
            {"studies": 1_000_000, "operations": {"claim": figures(9.0, 5.0)}},
        ],
    }
    page = io.StringIO()
    Console(file=page, width=200).print(growth.render(measured))
    row = next(line for line in page.getvalue().splitlines() if "claim" in line)
    assert row.split() == ["claim", "3.00", "2.00", "9.00", "5.00", "2.50"]


def test_a_size_that_is_no_number_is_refused() -> None:
    for rows in ("ten", "10", "", "10000,"):
        done = CliRunner().invoke(app, ["bench", "growth", "--rows", rows])
        assert done.exit_code == 2, rows
        assert "10000,1000000" in done.output
