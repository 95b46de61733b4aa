"""`nightdraft alarms ...`: lists alarms with the messages about them, and sends a test message."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import console
from records.errors import SettingsError
from records.settings import settings

if TYPE_CHECKING:
    from api.operation_schemas import PastAlarm
    from records.database.operation_tables import AlarmMessage
    from records.operations.troubles import AlarmHistory

alarms = typer.Typer(
    invoke_without_command=True, help="List alarms, open and past, and the messages about them."
)


@alarms.callback()
def list_alarms(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=1000)] = 20,
    json: AsJson = False,
) -> None:
    """List the newest alarms, open and past, newest first, and the messages about them."""
    from records.database.session import snapshot
    from records.operations.troubles import list_history

    if context.invoked_subcommand:
        return
    with snapshot() as session:
        history = list_history(session, limit)
    if json:
        print_json(history_json(history))
        return
    if not history:
        print("there were no alarms")
    for entry in history:
        _print_entry(entry)


@alarms.command("test")
def send_test(json: AsJson = False) -> None:
    """Send a test message by each channel that is set up, and say how it went."""
    from records.errors import NightdraftError
    from worker.alarm_channels import configured_channels, send
    from worker.alarm_messages import describe_test

    config = settings()
    channels = configured_channels(config)
    if not channels:
        raise SettingsError(
            "no channel is set up: set NIGHTDRAFT_ALARM_WEBHOOK_URL, or NIGHTDRAFT_ALARM_MAIL_TO"
        )
    content = describe_test(dt.datetime.now(dt.UTC))
    outcomes = []
    for channel in channels:
        try:
            sentence, sent = send(channel, content, config), True
        except NightdraftError as error:
            sentence, sent = str(error), False
        outcomes.append({"channel": channel, "sent": sent, "sentence": sentence})
        if not json:
            print(f"{channel.lower()}: {'sent' if sent else 'NOT SENT'}, {sentence}")
    if json:
        print_json(outcomes)
    if not all(outcome["sent"] for outcome in outcomes):
        raise typer.Exit(1)


def history_json(history: Sequence[AlarmHistory]) -> list[PastAlarm]:
    """Alarms and the messages about them, as REST gives them as `/api/alarms`."""
    from api.operation_schemas import PastAlarm

    return [PastAlarm.from_history(entry) for entry in history]


def _print_entry(entry: AlarmHistory) -> None:
    from rich.text import Text

    from records.operations.alarms import runbook_path

    alarm = entry.alarm
    until = f"until {_local(alarm.closed_at)}" if alarm.closed_at else "OPEN"
    head = f"{alarm.kind}, {alarm.part}, since {_local(alarm.opened_at)}, {until}"
    lines = [Text(head, style="" if alarm.closed_at else "bold red"), Text(f"  {alarm.cause}")]
    if not alarm.closed_at and alarm.remedy:
        link = f"{settings().pages_address()}{runbook_path(alarm.kind)}"
        lines.append(Text(f"  {alarm.remedy} ({link})"))
    lines += [Text(f"  {_message_line(message)}", style="dim") for message in entry.messages]
    for line in lines:
        console().print(line)


def _message_line(message: AlarmMessage) -> str:
    name = f"message about the {message.event.lower()} by {message.channel.lower()}"
    if message.sent_at:
        return f"{name}: sent {_local(message.sent_at)}"
    if message.given_up_at:
        return f"{name}: given up after {message.attempts} attempts, {message.error}"
    if message.error:
        due = _local(message.due_at)
        return f"{name}: failed {message.attempts} times, next {due}, {message.error}"
    return f"{name}: waits"


def _local(at: dt.datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
