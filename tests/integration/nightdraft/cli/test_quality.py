"""`nightdraft quality`: sums with intervals, of all sites or of one, as text, JSON and CSV."""

import csv
import json

import pytest
from typer.testing import CliRunner

from nightdraft.cli.main import app
from records.errors import NotAllowed, NotFound
from records.states import Role
from tests.support.accounts import make_account
from tests.support.decided_drafts import count, decide, fill_quality
from tests.support.two_sites import NORTH_AE, make_north

pytestmark = pytest.mark.usefixtures("database")


def run(*arguments):
    result = CliRunner().invoke(app, ["quality", *map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def decided():
    make_north()
    ada = make_account("ada", Role.READER)
    for how in ("unedited", "rejected"):
        decide(ada, how)
    decide(ada, calling_ae=NORTH_AE)
    count()


def test_the_sum_of_all_sites_and_of_one(decided):
    assert "3 drafts decided on" in run()
    assert "1 drafts decided on" in run("--site", "north")
    found = json.loads(run("--site", "default", "--json"))
    assert found["quality"]["whose"] == "sites"
    assert found["quality"]["acceptance"]["decided"] == 2
    assert [line["site"] for line in found["drift"]] == ["default"]
    assert "0 drafts decided on" in run("--since", "2020-01", "--until", "2020-02")
    assert "2 drafts decided on" not in run("--model", "bundle-1")


def test_names_of_nothing_are_refused(decided):
    with pytest.raises(NotFound):
        run("--site", "nowhere")
    with pytest.raises(NotAllowed, match="2026-01"):
        run("--since", "January")


def test_all_figures_are_written_as_csv(decided, tmp_path):
    run("--csv", tmp_path / "quality.csv")
    with (tmp_path / "quality.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert ["acceptance", "unedited", "2", "3"] in [
        [row["figure"], row["of"], row["part"], row["number"]] for row in rows
    ]


def test_the_text_says_the_drift_and_who_has_a_time():
    fill_quality(make_account("ada", Role.READER))
    said = run()
    assert "default, bundle-1: 7 days running outside the baseline of 18%" in said
    assert "WITH_DRAFT: " in said
    assert "few" not in said.splitlines()[1]
