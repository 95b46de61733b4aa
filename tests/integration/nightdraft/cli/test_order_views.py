"""`nightdraft orders list` and `show`."""

import json

import pytest
from typer.testing import CliRunner

from nightdraft.cli.main import app
from records.errors import NotAllowed, NotFound
from tests.support.received_orders import send_order
from tests.support.registered_studies import OTHER_PATIENT, complete, new_instance


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


def test_a_hold_about_an_order_shows_both_patients_and_is_decided(database):
    complete(new_instance())
    send_order(patient=OTHER_PATIENT)
    held = CliRunner().invoke(app, ["holds"], catch_exceptions=False, env={"COLUMNS": "200"}).output
    assert "Patient ID: films P-1, order P-2  DIFFERS" in held
    assert "Issuer of the patient ID: films (not sent), order (not sent)\n" in held
    assert "Reason: Fever and cough." in held
    assert "decide 1.2.3 proceed|take-new|cancel --by NAME" in held
    decide = ["decide", "1.2.3", "take-new", "--by", "Dr. Roe"]
    assert "1 hold closed" in CliRunner().invoke(app, decide, catch_exceptions=False).output
    assert "It counts for the study: a person decided so. (Dr. Roe)" in run("show", "A1").output
