"""What a reading room does, in a browser: from the login to signatures, and what can go wrong.

One server and one database serve all of it: each journey has studies of its own.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from records.blobs import Blobs
from records.database.session import unit_of_work
from records.states import WARNING, Role
from records.worklist import views
from tests.acceptance.api.conftest import Server, log_in_at, servers_in
from tests.support.accounts import PASSWORD, make_account, run_sql
from tests.support.browser_archives import sent_texts
from tests.support.seeded_studies import StudySeeder
from tests.support.waiting import eventually

OF_DRAFT = ("findings", "impression", "model_name", "model_version", "bundle_digest")
"""What a study is seeded with that the model said, and no film."""

SAVED = re.compile(r"^Saved \d\d:\d\d:\d\d\.$")


@dataclass
class House:
    """A server on its database. start: starts another one there, with further settings."""

    url: str
    server: Server
    start: Callable[..., Server]
    data_dir: Path
    accounts: dict[str, object] = field(default_factory=dict)

    def seed(self, number: int, **changed):
        """The id of a drafted study, which is a phantom's; changed: of films or draft."""
        seeder = StudySeeder(self.data_dir, 256)
        of_draft = {name: changed.pop(name) for name in OF_DRAFT if name in changed}
        (study,) = seeder.complete(number, **changed)
        seeder.draft(study, number, **of_draft)
        return study


@pytest.fixture(scope="module")
def only_house(shared_database, short_folder, trail_key_file, tmp_path_factory) -> Iterator[House]:
    data_dir = short_folder()
    Blobs(data_dir).make_folders()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {
        "database_url": shared_database,
        "data_dir": data_dir,
        "trail_key_file": trail_key_file,
    }
    with servers_in(tmp_path_factory.mktemp("journeys")) as start_with:

        def start(**values: object) -> Server:
            return start_with(**(own | values))

        yield House(f"http://127.0.0.1:{port}", start(serve_port=port), start, data_dir)


@pytest.fixture
def house(only_house, shared_database, setting) -> House:
    setting(database_url=shared_database, data_dir=only_house.data_dir)
    if not only_house.accounts:
        roles = {"roe": Role.READER, "ann": Role.READER, "doe": Role.LEAD, "kim": Role.TRAINEE}
        for login, role in roles.items():
            only_house.accounts[login] = make_account(
                login, role, sites=["default"], name=f"Dr. {login.title()}"
            )
    return only_house


@pytest.fixture
def open_browser(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """`open_browser(...)` is a browser of its own; all are closed after the test."""
    contexts = []

    def open_it(**options):
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 900}, **options))
        return contexts[-1]

    yield open_it
    for context in contexts:
        context.close()


@pytest.fixture
def log_in(house, open_browser) -> Callable[..., Page]:
    """`log_in("roe")` is a page of somebody who is logged in, in a browser of its own."""

    def open_it(login, url=house.url, **options):
        return log_in_at(open_browser(**options).new_page(), url, login)

    return open_it


def saved_text(study):
    rows = run_sql(
        "SELECT findings, version FROM working_texts WHERE study_id = :study", study=study
    )
    return rows[0] if rows else ("", 0)


def signed_texts():
    """(accession number, who, findings, impression) of each signed report."""
    return run_sql(
        "SELECT accession_number, reader, reviews.findings, reviews.impression FROM reviews"
        " JOIN drafts ON drafts.id = reviews.draft_id JOIN studies ON studies.id = drafts.study_id"
        " WHERE decision = 'SIGNED' AND accession_number LIKE 'JOURNEY%'"
        " ORDER BY reviews.decided_at"
    )


def expect_list(page, rows):
    """Wait until the worklist is there with so many studies, and with its keys."""
    expect(page.locator("tbody tr[data-study]")).to_have_count(rows)
    expect(page.locator(".show-keys")).to_be_visible()


def expect_study(page, accession):
    """Wait until the page of a study is there, with its keys and its films."""
    expect(page.locator(".identity dd").filter(has_text=accession)).to_be_visible()
    expect(page.locator("#show-keys")).to_be_visible()


def expect_signed(page):
    """Wait until the signed report is there, with its keys."""
    expect(page.get_by_text("Signed by Dr. Ann (ann)")).to_be_visible()
    expect(page.get_by_role("link", name="Next study of the list")).to_be_focused()
    expect(page.locator("#show-keys")).to_be_visible()


