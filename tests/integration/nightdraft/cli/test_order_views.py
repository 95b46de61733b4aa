"""`nightdraft orders list` and `show`."""

import json

import pytest
from typer.testing import CliRunner

from nightdraft.cli.main import app
from records.errors import NotAllowed, NotFound
from tests.support.received_orders import send_order


def run(*arguments):
    return CliRunner().invoke(
        app, ["orders", *arguments], catch_exceptions=False, env={"COLUMNS": "200"}
    )


def test_orders_are_listed_and_shown_with_their_history(database):
    assert "no orders" in run("list").output
    first = str(send_order(placer_order_number="1", accession_numbers=("A1",)).order_id)
    send_order(placer_order_number="1", accession_numbers=("A1",), procedure="XR CHEST 2V")
    second = str(send_order(placer_order_number="2", accession_numbers=("A2",)).order_id)
    listed = run("list", "--words", "p-1").output
    assert listed.index(second) < listed.index(first)
    assert "no orders" in run("list", "--status", "cancelled").output
    shown = run("show", "a1").output
    assert first in shown
    assert "Requested procedure: XR CHEST PA -> XR CHEST 2V" in shown
    assert "Fever and cough." in shown
    assert "no study of it has arrived yet" in shown
    several = run("show", "P-1")
    assert several.exit_code == 1
    assert first in several.output
    assert second in several.output
    detail = json.loads(run("show", first, "--json").output)
    assert [change["kind"] for change in detail["changes"]] == ["PLACED", "CHANGED"]
    with pytest.raises(NotFound):
        run("show", "none")
    with pytest.raises(NotAllowed):
        run("list", "--status", "lost")
