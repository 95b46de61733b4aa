"""`nightdraft orders map FILE`: what HL7 messages of a site would become; nothing is stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import console, setting_option
from nightdraft.cli.orders import orders
from records.errors import NotFound
from records.received_text import clean_text
from records.settings import settings

if TYPE_CHECKING:
    from intake.hl7.mapping import SiteMapping
    from intake.hl7.reading import Effect, ReadMessage


@orders.command("map")
def map_file(
    file: Annotated[Path, typer.Argument(help="HL7 messages: one, several or a batch.")],
    hl7_mapping: Annotated[str | None, setting_option("hl7_mapping")] = None,
    json: AsJson = False,
) -> None:
    """Show what HL7 messages would become: each value with its field, and why one is refused.

    Nothing is stored, and no database is asked. What is shown names patients.
    """
    from intake.hl7.mapping import read_mapping
    from intake.hl7.reading import read_frame

    try:
        content = file.read_bytes()
    except OSError as error:
        raise NotFound(f"{file} cannot be read ({error.strerror})") from None
    chosen = settings().hl7_mapping if hl7_mapping is None else hl7_mapping
    mapping = read_mapping(chosen)
    messages = [describe(message, mapping) for message in read_frame(content, mapping)]
    if json:
        print_json(messages)
        return
    for number, message in enumerate(messages, start=1):
        _print(number, message)


def describe(message: ReadMessage, mapping: SiteMapping) -> dict[str, Any]:
    """A message as JSON has it: its answer, and each value of what it would become."""
    header, refusal = message.header, message.refusal
    answer = "AA" if refusal is None else "AR" if refusal.code.is_rejection else "AE"
    return {
        "type": header.message_type if header else "",
        "control_id": header.control_id if header else "",
        "sender": header.sender if header else "",
        "is_test": message.is_test,
        "answer": "" if message.is_acknowledgment else answer,
        "error_code": refusal.code.code if refusal else "",
        "location": refusal.location if refusal else "",
        "sentence": refusal.sentence if refusal else "",
        "effects": [
            _describe_effect(effect, mapping, header.sender)
            for effect in message.effects
            if header is not None
        ],
    }


def _describe_effect(effect: Effect, mapping: SiteMapping, sender: str) -> dict[str, Any]:
    from intake.hl7.rules import RULES

    kind, values = effect.describe()
    sources = mapping.of_sender(sender).sources
    return {
        "kind": kind,
        "values": [
            {
                "rule": rule,
                "value": value,
                "field": effect.used.get(rule, "") if value else "",
                "looked_in": [source.name for source in sources[rule]] if rule in RULES else [],
            }
            for rule, value in values.items()
        ],
    }


def _print(number: int, message: dict[str, Any]) -> None:
    output = console()
    heading = f"Message {number}: {message['type'] or 'no HL7 message'}"
    if message["control_id"]:
        heading += f", control id {message['control_id']}, of {message['sender']}"
    output.print(Text(clean_text(heading), style="bold"))
    if message["sentence"]:
        where = f" at {message['location']}" if message["location"] else ""
        line = f"refused ({message['answer']} {message['error_code']}{where}): "
        output.print(Text(line + message["sentence"], style="red"))
    elif not message["effects"]:
        output.print("accepted, and it changes nothing here")
    if message["is_test"]:
        output.print(
            "a message of training or debugging: it has an effect on a test system alone",
            style="yellow",
        )
    for effect in message["effects"]:
        table = Table(title=effect["kind"], title_justify="left", title_style="")
        for column in ("rule", "value", "from"):
            table.add_column(column)
        for entry in effect["values"]:
            looked_in = f"nothing in {', '.join(entry['looked_in']) or 'no field'}"
            table.add_row(
                entry["rule"],
                Text(clean_text(entry["value"])),
                Text(entry["field"]) if entry["value"] else Text(looked_in, style="dim"),
            )
        output.print(table)
