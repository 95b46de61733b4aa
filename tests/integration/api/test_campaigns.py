"""Campaigns by REST and on pages: created, listed, controlled, and each study with its end."""

import csv
import io
import re
from html import unescape

import pytest
from sqlalchemy import func, select

from api import campaign_export, campaign_pages, campaigns
from records.campaigns import campaigns as rows
from records.campaigns.adding import NewStudy
from records.database.campaign_tables import Campaign
from records.database.session import unit_of_work
from records.states import (
    CAMPAIGN_REASON_SENTENCES,
    CampaignKind,
    CampaignReason,
    CampaignStudyState,
    Priority,
    Stage,
)
from tests.support.campaigns import closed_now, create, ends, get, of_uids, tend_all
from tests.support.registered_studies import (
    claim,
    complete,
    draft_all,
    new_instance,
    prepare,
    save,
)

DIGEST = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


@pytest.fixture(autouse=True)
def sources(client, tmp_path, setting):
    """A file that names a PACS, and a folder that campaigns may read."""
    file = tmp_path / "pacs.toml"
    file.write_text('[archive]\nhost = "pacs.example.org"\nae_title = "ARCHIVE"\n')
    (tmp_path / "films").mkdir()
    setting(pacs_file=str(file), campaign_folders=str(tmp_path / "films"))


def post(client, path, **fields):
    return client.post(f"/api/campaigns{path}", json=fields)


def test_the_hours_are_of_the_site_s_time_zone_unless_another_is_named(client, setting):
    setting(time_zone="Asia/Tokyo")
    new = {"by": "Dr. Roe", "studies": [{"accession_number": "A1"}], "hours": "19:00-07:00"}
    made = [
        post(client, "", name=f"in {zone or 'no zone'}", **new, **zone).json()["time_zone"]
        for zone in ({}, {"time_zone": "Europe/Berlin"})
    ]
    assert made == ["Asia/Tokyo", "Europe/Berlin"]


def test_a_list_is_created_and_shown_with_what_became_of_each(client):
    complete(new_instance("1.1"))
    made = post(
        client,
        "",
        name="backlog",
        by="Dr. Roe",
        studies=[{"study_instance_uid": "1.1"}, {"accession_number": "=A1"}],
        hours="19:00-07:00",
        time_zone="Europe/Berlin",
        blackouts=["02:00-03:00"],
    )
    assert made.status_code == 201, made.text
    campaign = made.json()
    assert (campaign["total"], campaign["created_by"], campaign["hours"]) == (
        *(2, "Dr. Roe"),
        "19:00-07:00",
    )
    (listed,) = client.get("/api/campaigns").json()["campaigns"]
    assert listed == client.get(f"/api/campaigns/{campaign['id']}").json()
    studies = client.get(f"/api/campaigns/{campaign['id']}/studies?limit=1").json()
    assert studies["studies"][0]["study_instance_uid"] == "1.1"
    rest = client.get(f"/api/campaigns/{campaign['id']}/studies?after={studies['next']}").json()
    assert [study["accession_number"] for study in rest["studies"]] == ["=A1"]
    assert rest["next"] is None
    exported = client.get(f"/api/campaigns/{campaign['id']}/export")
    assert exported.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(exported.text)))
    assert [line["accession_number"] for line in lines] == ["", "'=A1"]


def test_an_export_goes_in_parts(client, monkeypatch):
    monkeypatch.setattr(campaign_export, "EXPORT_AT_ONCE", 2)
    campaign = create(studies=of_uids("1.1", "1.2", "1.3", "1.4"))
    lines = client.get(f"/api/campaigns/{campaign}/export").text.splitlines()
    assert [line.split(",")[4] for line in lines[1:]] == ["1.1", "1.2", "1.3", "1.4"]


