"""Messages about alarms: webhook and mail."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator

from records.settings.addresses import host_names
from records.settings.forms import ADVANCED, EVERYDAY, StringList

_MAIL_ADDRESS = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+")


class AlarmSettings(BaseModel):
    """Settings of messages about alarms."""

    alarm_gather_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=30.0,
        ge=0,
        description="Alarms that open within so long are one message, and a trouble is over when "
        "all its alarms have been closed for so long.",
    )
    alarm_webhook_secret: SecretStr = Field(
        json_schema_extra=EVERYDAY,
        default=SecretStr(""),
        description="Secret with which messages to the webhook are signed (HMAC-SHA256), 16 "
        "characters at least.",
    )
    alarm_webhook_hosts: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=(),
        description="Servers to which a webhook's address may point, as `chat.hospital.example, "
        "10.1.2.3:8443`; with a port, that port alone. An address elsewhere is refused. Empty "
        "allows all.",
    )
    alarm_webhook_url: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        pattern=r"^(https?://[^\s/]+[^\s]*)?$",
        description="Address to which a message is posted as JSON when a trouble begins and when "
        "it ends ([alarms](alarms.md)). Empty: none is.",
    )
    smtp_host: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Mail server that takes messages about alarms.",
    )
    smtp_port: int = Field(
        json_schema_extra=ADVANCED,
        default=0,
        ge=0,
        le=65535,
        description="TCP port of the mail server; 0 is 587 with STARTTLS, 465 with TLS, 25 with "
        "neither.",
    )
    smtp_user: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="User name at the mail server; empty where it asks for no login.",
    )
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        json_schema_extra=EVERYDAY,
        default="starttls",
        description="How the connection to the mail server is encrypted: `starttls`, `tls` from "
        "the start, or `none`, which is refused with a login.",
    )
    smtp_password: SecretStr = Field(
        json_schema_extra=EVERYDAY,
        default=SecretStr(""),
        description="Password at the mail server.",
    )
    alarm_mail_to: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=(),
        description="Addresses that get a mail when a trouble begins and when it ends, as "
        "`a@hospital.example, b@hospital.example`. Empty: none is sent.",
    )
    alarm_mail_from: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Sender of these mails. Empty: `nightdraft@` and the name of this machine.",
    )
    alarm_ca_file: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Certificates (PEM) of the authorities that the certificates of webhook and "
        "mail server are checked with. Empty: those that this machine trusts.",
    )

    @field_validator("alarm_webhook_url", mode="after")
    @classmethod
    def _check_webhook(cls, value: str, info: ValidationInfo) -> str:
        secret = info.data.get("alarm_webhook_secret")
        if value and secret is not None and len(secret.get_secret_value()) < 16:
            raise ValueError("it needs NIGHTDRAFT_ALARM_WEBHOOK_SECRET of 16 characters at least")
        allowed = {host.casefold() for host in info.data.get("alarm_webhook_hosts", ())}
        if value and allowed and not allowed & host_names(value):
            raise ValueError("its server is not one of NIGHTDRAFT_ALARM_WEBHOOK_HOSTS")
        return value

    @field_validator("smtp_security", mode="after")
    @classmethod
    def _check_login(cls, value: str, info: ValidationInfo) -> str:
        if value == "none" and info.data.get("smtp_user"):
            raise ValueError("a login needs starttls or tls, or its password could be read")
        return value

    @field_validator("alarm_mail_to", mode="after")
    @classmethod
    def _check_mail(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value and not info.data.get("smtp_host", "-"):
            raise ValueError("it needs NIGHTDRAFT_SMTP_HOST")
        wrong = [address for address in value if not _MAIL_ADDRESS.fullmatch(address)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no mail address")
        return value
