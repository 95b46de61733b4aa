"""When a study is complete, how urgent it is, and whom its films show."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from records.settings.forms import EVERYDAY, check_networks, priority_named, split_pairs
from records.states import NameSpelling, Priority


class StudySettings(BaseModel):
    """Settings of studies and priorities."""

    quiet_seconds: float = Field(
        json_schema_extra=EVERYDAY,
        default=60.0,
        ge=0,
        description="A study is complete when nothing came for so many seconds.",
    )
    priority: Priority = Field(
        json_schema_extra=EVERYDAY,
        default=Priority.ROUTINE,
        description="Priority of a study where neither the header nor the calling AE gives one: "
        "STAT, URGENT, ROUTINE or BACKLOG.",
    )
    caller_priorities: Annotated[dict[str, Priority], NoDecode] = Field(
        json_schema_extra=EVERYDAY,
        default_factory=dict,
        description="Priority by calling AE title, as `ED_CR=STAT, ICU=URGENT`. Anybody can make a "
        "title up: the two settings below say who may use it.",
    )
    caller_addresses: Annotated[dict[str, str], NoDecode] = Field(
        json_schema_extra=EVERYDAY,
        default_factory=dict,
        description="Addresses or networks from which a calling AE title is believed, as "
        "`ED_CR=10.1.2.3, ICU=10.1.4.0/24 10.1.5.7`.",
    )
    caller_certificates: Annotated[dict[str, str], NoDecode] = Field(
        json_schema_extra=EVERYDAY,
        default_factory=dict,
        description="Certificates by which a calling AE title is believed, over TLS: names in "
        "them, or their SHA-256, as `ED_CR=ed-cr.hospital.example, ICU=sha256:9f86...`.",
    )
    unproven_callers: Literal["local", "doubt", "believe"] = Field(
        json_schema_extra=EVERYDAY,
        default="local",
        description="From where a calling AE title that neither of the two settings above names "
        "has its priority and that of its films' headers, if that is more urgent than "
        "`NIGHTDRAFT_PRIORITY`: `local` from this machine (loopback), `doubt` from nowhere, "
        "`believe` from everywhere. Else `NIGHTDRAFT_PRIORITY` counts, and the study's timeline "
        "says so.",
    )
    name_spelling: NameSpelling = Field(
        json_schema_extra=EVERYDAY,
        default=NameSpelling.SIMILAR,
        description="Films of one study whose patient id, issuer, birth date and sex are equal, "
        "and whose names are not: `similar` takes them for one person where a name only lacks or "
        "shortens parts of the other (middle name, title, initial, umlaut), `any` always, `exact` "
        "never: a person is asked.",
    )

    @field_validator("priority", mode="before")
    @classmethod
    def _read_priority(cls, value: object) -> object:
        return priority_named(value)

    @field_validator("caller_priorities", mode="before")
    @classmethod
    def _read_table(cls, value: object) -> object:
        pairs = split_pairs(value, "AE=PRIORITY")
        return {ae: priority_named(name) for ae, name in pairs}

    @field_validator("caller_addresses", mode="before")
    @classmethod
    def _read_addresses(cls, value: object) -> object:
        return dict(split_pairs(value, "AE=ADDRESS"))

    @field_validator("caller_certificates", mode="before")
    @classmethod
    def _read_certificates(cls, value: object) -> object:
        return dict(split_pairs(value, "AE=NAME"))

    @field_validator("caller_addresses", mode="after")
    @classmethod
    def _check_addresses(cls, value: dict[str, str]) -> dict[str, str]:
        for ae, addresses in value.items():
            if not addresses.split():
                raise ValueError(f"{ae} has no address")
            check_networks(addresses.split())
        return value
