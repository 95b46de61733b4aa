"""`nightdraft bench growth` times every operation, and says which of them grow."""

from __future__ import annotations

import io
import os

import pytest
from rich.console import Console
from sqlalchemy import text
from typer.testing import CliRunner

from nightdraft.bench import growth
from nightdraft.bench.growth_fill import fill
from nightdraft.cli.main import app
from records.database.session import unit_of_work
from records.states import WARNING


def test_every_operation_is_timed_on_a_database_of_its_own() -> None:
    environment = dict(os.environ)
    (size,) = growth.measure([2000], 1, lambda _: None)["sizes"]
    assert dict(os.environ) == environment
    assert size["studies"] == 2000
    assert len(size["operations"]) > 45
    assert all(figure["ms"] > 0 for figure in size["operations"].values())


@pytest.mark.usefixtures("database", "data_dir")
def test_a_fill_may_wait_longer_for_an_answer_than_a_transaction_of_the_product() -> None:
    # Ten million rows take minutes; the limit of a worker's transaction once ended the bench there.
    with unit_of_work() as session:
        connection = session.connection()
        connection.connection.dbapi_connection.answer_seconds = 0.1
        fill(session, 100, WARNING)
        assert session.scalar(text("SELECT pg_sleep(1.5) IS NOT NULL"))


@pytest.mark.usefixtures("database", "data_dir")
def test_a_fill_keeps_whether_a_request_can_be_claimed_as_the_database_does() -> None:
    with unit_of_work() as session:
        fill(session, 300, WARNING)
        count = text(
            "SELECT count(*) FILTER (WHERE claimable),"
            " count(*) FILTER (WHERE claimable <> request_is_claimable(draft_requests))"
            " FROM draft_requests"
        )
        claimable, wrong = session.execute(count).one()
    assert claimable > 0
    assert wrong == 0


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
