"""`nightdraft messages ...`: messages of other systems, those first that a person must look at."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import complete, console
from records.errors import NotAllowed
from records.states import MessageOutcome

if TYPE_CHECKING:
    from rich.console import RenderableType

    from records.database.order_tables import ReceivedMessage

messages = typer.Typer(
    no_args_is_help=True,
    help="List messages of other systems, look at refused ones, and settle them.",
)

MessageId = Annotated[uuid.UUID, typer.Argument(help="Id of the message, as `list` writes it.")]


@messages.command("list")
def list_messages(
    outcome: Annotated[
        str,
        typer.Option(
            help="Only messages of which this became, as REFUSED.",
            autocompletion=complete(MessageOutcome),
        ),
    ] = "",
    only_open: Annotated[
        bool,
        typer.Option(
            "--open",
            envvar="NIGHTDRAFT_MESSAGES_LIST_OPEN",
            allow_from_autoenv=False,
            help="Only refused messages that nobody has settled.",
        ),
    ] = False,
    after: Annotated[
        str,
        typer.Option(help="Mark at which the page begins; the last line of a page has the next."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Messages at most.")] = 50,
    json: AsJson = False,
) -> None:
    """List messages of other systems, newest first, without their contents."""
    from records import received_messages
    from records.database.session import snapshot

    name = outcome.upper()
    if name and name not in MessageOutcome.__members__:
        raise NotAllowed(f"{outcome!r} is no outcome: say one of {', '.join(MessageOutcome)}")
    with snapshot() as session:
        page = received_messages.read_page(
            session,
            outcome=MessageOutcome[name] if name else None,
            only_open=only_open,
            after=after or None,
            limit=limit,
        )
    if json:
        from api.message_schemas import ReceivedMessages

        print_json(ReceivedMessages.from_page(page))
        return
    console().print(_render_rows(page.messages))
    if page.next:
        options = [f"--outcome {name}"] * bool(name) + ["--open"] * only_open
        given = " ".join([*options, f"--after {page.next} --limit {limit}"])
        print(f"more: nightdraft messages list {given}")


@messages.command("show")
def show_message(message: MessageId, json: AsJson = False) -> None:
    """Show one message; of one that was refused, its content, which may name a patient."""
    from api.messages import load_message
    from model.dicom.characters import remove_controls
    from records.database.session import snapshot

    with snapshot() as session:
        detail = load_message(session, message)
    if json:
        print_json(detail)
        return
    facts = {
        "message": str(detail.id),
        "received": _local(detail.received_at),
        "from": f"{detail.origin} {detail.sender}",
        "type": detail.message_type,
        "control id": detail.control_id,
        "outcome": f"{detail.outcome}, answered {detail.answer_code}",
        "repeats": str(detail.repeats or ""),
        "why": f"{detail.sentence} ({detail.location})" if detail.location else detail.sentence,
        "settled": f"{_local(detail.settled_at)} by {detail.settled_by}"
        if detail.settled_at
        else "",
        "orders": ", ".join(map(str, detail.orders)),
    }
    for name, value in facts.items():
        if value:
            print(f"{name:11} {remove_controls(value)}")
    if detail.lines is None:
        print(f"content     {detail.why_no_lines}")
        return
    print()
    for line in detail.lines:
        print(remove_controls(line))


@messages.command("settle")
def settle_message(
    message: MessageId,
    by: Annotated[str, typer.Option(help="Who has dealt with it.")],
    json: AsJson = False,
) -> None:
    """Settle a refused message: a person has dealt with it, and it needs nobody any more."""
    from api.messages import load_message
    from records import received_messages
    from records.database.session import unit_of_work

    if not by.strip():
        raise NotAllowed("say who has dealt with it: --by NAME")
    with unit_of_work() as session:
        received_messages.settle(session, message, by.strip())
        detail = load_message(session, message)
    if json:
        print_json(detail)
        return
    print(f"{message}: settled by {by.strip()}")


def _render_rows(rows: Sequence[ReceivedMessage]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    from model.dicom.characters import remove_controls

    if not rows:
        return Text("no messages")
    table = Table("received", "outcome", "type", "from", "why", "id", box=None, pad_edge=False)
    for row in rows:
        outcome = f"{row.outcome} (settled)" if row.settled_at else row.outcome
        why = f"{row.sentence} ({row.location})" if row.location else row.sentence
        cells = (row.message_type, f"{row.origin} {row.sender}", why)
        table.add_row(
            _local(row.received_at),
            outcome,
            *(Text(remove_controls(cell)) for cell in cells),
            Text(str(row.id), no_wrap=True),
        )
    return table


def _local(at: dt.datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
