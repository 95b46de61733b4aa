"""Nights and mornings, by the clock of the site."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, Field, field_validator

from records.settings.forms import ADVANCED, EVERYDAY


class NightSettings(BaseModel):
    """Settings of nights and mornings."""

    time_zone: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="The site's time zone, as `Europe/Berlin` (a name of the IANA database): the "
        "clock by which nights begin and end, and the hours of a campaign that names no other. "
        "Empty: this machine's.",
    )
    night_hours: str = Field(
        json_schema_extra=EVERYDAY,
        default="19:00-07:00",
        pattern=r"^([01]\d|2[0-3]):(00|15|30|45)-([01]\d|2[0-3]):(00|15|30|45)$",
        description="The hours of the night, in which what waits is to be drafted, by quarters of "
        "an hour ([nights](nights.md)).",
    )
    night_late_minutes: float = Field(
        json_schema_extra=ADVANCED,
        default=10.0,
        ge=0,
        description="The alarm NIGHT_LATE opens when the measured pace has been too slow for the "
        "night for so long, and closes when it has been fast enough for so long. 0 opens none.",
    )
    morning_at: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?$",
        description="When the summary of a night is made, as `07:30`. Empty, or earlier than the "
        "end of the night: at its end.",
    )
    morning_messages: bool = Field(
        json_schema_extra=EVERYDAY,
        default=False,
        description="Whether the summary of each night is sent as messages about alarms are: to "
        "the webhook and by mail, as far as they are set up.",
    )

    @field_validator("time_zone", mode="after")
    @classmethod
    def _check_time_zone(cls, value: str) -> str:
        try:
            if value:
                ZoneInfo(value)
        except (OSError, ValueError, ZoneInfoNotFoundError):
            raise ValueError(
                f"{value!r} is no time zone of the IANA database: say one as Europe/Berlin"
            ) from None
        return value
