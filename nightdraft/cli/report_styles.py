"""`nightdraft report-styles ...`: the report styles of sites, to and from files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.looks import user_of_system
from nightdraft.cli.options import console
from records.errors import NotAllowed, NotFound

if TYPE_CHECKING:
    from api.report_styles.schemas import Style

report_styles = typer.Typer(
    no_args_is_help=True, help="List report styles of sites, and bring them from and to files."
)

Site = Annotated[str, typer.Argument(help="The site's code; `nightdraft site list` lists them.")]


@report_styles.callback()
def about() -> None:
    """List report styles of sites, and bring them from and to files."""


@report_styles.command("list")
def list_styles(json: AsJson = False) -> None:
    """List the report styles of sites that are in force."""
    from rich.table import Table

    from api.report_styles.routes import list_styles as read

    found = read().sites
    if json:
        print_json({"styles": [each.model_dump(mode="json") for each in found]})
        return
    table = Table("site", "style", "version", "wordings", "phrases", box=None, pad_edge=False)
    for each in found:
        table.add_row(
            each.site,
            each.name,
            str(each.version),
            str(len(each.wordings)),
            str(len(each.phrases)),
        )
    console().print(table)


@report_styles.command("show")
def show_style(site: Site, json: AsJson = False) -> None:
    """Show the report style of a site, with its wordings and phrases."""
    style = _read(site)
    if json:
        print_json(style)
        return
    print(f"{style.name}, version {style.version}, saved by {style.saved_by}")
    for section in style.sections:
        print(f"section {section.section}: {section.heading}")
    for wording in style.wordings:
        print(f"wording: {wording.model} -> {wording.house}")
    for phrase in style.phrases:
        print(f"phrase {phrase.title}: {phrase.text}")


@report_styles.command("export")
def export_style(
    site: Site,
    out: Annotated[Path, typer.Option(help="The file that is written, as JSON.")],
    json: AsJson = False,
) -> None:
    """Write the report style of a site to a file, from which another site can take it."""
    from api.report_styles.schemas import StyleBody

    style = _read(site)
    body = StyleBody.model_validate(style.model_dump(include=set(StyleBody.model_fields)))
    out.write_text(f"{body.model_dump_json(indent=2)}\n", encoding="utf-8")
    if json:
        print_json({"site": site, "version": style.version, "file": str(out)})
    else:
        print(f"{out}: the style of {site}, version {style.version}")


@report_styles.command("import")
def import_style(
    site: Site,
    file: Annotated[Path, typer.Argument(help="A file as `export` writes it.")],
    json: AsJson = False,
) -> None:
    """Take the report style of a site from a file; it is in force at once, as a new version."""
    from pydantic import ValidationError

    from api.report_styles.schemas import Style, StyleBody
    from model.consistency import find_differences
    from records.database.session import unit_of_work
    from records.report_styles import styles

    try:
        body = StyleBody.model_validate_json(file.read_bytes())
    except OSError as error:
        raise NotAllowed(f"{file} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise NotAllowed(f"{file} is no report style: {place}: {first['msg']}") from None
    with unit_of_work() as session:
        owner = styles.of_site(session, site)
        last = styles.newest(session, owner)
        row = styles.save(
            session,
            owner,
            body.to_content(),
            last.version if last else 0,
            user_of_system().name,
            find_differences,
        )
        style = Style.from_row(row, site)
    if json:
        print_json(style)
    else:
        print(f"{site}: version {style.version} of the report style is in force")


def _read(site: str) -> Style:
    """The style of a site that is in force.

    Raises:
        NotFound: there is no such site, or it has no style.
    """
    from api.report_styles.routes import list_site_versions

    versions = list_site_versions(site).versions
    if not versions or versions[0].is_ended:
        raise NotFound(f"site {site} has no report style: `report-styles import` gives it one")
    return versions[0]
