"""The DICOM listener: where it listens, to whom, and how much it takes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from records.settings.forms import ADVANCED, EVERYDAY, StringList


class ListenerSettings(BaseModel):
    """Settings of the DICOM listener."""

    ae_title: str = Field(
        json_schema_extra=EVERYDAY,
        default="NIGHTDRAFT",
        min_length=1,
        max_length=16,
        description="Our own AE title.",
    )
    listen_host: str = Field(
        json_schema_extra=EVERYDAY,
        default="127.0.0.1",
        description="Address the DICOM listener binds to. `0.0.0.0` lets other machines send.",
    )
    listen_port: int = Field(
        json_schema_extra=EVERYDAY,
        default=11112,
        ge=0,
        le=65535,
        description="TCP port of the DICOM listener; 0 takes a free one.",
    )
    listen_processes: int = Field(
        json_schema_extra=ADVANCED,
        default=1,
        ge=0,
        le=64,
        description="Listener processes that the station runs on the port; 0 is one a core. Each "
        "takes some 30 films of 15 MB a second.",
    )
    listen_shared: bool = Field(
        json_schema_extra=ADVANCED,
        default=False,
        description="Share the port with other listeners of this machine that say the same.",
    )
    listen_plain: bool = Field(
        json_schema_extra=EVERYDAY,
        default=True,
        description="Whether DICOM without TLS is taken, on `NIGHTDRAFT_LISTEN_PORT`. With `false` "
        "there is only the port for TLS.",
    )
    listen_tls_port: int = Field(
        json_schema_extra=EVERYDAY,
        default=0,
        ge=0,
        le=65535,
        description="TCP port on which DICOM over TLS is taken, often 2762 ([TLS](tls.md)). 0: "
        "there is none.",
    )
    listen_certificate: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Certificate (PEM, with its chain) of the DICOM listener. It is read again "
        "when the file changes.",
    )
    listen_certificate_key: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Private key (PEM) of the certificate; empty where it is in the same file.",
    )
    listen_client_certificates: Literal["none", "asked", "required"] = Field(
        json_schema_extra=EVERYDAY,
        default="none",
        description="Whether a sender over TLS must show a certificate of its own: `required`; or "
        "may, and a bad one is refused: `asked`.",
    )
    listen_client_ca: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Certificates (PEM) of the authorities whose senders may connect, or of single "
        "senders. Who is taken out of the file is refused from then on.",
    )
    allowed_callers: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=(),
        description="Calling AE titles that may send, as `A, B`. Empty lets everyone.",
    )
    require_called_ae: bool = Field(
        json_schema_extra=ADVANCED,
        default=False,
        description="Refuse associations that call another AE title than ours.",
    )
    other_objects: Literal["skip", "refuse"] = Field(
        json_schema_extra=EVERYDAY,
        default="skip",
        description="Objects that are no projection radiographs: `skip` keeps them, visibly "
        "SKIPPED; `refuse` answers 0x0122 and keeps a line.",
    )
    max_associations: int = Field(
        json_schema_extra=ADVANCED,
        default=20,
        ge=1,
        description="Associations at the same time; more are refused for a while.",
    )
    known_callers: StringList = Field(
        json_schema_extra=ADVANCED,
        default=(),
        description="AE titles, addresses or networks (as 10.1.0.0/16) of senders that have "
        "associations of their own. Who sent an object before is one of them, by address and AE "
        "title.",
    )
    known_associations: int = Field(
        json_schema_extra=ADVANCED,
        default=10,
        ge=0,
        description="Further associations at the same time, for known callers alone.",
    )
    request_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=10.0,
        gt=0,
        description="Time in which a connection must have requested an association.",
    )
    max_pdu_bytes: int = Field(
        json_schema_extra=ADVANCED,
        default=131072,
        ge=4096,
        le=1048576,
        description="Largest PDU that we offer and accept.",
    )
    max_instance_mb: int = Field(
        json_schema_extra=ADVANCED, default=200, ge=1, description="Largest object, in MB."
    )
    max_elements: int = Field(
        json_schema_extra=ADVANCED,
        default=50_000,
        ge=1000,
        description="Elements, sequence items and fragments that an object may have. A film has "
        "some hundreds.",
    )
    max_header_mb: int = Field(
        json_schema_extra=ADVANCED,
        default=64,
        ge=1,
        description="Largest sum of an object's values other than pixel data, in MB.",
    )
    max_instances_per_minute: int = Field(
        json_schema_extra=ADVANCED,
        default=0,
        ge=0,
        description="Objects a minute from one calling AE before it is slowed down; 0 is no limit.",
    )
    idle_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=60.0,
        gt=0,
        description="An association that is silent for so long is ended.",
    )
    orphan_hours: float = Field(
        json_schema_extra=ADVANCED,
        default=24.0,
        ge=1,  # a shorter age would take the files of transfers that are going on
        description="Age at which half received files are removed, and whole files that no row "
        "knows are registered from their header.",
    )
    scrub_days: float = Field(
        json_schema_extra=EVERYDAY,
        default=30.0,
        ge=0,
        description="Every stored film is read again and compared with what was received once in "
        "so many days, a share each night; 0 reads none.",
    )
    scrub_hours: str = Field(
        json_schema_extra=EVERYDAY,
        default="01:00-05:00",
        pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$",
        description="The hours of the night in which stored films are read again, by the clock of "
        "`NIGHTDRAFT_TIME_ZONE`.",
    )
    disk_warn_mb: int = Field(
        json_schema_extra=EVERYDAY,
        default=5000,
        ge=0,
        description="Free space below which doctor and health warn.",
    )
    disk_stop_mb: int = Field(
        json_schema_extra=EVERYDAY,
        default=500,
        ge=0,
        description="Free space below which C-STORE is answered 0xA700 until there is room.",
    )
