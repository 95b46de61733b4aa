"""Pushes messages about alarms, from a thread of the sweep's process.

A mail server may take a minute to fail, and a sweep must not wait for it.
"""

from __future__ import annotations

from records.alarm_kinds import Channel
from records.database.session import unit_of_work
from records.errors import safe_text
from records.operations import troubles
from records.settings import settings
from records.telemetry import logger
from worker import alarm_channels
from worker.alarm_messages import describe
from worker.repeater import Repeater

_LOOK_SECONDS = 2.0
"""Time between two looks at the alarms."""


def send_due() -> int:
    """Begin and end troubles, and send all messages that are due; returns how many were sent.

    Raises:
        DatabaseDown: PostgreSQL does not answer; the next call goes on.
    """
    config = settings()
    channels = alarm_channels.configured_channels(config)
    with unit_of_work() as session:
        troubles.update_troubles(session, config.alarm_gather_seconds, channels)
    sent = 0
    while channels:
        with unit_of_work() as session:
            claimed = troubles.claim_message(session, channels)
        if claimed is None:
            break
        channel = Channel(claimed.message.channel)
        try:
            alarm_channels.send(channel, describe(claimed, config), config)
        except Exception as error:
            # Whatever it is, the message is tried again.
            text = safe_text(error)
            logger().warning("a message about alarms was not sent", outcome=channel, error=text)
            with unit_of_work() as session:
                troubles.record_failure(session, claimed.message, text)
            continue
        with unit_of_work() as session:
            troubles.record_sent(session, claimed.message)
        logger().info(
            "a message about alarms was sent",
            outcome=channel,
            reason=claimed.message.event,
            count=len(claimed.alarms),
        )
        sent += 1
    return sent


def alarm_sender() -> Repeater:
    """What sends the messages that are due, every few seconds while its block runs."""
    return Repeater("alarm messages", send_due, _LOOK_SECONDS, "messages about alarms wait")
