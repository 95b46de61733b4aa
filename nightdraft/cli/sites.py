"""`nightdraft site ...`: whose people see which studies."""

from __future__ import annotations

from typing import Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json

sites = typer.Typer(no_args_is_help=True, help="Set the sites that studies belong to.")

Code = Annotated[str, typer.Argument(help="The code of the site, such as `north`.")]


@sites.callback()
def about() -> None:
    """Set the sites that studies belong to."""


@sites.command("create")
def create(
    code: Code,
    name: Annotated[str, typer.Option(help="Its name, as pages show it.")] = "",
    json: AsJson = False,
) -> None:
    """Make a site; no study belongs to it before its callers are named."""
    from records.database.session import unit_of_work
    from records.workflow import sites as rows

    with unit_of_work() as session:
        site = rows.create(session, code, name)
    if json:
        print_json({"code": site.code, "name": site.name})
    else:
        print(f"{site.code}: created; `nightdraft site callers {site.code} AE` names its callers")


@sites.command("list")
def list_sites(json: AsJson = False) -> None:
    """List the sites, with the calling AE titles and the senders that belong to each."""
    from records.database.session import unit_of_work
    from records.workflow import sites as rows

    with unit_of_work() as session:
        callers, senders = rows.list_callers(session), rows.list_senders(session)
        lines = [
            {
                "code": site.code,
                "name": site.name,
                "callers": callers.get(site.id, []),
                "senders": senders.get(site.id, []),
            }
            for site in rows.list_all(session)
        ]
    if json:
        print_json(lines)
        return
    for line in lines:
        titles = " ".join(line["callers"])
        print(f"{line['code']}  {line['name']}  {titles or '(no callers of its own)'}")
        if line["senders"]:
            print(f"    senders: {', '.join(line['senders'])}")


@sites.command("callers")
def set_callers(
    code: Code,
    calling_aes: Annotated[
        list[str] | None, typer.Argument(help="Calling AE titles; none takes all away.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Set the calling AE titles whose new studies belong to a site."""
    from records.database.session import unit_of_work
    from records.workflow import sites as rows

    titles = calling_aes or []
    with unit_of_work() as session:
        rows.set_callers(session, code, titles)
    if json:
        print_json({"code": code, "callers": titles})
    else:
        print(f"{code}: {' '.join(titles) or 'no callers of its own'}")


@sites.command("senders")
def set_senders(
    code: Code,
    senders: Annotated[
        list[str] | None,
        typer.Argument(
            help="Senders as the list of orders shows them, such as 'RIS|NORTH' of HL7 (MSH-3 and "
            "MSH-4); none takes all away."
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Set the senders whose new orders, reports and messages belong to a site."""
    from records.database.session import unit_of_work
    from records.workflow import sites as rows

    with unit_of_work() as session:
        rows.set_senders(session, code, senders or [])
        named = rows.list_senders(session).get(rows.get(session, code).id, [])
    if json:
        print_json({"code": code, "senders": named})
    else:
        print(f"{code}: {', '.join(named) or 'no senders of its own'}")
