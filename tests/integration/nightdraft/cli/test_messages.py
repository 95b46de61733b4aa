"""`nightdraft messages`: lists, shows and settles messages of other systems."""

import json
import re

import pytest
from typer.testing import CliRunner

from nightdraft.cli.main import app
from records.errors import NotAllowed, NotFound
from records.states import MessageOutcome
from tests.support.filled_records import keep_message


def run(*arguments):
    return CliRunner().invoke(
        app, ["messages", *map(str, arguments)], catch_exceptions=False, env={"COLUMNS": "200"}
    )


def test_refused_messages_are_listed_shown_and_settled(database, data_dir):
    assert "no messages" in run("list").output
    refused, accepted = keep_message("1"), keep_message("2", MessageOutcome.ACCEPTED)
    listed = run("list").output
    assert listed.index(str(accepted)) < listed.index(str(refused))
    assert "the order has no number (ORC-2)" in listed
    assert "Jane" not in listed
    assert str(accepted) not in run("list", "--open").output
    shown = run("show", refused).output
    assert "PID|||4711||Döe^<b>Jane" in shown
    assert "REFUSED, answered AE" in shown
    assert json.loads(run("show", refused, "--json").output)["lines"][1].startswith("PID|")
    assert "settled by Dr. Roe" in run("settle", refused, "--by", "Dr. Roe").output
    assert "no messages" in run("list", "--open").output
    with pytest.raises(NotAllowed):
        run("settle", refused, "--by", "Dr. Roe")
    with pytest.raises(NotAllowed):
        run("settle", accepted, "--by", "Dr. Roe")
    with pytest.raises(NotAllowed):
        run("list", "--outcome", "LOST")
    with pytest.raises(NotFound):
        run("show", "0b5ad1c4-0000-4000-8000-000000000000")


def test_a_list_goes_on_where_its_last_line_says(database, data_dir):
    ids = [str(keep_message(str(n))) for n in range(3)]
    first = run("list", "--open", "--limit", 2).output
    (rest,) = re.findall(r"more: nightdraft messages (.*)", first)
    assert ids[0] in run(*rest.split()).output
    page = json.loads(run("list", "--limit", 2, "--json").output)
    assert [message["id"] for message in page["messages"]] == [ids[2], ids[1]]
    assert page["next"]
