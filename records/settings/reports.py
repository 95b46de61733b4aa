"""How reports are read and signed here, and what those from elsewhere do to drafts."""

from __future__ import annotations

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from records.settings.forms import ADVANCED, EVERYDAY


class ReportSettings(BaseModel):
    """Settings of reports: signed here, and from elsewhere."""

    read_first: bool = Field(
        json_schema_extra=EVERYDAY,
        default=False,
        description="Whether readers read the films first: a draft is shown only after the films "
        "were opened and the reader asked for it ([read and sign](../use/sign.md)).",
    )
    read_first_share: float = Field(
        json_schema_extra=EVERYDAY,
        default=0.0,
        ge=0,
        le=1,
        description="Share of readings in which the films are read first although "
        "NIGHTDRAFT_READ_FIRST is off, drawn from reader and study. It measures what a draft "
        "changes.",
    )
    without_draft_share: float = Field(
        json_schema_extra=EVERYDAY,
        default=0.0,
        ge=0,
        le=1,
        description="Share of readings in which the reader writes the report from nothing and is "
        "shown the draft only on request ([read and sign](../use/sign.md)), drawn from reader and "
        "study, also where NIGHTDRAFT_READ_FIRST is on. With NIGHTDRAFT_READ_FIRST_SHARE it is 1 "
        "at most. It measures how long a report takes without a draft.",
    )
    quality_baseline_days: int = Field(
        json_schema_extra=ADVANCED,
        default=28,
        ge=1,
        description="Days of the baseline of a model at a site: its first ones there "
        "([quality](../use/quality.md)).",
    )
    quality_baseline_drafts: int = Field(
        json_schema_extra=ADVANCED,
        default=100,
        ge=1,
        description="Drafts that readers must have decided on in a baseline; it lasts until then.",
    )
    quality_drift_days: int = Field(
        json_schema_extra=EVERYDAY,
        default=7,
        ge=0,
        description="Days running outside the interval of the baseline after which the alarm "
        "QUALITY_DRIFT opens; 0 opens none.",
    )
    sign_fresh_seconds: float = Field(
        json_schema_extra=EVERYDAY,
        default=0.0,
        ge=0,
        le=86_400,
        description="Who signs must have given password and code so short a while ago, or gives "
        "them again (21 CFR 11.200). 0: the login is enough.",
    )

    draft_reported_studies: bool = Field(
        json_schema_extra=EVERYDAY,
        default=False,
        description="Whether a study is drafted although a final report of it came from elsewhere. "
        "Where it is not, the final also ends a draft that is not signed. Set it for an archive "
        "whose studies all have reports.",
    )
    report_training_consent: bool = Field(
        json_schema_extra=EVERYDAY,
        default=False,
        description="Whether final reports from elsewhere may be trained on, together with the "
        "films that were drafted here. Where it is off, only those that were sent with consent "
        "may. Whose consent that takes, and under which law, is for the site to decide.",
    )
    redraft_on_prior_report: bool = Field(
        json_schema_extra=EVERYDAY,
        default=False,
        description="Whether a study that is drafted and not reviewed is drafted again where a "
        "report of the patient comes or changes that may be its prior report. One that is not "
        "drafted yet always gets the newest.",
    )
    second_look_reads: int = Field(
        json_schema_extra=EVERYDAY,
        default=50,
        ge=0,
        le=100_000,
        description="How many second looks at films are asked for in a week, from Monday on, where "
        "a draft and the final report differ ([second look](../use/second-look.md)). 0: none.",
    )
    second_look_controls: float = Field(
        json_schema_extra=ADVANCED,
        default=0.2,
        ge=0,
        le=1,
        description="Share of second looks that ask about a finding of the report that the draft "
        "does not have. Where it is 0, a reader knows that each question comes from the model.",
    )

    @field_validator("without_draft_share", mode="after")
    @classmethod
    def _check_shares(cls, value: float, info: ValidationInfo) -> float:
        other = info.data.get("read_first_share", 0.0)
        if value + other > 1 + 1e-9:  # decimals are not exact
            raise ValueError(
                f"with NIGHTDRAFT_READ_FIRST_SHARE={other:g} the shares are more than 1: lower one"
            )
        return value
