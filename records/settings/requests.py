"""Requests: whose probes are answered, how many may come, what lists show first."""

from __future__ import annotations

import ipaddress

from pydantic import BaseModel, Field, field_validator

from records.settings.forms import ADVANCED, EVERYDAY, StringList


class RequestSettings(BaseModel):
    """Settings of requests to the pages and REST."""

    probe_networks: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=("127.0.0.0/8", "::1/128"),
        description="Networks from which `/readyz` and `/metrics` are answered without a token, as "
        "`10.1.2.0/24, ::1/128`. Neither reveals anything about patients.",
    )
    account_requests_per_minute: int = Field(
        json_schema_extra=ADVANCED,
        default=1200,
        ge=0,
        description="Requests that one account may send in a minute; 0 is no limit.",
    )
    token_requests_per_minute: int = Field(
        json_schema_extra=ADVANCED,
        default=12_000,
        ge=0,
        description="Requests that one token of a program may send in a minute; 0 is no limit.",
    )
    stranger_requests_per_minute: int = Field(
        json_schema_extra=ADVANCED,
        default=600,
        ge=0,
        description="Requests that one network address may send in a minute without a login or a "
        "token; 0 is no limit. Files of the pages, `/healthz` and probes do not count. Behind a "
        "proxy, NIGHTDRAFT_TRUSTED_PROXIES tells the addresses apart.",
    )
    list_priority_hours: float = Field(
        json_schema_extra=ADVANCED,
        default=24.0,
        ge=0,
        description="For so long after its arrival a study stands in the worklist by its priority, "
        "STAT on top; then by its arrival alone.",
    )
    study_lock_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=120.0,
        ge=10,
        le=3600,
        description="Others are told who reads a study until so long after that reader's page was "
        "last open and visible. It keeps nobody from reading or writing.",
    )

    @field_validator("probe_networks")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ValueError(f"{network!r} is no network such as 10.1.2.0/24") from None
        return value
