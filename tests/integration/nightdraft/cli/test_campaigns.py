"""`nightdraft campaign ...` from its creation to the export of its rows."""

import csv
import io
import json

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from api.campaign_export import as_cell
from nightdraft import extras
from nightdraft.cli.main import app
from records.campaigns import pulling
from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.session import unit_of_work
from records.errors import NotAllowed, NotFound, PartError, SettingsError
from records.states import CampaignKind, CampaignReason, CampaignStudyState
from tests.support.campaigns import create, ends, tend_all
from tests.support.registered_studies import complete, draft_all, new_instance
from worker.campaigns import tend

pytestmark = pytest.mark.usefixtures("database")


def run(*arguments, stdin=None):
    answer = CliRunner().invoke(app, ["campaign", *map(str, arguments)], input=stdin)
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer


def run_json(*arguments, **options):
    return json.loads(run(*arguments, "--json", **options).stdout)


def write(folder, text, name="list.csv", encoding="utf-8"):
    file = folder / name
    file.write_text(text, encoding=encoding)
    return file


def count(table):
    with unit_of_work() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_a_list_from_its_creation_to_its_export(tmp_path):
    complete(new_instance("1.1", accession_number="A1"), new_instance("1.2", accession_number="A2"))
    file = write(tmp_path, "study_instance_uid;accession_number\n1.1;\n;A2\n1.1;\n;A9\n\n")
    made = run_json("create", "backlog", "--studies", file)
    assert (made["state"], made["total"], made["walk_state"]) == ("RUNNING", 3, "WALKED")
    assert made["walk_note"] == "4 lines, 1 of them name a study again"
    tend_all()
    draft_all()
    tend_all()
    shown = run_json("show", "backlog")
    assert (shown["state"], shown["sentence"], shown["ended"]) == ("DONE", "It is done.", 3)
    assert shown["studies"]["DRAFTED"] == 2
    assert shown["reasons"] == [{"state": "MISSING", "reason": "NOT_HERE", "studies": 1}]
    text = run("show", "backlog").stdout
    assert "3 of 3 (100%)" in text
    assert "1 NOT_HERE: The study is not here" in text
    assert "backlog   DONE" in run("list").stdout
    page = run_json("studies", "backlog", "--limit", "2")
    assert [row["state"] for row in page["studies"]] == ["DRAFTED", "DRAFTED"]
    rest = run_json("studies", "backlog", "--after", page["next"])
    assert [(row["accession_number"], row["reason"]) for row in rest["studies"]] == [
        ("A9", "NOT_HERE")
    ]
    assert rest["next"] is None
    assert (
        "more: nightdraft campaign studies backlog --after"
        in run("studies", "backlog", "--limit", "2").stdout
    )
    target = tmp_path / "ends.csv"
    assert run("export", "backlog", target).stdout == f"3 studies are in {target}\n"
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert [row["state"] for row in rows] == ["DRAFTED", "DRAFTED", "MISSING"]
    assert list(csv.DictReader(io.StringIO(run("export", "backlog", "-").stdout))) == rows


def test_campaigns_are_listed_in_pages():
    for number in range(5):
        create(name=f"campaign {number}")
    first = run_json("list", "--limit", "2")
    assert [one["name"] for one in first["campaigns"]] == ["campaign 4", "campaign 3"]
    more = f"more: nightdraft campaign list --after {first['next']} --limit 2"
    assert run("list", "--limit", "2").stdout.splitlines()[-1] == more
    second = run_json("list", "--limit", "2", "--after", first["next"])
    last = run_json("list", "--limit", "2", "--after", second["next"])
    assert [one["name"] for one in second["campaigns"] + last["campaigns"]] == [
        "campaign 2", "campaign 1", "campaign 0",
    ]  # fmt: skip
    assert last["next"] is None
    assert "more:" not in run("list", "--after", second["next"]).stdout
    assert run_json("list", "--state", "paused")["campaigns"] == []
    running = run("list", "--state", "running", "--limit", "2").stdout.splitlines()[-1]
    assert running == more.replace("list", "list --state RUNNING")
    with pytest.raises(NotAllowed, match="'late' is no state"):
        run("list", "--state", "late")
    with pytest.raises(NotAllowed):
        run("list", "--after", "yesterday")