def test_from_the_login_through_five_studies_to_five_signatures_by_keyboard(house, open_browser):
    for number in (1, 2, 3, 4, 5):
        house.seed(number, accession_number=f"JOURNEY{number}", findings=f"Lungs clear, {number}.",
                   impression=f"Nothing, {number}.")  # fmt: skip
    with unit_of_work() as session:
        account = house.accounts["ann"].id
        views.save(session, account, "To read", "review=OPEN&words=JOURNEY", is_default=True)
    page = open_browser().new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(house.url)
    keys = page.keyboard
    expect(page.get_by_label("Login name")).to_be_focused()
    keys.type("ann")
    keys.press("Tab")
    keys.type(PASSWORD)
    keys.press("Enter")
    expect_list(page, 5)

    # The first is signed as it is.
    keys.press("j")
    keys.press("Enter")
    expect_study(page, "JOURNEY5")
    keys.press("s")
    sign = page.get_by_role("button", name="Sign the report")
    expect(sign).to_be_focused()
    expect(page.locator("#shown-findings")).to_have_text("Lungs clear, 5.")
    keys.press("Enter")
    expect_signed(page)
    expect(page.get_by_text(WARNING)).to_have_count(0)
    keys.press("Enter")

    # The second is corrected, and Tab leads to the signature.
    expect_study(page, "JOURNEY4")
    keys.press("e")
    expect(page.get_by_label("Findings")).to_be_focused()
    keys.press("Control+End")
    keys.type(" Heart large.")
    keys.press("Tab")
    keys.press("Control+A")
    keys.type("Large heart.")
    keys.press("Tab")
    expect(page.get_by_role("button", name="Sign …")).to_be_focused()
    keys.press("Enter")
    expect(page.locator("#shown-findings")).to_have_text("Lungs clear, 4. Heart large.")
    expect(page.locator("#shown-impression")).to_have_text("Large heart.")
    expect(sign).to_be_focused()
    keys.press("Enter")
    expect_signed(page)
    keys.press("j")

    # The third: Escape leaves the text, and the differences are looked at.
    expect_study(page, "JOURNEY3")
    keys.press("e")
    keys.press("Control+End")
    keys.type(" Old rib fracture.")
    keys.press("Escape")
    keys.press("d")
    expect(page.locator("#differences ins").first).to_contain_text("Old rib fracture.")
    keys.press("s")
    expect(sign).to_be_focused()
    keys.press("Enter")
    expect_signed(page)
    keys.press("j")

    # The fourth: back from the question to the text. A key that is held down signs nothing.
    expect_study(page, "JOURNEY2")
    keys.press("s")
    expect(sign).to_be_focused()
    keys.press("Tab")
    expect(page.get_by_role("link", name="Back to the text")).to_be_focused()
    keys.press("Enter")
    expect_study(page, "JOURNEY2")
    keys.press("e")
    keys.press("Tab")
    keys.press("Control+End")
    keys.type(" Follow up.")
    keys.press("Tab")
    keys.down("Enter")
    expect(sign).to_be_focused()
    for _ in range(3):
        keys.down("Enter")
    keys.up("Enter")
    expect(page.locator("#shown-impression")).to_have_text("Nothing, 2. Follow up.")
    assert len(signed_texts()) == 3
    keys.press("Enter")
    expect_signed(page)

    # The fifth is opened from the worklist, where nothing else is left.
    keys.press("u")
    expect_list(page, 1)
    keys.press("j")
    keys.press("Enter")
    expect_study(page, "JOURNEY1")
    keys.press("s")
    expect(sign).to_be_focused()
    keys.press("Enter")
    expect_signed(page)
    keys.press("j")
    expect(page.get_by_text("No study matches.")).to_be_visible()

    assert signed_texts() == [
        ("JOURNEY5", "Dr. Ann (ann)", "Lungs clear, 5.", "Nothing, 5."),
        ("JOURNEY4", "Dr. Ann (ann)", "Lungs clear, 4. Heart large.", "Large heart."),
        ("JOURNEY3", "Dr. Ann (ann)", "Lungs clear, 3. Old rib fracture.", "Nothing, 3."),
        ("JOURNEY2", "Dr. Ann (ann)", "Lungs clear, 2.", "Nothing, 2. Follow up."),
        ("JOURNEY1", "Dr. Ann (ann)", "Lungs clear, 1.", "Nothing, 1."),
    ]
    assert faults == []


