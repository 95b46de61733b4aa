"""What orders do to drafts."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from records.settings.forms import EVERYDAY, split_pairs


class OrderSettings(BaseModel):
    """Settings of orders."""

    redraft_on_order: bool = Field(
        json_schema_extra=EVERYDAY,
        default=True,
        description="Whether a study that is drafted and not reviewed is drafted again where an "
        "order comes, changes or is cancelled, and the draft was made from other texts.",
    )
    order_wait_minutes: Annotated[dict[str, float], NoDecode] = Field(
        json_schema_extra=EVERYDAY,
        default_factory=dict,
        description="How long a study without an order waits for one, in minutes after its first "
        "film, by calling AE title, as `CR1=10, *=2`; `*` is every other one. Then it is drafted "
        "without. STAT studies do not wait.",
    )

    @field_validator("order_wait_minutes", mode="before")
    @classmethod
    def _read_waits(cls, value: object) -> object:
        return dict(split_pairs(value, "AE=MINUTES"))

    @field_validator("order_wait_minutes", mode="after")
    @classmethod
    def _check_waits(cls, value: dict[str, float]) -> dict[str, float]:
        wrong = [ae for ae, minutes in value.items() if not 0 <= minutes <= 7 * 24 * 60]
        if wrong:
            raise ValueError(f"{wrong[0]} must wait between 0 minutes and 7 days")
        return value
