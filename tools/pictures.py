"""Takes the pictures and the screencast of the documentation from the running demo.

    python -m tools.pictures [FOLDER]                    # writes into docs, or into FOLDER
    python -m tools.pictures FOLDER --only night report  # these pages alone, and no screencast

It runs `nightdraft demo` in a data folder of its own and opens its pages in Chromium as the demo's
reader, so the pictures show what the software shows. All patients on them are phantoms.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tools import picture_campaigns, picture_records
from tools.page_pictures import SHOTS, Look, Shot, index_page, take_all
from tools.running_demo import ROOT, START_SECONDS, Demo, Site, running_demo, wait_until
from tools.screencast import SIZE as SCREENCAST_SIZE
from tools.screencast import Screencast

DOCS = ROOT / "docs"
FOLDER = "pictures"
"""Where the pictures of the pages are, below the documentation."""
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

SCREENCAST = "use/demo.gif"

PICTURES = tuple(name for shot in SHOTS for _, _, name in shot.files())
"""The files that are written, besides the screencast."""

_LAST = "emergency"
"""The page of those who do not see every site: while there is one site alone, it is not shown."""

_IS_DONE = "Ctrl-C ends all of it"
"""What the demo prints when every study has met its end."""

_RUN_SECONDS = 600.0


def open_page(browser: Browser, size: tuple[int, int], state: Any = None) -> Page:
    """Open an empty page of this size, of who has these cookies."""
    width, height = size
    return browser.new_page(
        viewport={"width": width, "height": height}, color_scheme="dark", storage_state=state
    )


def go_to(page: Page, address: str) -> None:
    """Open an address, and wait until all of its images and its first film are drawn.

    Images that nobody has scrolled to or opened may wait.
    """
    page.goto(address)
    page.wait_for_function(
        """() => document.querySelector(".stage[data-state=loading]") === null
            && [...document.images].every(image => image.loading === "lazy"
                || (image.complete && image.naturalWidth > 0))"""
    )


def take_screencast(browser: Browser, demo: Demo, path: Path) -> None:
    """Record how films arrive, states change and a draft is opened."""
    page = open_page(browser, SCREENCAST_SIZE, demo.state)
    screencast = Screencast(page)
    go_to(page, demo.url)
    wait_until("all parts run", lambda: demo.has_printed("up after"), START_SECONDS)
    deadline = time.monotonic() + _RUN_SECONDS

    def is_over() -> bool:
        if time.monotonic() > deadline:
            raise TimeoutError("the demo does not come to its end")
        return demo.has_printed(_IS_DONE)

    arriving = "make demo: films of drawn phantoms arrive by C-STORE and are drafted"
    go_to(page, demo.url)
    screencast.show(arriving, 1.0)
    screencast.watch(
        arriving,
        lambda: go_to(page, demo.url),
        is_over,
        9.0,
    )
    screencast.show("Every study is drafted, or says why not", 2.0)
    go_to(page, f"{demo.url}/?state=SKIPPED")
    screencast.show("What is not for this model is skipped, with the reason", 2.0)
    go_to(page, f"{demo.url}/?state=HELD")
    screencast.show("What only a person can decide is held", 1.5)
    _follow(page, demo.held_study())
    screencast.show("It shows both sides and the decisions", 2.5)
    go_to(page, f"{demo.url}/?state=DRAFTED")
    screencast.show("Drafts that can be read", 1.0)
    _follow(page, demo.drafted_study())
    screencast.show("A draft beside its films: a radiologist must check every sentence", 3.0)
    page.mouse.move(SCREENCAST_SIZE[0] / 2, SCREENCAST_SIZE[1] / 2)
    page.mouse.wheel(0, 420)
    page.wait_for_function("() => window.scrollY > 100")
    screencast.show("Below it: what the draft was made from", 2.0)
    page.close()
    screencast.write(path)


def _follow(page: Page, study: str) -> None:
    """Click the link to a study, and wait until its images are drawn."""
    page.locator(f'a[href^="/studies/{study}"]').first.click()
    page.wait_for_url(f"**/studies/{study}*")
    go_to(page, page.url)


@dataclass(frozen=True, slots=True)
class People:
    """Who looks at the pages beside the demo's reader; each as the cookies of a login.

    Attributes:
        auditor: who may open the trail.
        limited: who sees one of two sites.
        link: a link by which somebody chooses a password.
    """

    auditor: Any
    limited: Any
    link: str


def find_looks(
    browser: Browser, site: Site, people: People, shots: Sequence[Shot] = SHOTS
) -> list[Look]:
    """Find where each page is, and who looks at it.

    Args:
        browser: what opens them.
        site: the pages, and who reads there.
        people: who else looks.
        shots: the pages.
    """
    ids = find_ids(site) | {"token": people.link.rpartition("/")[2]}
    of_shot = {
        "signed": {"study": site.signed_study()},
        "held": {"study": site.held_study()},
        "message-refused": {
            "message_id": site.get("/api/messages?outcome=REFUSED")["messages"][0]["id"]
        },
    }
    if any(shot.name == "question" for shot in shots):
        of_shot["question"] = {"discrepancy_id": ask_question(browser, site)}
    whose = {
        "login": None,
        "link": None,
        "trail": people.auditor,
        "emergency": people.limited,
    }
    prepared = {
        "worklist-keys": show_keys,
        "second-factor": begin_second_factor,
        "api": wait_for_calls,
    }
    return [
        Look(
            shot,
            site.url + shot.route.format(**ids | of_shot.get(shot.name, {})) + shot.query,
            whose.get(shot.name, site.state),
            prepared.get(shot.name),
        )
        for shot in shots
    ]


def find_ids(site: Site) -> dict[str, str]:
    """Return one id for each parameter of a route, of something that has much to show."""
    first = {
        "order_id": site.get("/api/orders")["orders"][0]["id"],
        "report_id": site.get("/api/reports?status=CORRECTED")["reports"][0]["id"],
        "message_id": site.get("/api/messages?outcome=ACCEPTED")["messages"][0]["id"],
        "discrepancy_id": site.get("/api/discrepancies")["discrepancies"][0]["id"],
        "comparison_id": differing_drafts(site),
        "digest": site.get("/api/models")["models"][0]["digest"],
        "night": site.get("/api/nights")["nights"][0]["night"],
        "campaign_id": site.get("/api/campaigns?state=RUNNING")["campaigns"][0]["id"],
        "code": "default",
        "study": site.drafted_study(),
    }
    return {name: str(value) for name, value in first.items()}


def differing_drafts(site: Site) -> int:
    """Return our id of the comparison of two drafts that differ most."""
    pair = site.get("/api/comparisons")["pairs"][0]
    query = f"first={pair['first']}&second={pair['second']}"
    return int(site.get(f"/api/comparisons/drafts?{query}")["comparisons"][0]["id"])


def ask_question(browser: Browser, site: Site) -> str:
    """Ask for the next question of the second look; return our id of it."""
    page = open_page(browser, SCREENCAST_SIZE, site.state)
    go_to(page, f"{site.url}/second-look")
    page.get_by_role("button", name="Ask the next question").click()
    page.get_by_role("button", name="Yes, it is there").wait_for()
    question = page.url.rpartition("/")[2]
    page.context.close()
    return question


def show_keys(page: Page) -> None:
    """Open the map of keys."""
    page.keyboard.press("?")
    page.locator("#keys").wait_for()


def begin_second_factor(page: Page) -> None:
    """Ask for a second factor, once; the page that shows its key follows."""
    button = page.get_by_role("button", name="Set it up")
    if button.count():
        button.click()
    page.get_by_role("heading", name="Set up the second factor").wait_for()


def wait_for_calls(page: Page) -> None:
    """Wait until the reference of REST is drawn."""
    page.locator(".opblock").first.wait_for()


def sign_one(browser: Browser, site: Site) -> None:
    """Sign the report of a drafted study, as its reader does."""
    page = open_page(browser, SCREENCAST_SIZE, site.state)
    studies = site.get("/api/studies?state=DRAFTED&limit=200")["studies"]
    study = next(one["id"] for one in studies if one["id"] != site.drafted_study())
    go_to(page, f"{site.url}/studies/{study}")
    page.get_by_label("Impression").press("Control+End")
    page.keyboard.type(" Compare with the earlier film.")
    page.get_by_role("button", name="Sign …").click()
    page.get_by_role("button", name="Sign the report").click()
    page.locator(".signature").wait_for()
    page.context.close()


def find_people(browser: Browser, demo: Demo) -> People:
    """Make accounts of those who see other pages than the demo's reader, and log them in."""
    return People(
        auditor=log_in_as(browser, demo, "auditor", "--role", "AUDITOR"),
        limited=log_in_as(browser, demo, "locum", "--role", "READER", "--site", "default"),
        link=make_account(demo, "registrar", "--role", "TRAINEE", "--name", "Zoë Lindqvist"),
    )


