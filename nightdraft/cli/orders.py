"""`nightdraft orders ...`: lists and shows orders, and takes them in from a file."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import complete, console
from nightdraft.cli.order_views import SEVERAL, find_orders, render_order, render_orders
from nightdraft.cli.row_imports import DryRun, Encoding, run_import
from nightdraft.cli.site_option import OfSite, of_site
from records.errors import NotAllowed
from records.states import OrderStatus

orders = typer.Typer(
    help="List, show and take in orders: why examinations were requested.", no_args_is_help=True
)


@orders.callback()
def about() -> None:
    """List, show and take in orders: why examinations were requested."""


@orders.command("list")
def list_orders(
    status: Annotated[
        str,
        typer.Option(
            help="Only orders with this status, as CANCELLED.",
            autocompletion=complete(OrderStatus),
        ),
    ] = "",
    words: Annotated[
        str,
        typer.Option(
            help="Only orders with this accession number, patient id, visit number or study UID."
        ),
    ] = "",
    after: Annotated[
        str,
        typer.Option(help="Mark at which the page begins; the last line of a page has the next."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Orders at most.")] = 50,
    site: OfSite = "",
    json: AsJson = False,
) -> None:
    """List orders, newest change first."""
    from records.database.session import snapshot
    from records.orders import reading

    name = status.upper()
    if name and name not in OrderStatus.__members__:
        raise NotAllowed(f"{status!r} is no status: say one of {', '.join(OrderStatus)}")
    with snapshot() as session, of_site(session, site):
        page = reading.read_page(
            session,
            status=OrderStatus[name] if name else None,
            search=words,
            after=after or None,
            limit=limit,
        )
    if json:
        from api.order_schemas import OrderPage

        print_json(OrderPage.from_page(page))
        return
    console().print(render_orders(page.orders))
    if page.next:
        given = {"status": name, "words": words, "site": site, "after": page.next}
        options = [f"--{option} {shlex.quote(value)}" for option, value in given.items() if value]
        print(f"more: nightdraft orders list {' '.join(options)} --limit {limit}")


@orders.command("show")
def show_order(
    number: Annotated[
        str,
        typer.Argument(
            help="Our id of the order, an accession number, a patient id, a visit number or a "
            "study UID."
        ),
    ],
    json: AsJson = False,
) -> None:
    """Show one order: its fields, why it was requested, its studies and its history.

    Where several orders have the number, they are listed, and the exit status is 1.
    """
    from records.database.session import snapshot
    from records.orders import reading

    with snapshot() as session:
        ids = find_orders(session, number)
        if len(ids) > 1:
            page = reading.read_page(session, search=number, limit=SEVERAL)
            console().print(render_orders(page.orders))
            print("several orders have that number: nightdraft orders show ID", file=sys.stderr)
            raise typer.Exit(1)
        record = reading.read_order(session, ids[0])
        if json:
            from api.order_schemas import OrderDetail

            print_json(OrderDetail.from_record(record))
            return
        console().print(render_order(record))


@orders.command("import")
def import_file(
    file: Annotated[
        Path,
        typer.Argument(help="CSV file whose first line names the columns.", exists=True),
    ],
    sender: Annotated[
        str,
        typer.Option(
            help="Who sends these orders. Use one name for all files of one system: orders of two "
            "senders are two orders, even with one number."
        ),
    ] = "FILE",
    encoding: Encoding = "utf-8-sig",
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Take in the orders of a CSV file; the same file again changes nothing."""
    from nightdraft.order_files import import_orders

    run_import(
        "orders",
        import_orders,
        file,
        sender,
        encoding=encoding,
        dry_run=dry_run,
        as_json=json,
    )
