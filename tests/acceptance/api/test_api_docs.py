"""The page on REST in a real browser: from our own files, under the content security policy."""

import hashlib
import re

import pytest
from playwright.sync_api import expect

from api.rendering import PACKAGE_DIR
from tests.support.page_looks import AS_THE_COMPUTER
from tests.support.paths import ROOT

FOLDER = PACKAGE_DIR / "static/swagger-ui"
DIGESTS = {  # of swagger-ui-dist 5.35.0
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}


def test_the_vendored_files_are_those_of_the_version_that_is_named():
    for name, digest in DIGESTS.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest
    assert "Apache License" in (FOLDER / "LICENSE").read_text()
    (version,) = re.findall(r"^Swagger UI (\S+)", (FOLDER / "README.txt").read_text())
    assert f"Swagger UI {version}" in (ROOT / "NOTICE").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_call_is_shown_and_can_be_tried_without_another_server(serve, browser, scheme):
    server = serve()
    page = browser.new_page(color_scheme=scheme)
    page.add_init_script(AS_THE_COMPUTER)
    complaints, addresses = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: addresses.append(request.url))
    page.goto(server.url)
    page.click("nav >> text=REST")
    calls = page.locator(".opblock-summary-path")
    expect(calls.first).to_be_visible()
    document = page.request.get(f"{server.url}/api/openapi.json").json()
    expect(calls).to_have_count(sum(len(methods) for methods in document["paths"].values()))
    counts = page.locator(".opblock", has=page.locator("[data-path='/api/counts']"))
    counts.locator(".opblock-summary-control").click()
    counts.get_by_role("button", name="Try it out").click()
    counts.get_by_role("button", name="Execute").click()
    expect(counts.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    expect(counts.locator(".live-responses-table")).to_contain_text("per_minute")
    with_choice = page.locator(".opblock", has=page.locator("[data-path='/api/studies']")).first
    with_choice.locator(".opblock-summary-control").click()
    with_choice.get_by_role("button", name="Try it out").click()
    expect(with_choice.locator("select").first).to_be_visible()
    for toggle in page.locator(".model-box button[aria-expanded=false]").all()[:3]:
        toggle.click()
    assert complaints == []
    assert [address for address in addresses if not address.startswith(server.url)] == []
    page.close()