def test_the_file_of_an_export_is_named_once(tmp_path):
    complete(new_instance("1.1"))
    run("create", "backlog", "--studies", write(tmp_path, "study_instance_uid\n1.1\n"))
    target = tmp_path / "ends.csv"
    assert run_json("export", "backlog", "-o", target) == {"studies": 1, "file": str(target)}
    for arguments, match in (
        ((), "name the file to write once"),
        ((target, "-o", target), "name the file to write once"),
        (("-o", target, "--format", "xml"), "'xml' is no format: say one of csv, parquet"),
        (("-o", tmp_path / "none" / "x.csv"), "cannot be written"),
    ):
        with pytest.raises(NotAllowed, match=match):
            run("export", "backlog", *arguments)


def test_parquet_without_its_extra_says_what_to_install(tmp_path, monkeypatch):
    complete(new_instance("1.1"))
    run("create", "backlog", "--studies", write(tmp_path, "study_instance_uid\n1.1\n"))
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    target = tmp_path / "ends.parquet"
    with pytest.raises(NotAllowed, match=r"pip install 'nightdraft\[parquet\]'"):
        run("export", "backlog", "--format", "parquet", "-o", target)
    assert not target.exists()


def test_a_list_comes_by_standard_input_too():
    run("create", "piped", "--studies", "-", stdin="accession_number,other\nA1,x\nA2,y\n")
    assert count(CampaignStudy) == 2


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("number\nA1\n", "names neither"),
        ("accession_number\n", "names no study"),
        ("", "names neither"),
        ('accession_number,study_instance_uid\nA1,\n,""\nA2,1..2\nA3,1.2\n', "line 4: study_inst"),
        (f"accession_number\n{'9' * 65}\n", "longer than 64"),
        ("accession_number\nA\x071\n", "control character"),
    ],
)
def test_a_list_with_wrong_lines_creates_nothing(tmp_path, text, match):
    with pytest.raises(NotAllowed, match=match):
        run("create", "backlog", "--studies", write(tmp_path, text))
    assert (count(Campaign), count(CampaignStudy)) == (0, 0)


def test_a_list_of_another_encoding_says_so(tmp_path):
    file = write(tmp_path, "accession_number,name\nA1,Müller\n", encoding="cp1252")
    with pytest.raises(NotAllowed, match="--encoding cp1252"):
        run("create", "backlog", "--studies", file)
    run("create", "backlog", "--studies", file, "--encoding", "cp1252")
    assert count(CampaignStudy) == 1


def test_the_hours_are_of_the_site_s_time_zone_unless_another_is_named(tmp_path, setting):
    setting(time_zone="Asia/Tokyo")
    file = write(tmp_path, "accession_number\nA1\n")
    night = ("--studies", file, "--hours", "19:00-07:00")
    assert run_json("create", "here", *night)["time_zone"] == "Asia/Tokyo"
    assert run_json("create", "there", *night, "--zone", "UTC")["time_zone"] == "UTC"


def test_a_window_is_shown_and_closed_until_its_first_night(tmp_path):
    file = write(tmp_path, "accession_number\nA1\n")
    made = run_json(
        "create", "night", "--studies", file, "--hours", "19:00-07:00", "--zone", "Europe/Berlin",
        "--blackout", "02:00-03:00", "--starts-on", "2031-01-01", "--ends-on", "2031-01-05",
        "--as-priority", "routine", "--draft-reported",
    )  # fmt: skip
    assert (made["hours"], made["time_zone"], made["blackouts"]) == (
        "19:00-07:00", "Europe/Berlin", ["02:00-03:00"],
    )  # fmt: skip
    assert (made["priority"], made["skip_reported"]) == ("ROUTINE", False)
    assert made["opens_at"] == "2031-01-01T18:00:00Z"
    tend()
    text = run("show", "night").stdout
    assert "Its window is closed." in text
    assert "19:00-07:00 Europe/Berlin, not 02:00-03:00, from 2031-01-01" in text


def test_pause_resume_and_cancel(tmp_path):
    run("create", "backlog", "--studies", write(tmp_path, "accession_number\nA1\n"))
    assert run_json("pause", "backlog")["state"] == "PAUSED"
    tend_all()
    assert run_json("resume", "backlog")["state"] == "RUNNING"
    assert "CANCELLED" in run("cancel", "backlog").stdout
    with pytest.raises(NotAllowed, match="CANCELLED"):
        run("resume", "backlog")