@pytest.mark.parametrize(
    ("fields", "kind", "source"),
    [
        ({"again": DIGEST, "bundle": OTHER}, "AGAIN", {"from_bundle": DIGEST}),
        (
            {"pacs": "archive", "first_date": "2026-01-01", "last_date": "2026-03-31"},
            "QUERY",
            {"first_date": "2026-01-01", "last_date": "2026-03-31", "modalities": ["CR", "DX"]},
        ),
        ({"pacs": "archive", "studies": [{"accession_number": "A"}]}, "LIST", {}),
    ],
)
def test_each_source_is_kept(client, fields, kind, source):
    made = post(client, "", name="n", by="Dr. Roe", **fields)
    assert made.status_code == 201, made.text
    assert (made.json()["kind"], made.json()["source"]) == (kind, source)


def test_a_folder_is_one_that_campaigns_may_read(client, tmp_path):
    folder = str(tmp_path / "films")
    made = post(client, "", name="n", by="Dr. Roe", folder=folder)
    assert made.json()["source"] == {"folder": folder}
    assert (
        "NIGHTDRAFT_CAMPAIGN_FOLDERS"
        in post(client, "", name="m", by="Dr. Roe", folder="/root").text
    )


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({}, 409, "a campaign has one source"),
        ({"again": DIGEST, "folder": "/x"}, 409, "a campaign has one source"),
        ({"again": DIGEST}, 409, "name the bundle that drafts"),
        ({"again": DIGEST, "bundle": DIGEST}, 409, "the one that drafted before"),
        ({"again": DIGEST, "bundle": OTHER, "pacs": "archive"}, 409, "pacs goes with"),
        ({"first_date": "2026-01-01", "last_date": "2026-01-01"}, 409, "needs pacs"),
        ({"pacs": "x", "studies": [{"accession_number": "A"}]}, 404, "no PACS is called"),
        ({"studies": [{}]}, 409, "study 1 of the list has neither"),
        ({"studies": [{"study_instance_uid": "1..2"}]}, 422, "study_instance_uid"),
        ({"studies": [{"accession_number": "A"}], "hours": "19"}, 409, "gives no hours"),
        ({"studies": [{"accession_number": "A"}], "time_zone": "Mars"}, 409, "is no time zone"),
    ],
)
def test_what_cannot_be_is_said_and_creates_nothing(client, fields, status, words):
    answer = post(client, "", name="n", by="Dr. Roe", **fields)
    assert answer.status_code == status
    assert words.lower() in answer.text.lower()
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Campaign)) == 0


def test_a_campaign_is_paused_resumed_and_cancelled(client):
    campaign = create(studies=of_uids("1.1"))
    states = [
        post(client, f"/{campaign}/{step}").json()["state"]
        for step in ("pause", "resume", "cancel")
    ]
    assert states == ["PAUSED", "RUNNING", "CANCELLED"]
    assert post(client, f"/{campaign}/resume").status_code == 409
    for step in ("pause", "retry"):
        answer = post(client, f"/{DIGEST[:32]}/{step}", state="FAILED", reason="X")
        assert answer.status_code == 404
    assert client.get(f"/api/campaigns/{DIGEST[:32]}/export").status_code == 404
    assert client.get(f"/api/campaigns/{campaign}/studies?reason=X").status_code == 409


def test_a_group_is_tried_again_in_parts(client, monkeypatch):
    monkeypatch.setattr(campaigns, "RETRY_AT_ONCE", 2)
    campaign = create(studies=of_uids("1.1", "1.2", "1.3"))
    tend_all()
    assert post(client, f"/{campaign}/retry", state="MISSING", reason="NOT_HERE").json() == {
        "studies": 3
    }
    assert set(ends(campaign).values()) == {("WAITING", "")}


def test_the_list_says_how_far_each_is_and_goes_on_in_pages(client, monkeypatch):
    assert "There is no campaign yet" in client.get("/campaigns").text
    monkeypatch.setattr(campaign_pages, "CAMPAIGNS_LISTED", 2)
    made = [create(name=f"campaign {n}", studies=of_uids("1.1")) for n in range(3)]
    first = client.get("/campaigns").text
    assert first.index("campaign 2") < first.index("campaign 1")
    assert "campaign 0" not in first
    with unit_of_work() as session:
        page = campaign_pages.progress.read_page(session, 2)
    older = client.get("/campaigns", params={"after": page.next}).text
    assert f"/campaigns/{made[0]}" in older
    assert "campaign 1" not in older
    assert "campaign 2" in client.get("/campaigns/live").text