def test_of_two_readers_neither_overwrites_the_other(house, log_in):
    study = house.seed(11)
    roe, doe = log_in("roe"), log_in("doe")
    for page in (roe, doe):
        page.goto(f"{house.url}/studies/{study}")
    roe.get_by_label("Findings").fill("Written by Roe.")
    expect(roe.locator("#saved")).to_have_text(SAVED)
    doe.get_by_label("Findings").fill("Written by Doe.")
    expect(doe.locator("#conflict")).to_contain_text("Dr. Roe (roe) saved another text meanwhile")
    expect(doe.locator("#conflict")).to_contain_text("Written by Roe.")
    expect(doe.get_by_label("Findings")).to_have_value("Written by Doe.")
    assert saved_text(study) == ("Written by Roe.", 1)
    doe.get_by_role("button", name="Keep mine in its place").click()
    expect(doe.locator("#saved")).to_have_text(SAVED)
    assert saved_text(study) == ("Written by Doe.", 2)
    roe.get_by_label("Findings").fill("Written by Roe, more.")
    expect(roe.locator("#conflict")).to_contain_text("Written by Doe.")
    expect(roe.get_by_label("Findings")).to_be_focused()  # the next key must press no button
    roe.get_by_role("button", name="Take this text").click()
    expect(roe.get_by_label("Findings")).to_have_value("Written by Doe.")
    assert saved_text(study) == ("Written by Doe.", 2)
    roe.get_by_role("button", name="Bring back what I wrote").click()
    expect(roe.locator("#saved")).to_have_text(SAVED)
    assert saved_text(study) == ("Written by Roe, more.", 3)


def test_nothing_typed_is_lost_where_the_server_is_killed(house, log_in):
    study = house.seed(12)
    page = log_in("roe")
    page.goto(f"{house.url}/studies/{study}")
    findings = page.get_by_label("Findings")
    findings.fill("The heart is large.")
    expect(page.locator("#saved")).to_have_text(SAVED)
    assert saved_text(study) == ("The heart is large.", 1)
    house.server.process.kill()
    house.server.process.wait()
    findings.press("End")
    findings.type(" Left effusion.")
    expect(page.locator("#saved")).to_have_text(
        "Not saved: the server does not answer. It is tried again."
    )
    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.evaluate("setTimeout(() => location.assign('/'))")
    eventually(lambda: page.wait_for_timeout(50) or asked == ["beforeunload"])
    expect(findings).to_have_value("The heart is large. Left effusion.")
    house.server = house.start(serve_port=house.url.rpartition(":")[2])
    expect(page.locator("#saved")).to_have_text(SAVED)
    assert saved_text(study) == ("The heart is large. Left effusion.", 2)
    assert page.evaluate("localStorage.length + sessionStorage.length") <= 1, "no text is kept here"
    kept = page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
    assert "effusion" not in kept


@pytest.mark.parametrize("scripts", [True, False])
def test_a_trainee_submits_and_a_lead_signs(house, log_in, scripts):
    study = house.seed(13 if scripts else 14)
    kim = log_in("kim", java_script_enabled=scripts)
    kim.goto(f"{house.url}/studies/{study}")
    kim.get_by_label("Findings").fill("By the trainee.\nIn two lines.")
    expect(kim.get_by_role("button", name="Sign …")).to_have_count(0)
    kim.get_by_role("button", name="Submit for signature").click()
    expect(kim.get_by_text("Dr. Kim (kim) submitted this text for signature")).to_be_visible()
    expect(kim.get_by_label("Findings")).not_to_be_editable()
    doe = log_in("doe", java_script_enabled=scripts)
    doe.goto(f"{house.url}/studies/{study}")
    doe.get_by_label("Impression").fill("Corrected by the lead.")
    doe.get_by_role("button", name="Sign …").click()
    expect(doe.locator("#shown-findings")).to_have_text("By the trainee.\nIn two lines.")
    expect(doe.locator("#shown-impression")).to_have_text("Corrected by the lead.")
    expect(doe.get_by_text(WARNING).first).to_be_visible()
    if scripts:
        expect(doe.get_by_role("button", name="Sign the report")).to_be_focused()
        doe.keyboard.press("Enter")
    else:  # Chromium gives no focus by itself where scripts are off
        doe.get_by_role("button", name="Sign the report").click()
    expect(doe.get_by_text("Signed by Dr. Doe (doe)")).to_be_visible()
    expect(doe.get_by_text("Written by Dr. Kim (kim).")).to_be_visible()
    expect(doe.get_by_text("A model drafted it")).to_be_visible()
    expect(doe.get_by_text(WARNING)).to_have_count(0)
    assert run_sql(
        "SELECT findings, impression, reader, prepared_by FROM reviews WHERE study_id = :study",
        study=study,
    ) == [
        (
            "By the trainee.\nIn two lines.",
            "Corrected by the lead.",
            "Dr. Doe (doe)",
            "Dr. Kim (kim)",
        )
    ]


