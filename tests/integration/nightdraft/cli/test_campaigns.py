"""`nightdraft campaign`: what each source needs, wrong lines, control, and the export."""

import csv
import io
import json

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from nightdraft import campaign_lists
from nightdraft.cli.campaigns import machine_zone
from nightdraft.cli.main import app
from records.campaigns import export
from records.campaigns.rows import NewStudy
from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.session import unit_of_work
from records.errors import NotAllowed, NotFound
from records.settings import settings
from records.states import Stage
from tests.support.campaigns import create, ends, get, of_uids, tend_all
from tests.support.registered_studies import claim, complete, new_instance, prepare, save

pytestmark = pytest.mark.usefixtures("database")

PACS = """
[archive]
host = "pacs.example.org"
ae_title = "ARCHIVE"
"""


def run(*arguments, **given):
    return CliRunner().invoke(
        app, ["campaign", *map(str, arguments)], catch_exceptions=False, **given
    )


def shown(*arguments, **given):
    answer = run(*arguments, "--json", **given)
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.stdout)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A file that names a PACS, and a folder that campaigns may read."""
    file = tmp_path / "pacs.toml"
    file.write_text(PACS)
    folder = tmp_path / "films"
    folder.mkdir()
    monkeypatch.setenv("NIGHTDRAFT_PACS_FILE", str(file))
    monkeypatch.setenv("NIGHTDRAFT_CAMPAIGN_FOLDERS", str(folder))
    settings.cache_clear()
    return tmp_path


def write(tmp_path, text, encoding="utf-8"):
    file = tmp_path / "list.csv"
    file.write_text(text, encoding=encoding)
    return file


def count(table):
    with unit_of_work() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_a_list_becomes_a_campaign_whose_lines_are_its_studies(tmp_path):
    file = write(
        tmp_path, "\ufeffaccession_number;study_instance_uid\nA1;\n;1.2.3\nA2;1.2.4\nA1;\n\n"
    )
    made = shown("create", "backlog", "--list", file, "--hours", "19:00-07:00")
    assert (made["kind"], made["state"], made["studies"]) == ("LIST", "RUNNING", 3)
    assert made["walk_state"] == "WALKED"
    assert made["walk_note"] == "1 lines name a study that another line names."
    assert made["window"] == f"19:00-07:00 {machine_zone()}"
    assert set(ends(made["id"])) == {"A1", "1.2.3", "1.2.4"}


def test_a_list_with_wrong_lines_creates_nothing_and_names_each(tmp_path):
    wrong = "A2,1..2\nA3,1.2\nA4\n" + "A" * 65 + ",\n"
    file = write(tmp_path, f"accession_number,study_instance_uid\nA1,\n{wrong}")
    answer = CliRunner().invoke(app, ["campaign", "create", "backlog", "--list", str(file)])
    assert answer.exit_code == 1
    assert "3 of 5 lines of the list are wrong" in str(answer.exception)
    lines = answer.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["line 3", "line 5", "line 6"]
    assert "study_instance_uid: it is no UID" in lines[0]
    assert "1..2" not in answer.output
    assert count(Campaign) == count(CampaignStudy) == 0
    written = CliRunner().invoke(
        app, ["campaign", "create", "backlog", "--list", str(file), "--json"]
    )
    assert written.exit_code == 1
    assert json.loads(written.stdout)["refused"] == 3


def test_a_list_is_read_in_batches_from_standard_input(monkeypatch):
    monkeypatch.setattr(campaign_lists, "ADD_AT_ONCE", 100)
    text = "study_instance_uid\n" + "".join(f"1.2.{number}\n" for number in range(1050))
    made = shown("create", "piped", "--list", "-", input=text)
    assert made["counts"]["WAITING"] == made["studies"] == 1050


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1.2.3\n1.2.4\n", "not known: '1.2.3'; known are accession_number, study_instance_uid"),
        ("", "no column accession_number or study_instance_uid"),
        ("accession_number\n", "names no study"),
        ("accession_number,accession_number\n", "a column twice"),
    ],
)
def test_a_list_that_cannot_be_used_creates_nothing(tmp_path, text, sentence):
    with pytest.raises(NotAllowed, match=sentence):
        run("create", "backlog", "--list", write(tmp_path, text))
    assert count(Campaign) == 0


def test_a_list_of_another_encoding_says_so(tmp_path):
    file = write(tmp_path, "accession_number\nA\u00fc1\n", "cp1252")
    with pytest.raises(NotAllowed, match="name its encoding, as --encoding cp1252"):
        run("create", "backlog", "--list", file)
    assert shown("create", "backlog", "--list", file, "--encoding", "cp1252")["studies"] == 1
    with pytest.raises(NotAllowed, match="cannot be read"):
        run("create", "other", "--list", tmp_path / "none.csv")


def test_each_source_is_kept_as_its_walk_needs_it(sources):
    query = shown(
        *("create", "query", "--pacs", "archive", "--from", "2026-01-01", "--to", "2026-03-31"),
        *("--modality", "cr", "--time-zone", "Europe/Berlin", "--blackout", "02:00-03:00"),
        *("--blackout", "12:00-12:30", "--starts-on", "2026-12-01", "--ends-on", "2026-12-24"),
        *("--studies-per-minute", "10", "--priority", "routine", "--draft-reported"),
    )
    assert query["source"] == {"from": "20260101", "to": "20260331", "modalities": ["CR"]}
    assert (query["pacs"], query["priority"], query["skip_reported"]) == (
        "archive",
        "ROUTINE",
        False,
    )
    assert query["window"] == (
        "all day Europe/Berlin, not 02:00-03:00, 12:00-12:30, from 2026-12-01, until 2026-12-24"
    )
    assert query["walk_state"] == "WALKING"
    folder = shown("create", "folder", "--folder", sources / "films")
    assert folder["source"] == {"folder": str(sources / "films")}
    listed = shown(
        *("create", "list", "--pacs", "archive", "--list", write(sources, "accession_number\nA\n"))
    )
    assert (listed["kind"], listed["pacs"]) == ("LIST", "archive")


OLD = "0123456789abcdef" * 4
NEW = "fedcba9876543210" * 4


def test_what_a_bundle_drafted_is_drafted_again_by_another():
    complete(new_instance("1.1"))
    for lease in claim(Stage.PREPARE):
        prepare(lease)
    for lease in claim(Stage.DRAFT):
        save(lease, bundle_digest=OLD)
    made = shown("create", "again", "--again", "--from-bundle", OLD[:8], "--bundle", NEW)
    assert made["source"] == {"from_bundle": OLD}
    assert made["bundle"] == NEW
    tend_all()
    assert ends(made["id"]) == {"1.1": ("IN_WORK", "")}
    with pytest.raises(NotAllowed, match="the one that drafted before"):
        run("create", "same", "--again", "--from-bundle", OLD, "--bundle", OLD)
    with pytest.raises(NotFound, match="begins with 'aaaaaaaa'"):
        run("create", "other", "--again", "--from-bundle", "aaaaaaaa", "--bundle", NEW)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "needs a source"),
        (["--again", "--folder", "/films"], "has one source, and this names .* and a folder"),
        (["--again", "--bundle", NEW], "name the bundle whose studies are drafted again"),
        (["--again", "--from-bundle", "x"], "is no digest of a bundle"),
        (["--folder", "/root"], "add it to NIGHTDRAFT_CAMPAIGN_FOLDERS"),
        (["--pacs", "archive"], "needs a source"),
        (["--pacs", "archive", "--from", "2026-01-01"], "a query has both dates"),
        (["--from", "2026-01-01", "--to", "2026-01-02"], "name the PACS"),
        (["--pacs", "archive", "--from", "2026-01-02", "--to", "2026-01-01"], "before it starts"),
        (["--pacs", "x", "--from", "2026-01-01", "--to", "2026-01-01"], "no PACS is called 'x'"),
        (["--list", "-", "--hours", "19-7h"], "gives no hours"),
        (["--list", "-", "--time-zone", "Berlin"], "is no time zone"),
        (["--list", "-", "--priority", "soon"], "is no priority: say one of STAT"),
        (["--list", "-", "--purpose", "comparison"], "name the bundle that drafts"),
        (["--list", "-", "--studies-per-minute", "5"], "a rate is of campaigns that fetch"),
        (["--list", "-", "--modality", "CR"], "modalities are of a query"),
        (["--list", "-", "--starts-on", "2026-02-02", "--ends-on", "2026-02-01"], "before it"),
    ],
)
def test_what_cannot_be_is_said_and_creates_nothing(sources, options, sentence):
    with pytest.raises((NotAllowed, NotFound), match=sentence):
        run("create", "wrong", *options, input="accession_number\nA1\n")
    assert count(Campaign) == 0


def test_campaigns_are_paused_resumed_cancelled_and_listed_in_pages():
    create(name="first", studies=of_uids("1.1", "1.2"))
    create(name="second", studies=of_uids("1.3"))
    assert shown("pause", "first")["state"] == "PAUSED"
    assert "It is paused" in run("show", "first").stdout
    assert shown("resume", "first")["state"] == "RUNNING"
    assert shown("cancel", "first")["state"] == "CANCELLED"
    with pytest.raises(NotAllowed, match="'first' is CANCELLED and cannot be resumed"):
        run("resume", "first")
    with pytest.raises(NotFound):
        run("show", "third")
    page = shown("list", "--limit", "1")
    assert [one["name"] for one in page["campaigns"]] == ["second"]
    following = shown("list", "--limit", "1", "--after", page["next"])
    assert [one["name"] for one in following["campaigns"]] == ["first"]
    assert following["next"] is None
    text = run("list").stdout
    assert text.index("second") < text.index("first")


def test_studies_that_failed_are_tried_again_by_reason_and_each_once(monkeypatch):
    monkeypatch.setattr("nightdraft.cli.campaigns._RETRIED_AT_ONCE", 2)
    campaign = create(name="late", studies=of_uids(*(f"1.{number}" for number in range(5))))
    tend_all()
    assert shown("show", "late")["reasons"] == [
        {"state": "MISSING", "reason": "NOT_HERE", "studies": 5}
    ]
    assert "nothing" not in run("retry", "late", "--state", "failed").stdout
    assert "no study" in run("retry", "late", "--reason", "offline").stdout
    done = shown("retry", "late")
    assert done == {"retried": [{"state": "MISSING", "reason": "NOT_HERE", "studies": 5}]}
    assert get(campaign).state == "RUNNING"
    assert {state for state, _ in ends(campaign).values()} == {"WAITING"}


def test_the_export_has_each_study_with_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "EXPORT_AT_ONCE", 2)
    create(
        name="ends",
        studies=[NewStudy("1.1", "A1", size=7), NewStudy("", "=HYPERLINK(1)"), NewStudy("1.3")],
    )
    tend_all()
    written = run("export", "ends").stdout
    first, second, third = csv.DictReader(io.StringIO(written))
    assert (first["study_instance_uid"], first["bytes"], first["state"], first["reason"]) == (
        *("1.1", "7"),
        *("MISSING", "NOT_HERE"),
    )
    assert second["accession_number"] == "'=HYPERLINK(1)"
    assert third["images_missing"] == "0"
    file = tmp_path / "ends.csv"
    run("export", "ends", "--out", file, "--state", "missing", "--reason", "not_here")
    with file.open(newline="") as text:
        assert len(list(csv.DictReader(text))) == 3
    assert len(run("export", "ends", "--state", "drafted").stdout.splitlines()) == 1
    lines = [json.loads(line) for line in run("export", "ends", "--json").stdout.splitlines()]
    assert lines[1]["accession_number"] == "=HYPERLINK(1)"
    with pytest.raises(NotAllowed, match="needs its state"):
        run("export", "ends", "--reason", "NOT_HERE")


def test_the_zone_of_the_machine_is_that_of_its_clock(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    assert machine_zone() == "Europe/Berlin"
    monkeypatch.setenv("TZ", "")
    assert machine_zone()