@pytest.mark.parametrize("address", ["/campaigns", "/campaigns/live"])
def test_campaigns_are_listed_by_state(client, monkeypatch, address):
    monkeypatch.setattr(campaign_pages, "CAMPAIGNS_LISTED", 2)
    made = [create(name=f"of night {n}") for n in range(4)]
    with unit_of_work() as session:
        for campaign in made[:3]:
            rows.pause(session, campaign)

    def named(page):
        return re.findall(r"of night \d", page)

    page = client.get(address, params={"state": "PAUSED"}).text
    assert named(page) == ["of night 2", "of night 1"]
    (older,) = re.findall(r'id="older" href="([^"]+)"', page)
    assert named(client.get(unescape(older)).text) == ["of night 0"]
    assert named(client.get(address, params={"state": "RUNNING"}).text) == ["of night 3"]
    empty = client.get(address, params={"state": "DONE"}).text
    assert 'No campaign is in this list. <a href="/campaigns">Show all</a>' in empty
    assert client.get(address, params={"state": "NONE"}).status_code == 422
    listed = client.get("/api/campaigns", params={"state": "PAUSED", "limit": 2}).json()
    assert [one["name"] for one in listed["campaigns"]] == ["of night 2", "of night 1"]
    rest = client.get("/api/campaigns", params={"state": "PAUSED", "after": listed["next"]}).json()
    assert [one["name"] for one in rest["campaigns"]] == ["of night 0"]


def count_campaigns():
    with unit_of_work() as session:
        return session.scalar(select(func.count()).select_from(Campaign))


def test_a_dry_run_says_what_would_be_done_and_creates_nothing(client):
    complete(new_instance("1.1", content="12345"), new_instance("1.2"))
    draft_all()
    complete(new_instance("1.3", content="1234567"))
    named = [*({"study_instance_uid": f"1.{n}"} for n in (1, 2, 3, 3)), {"accession_number": "Z"}]
    answer = post(client, "/dry-run", name="n", by="Dr. Roe", studies=named)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["studies"], said["to_draft"], said["named_again"], said["bytes"]) == (4, 1, 1, 7)
    assert said["not_drafted"] == {"ALREADY_DRAFTED": 2, "NOT_HERE": 1}
    assert (said["is_whole"], said["notes"], said["nights"]) == (True, [], 1)
    assert said["done_at"]
    assert said["bytes_free"] > 0
    assert count_campaigns() == 0


def test_a_dry_run_looks_at_so_many_studies_and_says_so(client, monkeypatch):
    monkeypatch.setattr(campaigns, "LOOKED_AT", 3)
    complete(*(new_instance(f"1.{n}") for n in range(5)))
    for lease in claim(Stage.PREPARE):
        prepare(lease)
    for lease in claim(Stage.DRAFT):
        save(lease, bundle_digest=DIGEST)
    said = post(client, "/dry-run", name="n", by="Dr. Roe", again=DIGEST, bundle=OTHER).json()
    assert (said["studies"], said["to_draft"], said["is_whole"]) == (3, 3, False)
    assert "Only the first 3 studies were looked at" in said["notes"][0]
    assert (said["done_at"], said["nights"]) == (None, None)


@pytest.mark.parametrize(
    "source",
    [
        {"pacs": "archive", "first_date": "2026-01-01", "last_date": "2026-03-31"},
        {"folder": "films"},
    ],
)
def test_a_dry_run_asks_no_pacs_and_walks_no_folder(client, tmp_path, source):
    if "folder" in source:
        source = {"folder": str(tmp_path / "films")}
    said = post(client, "/dry-run", name="n", by="Dr. Roe", hours="19:00-07:00", **source).json()
    assert (said["studies"], said["to_draft"], said["bytes"]) == (None, None, None)
    assert "with --dry-run asks it" in said["notes"][0]
    assert said["opens_at"]
    assert not said["is_whole"]
    assert count_campaigns() == 0


