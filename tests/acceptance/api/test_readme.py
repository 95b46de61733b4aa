"""The two-minute way through of the README: its commands, and its keys in a browser."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from playwright.sync_api import expect

from nightdraft.station.wheels import free_port
from tests.support.doc_commands import code_blocks
from tests.support.paths import ROOT
from tests.support.waiting import eventually

HEADING = "Two minutes: send, read, correct, sign, train on it"
SECONDS = 280


@pytest.fixture
def demo(short_folder):
    """(what it prints, its environment) of a demo that runs; it is ended in the end."""
    folder = short_folder()
    port = free_port()
    values = {"data_dir": folder, "listen_port": port, "disk_warn_mb": 0, "disk_stop_mb": 0}
    env = os.environ | {f"NIGHTDRAFT_{name.upper()}": str(one) for name, one in values.items()}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "nightdraft", "demo"],
        cwd=ROOT,
        env=env | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    reader.start()
    yield lines, {"NIGHTDRAFT_DATA_DIR": str(folder), "PORT": str(port)}
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0, "".join(lines)
    reader.join()
    process.stdout.close()
    assert "nothing is left running" in lines[-1]


def run(block: str, values: dict[str, str], folder: Path) -> str:
    """Run a block of the README, with this demo's folder and port in place of the usual ones."""
    usual = {
        "/var/tmp/nightdraft-demo-$(id -u)": values["NIGHTDRAFT_DATA_DIR"],
        "--port 11112": f"--port {values['PORT']}",
        "build/": f"{folder}/",
        ". .venv/bin/activate": ":",
    }
    script = f"set -e\nexport NIGHTDRAFT_DATA_DIR={values['NIGHTDRAFT_DATA_DIR']}\n{block}"
    for text, ours in usual.items():
        script = script.replace(text, ours)
    commands = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": commands, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(900)
def test_the_two_minutes_of_the_readme(demo, browser, tmp_path):
    printed, values = demo
    first, second = code_blocks("README.md", HEADING)
    keys_named = set(re.findall(r"`([a-z?]|Enter|Escape)`", (ROOT / "README.md").read_text()))
    assert {"j", "e", "s", "?", "Enter", "Escape"} <= keys_named

    def link():
        return next((line.split()[-1] for line in printed if "/link/" in line), "")

    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(eventually(link, SECONDS))
    expect(page).to_have_title("Worklist - Nightdraft")
    expect(page.get_by_role("link", name="Demo Reader")).to_be_visible()
    again = browser.new_page()
    answer = again.goto(link())
    assert answer is not None
    assert answer.status == 404, "the link logs in twice"
    again.close()

    eventually(lambda: any("Ctrl-C ends all of it" in line for line in printed), SECONDS)
    assert "every study ended as it must" in "".join(printed)
    assert "3 studies" in run(first, values, tmp_path)
    expect(page.locator("#count-DRAFTED")).to_have_text("20 Drafted", timeout=1000 * SECONDS)

    page.goto(page.url)
    expect(page.locator(".show-keys")).to_be_visible()
    keys = page.keyboard
    keys.press("j")
    keys.press("Enter")
    for number in range(6):
        expect(page.locator("#to-sign")).to_be_visible()
        expect(page.locator("#show-keys")).to_be_visible()
        keys.press("e")
        keys.press("Control+End")
        keys.type(f" Seen by reader {number}.")
        keys.press("Escape")
        keys.press("s")
        expect(page.locator("#shown-findings")).to_contain_text(f"Seen by reader {number}.")
        expect(page.locator("#sign")).to_be_focused()
        keys.press("Enter")
        expect(page.locator("#go-on")).to_be_focused()
        keys.press("Enter")
    page.close()

    told = run(second, values, tmp_path)
    read = re.search(r"studies read +(\d+)", told)
    assert read is not None
    assert int(read[1]) == 6
    assert "no consent" not in told
    assert (tmp_path / "morning-model/manifest.json").is_file()
