"""`nightdraft night ...`, and the promise in `nightdraft status`."""

import json

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from api.app import make_app
from nightdraft.cli.main import app
from records.errors import NotFound
from records.settings import settings
from tests.support.nights import add_nights, let_it_be_night
from tests.support.registered_studies import complete, draft_all, new_instance

pytestmark = pytest.mark.usefixtures("database", "data_dir")


def run(*words):
    answer = CliRunner().invoke(app, [*words])
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer.output


def rest(address):
    with TestClient(make_app(settings()), base_url="http://localhost") as client:
        return client.get(address).json()


def without_times(value):
    return {key: item for key, item in value.items() if key not in ("done_at", "stages")}


def test_tonight_is_what_rest_and_status_say(setting):
    let_it_be_night(setting)
    complete(new_instance("1.1"))
    draft_all()
    complete(new_instance("1.2"))
    shown = json.loads(run("night", "tonight", "--json"))
    assert (shown["drafted"], shown["to_do"]) == (1, 1)
    status = json.loads(run("status", "--json"))["tonight"]
    for other in (rest("/api/tonight"), status):
        assert without_times(shown) == without_times(other | {"sentence": shown["sentence"]})
    assert "No draft worker is running." in run("night", "tonight")
    assert "tonight (" in run("status")


def test_nights_are_listed_and_the_last_line_says_how_to_go_on():
    add_nights(5)
    answer = run("night", "list", "--limit", "3")
    assert "2026-11-24" in answer
    assert "2026-11-22" in answer
    more = answer.splitlines()[-1].removeprefix("more: nightdraft ").split()
    answer = run(*more)
    assert "2026-11-21" in answer
    assert "2026-11-22" not in answer
    assert "more:" not in answer
    assert json.loads(run("night", "list", "--limit", "3", "--json")) == rest("/api/nights?limit=3")


def test_one_night_is_shown_and_the_newest_without_a_date():
    add_nights(2)
    assert run("night", "show") == run("night", "show", "2026-11-24")
    shown = run("night", "show", "2026-11-23")
    assert "Drafted: 397" in shown
    assert "Skipped, not for this model: 38 (not chest 31, age 7)" in shown
    assert "Failed: 1 (unreadable 1)" in shown
    assert json.loads(run("night", "show", "2026-11-23", "--json")) == rest(
        "/api/nights/2026-11-23"
    )


def test_without_a_summary_it_says_so():
    assert "no night has a summary yet" in run("night", "list")
    with pytest.raises(NotFound, match="No night has a summary"):
        run("night", "show")
    with pytest.raises(NotFound, match="The night of 2026-11-23 has no summary"):
        run("night", "show", "2026-11-23")
