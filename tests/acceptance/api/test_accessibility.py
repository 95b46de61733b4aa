"""axe-core finds no violation of WCAG 2.2 A or AA on any page: light and dark, on desk and phone.

The browser's debugger puts axe-core into each page, so the content security policy stays as it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from playwright.sync_api import expect

from model.manifest import read_manifest
from records.accounts import accounts
from records.actors import Actor, acting_as
from records.bundles import known, modes, stops
from records.database.session import unit_of_work
from records.states import ActorKind, Role, SiteMode
from tests.acceptance.api.conftest import enter_login
from tests.support.accounts import make_account, run_sql
from tests.support.decided_drafts import fill_quality
from tests.support.discrepant_studies import CLEAR, NODULE, draft, draft_again
from tests.support.filled_records import SETTINGS, add_states, addresses, fill
from tests.support.page_looks import AS_THE_COMPUTER, LOOKS, PICTURES, is_wide
from tests.support.paths import ROOT
from tests.support.report_styles import make_site_style

FOLDER = ROOT / "tests/data/axe-core"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"  # of axe.min.js 4.14.1

RUN = """async ([colours, isOnlyColours, hasOthers]) => {
    for (const details of document.querySelectorAll("details")) details.open = true;
    // What follows the colour scheme by script does so with the next frame.
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    const ofColours = {runOnly: {type: "rule", values: colours}, resultTypes: ["violations"]};
    const ofAll = {
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"],
        rules: {"target-size": {enabled: true}},
        resultTypes: ["violations"],
    };
    const ours = {exclude: [hasOthers ? ["#reference"] : ["#none"]]};
    const found = await axe.run(ours, isOnlyColours ? ofColours : ofAll);
    if (hasOthers) found.violations.push(...(await axe.run("#reference", ofColours)).violations);
    return found.violations.flatMap(({id, help, nodes}) =>
        nodes.map(({html, failureSummary}) => `${id} (${help}): ${html.slice(0, 200)}
            ${failureSummary.slice(0, 300)}`));
}"""

COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules about colours: all that a dark page can violate and a light one does not.

They are also what is asked of Swagger UI: our style sheet sets its colours, how it is built is not
ours.
"""

NOT_PAGES = ("/api/", "/fhir", "/.well-known/", "/healthz", "/readyz", "/metrics")


def test_the_vendored_file_is_that_of_the_version_that_is_named():
    assert hashlib.sha256((FOLDER / "axe.min.js").read_bytes()).hexdigest() == SHA256
    (version,) = re.findall(r"^axe-core (\S+),", (FOLDER / "README.txt").read_text())
    assert f"axe v{version}" in (FOLDER / "axe.min.js").read_text()[:100]
    assert f"axe-core {version}," in (ROOT / "NOTICE").read_text()
    assert "Mozilla Public License" in (FOLDER / "LICENSE").read_text()


class Checker:
    """Opens pages and collects what axe-core finds on them."""

    def __init__(self, browser, url):
        self.url = url
        self.blocked = []
        self.found = {}
        self.context = browser.new_context(base_url=url)
        self.context.add_init_script(path=FOLDER / "axe.min.js")
        self.context.add_init_script(AS_THE_COMPUTER)
        self.page = self.context.new_page()
        self.page.on("console", self._listen)

    def _listen(self, message):
        if "Content Security Policy" in message.text:
            self.blocked.append(message.text)

    def log_in(self, login):
        self.page.goto("/login")
        enter_login(self.page, login)

    def open(self, address, name=""):
        self.page.goto(address, wait_until="load")
        self.look(name or address)

    def look(self, name):
        """Run axe-core on the page in each look."""
        self.page.wait_for_load_state("networkidle" if name == "/api/docs" else "load")
        for scheme, width in LOOKS:
            self.page.emulate_media(color_scheme=scheme)
            self.page.set_viewport_size({"width": width, "height": 900})
            for one in self.page.evaluate(RUN, [COLOURS, scheme == "dark", name == "/api/docs"]):
                self.found.setdefault(one, f"{name}, {scheme}, {width} px")
            assert not is_wide(self.page), (name, scheme, width)
            if PICTURES:
                file = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "worklist"
                self.page.screenshot(
                    path=Path(PICTURES) / f"{file}-{scheme}-{width}.png", full_page=True
                )

        # 1280 pixels at 400 % (WCAG 2.2, 1.4.10).
        self.page.set_viewport_size({"width": 320, "height": 640})
        assert not is_wide(self.page), (name, 320)

    def assert_nothing(self):
        assert not self.blocked
        assert not self.found, "\n".join(f"{where}: {what}" for what, where in self.found.items())


@contextmanager
def checking(browser, url) -> Iterator[Checker]:
    checker = Checker(browser, url)
    try:
        yield checker
    finally:
        checker.context.close()


