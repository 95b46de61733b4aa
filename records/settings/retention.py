"""How long things are kept, and the key of backups."""

from __future__ import annotations

from pydantic import BaseModel, Field

from records.settings.forms import ADVANCED, EVERYDAY


class RetentionSettings(BaseModel):
    """Settings of how long things are kept."""

    retention_signed_days: float = Field(
        json_schema_extra=EVERYDAY,
        default=30.0,
        ge=0,
        description="The files of a study's films are removed so many days after its report was "
        "signed, here or elsewhere ([retention](retention.md)); the rows stay. 0 keeps them.",
    )
    retention_drafted_days: float = Field(
        json_schema_extra=EVERYDAY,
        default=90.0,
        ge=0,
        description="The files of a study's films are removed so many days after its last draft, "
        "signed or not; the rows stay. 0 keeps them.",
    )
    retention_undrafted_days: float = Field(
        json_schema_extra=EVERYDAY,
        default=0.0,
        ge=0,
        description="The files of a study that was skipped or cancelled are removed so many days "
        "after its last object came; the rows stay. 0 keeps them.",
    )
    retention_prepared_days: float = Field(
        json_schema_extra=EVERYDAY,
        default=7.0,
        ge=0,
        description="Prepared inputs are removed so many days after the draft that was made of "
        "them. 0 keeps them.",
    )
    retention_viewer_days: float = Field(
        json_schema_extra=ADVANCED,
        default=7.0,
        ge=0,
        description="The pixels of films for the viewer are removed when nobody has looked at them "
        "for so many days. 0 keeps them as long as the film.",
    )
    retention_refusals_days: float = Field(
        json_schema_extra=EVERYDAY,
        default=0.0,
        ge=0,
        description="What the listener refused is listed for so many days. 0 keeps it.",
    )
    backup_key_file: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="File with the key by which [backups](backup.md) are encrypted, as `nightdraft "
        "backup --new-key FILE` makes it. Keep a copy where no backup is.",
    )
