"""Every setting, its unit and its default. Each is an environment variable NIGHTDRAFT_<NAME>.

A secret can be in a file that NIGHTDRAFT_<NAME>_FILE names (`records.secret_files`).

A variable wins over the configuration file (`records.config_file`), and the file over the default.
`python -m tools.settings_page` makes docs/operate/settings.md from this module, and a test compares
the two.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    Field,
    JsonValue,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from records.config_file import ConfigFileSource
from records.errors import SettingsError
from records.secret_files import SecretFileSource, set_variable
from records.states import NameSpelling, Priority, Role

ADDRESSES = "run/addresses.json"
"""Under the data folder: where a running station's embedded servers listen."""


EVERYDAY: dict[str, JsonValue] = {"table": "everyday"}
"""Marks a setting that a site chooses when it sets Nightdraft up."""

ADVANCED: dict[str, JsonValue] = {"table": "advanced"}
"""Marks a setting whose default suits almost every site."""


def default_data_dir() -> Path:
    """`/var/lib/nightdraft` for root, else the user's XDG data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/nightdraft")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "nightdraft"


def _split_list(value: object) -> object:
    """The items of a list that is written as `A, B, C` or as JSON."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            return tuple(json.loads(value))
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


def _split_pairs(value: object, form: str) -> list[tuple[str, Any]]:
    """The pairs of a table: a mapping, or one that is written as `A=1, B=2` or as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = json.loads(value)
    if isinstance(value, Mapping):
        return list(value.items())
    if not isinstance(value, str):
        raise ValueError(f"it is not {form}")
    pairs = []
    for text in value.split(","):
        if text.strip():
            name, equals, content = text.partition("=")
            if not equals:
                raise ValueError(f"{text.strip()!r} is not {form}")
            pairs.append((name.strip(), content.strip()))
    return pairs


_PART = re.compile(r"(listener|hl7|sweep|prepare|draft|query|retrieve|api)(@[^\s@,]+)?")

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_MAIL_ADDRESS = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+")

StringList = Annotated[tuple[str, ...], NoDecode]


def _check_networks(names: Iterable[str]) -> None:
    """Check addresses and networks; a bit that belongs to a machine is a slip of the pen.

    Raises:
        ValueError: one is neither.
    """
    for name in names:
        try:
            ipaddress.ip_network(name)
        except ValueError:
            raise ValueError(
                f"{name!r} is no address and no network: say it as 10.1.2.3 or 10.1.2.0/24"
            ) from None


class Settings(BaseSettings):
    """All settings. A wrong value stops the program with one line that names it."""

    model_config = SettingsConfigDict(
        env_prefix="NIGHTDRAFT_", frozen=True, validate_default=True, extra="ignore"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options of a command win over variables, and variables over the file."""
        secret_files = SecretFileSource(settings_cls)
        return init_settings, env_settings, secret_files, ConfigFileSource(settings_cls)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Nothing of the values: a traceback may show this object, and some hold a password."""
        yield "set", sorted(self.model_fields_set)

    # ---- Where things are ----
    data_dir: Path = Field(
        json_schema_extra=EVERYDAY,
        default_factory=default_data_dir,
        description="Folder for image bytes, prepared inputs and the embedded servers.",
    )
    user: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="The user that station and parts become where root starts them. Empty: the "
        "one to whom the data folder belongs, or its embedded PostgreSQL, else `nightdraft`, which "
        "is made where it is missing. `root` stays root, which then reads what strangers send.",
    )
    database_url: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="PostgreSQL, as `postgresql://user:password@host/name`. "
        "Empty: the embedded server of the station on this data folder.",
    )
    migration_database_url: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="PostgreSQL as the role that owns the tables, for `nightdraft migrate` alone; "
        "the role of `NIGHTDRAFT_DATABASE_URL` then only uses rows ([secrets](secrets.md)). Empty: "
        "`NIGHTDRAFT_DATABASE_URL` itself, and the parts own the tables.",
    )
    redis_url: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Redis, as `redis://host:6379/0`; with Sentinels as "
        "`sentinel://:password@host1:26379,host2:26379/0`. "
        "Empty: the embedded server of the station on this data folder.",
    )
    redis_master: str = Field(
        json_schema_extra=EVERYDAY,
        default="mymaster",
        description="Name of the Redis that Sentinels watch; it counts where "
        "`NIGHTDRAFT_REDIS_URL` begins with `sentinel://`.",
    )
    redis_sentinel_password: SecretStr = Field(
        json_schema_extra=ADVANCED,
        default=SecretStr(""),
        description="Password of the Sentinels themselves; empty where they have none.",
    )
    database_statement_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=20.0,
        gt=0,
        description="PostgreSQL ends a statement after so long. A server that is silent for five "
        "seconds longer counts as down: a sender is then answered 0xA700.",
    )
    database_lock_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=10.0,
        gt=0,
        description="PostgreSQL ends a statement that waits so long for a row that another "
        "transaction holds.",
    )
    database_idle_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=60.0,
        gt=0,
        description="PostgreSQL ends a transaction whose client does nothing for so long, so that "
        "a process that is frozen holds no study.",
    )
    database_network_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=10.0,
        ge=1,
        description="A TCP connection to PostgreSQL or Redis whose other end is gone is noticed "
        "after about so long (TCP_USER_TIMEOUT, keepalives).",
    )
    log_format: Literal["text", "json"] = Field(
        json_schema_extra=ADVANCED,
        default="text",
        description="Form of log lines: `text` for people, `json` for collectors.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        json_schema_extra=EVERYDAY,
        default="info",
        description="Lowest level that is logged. No level logs patients.",
    )

    otlp_endpoint: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        pattern=r"^(https?://[^\s/]+[^\s]*)?$",
        description="Collector of OpenTelemetry to which each part sends spans by OTLP over HTTP, "
        "as `http://collector:4318` ([tracing](logs.md#opentelemetry)). Empty: none are sent. It "
        "needs the extra `otel`.",
    )

    # ---- Listener ----
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

    # ---- How long things are kept ----
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

    # ---- Studies and priorities ----
    quiet_seconds: float = Field(
        json_schema_extra=EVERYDAY,
        default=60.0,
        ge=0,
        description="A study is complete when nothing came for so many seconds.",
    )
    priority: Priority = Field(
        json_schema_extra=EVERYDAY,
        default=Priority.ROUTINE,
        description="Priority of a study where neither the header nor the calling AE gives one: "
        "STAT, URGENT, ROUTINE or BACKLOG.",
    )
    caller_priorities: Annotated[dict[str, Priority], NoDecode] = Field(
        json_schema_extra=EVERYDAY,
        default_factory=dict,
        description="Priority by calling AE title, as `ED_CR=STAT, ICU=URGENT`. Anybody can make a "
        "title up: the two settings below say who may use it.",
    )
    caller_addresses: Annotated[dict[str, str], NoDecode] = Field(
        json_schema_extra=EVERYDAY,
        default_factory=dict,
        description="Addresses or networks from which a calling AE title is believed, as "
        "`ED_CR=10.1.2.3, ICU=10.1.4.0/24 10.1.5.7`.",
    )
    caller_certificates: Annotated[dict[str, str], NoDecode] = Field(
        json_schema_extra=EVERYDAY,
        default_factory=dict,
        description="Certificates by which a calling AE title is believed, over TLS: names in "
        "them, or their SHA-256, as `ED_CR=ed-cr.hospital.example, ICU=sha256:9f86...`.",
    )
    unproven_callers: Literal["local", "doubt", "believe"] = Field(
        json_schema_extra=EVERYDAY,
        default="local",
        description="From where a calling AE title that neither of the two settings above names "
        "has its priority and that of its films' headers, if that is more urgent than "
        "`NIGHTDRAFT_PRIORITY`: `local` from this machine (loopback), `doubt` from nowhere, "
        "`believe` from everywhere. Else `NIGHTDRAFT_PRIORITY` counts, and the study's timeline "
        "says so.",
    )

    name_spelling: NameSpelling = Field(
        json_schema_extra=EVERYDAY,
        default=NameSpelling.SIMILAR,
        description="Films of one study whose patient id, issuer, birth date and sex are equal, "
        "and whose names are not: `similar` takes them for one person where a name only lacks or "
        "shortens parts of the other (middle name, title, initial, umlaut), `any` always, `exact` "
        "never: a person is asked.",
    )

    # ---- FHIR ----
    fhir_issuers: Annotated[dict[str, str], NoDecode] = Field(
        json_schema_extra=EVERYDAY,
        default_factory=dict,
        description="What DICOM calls the systems of FHIR identifiers, as (0010,0021) and "
        "(0008,0051) have it: `http://hospital.example/mrn=HOSPITAL`. The system of a patient's "
        "number that is not named stands for itself, and contradicts an issuer in DICOM.",
    )
    fhir_accession_systems: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=(),
        description="Systems of FHIR identifiers that are accession numbers, where senders do not "
        "type them as ACSN.",
    )
    fhir_max_mb: float = Field(
        json_schema_extra=ADVANCED,
        default=10.0,
        gt=0,
        description="Largest FHIR resource or transaction, in MB.",
    )

    # ---- Sweep and leases ----
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

    # ---- Preparing ----
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

    # ---- Orders ----
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

    # ---- Reports from elsewhere ----
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

    # ---- Questions to other systems ----
    worklist_host: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="DICOM modality worklist that is asked for the order of a study that comes "
        "without one ([worklist](integration/worklist.md)). Empty: none is asked.",
    )
    worklist_port: int = Field(
        json_schema_extra=EVERYDAY,
        default=104,
        ge=1,
        le=65535,
        description="TCP port of the worklist.",
    )
    worklist_ae_title: str = Field(
        json_schema_extra=EVERYDAY,
        default="WORKLIST",
        min_length=1,
        max_length=16,
        description="AE title of the worklist.",
    )
    worklist_calling_ae: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        max_length=16,
        description="AE title by which we call the worklist. Empty: `NIGHTDRAFT_AE_TITLE`.",
    )
    worklist_tls: bool = Field(
        json_schema_extra=EVERYDAY,
        default=False,
        description="Whether the worklist is asked over TLS.",
    )
    worklist_ca_file: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Certificates (PEM) of the authorities that the worklist's certificate is "
        "checked with. Empty: those that this machine trusts.",
    )
    worklist_certificate_file: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Our own certificate (PEM), where the worklist asks for one.",
    )
    worklist_key_file: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Private key (PEM) of our own certificate. Empty: it is in the same file.",
    )
    worklist_server_name: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Name that the worklist's certificate must have. Empty: "
        "`NIGHTDRAFT_WORKLIST_HOST`.",
    )
    worklist_pin: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="SHA-256 of the worklist's certificate, as `openssl x509 -noout -fingerprint "
        "-sha256` prints it. Where it is set it alone counts: no name, authority or date.",
    )
    worklist_per_minute: float = Field(
        json_schema_extra=ADVANCED,
        default=120.0,
        gt=0,
        description="Studies a minute that the worklist is asked about, at most.",
    )
    worklist_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=30.0,
        gt=0,
        le=120,
        description="Time in which the worklist must answer.",
    )
    worklist_answers: int = Field(
        json_schema_extra=ADVANCED,
        default=200,
        ge=1,
        le=5000,
        description="Answers to one question, at most. With more the question has failed: a "
        "worklist that does not match by the key that it is asked with gives all that it has.",
    )
    worklist_attempts: int = Field(
        json_schema_extra=ADVANCED,
        default=3,
        ge=1,
        description="How often the worklist is asked about one study, where it knows no order or "
        "its answer cannot be used.",
    )
    worklist_retry_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=60.0,
        ge=0,
        description="Wait before the worklist is asked about a study again; it doubles each time.",
    )
    reports_url: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        pattern=r"^(https?://[^\s/]+[^\s?#]*)?$",
        description="Base address of a FHIR server (R4, R4B or R5) that is asked for earlier "
        "reports of each new study's patient ([FHIR client](integration/fhir-client.md)). Empty: "
        "none is asked.",
    )
    reports_patient_system: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="System of the patient ids in FHIR for films that name no issuer (0010,0021). "
        "For those that do it is the one that `NIGHTDRAFT_FHIR_ISSUERS` gives the issuer.",
    )
    reports_search: Literal["patient", "chained"] = Field(
        json_schema_extra=ADVANCED,
        default="patient",
        description="How reports are searched for: `patient` finds the Patient by identifier "
        "first, `chained` asks for `DiagnosticReport?patient.identifier=` at once.",
    )
    reports_category: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Value of the search parameter `category`, as `RAD,LP29684-5`. Empty: reports "
        "of every category are asked for, and those on images are kept.",
    )
    reports_code: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Value of the search parameter `code`, as `36643-5,24627-2`. Empty: none is "
        "sent.",
    )
    reports_limit: int = Field(
        json_schema_extra=ADVANCED,
        default=100,
        ge=1,
        le=1000,
        description="Newest reports of a patient that are read, at most.",
    )
    reports_wait_seconds: float = Field(
        json_schema_extra=EVERYDAY,
        default=30.0,
        ge=0,
        description="A study waits at most so long for its patient's earlier reports before it is "
        "prepared. STAT studies do not wait.",
    )
    reports_login: Literal["none", "bearer", "smart"] = Field(
        json_schema_extra=EVERYDAY,
        default="none",
        description="How we prove who we are to the FHIR server: not at all, by the token in "
        "`NIGHTDRAFT_REPORTS_BEARER_TOKEN`, or by SMART Backend Services.",
    )
    reports_bearer_token: SecretStr = Field(
        json_schema_extra=EVERYDAY,
        default=SecretStr(""),
        description="Token that is sent where the login is `bearer`.",
    )
    reports_client_id: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Our client id at the authorization server, where the login is `smart`.",
    )
    reports_key_file: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Private key (PEM or JWK; RSA for RS384, P-384 for ES384) that signs our "
        "assertions, where the login is `smart`.",
    )
    reports_key_id: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="The key's `kid` in the key set that the authorization server knows. Empty: "
        "the one in the JWK, else its thumbprint (RFC 7638).",
    )
    reports_token_url: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        pattern=r"^(https?://[^\s/]+[^\s]*)?$",
        description="Where tokens are given. Empty: what the server's "
        "`.well-known/smart-configuration` says.",
    )
    reports_scope: str = Field(
        json_schema_extra=ADVANCED,
        default="system/DiagnosticReport.rs system/Patient.rs system/Observation.rs "
        "system/ServiceRequest.rs system/ImagingStudy.rs",
        description="Scopes that are asked for; `.read` in place of `.rs` for SMART 1.",
    )
    reports_ca_file: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Certificates (PEM) of the authorities that the certificates of FHIR and "
        "authorization server are checked with. Empty: those that this machine trusts.",
    )
    reports_per_minute: float = Field(
        json_schema_extra=ADVANCED,
        default=120.0,
        gt=0,
        description="Studies a minute for which the FHIR server is asked, at most.",
    )
    reports_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=20.0,
        gt=0,
        le=60,
        description="Time in which the FHIR server must answer one call.",
    )
    reports_attempts: int = Field(
        json_schema_extra=ADVANCED,
        default=3,
        ge=1,
        description="How often earlier reports are asked for where the answer cannot be used.",
    )
    reports_retry_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=60.0,
        ge=0,
        description="Wait before earlier reports are asked for again; it doubles each time.",
    )
    query_hours: float = Field(
        json_schema_extra=ADVANCED,
        default=24.0,
        gt=0,
        description="A question that could not be asked for so long, as another system was away, "
        "is given up.",
    )
    query_alarm_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=60.0,
        ge=0,
        description="An alarm opens when a system that is asked has been away for so long.",
    )

    # ---- Messages of other systems ----
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

    # ---- Drafting ----
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

    # ---- Training ----
    training_consent: bool = Field(
        json_schema_extra=EVERYDAY,
        default=False,
        description="Whether a report that a reader signs may be trained on where the reader says "
        "nothing of it; each report's own flag can be changed later. Whose consent that takes, and "
        "under which law, is for the site to decide; this decides nothing "
        "(docs/train/signed-reports.md).",
    )

    # ---- Web ----
    serve_host: str = Field(
        json_schema_extra=EVERYDAY,
        default="127.0.0.1",
        description="Address the pages and REST bind to. The server starts on an address that is "
        "not loopback only once there is an account (docs/operate/accounts.md).",
    )
    serve_port: int = Field(
        json_schema_extra=EVERYDAY,
        default=8080,
        ge=0,
        le=65535,
        description="TCP port of the pages and REST; 0 takes a free one.",
    )
    serve_names: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=(),
        description="Names by which browsers may reach the pages besides `localhost` and "
        "`NIGHTDRAFT_SERVE_HOST`, as `A, B`. Other names in a Host header are refused.",
    )

    serve_certificate: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Certificate (PEM, with its chain) of the pages and REST. Where it is set they "
        "are served by HTTPS alone ([TLS](tls.md)). It is read again when the file changes.",
    )
    serve_certificate_key: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Private key (PEM) of the certificate; empty where it is in the same file.",
    )
    serve_hsts_days: float = Field(
        json_schema_extra=ADVANCED,
        default=180.0,
        ge=0,
        description="For so long after its last visit a browser calls the pages by HTTPS only "
        "(Strict-Transport-Security), where it came by HTTPS. 0: it is not told so.",
    )
    trusted_proxies: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=(),
        description="Addresses and networks of proxies that stand before the pages, as "
        "`127.0.0.1, 10.1.0.0/24`. Only theirs are `X-Forwarded-For` and `X-Forwarded-Proto` "
        "believed.",
    )
    session_idle_minutes: float = Field(
        json_schema_extra=EVERYDAY,
        default=30.0,
        gt=0,
        le=1440,
        description="A login ends when the person has used no page for so long.",
    )
    session_hours: float = Field(
        json_schema_extra=EVERYDAY,
        default=12.0,
        gt=0,
        le=168,
        description="A login ends so long after it began, however much it is used.",
    )
    screen_lock_minutes: float = Field(
        json_schema_extra=EVERYDAY,
        default=10.0,
        gt=0,
        le=1440,
        description="A page is cleared, and its login ends, when neither mouse nor keyboard was "
        "used in it for so long.",
    )
    fresh_minutes: float = Field(
        json_schema_extra=ADVANCED,
        default=10.0,
        gt=0,
        le=1440,
        description="What needs the password again, such as the changes of an account, may be "
        "done for so long after it was given.",
    )
    emergency_minutes: float = Field(
        json_schema_extra=EVERYDAY,
        default=60.0,
        gt=0,
        le=1440,
        description="A patient of another site who was opened in an emergency is shown for so "
        "long. It ends before, where the person ends it or logs out.",
    )
    program_keys_ca_file: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Certificates (PEM) of the authorities that the addresses of programs' public "
        "keys are checked with (`nightdraft token create --jwks-url`). Empty: those that this "
        "machine trusts.",
    )
    oidc_issuer: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Issuer of the identity provider by which people log in (OpenID Connect), as "
        "`https://login.hospital.example/realms/hospital` ([OIDC](oidc.md)). Empty: there is none.",
    )
    oidc_name: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        max_length=80,
        description="Name of the identity provider on the login page. Empty: its host.",
    )
    oidc_client_id: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Our client id at the identity provider.",
    )
    oidc_client_secret: SecretStr = Field(
        json_schema_extra=EVERYDAY,
        default=SecretStr(""),
        description="Our secret at the identity provider. Empty: the key in the next setting.",
    )
    oidc_client_key_file: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Private key (PEM or JWK; RSA for RS256, P-256 for ES256) by which we log in "
        "to the identity provider instead of a secret (private_key_jwt).",
    )
    oidc_ca_file: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Certificates (PEM) of the authorities that the identity provider's "
        "certificate is checked with. Empty: those that this machine trusts.",
    )
    oidc_scopes: str = Field(
        json_schema_extra=ADVANCED,
        default="openid profile",
        pattern=r"^(.* )?openid( .*)?$",
        description="Scopes that the identity provider is asked for, with spaces between them; "
        "`openid` must be among them.",
    )
    oidc_login_claim: str = Field(
        json_schema_extra=EVERYDAY,
        default="preferred_username",
        min_length=1,
        description="Claim that holds the login name of a new account.",
    )
    oidc_groups_claim: str = Field(
        json_schema_extra=EVERYDAY,
        default="groups",
        min_length=1,
        description="Claim that lists a person's groups. A dot leads into a claim, as "
        "`realm_access.roles`.",
    )
    oidc_roles: Annotated[dict[str, Role], NoDecode] = Field(
        json_schema_extra=EVERYDAY,
        default_factory=dict,
        description="Role by group, as `radiology-leads=LEAD, radiologists=READER`. The first pair "
        "whose group a person has counts; who has none of the groups may not log in. Names of "
        "groups with a comma are written as JSON.",
    )
    oidc_sites: Annotated[dict[str, str], NoDecode] = Field(
        json_schema_extra=EVERYDAY,
        default_factory=dict,
        description="Codes of sites by group, as `north-staff=north, network=north south`; a "
        "person sees those of all of his or her groups, and the group `*` is everybody. Empty: the "
        "site `default`.",
    )
    oidc_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=10.0,
        gt=0,
        le=60,
        description="How long one call of the identity provider may take.",
    )
    fallback_account: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        max_length=64,
        description="Login name of the only local account that may still log in, for the case that "
        "the identity provider does not answer; all other local accounts are switched off. Empty: "
        "local accounts log in beside those of the identity provider.",
    )
    probe_networks: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=("127.0.0.0/8", "::1/128"),
        description="Networks from which `/readyz` and `/metrics` are answered without a token, as "
        "`10.1.2.0/24, ::1/128`. Neither reveals anything about patients.",
    )

    account_requests_per_minute: int = Field(
        json_schema_extra=ADVANCED,
        default=1200,
        ge=0,
        description="Requests that one account may send in a minute; 0 is no limit.",
    )
    token_requests_per_minute: int = Field(
        json_schema_extra=ADVANCED,
        default=12_000,
        ge=0,
        description="Requests that one token of a program may send in a minute; 0 is no limit.",
    )
    stranger_requests_per_minute: int = Field(
        json_schema_extra=ADVANCED,
        default=600,
        ge=0,
        description="Requests that one network address may send in a minute without a login or a "
        "token; 0 is no limit. Files of the pages, `/healthz` and probes do not count. Behind a "
        "proxy, NIGHTDRAFT_TRUSTED_PROXIES tells the addresses apart.",
    )

    list_priority_hours: float = Field(
        json_schema_extra=ADVANCED,
        default=24.0,
        ge=0,
        description="For so long after its arrival a study stands in the worklist by its priority, "
        "STAT on top; then by its arrival alone.",
    )

    # ---- Parts ----
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

    # ---- The trail ----
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

    # ---- Nights ----
    time_zone: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="The site's time zone, as `Europe/Berlin` (a name of the IANA database): the "
        "clock by which nights begin and end, and the hours of a campaign that names no other. "
        "Empty: this machine's.",
    )
    night_hours: str = Field(
        json_schema_extra=EVERYDAY,
        default="19:00-07:00",
        pattern=r"^([01]\d|2[0-3]):(00|15|30|45)-([01]\d|2[0-3]):(00|15|30|45)$",
        description="The hours of the night, in which what waits is to be drafted, by quarters of "
        "an hour ([nights](nights.md)).",
    )
    night_late_minutes: float = Field(
        json_schema_extra=ADVANCED,
        default=10.0,
        ge=0,
        description="The alarm NIGHT_LATE opens when the measured pace has been too slow for the "
        "night for so long, and closes when it has been fast enough for so long. 0 opens none.",
    )
    morning_at: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?$",
        description="When the summary of a night is made, as `07:30`. Empty, or earlier than the "
        "end of the night: at its end.",
    )
    morning_messages: bool = Field(
        json_schema_extra=EVERYDAY,
        default=False,
        description="Whether the summary of each night is sent as messages about alarms are: to "
        "the webhook and by mail, as far as they are set up.",
    )

    # ---- Messages about alarms ----
    alarm_gather_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=30.0,
        ge=0,
        description="Alarms that open within so long are one message, and a trouble is over when "
        "all its alarms have been closed for so long.",
    )
    alarm_webhook_secret: SecretStr = Field(
        json_schema_extra=EVERYDAY,
        default=SecretStr(""),
        description="Secret with which messages to the webhook are signed (HMAC-SHA256), 16 "
        "characters at least.",
    )
    alarm_webhook_hosts: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=(),
        description="Servers to which a webhook's address may point, as `chat.hospital.example, "
        "10.1.2.3:8443`; with a port, that port alone. An address elsewhere is refused. Empty "
        "allows all.",
    )
    alarm_webhook_url: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        pattern=r"^(https?://[^\s/]+[^\s]*)?$",
        description="Address to which a message is posted as JSON when a trouble begins and when "
        "it ends ([alarms](alarms.md)). Empty: none is.",
    )
    smtp_host: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Mail server that takes messages about alarms.",
    )
    smtp_port: int = Field(
        json_schema_extra=ADVANCED,
        default=0,
        ge=0,
        le=65535,
        description="TCP port of the mail server; 0 is 587 with STARTTLS, 465 with TLS, 25 with "
        "neither.",
    )
    smtp_user: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="User name at the mail server; empty where it asks for no login.",
    )
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        json_schema_extra=EVERYDAY,
        default="starttls",
        description="How the connection to the mail server is encrypted: `starttls`, `tls` from "
        "the start, or `none`, which is refused with a login.",
    )
    smtp_password: SecretStr = Field(
        json_schema_extra=EVERYDAY,
        default=SecretStr(""),
        description="Password at the mail server.",
    )
    alarm_mail_to: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=(),
        description="Addresses that get a mail when a trouble begins and when it ends, as "
        "`a@hospital.example, b@hospital.example`. Empty: none is sent.",
    )
    alarm_mail_from: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Sender of these mails. Empty: `nightdraft@` and the name of this machine.",
    )
    alarm_ca_file: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Certificates (PEM) of the authorities that the certificates of webhook and "
        "mail server are checked with. Empty: those that this machine trusts.",
    )

    @field_validator(
        "allowed_callers",
        "known_callers",
        "indication_sources",
        "serve_names",
        "expected_parts",
        "alarm_mail_to",
        "alarm_webhook_hosts",
        "fhir_accession_systems",
        "hl7_allowed_peers",
        "campaign_folders",
        "trusted_proxies",
        "probe_networks",
        mode="before",
    )
    @classmethod
    def _read_list(cls, value: object) -> object:
        return _split_list(value)

    @field_validator("probe_networks")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ValueError(f"{network!r} is no network such as 10.1.2.0/24") from None
        return value

    @field_validator("priority", mode="before")
    @classmethod
    def _read_priority(cls, value: object) -> object:
        return _priority_named(value)

    @field_validator("caller_priorities", mode="before")
    @classmethod
    def _read_table(cls, value: object) -> object:
        pairs = _split_pairs(value, "AE=PRIORITY")
        return {ae: _priority_named(name) for ae, name in pairs}

    @field_validator("oidc_issuer", mode="after")
    @classmethod
    def _check_issuer(cls, value: str) -> str:
        url = urlsplit(value)
        if value and (
            not url.hostname
            or url.query
            or url.fragment
            or "@" in url.netloc
            or not (url.scheme == "https" or (url.scheme == "http" and url.hostname in _LOOPBACK))
        ):
            raise ValueError(
                "an issuer is an https address without a query, as the identity provider says it "
                "in its discovery document"
            )
        return value

    @field_validator("oidc_roles", mode="before")
    @classmethod
    def _read_roles(cls, value: object) -> object:
        return {group: str(role).upper() for group, role in _split_pairs(value, "GROUP=ROLE")}

    @field_validator("oidc_roles", mode="after")
    @classmethod
    def _check_roles(cls, value: dict[str, Role]) -> dict[str, Role]:
        if Role.SERVICE in value.values():
            raise ValueError("SERVICE is the role of programs, and no person has it")
        return value

    @field_validator("oidc_sites", mode="before")
    @classmethod
    def _read_sites(cls, value: object) -> object:
        return dict(_split_pairs(value, "GROUP=SITE"))

    @field_validator("oidc_sites", mode="after")
    @classmethod
    def _check_sites(cls, value: dict[str, str]) -> dict[str, str]:
        empty = [group for group, codes in value.items() if not codes.split()]
        if empty:
            raise ValueError(f"the group {empty[0]} has no site")
        return value

    @field_validator("fallback_account", mode="after")
    @classmethod
    def _fold_account(cls, value: str) -> str:
        return value.strip().casefold()

    @field_validator("caller_addresses", mode="before")
    @classmethod
    def _read_addresses(cls, value: object) -> object:
        return dict(_split_pairs(value, "AE=ADDRESS"))

    @field_validator("caller_certificates", mode="before")
    @classmethod
    def _read_certificates(cls, value: object) -> object:
        return dict(_split_pairs(value, "AE=NAME"))

    @field_validator("caller_addresses", mode="after")
    @classmethod
    def _check_addresses(cls, value: dict[str, str]) -> dict[str, str]:
        for ae, addresses in value.items():
            if not addresses.split():
                raise ValueError(f"{ae} has no address")
            _check_networks(addresses.split())
        return value

    @field_validator("trusted_proxies", mode="after")
    @classmethod
    def _check_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _check_networks(value)
        return value

    @field_validator("fhir_issuers", mode="before")
    @classmethod
    def _read_issuers(cls, value: object) -> object:
        return dict(_split_pairs(value, "SYSTEM=ISSUER"))

    @field_validator("order_wait_minutes", mode="before")
    @classmethod
    def _read_waits(cls, value: object) -> object:
        return dict(_split_pairs(value, "AE=MINUTES"))

    @field_validator("order_wait_minutes", mode="after")
    @classmethod
    def _check_waits(cls, value: dict[str, float]) -> dict[str, float]:
        wrong = [ae for ae, minutes in value.items() if not 0 <= minutes <= 7 * 24 * 60]
        if wrong:
            raise ValueError(f"{wrong[0]} must wait between 0 minutes and 7 days")
        return value

    @field_validator("reports_login", mode="after")
    @classmethod
    def _check_reports_login(cls, value: str, info: ValidationInfo) -> str:
        url = urlsplit(info.data.get("reports_url", ""))
        if value != "none" and url.scheme == "http" and url.hostname not in _LOOPBACK:
            raise ValueError(
                "a login needs NIGHTDRAFT_REPORTS_URL to be https, or its token could be read"
            )
        return value

    @field_validator("view_position_trust", mode="before")
    @classmethod
    def _read_trust(cls, value: object) -> object:
        pairs = _split_pairs(value, "DEVICE=always or DEVICE=never")
        return {device: str(trust).lower() for device, trust in pairs}

    @field_validator("alarm_webhook_url", mode="after")
    @classmethod
    def _check_webhook(cls, value: str, info: ValidationInfo) -> str:
        secret = info.data.get("alarm_webhook_secret")
        if value and secret is not None and len(secret.get_secret_value()) < 16:
            raise ValueError("it needs NIGHTDRAFT_ALARM_WEBHOOK_SECRET of 16 characters at least")
        allowed = {host.casefold() for host in info.data.get("alarm_webhook_hosts", ())}
        if value and allowed and not allowed & _host_names(value):
            raise ValueError("its server is not one of NIGHTDRAFT_ALARM_WEBHOOK_HOSTS")
        return value

    @field_validator("time_zone", mode="after")
    @classmethod
    def _check_time_zone(cls, value: str) -> str:
        try:
            if value:
                ZoneInfo(value)
        except (OSError, ValueError, ZoneInfoNotFoundError):
            raise ValueError(
                f"{value!r} is no time zone of the IANA database: say one as Europe/Berlin"
            ) from None
        return value

    @field_validator("smtp_security", mode="after")
    @classmethod
    def _check_login(cls, value: str, info: ValidationInfo) -> str:
        if value == "none" and info.data.get("smtp_user"):
            raise ValueError("a login needs starttls or tls, or its password could be read")
        return value

    @field_validator("alarm_mail_to", mode="after")
    @classmethod
    def _check_mail(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value and not info.data.get("smtp_host", "-"):
            raise ValueError("it needs NIGHTDRAFT_SMTP_HOST")
        wrong = [address for address in value if not _MAIL_ADDRESS.fullmatch(address)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no mail address")
        return value

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

    @field_validator("data_dir", mode="after")
    @classmethod
    def _make_absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    def parts_that_must_run(self) -> tuple[str, ...]:
        """The expected parts, and the HL7 listener where the settings switch it on."""
        names = {name.partition("@")[0] for name in self.expected_parts}
        return (*self.expected_parts, *(["hl7"] if self.hl7_port and "hl7" not in names else []))

    def pages_address(self) -> str:
        """The address at which people open the pages, without a slash at its end."""
        if self.pages_url:
            return self.pages_url.rstrip("/")
        try:  # a station that runs here may serve elsewhere, by its options
            running = json.loads((self.data_dir / ADDRESSES).read_text())
            host, port = str(running["serve_host"]), int(running["serve_port"])
        except (OSError, ValueError, KeyError):
            host, port = self.serve_host, self.serve_port
        if host in ("0.0.0.0", "::"):  # noqa: S104
            host = socket.gethostname()
        scheme = "https" if self.serve_certificate else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def address(self, name: Literal["database_url", "migration_database_url", "redis_url"]) -> str:
        """Where PostgreSQL or Redis is: the setting, or else the running station's own server.

        Args:
            name: the setting that gives the address. That of migrations is the address of the
                tables' owner, or `database_url` where none is set.

        Raises:
            SettingsError: neither is set, nor does a station run on this data folder.
        """
        url = str(getattr(self, name))
        if not url and name == "migration_database_url" and self.database_url:
            name, url = "database_url", self.database_url
        if not url:
            try:
                running = json.loads((self.data_dir / ADDRESSES).read_text())
                # A station of an earlier version has one role for all.
                url = running.get(name) or running[name.removeprefix("migration_")]
            except (OSError, ValueError, KeyError):
                setting = name.removeprefix("migration_").upper()
                raise SettingsError(
                    f"NIGHTDRAFT_{setting} is not set and no station runs on "
                    f"{self.data_dir}: set it, or start `nightdraft station`"
                ) from None
        if name != "redis_url":
            # SQLAlchemy 2.1 would take the bare scheme for psycopg 3; the driver here is psycopg2.
            scheme, _, rest = url.partition("://")
            if scheme not in ("postgresql", "postgres", "postgresql+psycopg2"):
                raise SettingsError(f"NIGHTDRAFT_{name.upper()} must begin with postgresql://")
            url = f"postgresql+psycopg2://{rest}"
        return url


def _host_names(url: str) -> set[str]:
    """How an allow list may name the server of an address: its host, or host and port."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").casefold()
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return set()
    return {host, f"{f'[{host}]' if ':' in host else host}:{port}"}


