"""REST and pages of report styles: who may change which, and texts and reports in them."""

import html
import re
import uuid

import pytest

from records.states import WARNING, Role, Stage
from tests.support.accounts import run_sql
from tests.support.registered_studies import claim, complete, new_instance, prepare, save
from tests.support.report_readers import logged_in_people
from tests.support.two_sites import make_north

STYLE = {
    "name": "House",
    "sections": [
        {"section": "impression", "heading": "Beurteilung"},
        {"section": "indication", "heading": "Fragestellung"},
        {"section": "findings", "heading": "النتائج"},
    ],
    "wordings": [{"model": "The lungs are clear.", "house": "Lungs clear."}],
    "phrases": [{"title": "Telephoned", "text": "It was reported by telephone."}],
}
FLIPPED = {"model": "No pleural effusion.", "house": "Pleural effusion."}


@pytest.fixture
def study(database, data_dir):
    (study,) = complete(new_instance(sop="1.2.3.1.1"))
    prior = {
        "text": "An old report.",
        "performed_on": "20240301",
        "procedure": "CHEST 2 VIEWS",
        "accession_number": "A0",
        "report_id": str(uuid.uuid4()),
    }
    for lease in claim():
        prepare(lease)
    for lease in claim(Stage.DRAFT):
        save(lease, findings="The lungs are clear. Heart large.", prior_report=prior)
    return study


@pytest.fixture
def people(study):
    """Clients by login: a lead and an administrator of each of two sites, a reader, a trainee."""
    make_north()
    everybody = (
        ("lea", Role.LEAD, "default"),
        ("ned", Role.LEAD, "north"),
        ("adm", Role.ADMINISTRATOR, "default"),
        ("roe", Role.READER, "default"),
        ("kim", Role.TRAINEE, "default"),
        ("aud", Role.AUDITOR, "default"),
    )
    with logged_in_people(everybody) as clients:
        yield clients


def put(client, place="sites/default", version=0, **changed):
    return client.put(f"/api/report-styles/{place}", json=STYLE | {"version": version} | changed)


def text_of(client, study):
    return client.get(f"/api/studies/{study}/working-text")


def fields_of(page):
    """The fields of the first form with a version, as a browser would send them."""
    form = page.partition('name="version"')
    part = page[page.rfind("<form", 0, len(form[0])) : page.index("</form>", len(form[0]))]
    fields = {}
    for tag in re.findall(r"<input [^>]*>", part):
        name, value = (re.search(rf'{key}="([^"]*)"', tag) for key in ("name", "value"))
        if name and value:
            fields[name[1]] = html.unescape(value[1])
    for name, words in re.findall(r'<textarea [^>]*name="([\w-]+)"[^>]*>\n?([^<]*)<', part):
        fields[name] = html.unescape(words)
    for name, options in re.findall(r'<select name="([\w-]+)">(.*?)</select>', part):
        chosen = re.search(r"<option[^>]* selected>(\w*)", options)
        fields[name] = chosen[1] if chosen else ""
    return {name: value for name, value in fields.items() if value}


def test_leads_and_administrators_change_the_style_of_their_site_alone(people):
    assert put(people["lea"]).json()["version"] == 1
    assert put(people["adm"], version=1, name="Home").json()["saved_by"] == "Adm (adm)"
    for who in ("roe", "kim", "aud"):
        assert put(people[who], version=2).status_code == 403
        assert people[who].get("/report-styles/sites/default").status_code == 403
    for answer in (
        put(people["ned"], version=2),
        people["ned"].get("/report-styles/sites/default"),
        people["ned"].get("/api/report-styles/sites/default"),
        people["ned"].post("/report-styles/sites/default", data={"version": "2", "then": "end"}),
        people["ned"].post("/api/report-styles/sites/default/end", json={"version": 2}),
    ):
        assert answer.status_code == 404
    assert people["ned"].get("/api/report-styles").json() == {"own": None, "sites": []}
    assert put(people["ned"], "sites/north").status_code == 200
    versions = people["lea"].get("/api/report-styles/sites/default").json()["versions"]
    assert [(one["version"], one["name"]) for one in versions] == [(2, "Home"), (1, "House")]