@pytest.fixture
def filled(database, data_dir, setting, tmp_path):
    pacs = tmp_path / "pacs.toml"
    pacs.write_text('[archive]\nhost = "pacs.example.org"\nae_title = "ARCHIVE"\n')
    setting(pacs_file=pacs, campaign_folders=str(tmp_path), **SETTINGS)
    return fill(), add_states(data_dir)


def pages(ids, studies):
    """The addresses of all pages that a person may open, with what there is."""
    for route, path in addresses(ids):
        if not route.startswith(NOT_PAGES) and not route.endswith(
            (".jpg", "/pixels", "/changed", "/live")
        ):
            yield path
    for study in studies.values():
        yield f"/studies/{study}"


@pytest.mark.timeout(900)  # some three hundred runs of axe-core, on whatever machine
def test_no_page_violates_wcag(serve, browser, filled):
    ids, studies = filled
    server = serve()
    with checking(browser, server.url) as checker:
        # Before the first account, forms ask for a name.
        for address in (
            f"/studies/{studies['held']}",
            f"/studies/{studies['rejected']}",
            "/holds?reason=CHEST_UNKNOWN",
            f"/messages/{ids['message_id']}",
            "/campaigns/new",
        ):
            checker.open(address)
        with unit_of_work() as session:
            _, token = accounts.create(session, "root", Role.ADMINISTRATOR, (), "a test")
        checker.open(f"/link/{token}")
        checker.open(f"/link/{'x' * 43}")  # one that cannot be used
        make_account("ada", Role.LEAD, name="Ada Lovelace")
        make_account("eve", Role.AUDITOR)
        make_account("root2", Role.ADMINISTRATOR, name="Margarethe Hohenstein-Wittgenbach")
        make_account("tom", Role.TRAINEE)
        checker.open("/login?why=ended")
        checker.log_in("ada")
        left_out = {"/trail", "/login", "/again", "/account/second-factor"}
        for address in pages(ids, studies):
            if address not in left_out:
                checker.open(address)
        campaign = ids["campaign_id"]
        for address in (
            "/?state=FAILED",
            "/?words=nobody",
            "/holds?reason=CHEST_UNKNOWN",
            f"/campaigns/{campaign}?state=WAITING",
            f"/campaigns/{campaign}/change?action=pause",
            "/tonight/retry?reason=UNREADABLE",
            "/discrepancies?side=MISS_OF_MODEL",
            "/reports?patient_id=nobody",
            "/second-look?nothing_open=true",
            "/nights/2026-11-24",
            "/again?next=%2Faccount",
            "/api/docs",
            "/no/such/page",
            "/trail",  # which she may not open
        ):
            checker.open(address)
        page = checker.page
        page.goto("/campaigns/new")
        page.get_by_label("Name", exact=True).fill("winter")
        page.get_by_label("A list").fill("1.2.1\nA99")
        page.get_by_role("button", name="Try it").click()
        expect(page.get_by_text("Nothing was created.")).to_be_visible()
        checker.look("a tried campaign")
        page.goto("/account")
        page.get_by_role("button", name="Set it up").click()
        expect(page.locator(".qr")).to_be_visible()
        checker.look("/account/second-factor")
        for login, addresses_of in (
            ("eve", ("/trail",)),
            ("root2", ("/tonight", "/holds")),
            ("tom", ("/", "/holds?reason=CHEST_UNKNOWN", f"/studies/{studies['held']}")),
        ):
            page.get_by_role("button", name="Log out").click()
            checker.log_in(login)
            for address in addresses_of:
                checker.open(address, f"{login}{address}")
        page.get_by_role("button", name="Log out").click()
        checker.log_in("ada")
        checker.open("/")
        server.end()
        expect(page.locator("#stale")).to_be_visible(timeout=30_000)
        checker.look("a page whose server does not answer")
        checker.assert_nothing()
        # axe-core is there, and finds what is wrong.
        page.evaluate("document.querySelector('main').append(document.createElement('img'))")
        checker.look("an image without words")
        assert any(one.startswith("image-alt") for one in checker.found)


