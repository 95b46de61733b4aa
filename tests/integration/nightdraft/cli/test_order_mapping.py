"""`nightdraft orders map` shows what messages would become, without a database."""

import json

import pytest
from typer.testing import CliRunner

from nightdraft.cli.main import app
from tests.support.mllp import make_message, make_order


@pytest.fixture
def run(tmp_path, setting):
    setting(database_url="postgresql://nobody@127.0.0.1:1/none")

    def call(content, *options):
        file = tmp_path / "messages.hl7"
        file.write_bytes(content)
        result = CliRunner().invoke(app, ["orders", "map", str(file), *options])
        assert result.exit_code == 0, result.output
        return result.output

    return call


def test_each_value_stands_with_its_field_and_each_gap_with_where_it_was_looked_for(run):
    (message,) = json.loads(run(make_order(), "--json"))
    assert (message["answer"], message["sender"]) == ("AA", "RIS|HOSPITAL")
    values = {entry["rule"]: entry for entry in message["effects"][0]["values"]}
    assert values["accession_numbers"]["value"] == "A1"
    assert values["accession_numbers"]["field"] == "OBR-18"
    assert values["reason"]["value"] == "Fever and cough."
    assert values["priority"]["value"] == ""
    assert values["priority"]["looked_in"] == ["TQ1-9", "ORC-7.6", "OBR-27.6", "OBR-5"]
    output = run(make_order())
    assert "Fever and cough." in output
    assert "nothing in TQ1-9" in output


def test_a_message_that_would_be_refused_says_where_and_why(run):
    content = make_order(control="ZN") + make_message(kind="ADT^A01", control_id="2")
    refused, ignored = json.loads(run(content, "--json"))
    assert (refused["answer"], refused["error_code"], refused["location"]) == ("AE", "103", "ORC-1")
    assert (ignored["answer"], ignored["effects"]) == ("AA", [])
    output = run(content)
    assert "refused (AE 103 at ORC-1)" in output
    assert "changes nothing" in output


def test_another_mapping_can_be_tried(run, tmp_path):
    mapping = tmp_path / "hl7.toml"
    mapping.write_text('[actions]\nZN = "CANCEL"\n')
    (message,) = json.loads(run(make_order(control="ZN"), "--json", "--hl7-mapping", str(mapping)))
    assert message["effects"][0]["kind"] == "order: cancel"


def test_a_value_cannot_move_the_terminals_cursor(run):
    output = run(make_order(reason="Fever\x1b[2J [red]cough[/red]"))
    assert "\x1b[2J" not in output
    assert "[red]cough[/red]" in output
