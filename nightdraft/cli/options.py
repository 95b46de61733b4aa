"""The command itself, and how its options and settings are one. Knows no command.

Options that are settings have the setting's name and win over its variable; all others have the
variable NIGHTDRAFT_<COMMAND>_<OPTION>.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from records.errors import NotAllowed
from records.settings import Settings, settings

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    help="Drafts chest X-ray reports while the department sleeps. Drafts are for a radiologist to "
    "read, correct and sign, and for nobody else.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "NIGHTDRAFT",
    },
)


def apply_options(**given: object) -> Settings:
    """Put options into the environment, where this process and its children read settings.

    Raises:
        SettingsError: a value is wrong; it names the variable.
    """
    for option, value in given.items():
        if value is not None:
            os.environ[f"NIGHTDRAFT_{option.upper()}"] = str(value)
    settings.cache_clear()
    return settings()


def setting_option(option: str) -> Any:
    """An option that is the setting of the same name, with its description as help."""
    return typer.Option(
        f"--{option.replace('_', '-')}",
        help=Settings.model_fields[option].description,
        show_default=False,
        show_envvar=False,
    )


@app.callback()
def options(
    data_dir: Annotated[Path | None, setting_option("data_dir")] = None,
    database_url: Annotated[str | None, setting_option("database_url")] = None,
    redis_url: Annotated[str | None, setting_option("redis_url")] = None,
    log_level: Annotated[str | None, setting_option("log_level")] = None,
    log_format: Annotated[str | None, setting_option("log_format")] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.", show_envvar=False)
    ] = False,
) -> None:
    """Settings that every command has."""
    if debug:
        os.environ["NIGHTDRAFT_DEBUG"] = "1"
    apply_options(
        data_dir=data_dir,
        database_url=database_url,
        redis_url=redis_url,
        log_level=log_level,
        log_format=log_format,
    )


def start_logging(part: str) -> Settings:
    """Start logging as `part`; the settings."""
    from records.telemetry import set_up_logs

    chosen = settings()
    set_up_logs(chosen.log_format, chosen.log_level, part)
    return chosen


def console() -> Console:
    """Standard output; where that is no terminal, in lines as long as they are."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 240)


def check_file(what: str, path: Path) -> None:
    """Refuse a file that cannot be written, before long work; one that is there stays as it is.

    Raises:
        NotAllowed: it cannot be written to.
    """
    try:
        there = path.exists()
        with path.open("ab"):
            pass
        if not there:
            path.unlink()
    except OSError as error:
        raise NotAllowed(
            f"the {what} cannot be written to {path} ({error.strerror}); name another file"
        ) from error