def test_nothing_of_a_draft_is_sent_before_its_reader_asks(house, log_in, tmp_path):
    words = ("Quokkaform shadow", "Wallabyform opacity")
    study = house.seed(15, accession_number="READFIRST", findings=f"{words[0]} left.",
                       impression=f"{words[1]} right.")  # fmt: skip
    ((uid,),) = run_sql("SELECT study_instance_uid FROM studies WHERE id = :id", id=study)
    url = house.start(read_first="true").url
    archive = tmp_path / "before.zip"
    page = log_in("roe", url, record_har_path=archive, record_har_content="attach")
    page.goto(f"{url}/?words=READFIRST")
    expect_list(page, 1)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect_study(page, "READFIRST")
    expect(page.get_by_text("Read the films first.")).to_be_visible()
    film = page.locator("figure img").first
    assert film.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    asked = (
        f"/api/studies/{uid}", f"/api/studies/{uid}/working-text", f"/api/studies/{uid}/reviews",
        f"/api/studies/{uid}/working-text/checks", f"/studies/{study}/differences",
        f"/studies/{study}/checks", f"/studies/{study}/sign", "/api/worklist?words=READFIRST",
        "/api/studies?limit=200", "/live?words=READFIRST",
    )  # fmt: skip
    for address in asked:
        page.evaluate("address => fetch(address).then(answer => answer.text())", address)
    page.context.close()
    answers = list(sent_texts(archive))
    assert set(asked) < {address.removeprefix(url) for address, _ in answers}
    assert any("READFIRST" in text for _, text in answers), "it does not look into the answers"
    for address, text in answers:
        assert not any(word in text for word in words), address

    page = log_in("roe", url)
    page.goto(f"{url}/studies/{study}")
    page.locator("figure img").first.evaluate("image => image.decode()")
    page.keyboard.press("e")
    expect(page.get_by_label("Findings")).to_have_value(f"{words[0]} left.")
    assert run_sql(
        "SELECT arm, films_opened_at IS NOT NULL, draft_shown_at >= films_opened_at FROM readings"
        " WHERE study_id = :study AND draft_shown_at IS NOT NULL",
        study=study,
    ) == [("READ_FIRST", True, True)]


def test_a_recall_says_what_was_signed_and_where_it_went(house, log_in):
    recalled = {"model_name": "recalled", "model_version": "1", "bundle_digest": "5e" * 32}
    signed, unsigned = (
        house.seed(number, accession_number=f"RECALL{number}", **recalled) for number in (16, 17)
    )
    other = house.seed(18, bundle_digest="6f" * 32)
    roe = log_in("roe")
    roe.goto(f"{house.url}/studies/{signed}")
    roe.get_by_role("button", name="Sign …").click()
    roe.get_by_role("button", name="Sign the report").click()
    expect(roe.get_by_text("Signed by Dr. Roe (roe)")).to_be_visible()

    doe = log_in("doe")
    doe.get_by_role("link", name="Models").click()
    doe.get_by_text("Stop recalled 1").click()
    stop = doe.locator("section.model", has_text="Recall: every draft of recalled 1")
    stop.get_by_label("Reason").fill("It invents findings.")
    stop.get_by_role("button", name="Stop this model").click()
    expect(stop.locator(".alarm")).to_contain_text("None of its drafts is shown")
    doe.get_by_role("link", name="Recall: every draft of recalled 1").click()
    rows = doe.locator("tbody tr")
    expect(rows).to_have_count(2)
    was_signed = rows.filter(has_text="RECALL16")
    expect(was_signed).to_contain_text("Dr. Roe (roe)")
    expect(was_signed).to_contain_text("It is a report here, and a prior report of later studies")
    expect(rows.filter(has_text="RECALL17")).to_contain_text("Nowhere: it is a draft here.")
    with doe.expect_download() as download:
        doe.get_by_role("link", name="All of them as CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 3
    assert sum("Dr. Roe (roe)" in line for line in lines) == 1

    # What was not signed is shown to nobody; the signed report and other models' drafts are.
    roe.goto(f"{house.url}/studies/{unsigned}")
    expect(roe.locator("#withheld")).to_be_visible()
    expect(roe.locator("#text")).to_have_count(0)
    roe.goto(f"{house.url}/studies/{signed}")
    expect(roe.get_by_text("Signed by Dr. Roe (roe)")).to_be_visible()
    roe.goto(f"{house.url}/studies/{other}")
    expect(roe.locator("#text")).to_be_visible()
