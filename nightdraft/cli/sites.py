"""`nightdraft site ...`: whose people see which studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.looks import user_of_system
from records.errors import NotAllowed

if TYPE_CHECKING:
    from records.site_moves import MovedStudy

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
    from records.database.session import snapshot
    from records.workflow import sites as rows

    with snapshot() as session:
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


@sites.command("move")
def move(
    uids: Annotated[
        list[str], typer.Argument(help="Study Instance UIDs of the studies, or our ids of them.")
    ],
    to: Annotated[str, typer.Option(help="Code of the site that they are to belong to.")],
    because: Annotated[str, typer.Option(help="Why, in words that each timeline keeps.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be moved, and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before.")] = False,
    json: AsJson = False,
) -> None:
    """Let studies belong to another site, with their drafts, orders and reports."""
    if not (dry_run or yes):
        if json:
            raise NotAllowed("with --json nobody is asked: give --yes, or --dry-run")
        _tell_moved(_move(uids, to, because, is_tried=True), is_done=False)
        typer.confirm("Move them?", abort=True)
    moved = _move(uids, to, because, is_tried=dry_run)
    if json:
        print_json({"moved": not dry_run, "studies": moved})
    else:
        _tell_moved(moved, is_done=not dry_run)


def _move(uids: list[str], to: str, because: str, *, is_tried: bool) -> list[MovedStudy]:
    """Move studies, each in a transaction of its own; one that is tried ends without effect."""
    from records import site_moves
    from records.database.session import unit_of_work
    from records.workflow import studies

    moved = []
    by = user_of_system().name
    with unit_of_work() as session:  # a wrong name stops it before the first one is moved
        ids = [studies.get_by_uid(session, uid).id for uid in dict.fromkeys(uids)]
    for study_id in ids:
        with unit_of_work() as session:
            moved.append(site_moves.move_study(session, study_id, to, by, because))
            if is_tried:
                session.rollback()
    return moved


def _tell_moved(moved: list[MovedStudy], *, is_done: bool) -> None:
    for study in moved:
        print(
            f"{study.study_instance_uid}: {'moved' if is_done else 'to be moved'} from "
            f"{study.from_site} to {study.to_site}, orders: {study.orders}, reports: "
            f"{study.reports}"
        )
