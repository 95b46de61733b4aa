"""The sweep, leases, attempts and bells."""

from __future__ import annotations

from pydantic import BaseModel, Field

from records.settings.forms import ADVANCED


class LeaseSettings(BaseModel):
    """Settings of the sweep and of leases."""

    sweep_seconds: float = Field(
        json_schema_extra=ADVANCED, default=5.0, gt=0, description="Time between sweeps."
    )
    bells_ahead: int = Field(
        json_schema_extra=ADVANCED,
        default=64,
        ge=1,
        description="Largest number of bells that wait in Redis for a stage.",
    )
    campaign_ahead: int = Field(
        json_schema_extra=ADVANCED,
        default=200,
        ge=1,
        description="Largest number of studies that a campaign has in the pipeline. All others "
        "wait in the campaign. What is in the pipeline is finished when the window closes.",
    )
    lease_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=120.0,
        ge=1,
        description="A worker that is silent for so long loses its studies to others.",
    )
    max_attempts: int = Field(
        json_schema_extra=ADVANCED,
        default=3,
        ge=1,
        description="A study's own errors in one stage before it is FAILED.",
    )
    retry_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=30.0,
        ge=0,
        description="Wait before a failed study is tried again.",
    )
    sick_after: int = Field(
        json_schema_extra=ADVANCED,
        default=3,
        ge=2,
        description="A worker stops itself when so many different studies fail in a row.",
    )
    trial_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=300.0,
        ge=0,
        description="A worker that stopped itself tries one study after so long, and goes on when "
        "that succeeds; 0 waits for a person (`nightdraft resume`).",
    )
    stuck_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=600.0,
        gt=0,
        description="A worker that gets nothing done for so long hangs, and ends its own process.",
    )
