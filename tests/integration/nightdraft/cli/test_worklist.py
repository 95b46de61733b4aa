"""Commands that look at studies and decide: what they list, find and refuse, and their JSON."""

from __future__ import annotations

import datetime as dt
import io
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from rich.console import Console
from sqlalchemy import text
from typer.testing import CliRunner, Result

import migrations
from api.app import make_app
from nightdraft.cli.main import app
from nightdraft.cli.worklist import render_rows
from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.errors import NotAllowed, NotFound
from records.operations import alarms
from records.settings import settings
from records.states import WARNING, HoldReason
from records.workflow import holds, worklist
from records.workflow.patients import Patient
from tests.support.registered_studies import complete, draft_all, new_instance, register

ADA, BEA = Patient("P-1", "", "DOE^ADA"), Patient("P-2", "", "ROE^BEA")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def read(*arguments: str) -> Any:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def clock() -> str:
    with unit_of_work() as session:
        now: dt.datetime = session.scalar(text("SELECT clock_timestamp()"))
    return now.isoformat()


def uids(page: dict[str, Any]) -> list[str]:
    return [study["study_instance_uid"] for study in page["studies"]]


@pytest.fixture
def before_the_last(database: str, data_dir: object) -> str:
    """Four studies, 1.1 to 1.4; returns the time before the last one arrived."""
    complete(new_instance("1.1", accession_number="A-1", patient=ADA))
    draft_all()
    complete(new_instance("1.2", accession_number="A-2", patient=ADA))
    register(new_instance("1.3", accession_number="A-3", patient=BEA))
    at = clock()
    register(new_instance("1.4", accession_number="A-3", patient=BEA))
    return at


def test_the_worklist_by_state_time_words_and_page(before_the_last: str) -> None:
    assert uids(read("list")) == ["1.4", "1.3", "1.2", "1.1"]
    assert uids(read("list", "--state", "receiving")) == ["1.4", "1.3"]
    assert uids(read("list", "--since", before_the_last)) == ["1.4"]
    assert uids(read("list", "--since", before_the_last, "--state", "DRAFTED")) == []
    assert uids(read("list", "--words", "ada")) == ["1.2", "1.1"]

    first = read("list", "--limit", "3")
    assert uids(read("list", "--limit", "3", "--after", first["next"])) == ["1.1"]
    page = run("list", "--limit", "1", "--state", "receiving", "--words", "BEA").stdout
    *_, row, more = page.splitlines()
    assert "RECEIVING" in row
    assert "ROE^BEA" in row
    assert more.startswith("more: nightdraft list --state RECEIVING --words BEA --after ")
    following = run(*more.removeprefix("more: nightdraft ").split()).stdout
    assert "1.3" in following
    assert "1.4" not in following
    assert "more:" not in following
    assert run("list", "--state", "HELD").stdout == "no studies\n"

    assert isinstance(run("list", "--state", "LOST").exception, NotAllowed)
    assert isinstance(run("list", "--since", "lately").exception, NotAllowed)


def test_a_narrow_terminal_shows_fewer_columns_and_cuts_no_number(before_the_last: str) -> None:
    long_uid, accession = f"1.{'2' * 62}", "A" * 16
    name = "A-VERY-LONG-FAMILY-NAME^WITH^MANY^PARTS"
    register(new_instance(long_uid, accession_number=accession, patient=Patient("P", "", name)))
    with unit_of_work() as session:
        rows = worklist.read_page(session).rows
    for width, shown, hidden in ((240, long_uid, "..."), (80, accession, long_uid[:10])):
        page = Console(file=io.StringIO(), width=width)
        page.print(render_rows(rows, width))
        assert isinstance(page.file, io.StringIO)
        lines = page.file.getvalue().splitlines()
        assert len(lines) == 1 + len(rows)
        assert shown in lines[1]
        assert hidden not in lines[1]


