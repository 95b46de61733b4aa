"""The trail: its key, its seals, and the server that it is sent to."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from records.settings.forms import ADVANCED, EVERYDAY


class TrailSettings(BaseModel):
    """Settings of the trail."""

    trail_key_file: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="File with the key that the trail is kept and sealed with, which is made where "
        "it is missing ([trail](trail.md)). All parts need the same one. Empty: `keys/trail.key` "
        "under the data folder.",
    )
    trail_head_file: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="File to which the head of each seal of the trail is written, which finds a "
        "trail that was cut or made anew. It belongs on a disk that the database's machine does "
        "not have. Empty: `trail/heads.jsonl` under the data folder.",
    )
    trail_seal_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=30.0,
        gt=0,
        le=600,
        description="The trail is sealed so often; what somebody changes sooner is not found.",
    )
    trail_server: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        pattern=r"^([^\s:/\[\]]+|\[[0-9a-fA-F:]+\])?(:\d{1,5})?$",
        description="Audit server (syslog over TLS, RFC 5425) that gets the trail as audit "
        "messages of DICOM PS3.15 ([trail](trail.md#an-audit-server)), as "
        "`audit.hospital.example:6514`. Empty: none.",
    )
    trail_server_ca_file: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Certificates (PEM) of the authorities that the audit server's certificate is "
        "checked with. Empty: those that this machine trusts.",
    )
    trail_server_cert_file: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Our certificate (PEM) for the audit server. Empty: none is shown.",
    )
    trail_server_key_file: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="The key (PEM) of this certificate.",
    )
    trail_server_patients: Literal["number", "pseudonym"] = Field(
        json_schema_extra=EVERYDAY,
        default="number",
        description="How audit messages name patients and studies: by patient id and Study "
        "Instance UID (`number`), as an audit server expects, or by the pseudonyms of the trail "
        "(`pseudonym`).",
    )