def place_of(url: str) -> str:
    """Where an address points, as `host:port` or a socket's path, without user and password."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "sentinel":
            return parts.netloc.rpartition("@")[2]
        port = parts.port
    except ValueError:
        return "its address"
    if parts.hostname:
        return f"{parts.hostname}:{port}" if port else parts.hostname
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        if name == "host":
            return value.replace("%2F", "/")
    # What is no URL at all may still hold a password.
    return parts.path if parts.path.startswith("/") else "its address"


def _priority_named(value: object) -> object:
    if isinstance(value, str) and not value.strip().isdigit():
        try:
            return Priority[value.strip().upper()]
        except KeyError:
            names = ", ".join(Priority.__members__)
            raise ValueError(f"{value.strip()!r} is none of {names}") from None
    return value


def set_by_variables() -> frozenset[str]:
    """The names of the settings whose variable is set, if only to nothing, or names a file."""
    named = SecretFileSource(Settings).files.keys()
    return (frozenset(EnvSettingsSource(Settings)()) | named) & Settings.model_fields.keys()


def read_settings(**options: Any) -> Settings:
    """Settings from environment and file; `options` (of a command) win where they are not None.

    Raises:
        SettingsError: one line that names every wrong variable, and every wrong key of the file.
    """
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        file = ConfigFileSource(Settings)
        from_file = file.values.keys() - set_by_variables() - options.keys()
        lines = []
        for line in error.errors():
            name = str(line["loc"][0])
            place = f"{file.path}: {name}" if name in from_file else f"NIGHTDRAFT_{name.upper()}"
            lines.append(f"{place}: {line['msg'].removeprefix('Value error, ')}")
        raise SettingsError("; ".join(lines)) from None


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The process's settings, read once."""
    return read_settings()


def keep_for_children() -> None:
    """Put what the configuration file sets into the environment, which child processes inherit.

    They then have the settings of this process, even where they may not read the file, or where it
    has changed since. Secrets from files are put there by root alone, whose children become a user
    that may not read them.
    """
    ConfigFileSource(Settings).move_to_environment(set_by_variables())
    if os.geteuid() == 0:
        for name, secret in SecretFileSource(Settings)().items():
            set_variable(name, secret)
