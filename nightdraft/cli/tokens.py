"""`nightdraft token ...`: what programs show with their calls."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.looks import user_of_system
from nightdraft.cli.options import console
from records.states import Permission

tokens = typer.Typer(no_args_is_help=True, help="Let programs call: tokens and what each may do.")

Name = Annotated[str, typer.Argument(help="The name of the program.")]


@tokens.callback()
def about() -> None:
    """Let programs call: tokens and what each may do."""


@tokens.command("create")
def create(
    name: Name,
    permission: Annotated[
        list[Permission],
        typer.Option(help="What the program may do; several.", case_sensitive=False),
    ],
    site: Annotated[
        str, typer.Option(help="Code of the site whose studies it may see; else of all sites.")
    ] = "",
    days: Annotated[
        float | None, typer.Option(min=0.001, max=36_500, help="For how many days; else for ever.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Make a token and print it, once: only a digest of it is kept."""
    from records.accounts import programs
    from records.database.session import database_time, unit_of_work

    with unit_of_work() as session:
        ends_at = database_time(session) + dt.timedelta(days=days) if days else None
        token = programs.create(
            session, name, permission, user_of_system().name, site_code=site, ends_at=ends_at
        )
    if json:
        print_json({"name": name, "token": token, "ends_at": ends_at})
    else:
        print(f"{name} shows this with each call, as `Authorization: Bearer TOKEN`:")
        print(token)


@tokens.command("list")
def list_tokens(json: AsJson = False) -> None:
    """List the tokens, with what each may do, its end, and when it was last used."""
    from rich.table import Table

    from records.accounts import programs
    from records.database.session import unit_of_work
    from records.workflow import sites

    with unit_of_work() as session:
        rows = programs.list_all(session)
        codes = {site.id: site.code for site in sites.list_all(session)}
    lines = [
        {
            "name": row.name,
            "permissions": row.permissions,
            "site": codes.get(row.site_id, "") if row.site_id else "",
            "created_at": row.created_at,
            "created_by": row.created_by,
            "ends_at": row.ends_at,
            "used_at": row.used_at,
            "revoked_at": row.revoked_at,
        }
        for row in rows
    ]
    if json:
        print_json(lines)
        return
    if not lines:
        print("there is no token")
        return
    table = Table("name", "may", "site", "last used", "ends", box=None)
    for row, line in zip(rows, lines, strict=True):
        ends = f"revoked {_local(row.revoked_at)}" if row.revoked_at else _local(row.ends_at)
        table.add_row(
            row.name,
            " ".join(row.permissions),
            str(line["site"] or "all"),
            _local(row.used_at) or "never",
            ends or "never",
        )
    console().print(table)


@tokens.command("revoke")
def revoke(name: Name, json: AsJson = False) -> None:
    """End a token at once."""
    from records.accounts import programs
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        programs.revoke(session, name)
    if json:
        print_json({"name": name, "revoked": True})
    else:
        print(f"{name}: revoked")


def _local(at: dt.datetime | None) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""