def test_a_dry_run_refuses_what_could_not_be_created(client):
    create(name="n")
    listed = {"studies": [{"accession_number": "A"}]}
    taken = post(client, "/dry-run", name="n", by="Dr. Roe", **listed)
    assert taken.status_code == 409
    assert "There is a campaign 'n' already" in taken.json()["title"]
    assert post(client, "/dry-run", name="m", by="Dr. Roe").status_code == 409
    assert "nobody is logged in" in post(client, "/dry-run", name="m", **listed).text


FORM = {
    "name": "winter",
    "by": "Dr. Roe",
    "studies": "1.1\r\n A7 \n\n1.9",
    "priority": "ROUTINE",
    "hours": "19:00-07:00",
    "skip_reported": "yes",
    "modalities": "",
    "pacs": "",
    "starts_on": "",
}


def test_a_campaign_is_tried_and_created_on_its_page(client):
    complete(new_instance("1.1", content="12345"))
    assert 'action="/campaigns/new"' in client.get("/campaigns/new").text
    tried = client.post("/campaigns/new", data=FORM | {"do": "try"})
    assert tried.status_code == 200
    assert "Nothing was created." in tried.text
    assert '<dd id="to-draft">1</dd>' in tried.text
    assert f"<dd>2. {CAMPAIGN_REASON_SENTENCES[CampaignReason.NOT_HERE]}</dd>" in tried.text
    # The form comes back as it was filled in.
    assert 'value="winter"' in tried.text
    assert re.search(r">1\.1\s+A7\s+1\.9</textarea>", tried.text)
    assert "<option selected>ROUTINE</option>" in tried.text
    assert count_campaigns() == 0
    made = client.post("/campaigns/new", data=FORM | {"do": "create"}, follow_redirects=False)
    assert made.status_code == 303
    campaign = made.headers["location"].removeprefix("/campaigns/")
    row = get(campaign)
    assert (row.name, row.created_by, row.priority) == ("winter", "Dr. Roe", Priority.ROUTINE)
    assert (row.skip_reported, f"{row.window_opens:%H:%M}") == (True, "19:00")
    assert set(ends(campaign)) == {"1.1", "A7", "1.9"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"studies": ""}, "A campaign has one source"),
        ({"by": ""}, "nobody is logged in"),
        ({"name": ""}, "name: "),
        ({"hours": "late"}, "gives no hours"),
        ({"studies_per_minute": "<b>"}, "studies_per_minute"),
        ({"pacs": "x"}, "no PACS is called"),
    ],
)
@pytest.mark.parametrize("action", ["try", "create"])
def test_what_is_wrong_with_a_form_is_said_above_it(client, fields, words, action):
    answer = client.post("/campaigns/new", data=FORM | fields | {"do": action})
    assert answer.status_code == 422
    assert words.lower() in answer.text.lower()
    assert 'role="alert"' in answer.text
    assert "1.9</textarea>" in answer.text or not fields.get("studies", "x")
    assert "<b>" not in answer.text
    assert count_campaigns() == 0


def test_a_form_says_all_that_a_call_can(client, tmp_path):
    fields = {
        "name": "all",
        "by": "Dr. Roe",
        "pacs": "archive",
        "first_date": "2026-01-01",
        "last_date": "2026-03-31",
        "modalities": "CR, DX CT",
        "bundle": OTHER,
        "beside": "yes",
        "priority": "BACKLOG",
        "starts_on": "2026-12-01",
        "ends_on": "2026-12-24",
        "studies_per_minute": "7.5",
        "do": "create",
    }
    made = client.post("/campaigns/new", data=fields, follow_redirects=False)
    assert made.status_code == 303, made.text
    row = get(made.headers["location"].removeprefix("/campaigns/"))
    assert row.source["modalities"] == ["CR", "DX", "CT"]
    assert (row.kind, row.pacs, row.bundle, row.purpose) == (
        "QUERY",
        "archive",
        OTHER,
        "COMPARISON",
    )
    assert (row.skip_reported, row.studies_per_minute) == (False, 7.5)
    assert (str(row.starts_on), str(row.ends_on)) == ("2026-12-01", "2026-12-24")


