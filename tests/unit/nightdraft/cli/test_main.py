"""Options, settings and the pages about them agree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from nightdraft.cli.main import app
from records.settings import Settings
from tests.support.paths import DOCS


def commands(group: Any, name: str = "nightdraft") -> Iterator[tuple[str, Any]]:
    yield name, group
    for subname, command in getattr(group, "commands", {}).items():
        yield from commands(command, f"{name} {subname}")


COMMANDS = dict(commands(typer.main.get_command(app)))
OPTIONS = [
    (name, option)
    for name, command in COMMANDS.items()
    for option in command.params
    if option.param_type_name == "option" and option.name != "help"
]


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
