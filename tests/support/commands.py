"""The commands of `nightdraft`, their options, and the environment variables of these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from nightdraft.cli.main import app


def _walk(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, group
    for subname, command in getattr(group, "commands", {}).items():
        yield from _walk(command, f"{name} {subname}")


COMMANDS: dict[str, Any] = dict(_walk(typer.main.get_command(app), "nightdraft"))
"""Every command and group by what is typed, such as `nightdraft bundle show`."""

OPTIONS: list[tuple[str, Any]] = [
    (name, option)
    for name, command in COMMANDS.items()
    for option in command.params
    if option.param_type_name == "option" and option.name != "help"
]
"""Every option, each with its command."""


def variables(command: str, option: Any) -> set[str]:
    """Return the variables that an option reads, as typer finds them."""
    named = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
    if option.allow_from_autoenv:
        named.append(f"{command} {option.name}".replace(" ", "_").replace("-", "_").upper())
    return set(named)
