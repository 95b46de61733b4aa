"""Preparing: processes, memory, and what is unknown about films."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from records.settings.forms import ADVANCED, EVERYDAY, StringList, split_pairs


class PreparingSettings(BaseModel):
    """Settings of preparing."""

    prepare_processes: int = Field(
        json_schema_extra=ADVANCED,
        default=0,
        ge=0,
        description="Prepare worker processes; 0 is one a core.",
    )
    decode_memory_mb: int = Field(
        json_schema_extra=ADVANCED,
        default=512,
        ge=256,
        description="Memory in MB that decoding one film may take. A film that needs more is "
        "FAILED (UNREADABLE), and the others go on.",
    )
    decode_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=10.0,
        gt=0,
        description="Processor time that decoding one film may take. A film that needs more is "
        "FAILED (UNREADABLE), and the others go on.",
    )
    unknown_chest: Literal["hold", "draft", "skip"] = Field(
        json_schema_extra=EVERYDAY,
        default="hold",
        description="What happens to a study whose headers do not say whether it shows a chest.",
    )
    unknown_view: Literal["draft", "hold", "skip"] = Field(
        json_schema_extra=EVERYDAY,
        default="draft",
        description="What happens to a film whose headers do not say whether it is frontal or "
        "lateral.",
    )
    view_position_trust: Annotated[dict[str, Literal["always", "never"]], NoDecode] = Field(
        json_schema_extra=EVERYDAY,
        default_factory=dict,
        description="Whether devices set ViewPosition (0018,5101) for each film, as "
        "`DigitalDiagnost=always, CR-IR 359=never`, by manufacturer, model or station name. Where "
        "nothing is said, it is weighed with all else (docs/use/images.md).",
    )
    unknown_age: Literal["draft", "hold", "skip"] = Field(
        json_schema_extra=EVERYDAY,
        default="draft",
        description="What happens to a study whose headers do not give the patient's age.",
    )
    indication_sources: StringList = Field(
        json_schema_extra=ADVANCED,
        default=(),
        description="Texts of orders and headers that may be the indication, best first; others "
        "are not taken. Empty is the order of docs/operate/orders.md.",
    )

    @field_validator("view_position_trust", mode="before")
    @classmethod
    def _read_trust(cls, value: object) -> object:
        pairs = split_pairs(value, "DEVICE=always or DEVICE=never")
        return {device: str(trust).lower() for device, trust in pairs}