def test_a_reader_changes_his_own_and_nobody_elses(people):
    assert put(people["roe"], "own", name="Roe").status_code == 200
    assert put(people["kim"], "own", name="Kim").status_code == 200
    assert people["roe"].get("/api/report-styles").json()["own"]["name"] == "Roe"
    assert put(people["adm"], "own").status_code == 403
    assert people["kim"].get("/api/report-styles/own").json()["versions"][0]["name"] == "Kim"
    ended = people["kim"].post("/api/report-styles/own/end", json={"version": 1})
    assert ended.json()["versions"][0]["is_ended"] is True
    assert people["kim"].get("/api/report-styles").json()["own"] is None


def test_a_wording_that_changes_the_meaning_is_refused_with_both(people):
    refused = put(people["lea"], wordings=[*STYLE["wordings"], FLIPPED])
    assert refused.status_code == 409
    (fault,) = refused.json()["faults"]
    assert FLIPPED["model"] in fault
    assert FLIPPED["house"] in fault
    assert "Pleural Effusion: denied in the model's sentence" in fault
    assert run_sql("SELECT count(*) FROM report_styles") == [(0,)]


def test_a_text_and_its_report_are_shown_in_the_style(people, study):
    roe = people["roe"]
    plain = text_of(roe, study).json()
    assert plain["rendered"].startswith("Findings\nThe lungs are clear. Heart large.")
    put(people["lea"])
    begun = text_of(roe, study)
    text = begun.json()
    assert text["findings"] == "Lungs clear. Heart large."
    assert text["house_wordings"] == [
        {"section": "findings", "model": "The lungs are clear.", "house": "Lungs clear."}
    ]
    whole = "Beurteilung\nnormal.\n\nFragestellung\ncough\n\nالنتائج\nLungs clear. Heart large."
    assert text["rendered"] == whole
    page = roe.get(f"/studies/{study}").text
    assert WARNING in page
    assert "The style <bdi>House</bdi> of your site wrote this; the model wrote:" in page
    asked = roe.get(f"/studies/{study}/sign").text
    headings = re.findall(r'<h3 dir="auto">(.*?)</h3><p class="text" id="shown-(\w+)"', asked)
    assert headings == [
        ("Beurteilung", "impression"),
        ("Fragestellung", "indication"),
        ("النتائج", "findings"),
    ]
    assert '<details class="more" open><summary>Differences' not in asked, "no reader changed it"
    body = {key: text[key] for key in ("draft", "version", "sha256")}
    signed = roe.post(f"/api/studies/{study}/reviews/sign", json=body).json()
    assert (signed["rendered"], signed["style"]) == (whole, text["style"])
    assert signed["distances"] == {"findings": [0, 25], "impression": [0, 7]}
    put(people["lea"], version=1, sections=STYLE["sections"][::-1])
    report = roe.get(f"/studies/{study}").text
    assert report.index("Beurteilung") < report.index("Fragestellung") < report.index("النتائج")
    (listed,) = roe.get(f"/api/studies/{study}/reviews").json()["reviews"]
    assert listed == signed


def test_the_comparison_is_the_study_whose_report_the_model_had(people, study):
    sections = [{"section": "comparison", "heading": "Vergleich"}, *STYLE["sections"]]
    put(people["lea"], sections=sections)
    rendered = text_of(people["roe"], study).json()["rendered"]
    assert rendered.startswith("Vergleich\n2024-03-01, CHEST 2 VIEWS\n\n")


def test_an_etag_of_version_0_names_the_style_that_was_seen(people, study):
    roe = people["roe"]
    path = f"/api/studies/{study}/working-text"
    put(people["lea"])
    seen = text_of(roe, study).headers["etag"]
    assert text_of(roe, study).json()["style"] in seen
    put(people["lea"], version=1, wordings=[])
    written = roe.put(
        path, json={"findings": "Mine.", "impression": "x"}, headers={"if-match": seen}
    )
    assert written.status_code == 200
    assert written.json()["style"] in seen
    forged = seen.replace(written.json()["style"], written.json()["draft"])
    stale = roe.put(path, json={"findings": "a", "impression": "b"}, headers={"if-match": forged})
    assert (stale.status_code, stale.json()["current"]["findings"]) == (412, "Mine.")


