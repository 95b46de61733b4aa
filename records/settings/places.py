"""Where the data folder, PostgreSQL, Redis, logs and spans are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, field_validator

from records.settings.forms import ADVANCED, EVERYDAY


def default_data_dir() -> Path:
    """`/var/lib/nightdraft` for root, else the user's XDG data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/nightdraft")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "nightdraft"


class PlaceSettings(BaseModel):
    """Settings of the data folder, the servers, logs and spans."""

    data_dir: Path = Field(
        json_schema_extra=EVERYDAY,
        default_factory=default_data_dir,
        description="Folder for image bytes, prepared inputs and the embedded servers.",
    )
    user: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="The user that station and parts become where root starts them. Empty: the "
        "one to whom the data folder belongs, or its embedded PostgreSQL, else `nightdraft`, which "
        "is made where it is missing. `root` stays root, which then reads what strangers send.",
    )
    database_url: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="PostgreSQL, as `postgresql://user:password@host/name`. "
        "Empty: the embedded server of the station on this data folder.",
    )
    migration_database_url: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="PostgreSQL as the role that owns the tables, for `nightdraft migrate` alone; "
        "the role of `NIGHTDRAFT_DATABASE_URL` then only uses rows ([secrets](secrets.md)). Empty: "
        "`NIGHTDRAFT_DATABASE_URL` itself, and the parts own the tables.",
    )
    redis_url: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Redis, as `redis://host:6379/0`; with Sentinels as "
        "`sentinel://:password@host1:26379,host2:26379/0`. "
        "Empty: the embedded server of the station on this data folder.",
    )
    redis_master: str = Field(
        json_schema_extra=EVERYDAY,
        default="mymaster",
        description="Name of the Redis that Sentinels watch; it counts where "
        "`NIGHTDRAFT_REDIS_URL` begins with `sentinel://`.",
    )
    redis_sentinel_password: SecretStr = Field(
        json_schema_extra=ADVANCED,
        default=SecretStr(""),
        description="Password of the Sentinels themselves; empty where they have none.",
    )
    database_statement_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=20.0,
        gt=0,
        description="PostgreSQL ends a statement after so long. A server that is silent for five "
        "seconds longer counts as down: a sender is then answered 0xA700.",
    )
    database_lock_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=10.0,
        gt=0,
        description="PostgreSQL ends a statement that waits so long for a row that another "
        "transaction holds.",
    )
    database_idle_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=60.0,
        gt=0,
        description="PostgreSQL ends a transaction whose client does nothing for so long, so that "
        "a process that is frozen holds no study.",
    )
    database_network_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=10.0,
        ge=1,
        description="A TCP connection to PostgreSQL or Redis whose other end is gone is noticed "
        "after about so long (TCP_USER_TIMEOUT, keepalives).",
    )
    log_format: Literal["text", "json"] = Field(
        json_schema_extra=ADVANCED,
        default="text",
        description="Form of log lines: `text` for people, `json` for collectors.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        json_schema_extra=EVERYDAY,
        default="info",
        description="Lowest level that is logged. No level logs patients.",
    )
    otlp_endpoint: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        pattern=r"^(https?://[^\s/]+[^\s]*)?$",
        description="Collector of OpenTelemetry to which each part sends spans by OTLP over HTTP, "
        "as `http://collector:4318` ([tracing](logs.md#opentelemetry)). Empty: none are sent. It "
        "needs the extra `otel`.",
    )

    @field_validator("data_dir", mode="after")
    @classmethod
    def _make_absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()
