"""Every knob, its unit and its default. Each is an environment variable NIGHTDRAFT_<NAME>.

docs/operate/settings.md is made from this module (`python -m records.settings`), and a test holds the two
together. Knows nothing of who uses a knob.
"""

from __future__ import annotations

import json
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from records.errors import SettingsError
from records.states import Priority

ADDRESSES = "run/addresses.json"
"""Under the data folder: where a running station's embedded servers listen."""


def default_data_dir() -> Path:
    """`/var/lib/nightdraft` for root, else the user's XDG data folder."""
    if os.geteuid() == 0:
        return Path("/var/lib/nightdraft")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "nightdraft"


def _words(value: object) -> object:
    """A list written as `A, B, C`."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


Words = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """All settings. A wrong value stops the program with one line that names it."""

    model_config = SettingsConfigDict(
        env_prefix="NIGHTDRAFT_", frozen=True, validate_default=True, extra="ignore"
    )

    # ---- Where things are ----
    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Folder for image bytes, prepared inputs and the embedded servers.",
    )
    database_url: str = Field(
        default="",
        description="PostgreSQL, as `postgresql://user:password@host/name`. "
        "Empty: the embedded server of the station on this data folder.",
    )
    redis_url: str = Field(
        default="",
        description="Redis, as `redis://host:6379/0`. "
        "Empty: the embedded server of the station on this data folder.",
    )
    log_format: Literal["text", "json"] = Field(default="text", description="Form of log lines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged. No level logs patients."
    )

    # ---- Listener ----
    ae_title: str = Field(
        default="NIGHTDRAFT", min_length=1, max_length=16, description="Our own AE title."
    )
    listen_host: str = Field(
        default="127.0.0.1",
        description="Address the DICOM listener binds to. `0.0.0.0` lets other machines send.",
    )
    listen_port: int = Field(default=11112, ge=0, le=65535, description="Port; 0 takes a free one.")
    listen_processes: int = Field(
        default=1,
        ge=0,
        le=64,
        description="Listener processes that the station runs on the port; 0 is one a core. Each "
        "takes some 30 films of 15 MB a second.",
    )
    listen_shared: bool = Field(
        default=False,
        description="Share the port with other listeners of this machine that say the same.",
    )
    allowed_callers: Words = Field(
        default=(),
        description="Calling AE titles that may send, as `A, B`. Empty lets everyone.",
    )
    require_called_ae: bool = Field(
        default=False, description="Refuse associations that call another AE title than ours."
    )
    other_objects: Literal["skip", "refuse"] = Field(
        default="skip",
        description="Objects that are no projection radiographs: `skip` keeps them, visibly "
        "SKIPPED; `refuse` answers 0x0122 and keeps a line.",
    )
    max_associations: int = Field(
        default=20, ge=1, description="Associations at the same time; more are refused for a while."
    )
    max_pdu_bytes: int = Field(
        default=131072, ge=4096, le=1048576, description="Largest PDU that we offer and accept."
    )
    max_instance_mb: int = Field(default=200, ge=1, description="Largest object, in MB.")
    max_instances_per_minute: int = Field(
        default=0,
        ge=0,
        description="Objects a minute from one calling AE before it is slowed down; 0 is no limit.",
    )
    idle_seconds: float = Field(
        default=60.0, gt=0, description="An association that is silent this long is ended."
    )
    orphan_hours: float = Field(
        default=24.0, gt=0, description="Age at which files that no row knows are removed."
    )
    disk_warn_mb: int = Field(
        default=5000, ge=0, description="Free space below which doctor and health warn."
    )
    disk_stop_mb: int = Field(
        default=500,
        ge=0,
        description="Free space below which C-STORE is answered 0xA700 until there is room.",
    )

    # ---- Studies and priorities ----
    quiet_seconds: float = Field(
        default=60.0, ge=0, description="A study is complete when nothing came for so long."
    )
    priority: Priority = Field(
        default=Priority.ROUTINE,
        description="Where neither header nor calling AE says one: STAT, URGENT, ROUTINE, BACKLOG.",
    )
    caller_priorities: Annotated[dict[str, Priority], NoDecode] = Field(
        default_factory=dict,
        description="Priority by calling AE title, as `ED_CR=STAT, ICU=URGENT`.",
    )

    # ---- Sweep and leases ----
    sweep_seconds: float = Field(default=5.0, gt=0, description="Time between sweeps.")
    bells_ahead: int = Field(
        default=64, ge=1, description="Bells that wait in Redis for a stage, at most."
    )
    lease_seconds: float = Field(
        default=120.0, ge=1, description="A worker that is silent so long has lost its studies."
    )
    max_attempts: int = Field(
        default=3, ge=1, description="A study's own errors in one stage before it is FAILED."
    )
    retry_seconds: float = Field(
        default=30.0, ge=0, description="Wait before a failed study is tried again."
    )
    sick_after: int = Field(
        default=3,
        ge=2,
        description="Different studies failing in a row at which a worker stops itself.",
    )
    stuck_seconds: float = Field(
        default=600.0,
        gt=0,
        description="A worker that gets nothing done so long hangs, and ends its own process.",
    )

    # ---- Preparing ----
    prepare_processes: int = Field(
        default=0, ge=0, description="Prepare worker processes; 0 is one a core."
    )
    unknown_chest: Literal["hold", "draft", "skip"] = Field(
        default="hold", description="Study whose headers do not say whether it shows a chest."
    )
    unknown_view: Literal["draft", "hold", "skip"] = Field(
        default="draft", description="Film whose headers do not say frontal or lateral."
    )
    unknown_age: Literal["draft", "hold", "skip"] = Field(
        default="draft", description="Study whose headers do not tell the patient's age."
    )
    indication_sources: Words = Field(
        default=(),
        description="Order in which the header is searched for the indication; "
        "empty is the order of docs/use/images.md.",
    )

    # ---- Drafting ----
    bundle: str = Field(
        default="",
        description="The model: a bundle's folder, or `demo` (knows drawn phantoms only), "
        "or `null` (writes one fixed sentence, for throughput tests).",
    )
    device: str = Field(
        default="auto", description="`auto`, `cpu`, `cuda`, `cuda:1`: where the model runs."
    )
    gpus: str = Field(
        default="auto",
        description="GPUs to draft on, a process each: `auto` is every one, or numbers or UUIDs as "
        "`0, 2`; `one` is a single process that takes the first.",
    )
    draft_slots: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Studies that the model writes at the same time; 0 chooses by the memory "
        "that is free.",
    )
    draft_dtype: Literal["auto", "float16", "bfloat16", "float32"] = Field(
        default="auto",
        description="Number format of the weights: `auto` is float16 on a GPU and float32 on a "
        "CPU. A study for which half precision gives no numbers is run again in float32.",
    )
    draft_int8: bool = Field(
        default=False,
        description="Weights rounded to eight bits, on a CPU: 1.6 times as fast where it was "
        "measured; drafts may come out otherwise (docs/develop/performance.md).",
    )
    draft_compile: bool = Field(
        default=False,
        description="On a GPU, compile ViT and T5's encoder when the model is loaded, which takes "
        "a while, and keep that where it reads faster.",
    )
    draft_beams: int = Field(
        default=1, ge=1, le=5, description="Beams of the search for the text; 1 is greedy."
    )
    draft_seconds: float = Field(
        default=60.0, gt=0, description="Time a draft task works before it lets others in."
    )

    # ---- Training ----
    training_consent: bool = Field(
        default=False,
        description="Whether a report that a reader signs may be trained on where the reader says "
        "nothing of it; each report's own flag can be changed later. Whose consent that takes, and "
        "under which law, is for the site to decide; this decides nothing (docs/train/signed-reports.md).",
    )

    # ---- Web ----
    serve_host: str = Field(
        default="127.0.0.1",
        description="Address the pages and REST bind to. There is no login yet: keep it loopback.",
    )
    serve_port: int = Field(default=8080, ge=0, le=65535, description="Port; 0 takes a free one.")
    serve_names: Words = Field(
        default=(),
        description="Names by which browsers may reach the pages besides `localhost` and "
        "`NIGHTDRAFT_SERVE_HOST`, as `A, B`. Other names in a Host header are refused.",
    )

    @field_validator("allowed_callers", "indication_sources", "serve_names", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _words(value)

    @field_validator("priority", mode="before")
    @classmethod
    def _priority(cls, value: object) -> object:
        return _priority_named(value)

    @field_validator("caller_priorities", mode="before")
    @classmethod
    def _table(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        table = {}
        for pair in value.split(","):
            if pair.strip():
                ae, equals, name = pair.partition("=")
                if not equals:
                    raise ValueError(f"{pair.strip()!r} is not AE=PRIORITY")
                table[ae.strip()] = _priority_named(name)
        return table

    @field_validator("data_dir", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    def address(self, which: Literal["database_url", "redis_url"]) -> str:
        """Where PostgreSQL or Redis is: the setting, else the running station's own server.

        Raises:
            SettingsError: neither is set nor does a station run on this data folder.
        """
        given = str(getattr(self, which))
        if not given:
            try:
                given = json.loads((self.data_dir / ADDRESSES).read_text())[which]
            except (OSError, ValueError, KeyError):
                raise SettingsError(
                    f"NIGHTDRAFT_{which.upper()} is not set and no station runs on "
                    f"{self.data_dir}: set it, or start `nightdraft station`"
                ) from None
        if which == "database_url":
            # SQLAlchemy 2.1 would take the bare scheme for psycopg 3; the driver here is psycopg2.
            scheme, _, rest = given.partition("://")
            if scheme not in ("postgresql", "postgres", "postgresql+psycopg2"):
                raise SettingsError("NIGHTDRAFT_DATABASE_URL must begin with postgresql://")
            given = f"postgresql+psycopg2://{rest}"
        return given


def place_of(url: str) -> str:
    """Where an address points, as `host:port` or a socket's path, without user and password."""
    try:
        parts = urlsplit(url)
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


def read_settings(**given: Any) -> Settings:
    """Settings from the environment; `given` (a command's options) wins where it is not None.

    Raises:
        SettingsError: one line that names every wrong variable.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(
            f"NIGHTDRAFT_{str(line['loc'][0]).upper()}: {line['msg'].removeprefix('Value error, ')}"
            for line in error.errors()
        )
        raise SettingsError(wrong) from None


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The process's settings, read once."""
    return read_settings()


def document() -> str:
    """docs/operate/settings.md: one row a setting."""
    rows = [
        "# Settings",
        "",
        "Each is an environment variable; a command's option of the same name wins over it.",
        "This page is made by `python -m records.settings > docs/operate/settings.md`; a test holds it.",
        "",
        "| variable | default | what it does |",
        "|---|---|---|",
    ]
    for name, knob in Settings.model_fields.items():
        if name == "data_dir":
            default = "`/var/lib/nightdraft` for root, else `~/.local/share/nightdraft`"
        else:
            value = knob.get_default(call_default_factory=True)
            shown = value.name if isinstance(value, Priority) else value
            default = "empty" if shown in ("", (), {}) else f"`{shown}`"
        rows.append(f"| `NIGHTDRAFT_{name.upper()}` | {default} | {knob.description} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