def make_account(demo: Demo, login: str, *options: str) -> str:
    """Make an account; return the link by which its person chooses a password."""
    made = subprocess.run(
        [*(sys.executable, "-m", "nightdraft", "account", "create", login), *options, "--json"],
        cwd=ROOT,
        env=os.environ | {"NIGHTDRAFT_DATA_DIR": str(demo.data_dir)},
        check=True,
        capture_output=True,
        text=True,
    )
    return f"{demo.url}/link/{json.loads(made.stdout)['link'].partition('/link/')[2]}"


def log_in_as(browser: Browser, demo: Demo, login: str, *options: str) -> Any:
    """Make an account, choose its password and log in; return the cookies."""
    link = make_account(demo, login, *options)
    password = secrets.token_hex(16)
    page = open_page(browser, SCREENCAST_SIZE)
    page.goto(link)
    page.get_by_label("New password").fill(password)
    page.get_by_label("The same once more").fill(password)
    page.get_by_role("button", name="Keep it").click()
    page.get_by_label("Login name").fill(login)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Log out").wait_for()
    state = page.context.storage_state()
    page.context.close()
    return state


def fill(browser: Browser, demo: Demo) -> None:
    """Add what a department has after some weeks, and wait until the demo has taken it up."""
    sign_one(browser, demo)
    picture_records.read_records_of(demo.data_dir)
    picture_records.add_style()
    picture_records.add_refusals()
    picture_records.add_nights()
    picture_campaigns.add_campaigns()
    picture_records.add_second_drafts()
    picture_records.send_finals(demo.hl7_port)
    wait_until(
        "the final reports are compared with the drafts",
        lambda: bool(demo.get("/api/discrepancies")["discrepancies"]),
        _RUN_SECONDS,
    )
    wait_until(
        "the drafts of both models are compared",
        lambda: bool(demo.get("/api/comparisons")["pairs"]),
        _RUN_SECONDS,
    )


