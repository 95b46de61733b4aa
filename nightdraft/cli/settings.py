"""`nightdraft settings show`: each setting, its value, and where the value is from."""

from __future__ import annotations

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import console
from records.settings import settings

settings_commands = typer.Typer(
    no_args_is_help=True, help="Show the settings, and where each value is from."
)


@settings_commands.command()
def show(context: typer.Context, json: AsJson = False) -> None:
    """Show each setting with its value, less secrets, and where the value is from."""
    from rich.table import Table
    from rich.text import Text

    from records.config_file import find_config_file
    from records.settings_report import Origin, report_settings

    root = context.find_root()
    options = [
        name
        for name in root.params
        if (source := root.get_parameter_source(name)) and source.name == "COMMANDLINE"
    ]
    reports = report_settings(settings(), options)
    file = find_config_file()
    if json:
        by_name = {
            report.name: {"value": report.value, "from": report.origin} for report in reports
        }
        print_json({"file": file, "settings": by_name})
        return
    table = Table("setting", "value", "from", box=None, pad_edge=False, header_style="bold")
    for report in reports:
        value, is_default = report.value, report.origin is Origin.DEFAULT
        if isinstance(value, dict):
            value = ", ".join(f"{key}={item}" for key, item in value.items())
        elif isinstance(value, list):
            value = ", ".join(value)
        elif isinstance(value, bool):
            value = str(value).lower()
        table.add_row(
            report.name, Text(str(value)), report.origin, style="dim" if is_default else ""
        )
    console().print(table)
    print(f"configuration file: {file or 'none'}")
