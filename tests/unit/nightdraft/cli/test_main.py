"""Options, settings and the pages about them agree."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from nightdraft.cli.main import app
from nightdraft.cli.panels import PANELS
from records.settings import Settings
from records.states import VisibleState
from tests.support.commands import COMMANDS, OPTIONS, variables
from tests.support.paths import DOCS

WITHOUT_JSON = {
    # They run until they are stopped; their lines are logs.
    *(
        "demo",
        "station",
        "listen",
        "query",
        "retrieve",
        "serve",
        "work prepare",
        "work draft",
        "work sweep",
    ),
    # What they write is a file of a form of its own.
    *("install", "constraints", "phantoms"),
    # What they make is a bundle; `bundle show --json` tells what is in it.
    *("train phantoms", "train head"),
}
"""The commands that tell a program nothing."""

VERBS = (
    *("Answer", "Ask", "Bring", "Check", "Close", "Compare", "Complete", "Copy", "Count", "Draft"),
    *(
        "Drafts",
        "Draw",
        "Erase",
        "End",
        "Fetch",
        "Fit",
        "Let",
        "Lift",
        "List",
        "Make",
        "Measure",
        "Prepare",
        "Print",
        "Read",
        "Remove",
        "Run",
        "Score",
    ),
    *(
        "Send",
        "Serve",
        "Set",
        "Settle",
        "Show",
        "Stop",
        "Take",
        "Time",
        "Train",
        "Withdraw",
        "Write",
    ),
)
"""With these a sentence about a command begins."""


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_an_option_named_as_a_setting_is_that_setting(name: str, option: Any) -> None:
    if option.name in Settings.model_fields and name != "nightdraft bundle":
        assert option.opts == [f"--{option.name.replace('_', '-')}"]
        assert option.help == Settings.model_fields[option.name].description
        assert option.default is None


def test_many_options_are_settings() -> None:
    assert sum(option.name in Settings.model_fields for _, option in OPTIONS) > 15


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_on_its_page(name: str) -> None:
    page = (DOCS / "operate/command.md").read_text()
    assert COMMANDS[name].help or COMMANDS[name].callback.__doc__
    assert f"`{name}" in page
    options = [
        option.opts[0]
        for command, option in OPTIONS
        if command == name and option.name not in Settings.model_fields
    ]
    assert [option for option in options if not re.search(rf"{option}\b", page)] == []


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_variables_are_named_by_command_and_option(name: str, option: Any) -> None:
    typed = option.opts[0].removeprefix("--")
    own = re.sub(r"[ -]", "_", f"{name} {typed}").upper()
    is_a_setting = option.name in Settings.model_fields
    without = is_a_setting or (name, typed) == ("nightdraft", "version")
    assert variables(name, option) == (set() if without else {own})


def test_a_variable_takes_the_place_of_its_option() -> None:
    variable = {"NIGHTDRAFT_BUNDLE_SHOW_JSON": "1"}
    shown = CliRunner().invoke(app, ["bundle", "show", "null"], env=variable)
    assert json.loads(shown.stdout)["name"] == "null"


def test_every_command_is_in_one_panel_in_its_order() -> None:
    listed = [name for names in PANELS.values() for name in names]
    top = [name.split()[1] for name in COMMANDS if name.count(" ") == 1]
    assert listed == top
    page = CliRunner().invoke(app, ["--help"]).stdout
    places = [page.index(f" {panel} ─") for panel in PANELS]
    assert places == sorted(places)
    assert "─ Commands ─" not in page


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_is_a_whole_sentence(name: str) -> None:
    command = COMMANDS[name]
    sentence = " ".join((command.help or command.callback.__doc__).split("\n\n")[0].split())
    words = sentence.split()
    assert words[0].strip(",") in VERBS
    assert len(words) >= 4
    assert sentence.endswith(".")


def test_every_command_that_tells_something_writes_json() -> None:
    with_json = {name for name, option in OPTIONS if option.opts == ["--json"]}
    groups = {name.rpartition(" ")[0] for name in COMMANDS}
    commands = {name for name in COMMANDS if name not in groups}
    assert commands - with_json == {f"nightdraft {name}" for name in WITHOUT_JSON}


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("nightdraft hol", {"holds"}),
        ("nightdraft list --sta", {"--state"}),
        ("nightdraft list --state dr", {"drafted", "drafting"}),
        ("nightdraft list --state ", set(VisibleState)),
        ("nightdraft holds --reason CHEST", {"CHEST_UNKNOWN"}),
        ("nightdraft decide 1.2 take", {"take-new"}),
        ("nightdraft --log-level w", {"warning"}),
        ("nightdraft bundle show n", {"null"}),
    ],
)
def test_a_shell_completes_commands_options_and_values(typed: str, completed: set[str]) -> None:
    words = typed.split(" ")
    request = {
        "_NIGHTDRAFT_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    answer = CliRunner().invoke(app, [], prog_name="nightdraft", env=request)
    assert set(answer.stdout.split()) == completed


def test_a_command_begins_without_what_only_parts_need() -> None:
    heavy = ("numpy", "sqlalchemy", "fastapi", "celery", "pydicom", "torch")
    code = f"import sys, nightdraft.cli.main; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
