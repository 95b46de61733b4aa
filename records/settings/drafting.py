"""The model and the GPUs, and whether it may be trained here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from records.settings.forms import ADVANCED, EVERYDAY


class DraftingSettings(BaseModel):
    """Settings of drafting and training."""

    bundle: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="The model: a bundle's folder, or `demo` (knows drawn phantoms only), "
        "or `null` (writes one fixed sentence, for throughput tests).",
    )
    device: str = Field(
        json_schema_extra=EVERYDAY,
        default="auto",
        description="`auto`, `cpu`, `cuda`, `cuda:1`: where the model runs.",
    )
    gpus: str = Field(
        json_schema_extra=EVERYDAY,
        default="auto",
        description="GPUs to draft on, a process each: `auto` is every one, or numbers or UUIDs as "
        "`0, 2`; `one` is a single process that takes the first.",
    )
    draft_slots: int = Field(
        json_schema_extra=ADVANCED,
        default=0,
        ge=0,
        le=1024,
        description="Studies that the model writes at the same time; 0 chooses by the memory "
        "that is free.",
    )
    draft_dtype: Literal["auto", "float16", "bfloat16", "float32"] = Field(
        json_schema_extra=ADVANCED,
        default="auto",
        description="Number format of the weights: `auto` is float16 on a GPU and float32 on a "
        "CPU. A study for which half precision gives no numbers is run again in float32.",
    )
    draft_int8: bool = Field(
        json_schema_extra=ADVANCED,
        default=False,
        description="Weights rounded to eight bits, on a CPU: 1.6 times as fast where it was "
        "measured; drafts may come out otherwise (docs/develop/performance.md).",
    )
    draft_compile: bool = Field(
        json_schema_extra=ADVANCED,
        default=False,
        description="On a GPU, compile ViT and T5's encoder when the model is loaded, which takes "
        "a while, and keep that where it is faster.",
    )
    draft_beams: int = Field(
        json_schema_extra=ADVANCED,
        default=1,
        ge=1,
        le=5,
        description="Beams of the search for the text; 1 is greedy.",
    )
    draft_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=60.0,
        gt=0,
        description="Time that a draft task works before its process looks for another bell.",
    )
    training_consent: bool = Field(
        json_schema_extra=EVERYDAY,
        default=False,
        description="Whether a report that a reader signs may be trained on where the reader says "
        "nothing of it; each report's own flag can be changed later. Whose consent that takes, and "
        "under which law, is for the site to decide; this decides nothing "
        "(docs/train/signed-reports.md).",
    )
