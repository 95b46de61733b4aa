"""Messages of other systems, and where campaigns get films from."""

from __future__ import annotations

from pydantic import BaseModel, Field, SecretStr

from records.settings.forms import ADVANCED, EVERYDAY, StringList


class MessageSettings(BaseModel):
    """Settings of HL7 messages and of campaigns."""

    message_key: SecretStr = Field(
        json_schema_extra=EVERYDAY,
        default=SecretStr(""),
        description="Key with which messages that were refused are kept, as "
        "`openssl rand -base64 32` makes it; several as `NEW, OLD`: the first one encrypts. Empty: "
        "the one in `keys/messages.key` of the data folder. Several machines need the same.",
    )
    hl7_host: str = Field(
        json_schema_extra=EVERYDAY,
        default="127.0.0.1",
        description="Address the HL7 listener binds to. Messages are not encrypted without "
        "`NIGHTDRAFT_HL7_CERTIFICATE`.",
    )
    hl7_port: int = Field(
        json_schema_extra=EVERYDAY,
        default=0,
        ge=0,
        le=65535,
        description="TCP port on which HL7 v2 messages come in by MLLP, often 2575. 0: the station "
        "runs no HL7 listener.",
    )
    hl7_allowed_peers: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=(),
        description="Addresses and networks that may send HL7 messages, as "
        "`10.1.2.3, 10.7.0.0/16`. Empty: every one.",
    )
    hl7_certificate: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Certificate (PEM, with its chain) of the HL7 listener. Where it is set, only "
        "TLS 1.2 and newer is spoken.",
    )
    hl7_certificate_key: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Private key (PEM) of the certificate; empty where it is in the same file.",
    )
    hl7_client_ca: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Certificates (PEM) of the authorities whose clients may send HL7 messages. "
        "Where it is set, a client must show a certificate of one of them.",
    )
    hl7_max_mb: int = Field(
        json_schema_extra=ADVANCED,
        default=16,
        ge=1,
        le=256,
        description="Size of the longest HL7 message, MB; a longer one is refused.",
    )
    hl7_max_connections: int = Field(
        json_schema_extra=ADVANCED,
        default=200,
        ge=1,
        description="Connections to the HL7 listener that may be open at the same time.",
    )
    hl7_idle_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=3600.0,
        gt=0,
        description="A connection on which no HL7 message comes for so long is closed.",
    )
    hl7_message_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=60.0,
        gt=0,
        description="A connection that sends nothing for so long within an HL7 message, or does "
        "not take its answer, is closed.",
    )
    hl7_test_system: bool = Field(
        json_schema_extra=EVERYDAY,
        default=False,
        description="Whether this is a test system: HL7 messages of training and debugging "
        "(MSH-11 T and D) then have an effect. Elsewhere they are answered and have none.",
    )
    hl7_mapping: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="TOML file that says which field of HL7 messages holds what, where it is not "
        "as in the [conformance profile](integration/hl7-profile.md). Empty: as there.",
    )
    campaign_folders: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=(),
        description="Folders below which campaigns may read films, as `/archive, /mnt/films`. "
        "Empty: none.",
    )
    pacs_file: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="TOML file that names the PACSs that campaigns fetch images from. Empty: none.",
    )
    message_days: float = Field(
        json_schema_extra=ADVANCED,
        default=30.0,
        gt=0,
        description="How many days the content of a refused message is kept, and the row of a "
        "message that had no effect.",
    )
    refused_messages: int = Field(
        json_schema_extra=ADVANCED,
        default=20,
        ge=0,
        description="So many refused messages of one sender, within "
        "`NIGHTDRAFT_REFUSED_MINUTES`, open the alarm MESSAGES_REFUSED. Messages that a person has "
        "settled do not count. 0 opens no such alarm.",
    )
    refused_minutes: float = Field(
        json_schema_extra=ADVANCED,
        default=60.0,
        gt=0,
        description="Minutes in which refused messages are counted. The alarm closes when nothing "
        "of the sender was refused for so long and a message was accepted.",
    )