def test_the_models_sentence_is_taken_back_by_a_plain_form(people, study):
    roe = people["roe"]
    put(people["lea"])
    page = roe.get(f"/studies/{study}").text
    fields = fields_of(page)
    fields |= {"impression": "Mine.", "restore": "0"}
    answer = roe.post(f"/studies/{study}/text", data=fields)
    assert answer.status_code == 303
    text = text_of(roe, study).json()
    assert (text["findings"], text["impression"]) == ("The lungs are clear. Heart large.", "Mine.")
    assert (text["house_wordings"], text["version"]) == ([], 2)
    assert "No sentence of the text" in roe.get(f"/studies/{study}/house-wordings").text
    fields = fields_of(page) | {
        "version": "2",
        "findings": text["findings"],
        "restore": "0",
    }
    assert roe.post(f"/studies/{study}/text", data=fields).status_code == 303
    assert text_of(roe, study).json()["findings"] == text["findings"], "nothing stands there"


def test_a_text_of_another_reader_keeps_its_style(people, study):
    put(people["kim"], "own", name="Kim", wordings=[])
    put(people["lea"])
    kim, roe = people["kim"], people["roe"]
    path = f"/api/studies/{study}/working-text"
    kim.put(
        path,
        json={"findings": "By Kim.", "impression": "x"},
        headers={"if-match": text_of(kim, study).headers["etag"]},
    )
    page = roe.get(f"/studies/{study}").text
    assert "By Kim." in page
    assert "Phrases of the style <bdi>House</bdi>" in page, "phrases are of who writes now"
    assert text_of(roe, study).json()["style"] == kim.get("/api/report-styles").json()["own"]["id"]


def test_a_style_is_made_changed_and_ended_by_forms(people):
    lea = people["lea"]
    address = "/report-styles/sites/default"
    fields = fields_of(lea.get(address).text)
    assert fields["place-findings"] == "1"
    fields |= {
        "name": "By form",
        "heading-impression": "Fazit",
        "place-impression": "1",
        "place-findings": "2",
        "place-indication": "3",
        "model-1": "The lungs are clear.",
        "house-1": "Lungs clear.",
        "title-0": "Phone",
        "text-0": "By phone.",
    }
    assert lea.post(address, data=fields).status_code == 303
    (style,) = lea.get("/api/report-styles").json()["sites"]
    assert style["sections"] == [
        {"section": "impression", "heading": "Fazit"},
        {"section": "findings", "heading": "Findings"},
        {"section": "indication", "heading": "Indication"},
    ]
    assert style["wordings"] == STYLE["wordings"]
    refused = lea.post(
        address, data=fields | {"version": "1", "model-0": "Heart large.", "house-0": "No edema."}
    )
    assert refused.status_code == 409
    assert "means something else than" in html.unescape(refused.text)
    assert 'value="Heart large."' in refused.text, "nothing that was typed is lost"
    late = lea.post(address, data=fields | {"name": "Typed late"})
    assert late.status_code == 409
    assert "changed meanwhile" in late.text
    assert 'value="Typed late"' in late.text
    again = fields_of(late.text)
    assert again["name"] == "Typed late"
    invalid = lea.post(address, data=fields | {"version": "1", "name": "x" * 61})
    assert invalid.status_code == 400
    ended = lea.post(address, data={"version": "1", "then": "end"})
    assert ended.headers["location"] == "/report-styles"
    assert "It has none" in lea.get("/report-styles").text


def test_an_own_style_begins_with_that_of_the_site(people):
    put(people["lea"])
    fields = fields_of(people["roe"].get("/report-styles/own").text)
    assert (fields["model-0"], fields["version"]) == ("The lungs are clear.", "0")
    assert people["roe"].post("/report-styles/own", data=fields).status_code == 303
    assert people["roe"].get("/api/report-styles").json()["own"]["name"] == "House"


def test_no_word_of_a_draft_that_is_shown_to_nobody_stands_beside_its_report(people, study):
    put(people["lea"])
    roe = people["roe"]
    text = text_of(roe, study).json()
    body = {key: text[key] for key in ("draft", "version", "sha256")}
    assert roe.post(f"/api/studies/{study}/reviews/sign", json=body).status_code == 200
    assert "The lungs are clear." in roe.get(f"/studies/{study}").text
    run_sql("UPDATE sites SET mode = 'SHADOW'")
    page = roe.get(f"/studies/{study}").text
    assert "Lungs clear. Heart large." in page
    assert "The lungs are" not in page