def test_a_report_style_in_every_state(serve, browser, database, data_dir):
    study = draft(1, (CLEAR, 0.9))
    make_account("ada", Role.LEAD, sites=["default"], name="Ada Lovelace")
    with checking(browser, serve().url) as checker:
        checker.log_in("ada")
        page = checker.page
        checker.open("/report-styles", "no report style")
        checker.open("/report-styles/sites/default", "a new report style")
        page.get_by_label("Name of the style").fill("House")
        page.get_by_label("The model writes (1)").fill("The heart is large.")
        page.get_by_label("The house writes (1)").fill("The heart is normal.")
        page.get_by_role("button", name="Save the style").click()
        expect(page.locator("#faults")).to_be_visible()
        checker.look("a refused report style")
        make_site_style()
        checker.open("/report-styles", "a report style")
        checker.open("/report-styles/sites/default", "the form of a report style")
        checker.open(f"/studies/{study}", "a text in a report style")
        expect(page.locator("#house li")).to_have_count(1)
        page.locator("#findings").press("Alt+p")
        expect(page.get_by_role("dialog")).to_be_visible()
        checker.look("the list of phrases")
        checker.open(f"/studies/{study}/sign", "signing in a report style")
        page.get_by_role("button", name="Sign the report").click()
        checker.look("a report in a report style")
        checker.assert_nothing()


def test_the_pages_of_models_in_every_state(serve, browser, database, data_dir):
    study = draft(1, (NODULE, 0.9))
    draft_again(study, CLEAR)
    manifest = asdict(read_manifest("demo"))
    ada = make_account("ada", Role.LEAD, sites=["default"], name="Ada Lovelace")
    with unit_of_work() as session:
        known.note(session, "bundle", "m", "1", manifest, "# A card\n\nIt knows phantoms only.")
        for _ in range(2):
            stops.stop(session, "bundle", "Dr. Roe", "It invents findings.")
            stops.lift(session, "bundle", "Dr. Doe", "The display was at fault.")
        stops.stop(session, "bundle", "Dr. Roe", "It invents findings on portable films.")
        for note in ("Too early.", ""):
            with acting_as(Actor(ActorKind.ACCOUNT, "ada", str(ada.id))):
                row = modes.propose(session, "default", "B", SiteMode.SHADOW, "A month of trial.")
            if note:
                with acting_as(Actor(ActorKind.ACCOUNT, "bob", "another")):
                    modes.decide(session, row.id, consents=False, note=note)
    with checking(browser, serve().url) as checker:
        checker.log_in("ada")
        checker.open("/models", "models in every state")
        checker.open("/models/bundle/drafts", "a recall")
        checker.open(f"/studies/{study}", "a study with a stopped draft")
        checker.open("/", "a worklist with a stopped draft")
        checker.assert_nothing()


def test_the_page_of_quality_in_every_state(serve, browser, database, data_dir):
    ada = make_account("ada", Role.LEAD, sites=["default"], name="Ada Lovelace")
    make_account("roe", Role.READER, sites=["default"])
    url = serve().url
    with checking(browser, url) as checker:
        checker.log_in("ada")
        checker.open("/quality", "quality without a draft")
        last = fill_quality(ada)
        for query, name in (
            ("", "quality of a site"),
            ("?by=model&view=PA", "quality by model"),
            ("?whose=own", "quality of oneself"),
            ("?since=2020-01&until=2020-02", "quality of other months"),
        ):
            checker.open(f"/quality{query}", name)
        checker.open(f"/studies/{last}", "a report of one's own")
        checker.page.get_by_role("button", name="Log out").click()
        checker.log_in("roe")
        checker.open("/quality", "quality of a reader")
        checker.open("/quality?whose=sites", "quality that a reader may not see")
        checker.open(f"/studies/{last}", "a report that can be scored")
        page = checker.page
        page.get_by_label("Score").select_option("2a")
        page.get_by_role("button", name="Give the score").click()
        expect(page.get_by_text("You have scored this report: 2a")).to_be_visible()
        checker.look("a report that was scored")
        checker.assert_nothing()


def test_a_study_that_is_read_without_a_draft_in_every_state(serve, browser, database, data_dir):
    study = draft(1, (CLEAR, 0.9))
    make_account("roe", Role.READER, sites=["default"], name="Dr. Roe")
    with checking(browser, serve(without_draft_share=1).url) as checker:
        checker.log_in("roe")
        checker.open("/", "a draft that is hidden")
        checker.open(f"/studies/{study}", "a report that is written without a draft")
        page = checker.page
        page.get_by_label("Findings").fill("The lungs are clear. No effusion.")
        page.get_by_role("button", name="Sign …").click()
        expect(page.get_by_role("button", name="Sign the report")).to_be_visible()
        checker.look("signing a report without a draft")
        run_sql("UPDATE readings SET films_opened_at = clock_timestamp()")
        page.goto(f"/studies/{study}")
        page.get_by_role("button", name="Show the draft").click()
        expect(page.locator("#draft-text")).to_be_visible()
        checker.look("a report that was begun without the draft, beside it")
        page.get_by_role("button", name="Sign …").click()
        page.get_by_role("button", name="Sign the report").click()
        expect(page.get_by_text("Signed by Dr. Roe (roe)")).to_be_visible()
        checker.look("a signed report that was begun without the draft")
        checker.assert_nothing()