def test_json_is_what_rest_gives(before_the_last: str) -> None:
    with unit_of_work() as session:
        (study,) = session.scalars(text("SELECT id FROM studies WHERE study_instance_uid = '1.2'"))
        holds.open_hold(session, study, HoldReason.CHEST_UNKNOWN, "nothing says so")
    with TestClient(make_app(settings()), base_url="http://localhost") as client:

        def rest(path: str, **query: str) -> Any:
            return client.get(path, params=query).json()

        assert read("list", "--state", "DRAFTED") == rest("/api/studies", state="DRAFTED")
        since = {"since": before_the_last}
        assert uids(rest("/api/studies", **since)) == ["1.4"]
        assert read("study", "A-1") == rest("/api/studies/1.1")
        assert read("holds") == rest("/api/holds")
        assert len(read("holds", "--reason", "CHEST_UNKNOWN")) == 1
        status = read("status")
        assert status["counts"]["states"] == rest("/api/counts")["states"]
        parts = rest("/api/parts")
        for name in ("parts", "missing", "alarms"):
            assert status[name] == parts[name]
        # The database was seen just now, each time.
        lights = [light for light in parts["lights"] if light["name"] != "database"]
        assert [light for light in status["lights"] if light["name"] != "database"] == lights
        checks = json.loads(run("doctor", "--part", "sweep", "--json").stdout)
        assert checks.keys() == rest("/readyz").keys()
        assert checks["missing"] == ["sweep"]
    assert read("blobs", "damaged") == {"damaged": 0, "files": []}
    assert read("blobs", "orphans") == {"orphans": [], "lost_and_found": []}


@pytest.mark.parametrize("number", ["1.1", "A-1", "a-1", " A-1 "])
def test_a_study_is_found_by_its_numbers(before_the_last: str, number: str) -> None:
    page = run("study", number).stdout
    assert "DOE^ADA  P-1" in page
    assert WARNING in page


def test_several_studies_of_a_number_are_listed(before_the_last: str) -> None:
    done = run("study", "P-1")
    assert done.exit_code == 1
    assert "A-1" in done.stdout
    assert "A-2" in done.stdout
    assert WARNING not in done.stdout
    assert "2 studies have that number: choose one by its UID, as in `nightdraft study 1.2`" in str(
        done.exception
    )
    done = run("study", "A-3", "--json")
    assert done.exit_code == 1
    assert uids(json.loads(done.stdout)) == ["1.4", "1.3"]
    for number in ("P-", "9.9", ""):
        assert isinstance(run("study", number).exception, NotFound)


def test_what_cannot_be_released_or_resumed_is_an_error(before_the_last: str) -> None:
    assert run("release", "1.4").exit_code == 0
    assert run("release", "1.4").exit_code == 0
    assert "this study is complete" in str(run("release", "1.2").exception)
    assert "no alarm of 'nosuch' is open, nor any other" in str(run("resume", "nosuch").exception)
    with unit_of_work() as session:
        alarms.raise_alarm(session, AlarmKind.WORKER_STOPPED, "draft@gpu-3", "It is sick.")
    error = run("resume", "nosuch").exception
    assert "open are those of `draft@gpu-3`" in str(error)
    assert run("resume", "draft").stdout == "1 alarm closed\n"
    assert run("resume").stdout == "0 alarms closed\n"


def test_what_decides_tells_in_json_what_it_did(before_the_last: str) -> None:
    assert read("release", "1.4")["state"] == "RECEIVING"
    withdrawn = read("withdraw", "1.1", "--by", "a reader", "--reason", "another patient's film")
    assert (withdrawn["study_instance_uid"], withdrawn["draft"]) == ("1.1", None)
    assert read("retry", "1.1") == {"studies": 1}
    assert read("retry") == {"studies": 0}
    register(new_instance("1.4", sop="1.4.9", patient=ADA))
    decided = read("decide", "1.4", "cancel", "--by", "a reader")
    assert decided == {"decision": "CANCEL", "closed": 1, "stay_held": []}
    with unit_of_work() as session:
        alarms.raise_alarm(session, AlarmKind.WORKER_STOPPED, "draft@gpu-3", "It is sick.")
    assert read("resume", "draft") == {"closed": 1}
    assert read("migrate") == {"revision": migrations.head()}
