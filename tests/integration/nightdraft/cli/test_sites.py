"""`nightdraft site senders` and `move`, and `--site` of lists."""

import json

import pytest
from typer.testing import CliRunner

from nightdraft.cli.main import app
from tests.support.accounts import run_sql
from tests.support.campaigns import create
from tests.support.ordered_studies import complete, receive
from tests.support.outside_reports import receive as receive_report
from tests.support.registered_studies import new_instance
from tests.support.two_sites import NORTH_AE, NORTH_RIS, make_north, make_site, site_of

pytestmark = pytest.mark.usefixtures("database", "data_dir")


def run(*arguments, status=0, typed=None):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed)
    assert done.exit_code == status, (done.output, done.exception)
    return done


def run_json(*arguments):
    return json.loads(run(*arguments, "--json").stdout)


def test_senders_are_set_and_listed():
    make_north()
    make_site("south")
    named = {"code": "north", "senders": ["NORTH_MWL", "RIS|NORTH"]}
    assert run_json("site", "senders", "north", "ris|north", "NORTH_MWL") == named
    assert "senders: NORTH_MWL, RIS|NORTH" in run("site", "list").stdout
    (north,) = [line for line in run_json("site", "list") if line["code"] == "north"]
    assert (north["callers"], north["senders"]) == ([NORTH_AE], ["NORTH_MWL", "RIS|NORTH"])
    refused = run("site", "senders", "south", "RIS|NORTH", status=1)
    assert "another site" in str(refused.exception)
    assert run("site", "senders", "north").stdout == "north: no senders of its own\n"


def test_lists_can_be_of_one_site():
    make_north()
    complete(
        new_instance("1.1", accession_number="X1", calling_ae=NORTH_AE),
        new_instance("1.2", accession_number="X2"),
    )
    receive(sender=NORTH_RIS)
    receive(sender="RIS|OTHER")
    receive_report(sender=NORTH_RIS)
    receive_report(sender="RIS|OTHER")
    create(name="of the north", site_code="north")
    create(name="of all")
    for command, key, number in (
        (("list",), "studies", 2),
        (("orders", "list"), "orders", 2),
        (("reports", "list"), "reports", 2),
        (("campaign", "list"), "campaigns", 2),
    ):
        assert len(run_json(*command)[key]) == number, command
        assert len(run_json(*command, "--site", "north")[key]) == 1, command
        wrong = run(*command, "--site", "west", status=1)
        assert "there is no site 'west'" in str(wrong.exception)
    (study,) = run_json("list", "--site", "north")["studies"]
    assert study["study_instance_uid"] == "1.1"
    (campaign,) = run_json("campaign", "list", "--site", "north")["campaigns"]
    assert (campaign["name"], campaign["site"]) == ("of the north", "north")


def test_the_next_page_is_of_the_same_site():
    make_north()
    for number in (1, 2):
        receive(
            sender=NORTH_RIS, placer_order_number=str(number), accession_numbers=(f"B{number}",)
        )
    more = run("orders", "list", "--site", "north", "--limit", "1").stdout.splitlines()[-1]
    assert more.startswith("more: nightdraft orders list --site north --after ")


MOVE = ("--to", "north", "--because", "sent by a borrowed device")


def test_studies_are_moved_after_a_question():
    make_north()
    first, second = complete(
        new_instance("1.1", accession_number="A1"), new_instance("1.2", accession_number="A2")
    )
    receive()
    tried = run_json("site", "move", "1.1", second, *MOVE, "--dry-run")
    assert tried["moved"] is False
    assert [(s["study_instance_uid"], s["orders"]) for s in tried["studies"]] == [
        ("1.1", 1),
        ("1.2", 0),
    ]
    asked = run("site", "move", "1.1", "1.2", *MOVE, typed="n\n", status=1).stdout
    assert "1.1: to be moved from default to north, orders: 1, reports: 0" in asked
    assert "Move them?" in asked
    refused = run("site", "move", "1.1", *MOVE, "--json", status=1)
    assert "give --yes" in str(refused.exception)
    # A wrong name stops it before anything is moved.
    run("site", "move", "1.1", "9.9", *MOVE, "--yes", status=1)
    assert site_of("studies", first) == site_of("studies", second) == "default"
    moved = run("site", "move", "1.1", "1.2", *MOVE, typed="y\n").stdout
    assert "1.2: moved from default to north, orders: 0, reports: 0" in moved
    assert site_of("studies", first) == site_of("studies", second) == "north"
    done = run_json("site", "move", "1.1", "--to", "default", "--because", "x", "--yes")
    assert (done["moved"], done["studies"][0]["to_site"]) == (True, "default")
    assert run_sql("SELECT count(*) FROM events WHERE kind = 'SITE'") == [(3,)]
