"""The ways by which a message about alarms is pushed: a webhook, and mail by SMTP.

A receiver of the webhook checks two headers:

    X-Nightdraft-Timestamp   when it was signed, in seconds since 1970; refuse what is old
    X-Nightdraft-Signature   sha256=<hex>: HMAC-SHA256 with the secret, over the timestamp, a dot
                             and the body
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from records.alarm_kinds import Channel
from records.errors import PartError, SettingsError
from records.settings import Settings
from records.tls.contexts import calling_context
from records.tls.faults import describe_error
from worker.alarm_messages import Content, as_mail

SECONDS = 20.0
"""How long a server may take for one step."""

TIMESTAMP_HEADER = "X-Nightdraft-Timestamp"
SIGNATURE_HEADER = "X-Nightdraft-Signature"

_SMTP_PORTS = {"starttls": 587, "tls": 465, "none": 25}


class NotSent(PartError):
    """A message about alarms was not sent. Correct the settings of its channel, or wait."""


def configured_channels(config: Settings) -> list[Channel]:
    """The channels that are set up."""
    channels = [Channel.WEBHOOK] if config.alarm_webhook_url else []
    return channels + ([Channel.EMAIL] if config.alarm_mail_to else [])


def send(channel: Channel, content: Content, config: Settings) -> str:
    """Send a message.

    Returns:
        Who took it, in words.

    Raises:
        NotSent: nobody took it; the text says why, without passwords.
    """
    return _SENDERS[channel](content, config)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of the signature header."""
    signed = timestamp.encode() + b"." + body
    return f"sha256={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the POST into a GET, or carry the message to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(content: Content, config: Settings) -> str:
    body = json.dumps(content.values).encode()
    timestamp = str(int(time.time()))
    secret = config.alarm_webhook_secret.get_secret_value()
    request = urllib.request.Request(  # noqa: S310  # the setting is http or https
        config.alarm_webhook_url,
        body,
        {
            "Content-Type": "application/json",
            "User-Agent": "nightdraft",
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: signature(secret, timestamp, body),
        },
    )
    # The whole address may be a secret, as those of chat rooms are.
    server = urlsplit(config.alarm_webhook_url).hostname
    opener = urllib.request.build_opener(
        _NoRedirects, urllib.request.HTTPSHandler(context=_tls_context(config))
    )
    try:
        with opener.open(request, timeout=SECONDS) as response:
            return f"{server} answered {response.status}"
    except urllib.error.HTTPError as error:
        error.close()
        raise NotSent(f"the webhook at {server} answered {error.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotSent(f"the webhook at {server} cannot be reached ({_cause(error)})") from None


def _mail(content: Content, config: Settings) -> str:
    mail = as_mail(content, config)
    security = config.smtp_security
    port = config.smtp_port or _SMTP_PORTS[security]
    server = f"{config.smtp_host} port {port}"
    try:
        connection: smtplib.SMTP
        if security == "tls":
            context = _tls_context(config)
            connection = smtplib.SMTP_SSL(config.smtp_host, port, timeout=SECONDS, context=context)
        else:
            connection = smtplib.SMTP(config.smtp_host, port, timeout=SECONDS)
    except (OSError, smtplib.SMTPException) as error:
        raise NotSent(f"the mail server {server} cannot be reached ({_cause(error)})") from None
    try:
        if security == "starttls":
            connection.starttls(context=_tls_context(config))
        if config.smtp_user:
            connection.login(config.smtp_user, config.smtp_password.get_secret_value())
        refused = connection.send_message(mail)
    except smtplib.SMTPAuthenticationError as error:
        raise NotSent(f"the mail server {server} refuses the login ({error.smtp_code})") from None
    except smtplib.SMTPRecipientsRefused:
        raise NotSent(f"the mail server {server} refuses every address") from None
    except smtplib.SMTPResponseException as error:
        raise NotSent(f"the mail server {server} answered {error.smtp_code}") from None
    except (OSError, smtplib.SMTPException) as error:
        raise NotSent(f"the mail server {server} took no mail ({_cause(error)})") from None
    finally:
        with suppress(OSError, smtplib.SMTPException):
            connection.quit()
        connection.close()
    left_out = f", and refused {len(refused)} addresses" if refused else ""
    return f"{server} took the mail{left_out}"


def _tls_context(config: Settings) -> ssl.SSLContext:
    try:
        return calling_context(config.alarm_ca_file, ("NIGHTDRAFT_ALARM_CA_FILE", "", ""))
    except SettingsError as error:
        raise NotSent(str(error)) from None


def _cause(error: BaseException) -> str:
    """What went wrong, in words that hold no password: of TLS the reason, of others the cause."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    if isinstance(error, ssl.SSLError):
        return describe_error(error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


_SENDERS: dict[Channel, Callable[[Content, Settings], str]] = {
    Channel.WEBHOOK: _post,
    Channel.EMAIL: _mail,
}
