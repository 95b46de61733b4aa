"""How commands write JSON, and their options for it.

Times are ISO 8601 in UTC. What REST gives, too, has the names that REST gives it: the commands
write the models of `api.schemas`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
"""`--json` of a command that tells something."""

JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        help="File for the figures as JSON; - is standard output, which then shows nothing else.",
        allow_dash=True,
    ),
]
"""`--json FILE` of a command that measures something."""

STANDARD_OUTPUT = Path("-")


def as_json(value: object) -> str:
    """A value as JSON in several lines, all of it ASCII: no name in it moves a terminal's cursor.

    Args:
        value: What JSON has, with models, dataclasses, times, paths, ids and enumerations in it. A
            number that is not finite, which JSON does not have, becomes null.
    """
    return json.dumps(to_jsonable_python(_prepare(value)), indent=2, allow_nan=False)


def print_json(value: object) -> None:
    """Write a value to standard output as JSON."""
    print(as_json(value))


def write_figures(value: object, file: Path | None) -> bool:
    """Write what `--json FILE` asks for.

    Args:
        value: The figures.
        file: The file; `-` is standard output, and None writes nothing.

    Returns:
        Whether standard output may still show something else.
    """
    if file == STANDARD_OUTPUT:
        print_json(value)
        return False
    if file is not None:
        file.write_text(as_json(value) + "\n", encoding="utf-8")
    return True


def progress_line(file: Path | None) -> Callable[[str], None]:
    """Return what prints a line of progress: to standard error where JSON has standard output."""
    output = sys.stderr if file == STANDARD_OUTPUT else sys.stdout

    def log(line: str) -> None:
        print(line, file=output, flush=True)

    return log


def _prepare(value: object) -> Any:
    """The same with times in UTC, and with models and dataclasses as mappings."""
    if isinstance(value, BaseModel):
        return _prepare(value.model_dump())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _prepare(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {key: _prepare(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_prepare(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.astimezone(dt.UTC) if isinstance(value, dt.datetime) else value