def test_a_campaign_shows_its_reasons_and_its_studies_by_them(client, monkeypatch):
    (study,) = complete(new_instance("1.2.3"))
    campaign = create(
        studies=[NewStudy("1.1", "A<1>"), NewStudy("1.2"), NewStudy("1.2.3", study_id=study)],
    )
    tend_all()
    page = client.get(f"/campaigns/{campaign}").text
    assert "A&lt;1&gt;" in page
    assert 'href="/studies/1.2.3"' in page
    assert "state=MISSING&amp;reason=NOT_HERE#studies" in page
    monkeypatch.setattr(campaign_pages, "STUDIES_LISTED", 1)
    query = f"/campaigns/{campaign}?state=MISSING&reason=NOT_HERE"
    filtered = client.get(query).text
    assert "1.2.3" not in filtered
    (row,) = [line for line in filtered.splitlines() if 'id="older"' in line]
    following = client.get(row.split('href="')[1].split('"')[0].replace("&amp;", "&")).text
    assert "1.1</td>" not in following
    assert "No study is in this list" in client.get(f"/campaigns/{campaign}?state=FAILED").text
    assert client.get(f"/campaigns/{campaign}?reason=X").status_code == 409
    assert client.get(f"/campaigns/{DIGEST[:32]}").status_code == 404


def change(client, campaign, **fields):
    asked = client.get(f"/campaigns/{campaign}/change", params=fields)
    done = client.post(f"/campaigns/{campaign}/change", data=fields)
    return asked.text, done


def test_a_change_asks_first_and_says_how_many(client):
    campaign = create(name="night work", studies=of_uids("1.1", "1.2"), window=closed_now())
    asked, done = change(client, campaign, action="pause")
    assert "2 studies wait in it" in asked
    assert "The campaign is paused" in done.text
    asked, done = change(client, campaign, action="resume")
    assert "Resume night work?" in asked
    assert "It opens at " in done.text
    asked, done = change(client, campaign, action="cancel")
    assert "2 studies that wait in it will not be drafted" in asked
    assert get(campaign).state == "CANCELLED"
    refused = client.post(f"/campaigns/{campaign}/change", data={"action": "resume"})
    assert refused.status_code == 409


def test_a_group_is_tried_again_from_its_page(client):
    campaign = create(studies=of_uids("1.1", "1.2"))
    tend_all()
    group = {"action": "retry", "state": "MISSING", "reason": "NOT_HERE"}
    asked, done = change(client, campaign, **group)
    assert "Try 2 studies again?" in asked
    assert "2 studies are tried again" in done.text
    assert "Nothing is left to try again" in change(client, campaign, **group)[0]
    assert client.get(f"/campaigns/{campaign}/change?action=retry").status_code == 409


def test_metrics_name_running_campaigns_by_their_id(client):
    campaign = create(name="Roe, Jane", studies=of_uids("1.1", "1.2"), window=closed_now())
    ended = create(name="ended", studies=of_uids("1.3"))
    tend_all()
    numbers = client.get("/metrics").text
    assert f'nightdraft_campaign_studies{{campaign="{campaign}",state="WAITING"}} 2.0' in numbers
    assert f'nightdraft_campaign_open{{campaign="{campaign}"}} 0.0' in numbers
    assert f'nightdraft_campaign_stalled{{campaign="{campaign}"}} 0.0' in numbers
    assert str(ended) not in numbers
    assert "Roe" not in numbers


def test_a_fault_of_the_system_stands_on_the_page(client):
    campaign = create(kind=CampaignKind.LIST, pacs="archive", studies=of_uids("1.1"))
    with unit_of_work() as session:
        row = session.get(Campaign, campaign)
        row.stalled_reason = "The PACS archive does not answer."
        row.stalled_since = func.now()
    page = client.get(f"/campaigns/{campaign}/live").text
    assert "promise stalled" in page
    assert "The PACS archive does not answer." in page
    assert f'id="count-{CampaignStudyState.WAITING.lower()}">1<' in page