def test_what_failed_is_tried_again(tmp_path, setting):
    pacs = write(tmp_path, '[archive]\nhost = "x"\nae_title = "X"\n', "pacs.toml")
    setting(pacs_file=pacs)
    run("create", "b", "--studies", write(tmp_path, "accession_number\nA1\n"), "--pacs", "archive")
    tend()
    with unit_of_work() as session:
        pull = pulling.claim(session, "archive", 10, [CampaignKind.LIST])
        pulling.fail(session, pull, CampaignStudyState.FAILED, CampaignReason.PULL_FAILED)
    tend_all()
    assert run_json("show", "b")["state"] == "DONE"
    options = ("retry", "b", "--state", "failed", "--reason", "PULL_FAILED")
    assert run(*options).stdout == "1 studies are tried again\n"
    assert run_json(*options) == {"studies": 0}
    assert run_json("show", "b")["state"] == "RUNNING"
    campaign_id = run_json("show", "b")["id"]
    assert run_json("show", campaign_id)["name"] == "b"
    with unit_of_work() as session:
        key = session.scalar(select(Campaign.id))
    assert ends(key) == {"A1": ("WAITING", "")}


def test_a_folder_and_a_question_are_rows_that_wait_for_their_walk(tmp_path, setting):
    (tmp_path / "films").mkdir()
    setting(
        campaign_folders=tmp_path,
        pacs_file=write(tmp_path, '[archive]\nhost = "x"\nae_title = "X"\n', "pacs.toml"),
    )
    folder = run_json("create", "folder", "--folder", tmp_path / "films")
    assert (folder["kind"], folder["walk_state"]) == ("FOLDER", "WALKING")
    assert folder["source"] == {"folder": str(tmp_path / "films")}
    query = run_json(
        "create", "query", "--pacs", "archive", "--from-day", "2025-01-01", "--to-day", "2025-12-31"
    )
    assert query["source"] == {
        "first_date": "2025-01-01", "last_date": "2025-12-31", "modalities": ["CR", "DX"],
    }  # fmt: skip
    assert (
        "studies of CR, DX from 2025-01-01 to 2025-12-31, at the PACS archive"
        in run("show", "query").stdout
    )


def test_a_bundle_is_named_by_its_folder_or_its_digest():
    made = run_json("create", "again", "--again", "a" * 64, "--by-bundle", "demo", "--beside")
    assert made["source"] == {"from_bundle": "a" * 64}
    assert len(made["bundle"]) == 64
    assert (made["kind"], made["purpose"]) == ("AGAIN", "COMPARISON")


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ((), NotAllowed, "one source"),
        (("--again", "a" * 64, "--studies", "x"), NotAllowed, "one source"),
        (("--studies", "/nowhere/x.csv"), NotAllowed, "cannot be read"),
        (("--folder", "/etc"), PartError, "NIGHTDRAFT_CAMPAIGN_FOLDERS"),
        (("--pacs", "x", "--from-day", "2025-01-01"), NotFound, "NIGHTDRAFT_PACS_FILE"),
        (("--from-day", "2025-01-01", "--to-day", "2025-01-02"), NotAllowed, "needs --pacs"),
        (("--again", "a" * 64), NotAllowed, "name the bundle"),
        (("--again", "a" * 64, "--by-bundle", "a" * 64), NotAllowed, "drafted before"),
        (("--again", "a" * 64, "--hours", "19"), NotAllowed, "gives no hours"),
        (("--again", "a" * 64, "--zone", "Berlin"), NotAllowed, "time zone"),
        (("--again", "a" * 64, "--as-priority", "soon"), NotAllowed, "no priority"),
        (("--studies", "-", "--studies-per-minute", "0"), NotAllowed, "more than 0"),
    ],
)
def test_what_cannot_be_made(options, error, match):
    with pytest.raises(error, match=match):
        run("create", "x", *options, stdin="accession_number\nA1\n")
    assert count(Campaign) == 0


def test_a_wrong_file_of_pacss_is_named(tmp_path, setting):
    setting(pacs_file=write(tmp_path, "[archive]\nhost = 1\n", "pacs.toml"))
    with pytest.raises(SettingsError, match="archive"):
        run("create", "x", "--studies", "-", "--pacs", "archive", stdin="accession_number\nA1\n")


@pytest.mark.parametrize("action", ["show", "pause", "studies"])
def test_a_campaign_that_is_not_there(action):
    with pytest.raises(NotFound, match="no campaign"):
        run(action, "nosuch")


def test_cells_that_a_spreadsheet_would_calculate_are_text():
    assert [as_cell(value) for value in ("=1+1", "@x", "-", None, 3)] == [
        "'=1+1",
        "'@x",
        "'-",
        "",
        "3",
    ]