def read_arguments() -> argparse.Namespace:
    """Read where the pictures are written, and of which pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=DOCS, help="instead of docs")
    names = [shot.name for shot in SHOTS]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=[], metavar="NAME", help="these pages alone"
    )
    return parser.parse_args()


def main() -> None:
    """Take all of them, or those that are named."""
    arguments = read_arguments()
    docs = arguments.folder
    folder = docs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (docs / SCREENCAST).parent.mkdir(exist_ok=True)
    shots = [shot for shot in SHOTS if not arguments.only or shot.name in arguments.only]
    with sync_playwright() as playwright, running_demo() as demo:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        wait_until("the pages answer", demo.is_up, START_SECONDS)
        demo.log_in(browser)
        if arguments.only:
            wait_until("the demo is done", lambda: demo.has_printed(_IS_DONE), _RUN_SECONDS)
        else:
            print(f"recording {SCREENCAST}", flush=True)
            take_screencast(browser, demo, docs / SCREENCAST)
        fill(browser, demo)
        names = [name for shot in shots for _, _, name in shot.files()]
        print(f"taking {len(names)} pictures", flush=True)
        people = find_people(browser, demo)
        looks = find_looks(browser, demo, people, shots)
        take_all(browser, [look for look in looks if look.shot.name != _LAST], folder, go_to)
        picture_records.add_site()
        take_all(browser, [look for look in looks if look.shot.name == _LAST], folder, go_to)
        browser.close()
    (folder / "README.md").write_text(index_page(), encoding="utf-8")
    total = sum((folder / name).stat().st_size for name in names)
    print(f"{folder}: {total // 1000} KB")


if __name__ == "__main__":
    main()
