"""The parts that must run, and where people open the pages."""

from __future__ import annotations

import re

from pydantic import BaseModel, Field, field_validator

from records.settings.forms import ADVANCED, EVERYDAY, StringList

_PART = re.compile(r"(listener|hl7|sweep|prepare|draft|query|retrieve|api)(@[^\s@,]+)?")


class PartSettings(BaseModel):
    """Settings of the parts that must run."""

    expected_parts: StringList = Field(
        json_schema_extra=ADVANCED,
        # A value that is wrong is not among those before.
        default_factory=lambda data: (
            *("listener", "sweep", "prepare", "draft"),
            *(["query"] if data.get("worklist_host") or data.get("reports_url") else []),
            *(["retrieve"] if data.get("pacs_file") or data.get("campaign_folders") else []),
        ),
        description="Parts that must run, as `listener, sweep, prepare, draft@gpu-1, draft@gpu-2`; "
        "with a machine's name the part must run there. One that does not run is shown, makes "
        "`/readyz` fail and opens an alarm.",
    )
    dead_part_hours: float = Field(
        json_schema_extra=ADVANCED,
        default=12.0,
        gt=0,
        description="How long pages and `nightdraft status` show a process that died, or was ended "
        "and has no other in its place. Expected parts stay.",
    )
    pages_url: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        pattern=r"^(https?://[^\s/]+[^\s]*)?$",
        description="Address at which people open the pages, as "
        "`https://nightdraft.hospital.example`; links in messages about alarms begin with it. "
        "Empty: `NIGHTDRAFT_SERVE_HOST` and `NIGHTDRAFT_SERVE_PORT`.",
    )

    @field_validator("expected_parts", mode="after")
    @classmethod
    def _check_parts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name for name in value if not _PART.fullmatch(name)]
        if wrong:
            raise ValueError(
                f"{wrong[0]!r} is no part: say listener, hl7, sweep, prepare, draft, query, "
                "retrieve or api, or one of them with a machine's name, as draft@gpu-1"
            )
        return value
