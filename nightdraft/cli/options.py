"""The typer application, the options of every command, and what the commands share.

An option that is a setting has the setting's name and wins over its environment variable. Every
other option has the variable NIGHTDRAFT_<COMMAND>_<OPTION>: where Python keeps a parameter from
having the option's name, as of `--from`, the option names its variable itself (`envvar`).
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from nightdraft.cli.looks import UNRECORDED, recorded
from nightdraft.cli.panels import PanelledGroup
from records.config_file import CONFIG_VARIABLE, ignore_default_file
from records.errors import NotAllowed
from records.settings import Settings, settings
from records.telemetry import set_up_logs
from records.tracing import set_up_tracing

if TYPE_CHECKING:
    from rich.console import Console

PART_COMMANDS = ("station", "listen", "work", "serve")
"""The commands that run parts, whose lines go to a collector."""

PLAIN_WIDTH = 240
"""Characters of a line where no terminal is."""

app = typer.Typer(
    cls=PanelledGroup,
    help="Drafts reports of the chest X-ray studies that it receives. Drafts are for a "
    "radiologist to read, correct and sign, and for nobody else.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "NIGHTDRAFT",
    },
)


def apply_options(**options: object) -> Settings:
    """Put options into the environment, where this process and its children read settings.

    Args:
        options: Values by the name of the setting; None leaves the setting as it is.

    Returns:
        The settings with these options.

    Raises:
        SettingsError: A value is wrong; the text names the variable.
    """
    for option, value in options.items():
        if value is not None:
            os.environ[f"NIGHTDRAFT_{option.upper()}"] = str(value)
    settings.cache_clear()
    return settings()


def setting_option(option: str) -> Any:
    """Return the option for the setting of this name, with the setting's description as help."""
    field = Settings.model_fields[option]
    values = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return typer.Option(
        f"--{option.replace('_', '-')}",
        help=field.description,
        autocompletion=complete(values),
        # The setting's own variable is the only one.
        allow_from_autoenv=False,
        show_default=False,
        show_envvar=False,
        # The user of a data folder that root made may use what is in it, but not list it.
        readable=False,
    )


def complete(values: Collection[str]) -> Callable[[str], list[str]]:
    """Return what completes one of these values in a shell, in capitals or in small letters."""
    known = [form for value in values for form in dict.fromkeys((value, value.lower()))]

    def matches(incomplete: str) -> list[str]:
        # Without a letter, each value is offered once.
        forms = known if incomplete else values
        return [form for form in forms if form.startswith(incomplete)]

    return matches


def read_time(typed: str) -> dt.datetime:
    """Return a time that a person typed, by this machine's clock where no zone is in it.

    Raises:
        NotAllowed: It is no time.
    """
    try:
        return dt.datetime.fromisoformat(typed).astimezone()
    except ValueError:
        raise NotAllowed(f"{typed!r} is no date or time, as 2026-11-24T18:00") from None


def _print_version(requested: bool) -> None:
    if requested:
        print(f"nightdraft {version('nightdraft')}")
        raise typer.Exit


@app.callback()
def common_options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(help="File of settings; else /etc/nightdraft/nightdraft.toml, if it exists."),
    ] = None,
    data_dir: Annotated[Path | None, setting_option("data_dir")] = None,
    database_url: Annotated[str | None, setting_option("database_url")] = None,
    redis_url: Annotated[str | None, setting_option("redis_url")] = None,
    log_level: Annotated[str | None, setting_option("log_level")] = None,
    log_format: Annotated[str | None, setting_option("log_format")] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.", show_envvar=False)
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            is_eager=True,
            callback=_print_version,
            # NIGHTDRAFT_VERSION is no option: an image may carry it.
            allow_from_autoenv=False,
        ),
    ] = False,
) -> None:
    """Apply the options that every command has."""
    if context.invoked_subcommand in PART_COMMANDS and "json" in (
        log_format,
        os.environ.get("NIGHTDRAFT_LOG_FORMAT"),
    ):
        # From here on, so that an error in the settings is a line of JSON, too.
        set_up_logs("json", part=context.invoked_subcommand)
    if debug:
        os.environ["NIGHTDRAFT_DEBUG"] = "1"
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config.expanduser().absolute())
    elif context.invoked_subcommand == "demo":
        # What /etc has is of the site's own station, whose records are no place for phantoms.
        ignore_default_file()
    apply_options(
        data_dir=data_dir,
        database_url=database_url,
        redis_url=redis_url,
        log_level=log_level,
        log_format=log_format,
    )
    command = context.invoked_subcommand
    if command is not None and command not in UNRECORDED:
        context.with_resource(recorded(command))


def start_logging(part: str) -> Settings:
    """Start logging under the part's name, keep the settings for children, and return them.

    Raises:
        SettingsError: Spans are to be sent, and the libraries for it are not installed.
    """
    from records.settings import keep_for_children

    current = settings()
    keep_for_children()
    set_up_logs(current.log_format, current.log_level, part)
    set_up_tracing(current.otlp_endpoint, part)
    return current


def sentence_log(current: Settings) -> Callable[[str], None]:
    """Return what a part logs sentences with: plain lines for people, else lines of JSON."""
    from records.telemetry import log_sentence

    return log_sentence if current.log_format == "json" else print_line


def console(width: int | None = None) -> Console:
    """Return standard output; without a terminal it is wide, so that lines are not broken.

    Args:
        width: Characters of a line; None takes the terminal's.
    """
    from rich.console import Console

    return Console(highlight=False, width=width or (None if sys.stdout.isatty() else PLAIN_WIDTH))


def error_console() -> Console:
    """Return standard error, for progress beside JSON."""
    from rich.console import Console

    return Console(highlight=False, stderr=True)


def print_line(line: str) -> None:
    """Print one line of progress at once."""
    print(line, flush=True)


def check_file(content: str, path: Path) -> None:
    """Check before long work that a file can be written; an existing file stays as it is.

    Args:
        content: What the file holds, for the error's text.
        path: The file.

    Raises:
        NotAllowed: The file cannot be written.
    """
    try:
        existed = path.exists()
        with path.open("ab"):
            pass
        if not existed:
            path.unlink()
    except OSError as error:
        raise NotAllowed(
            f"the {content} cannot be written to {path} ({error.strerror}); name another file"
        ) from error
