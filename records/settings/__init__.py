"""Every setting, its unit and its default. Each is an environment variable NIGHTDRAFT_<NAME>.

Each module here holds the settings of one subject and what checks them; `Settings` is all of them.

A secret can be in a file that NIGHTDRAFT_<NAME>_FILE names (`records.secret_files`).

A variable wins over the configuration file (`records.config_file`), and the file over the default.
`python -m tools.settings_page` makes docs/operate/settings.md from this package, and a test
compares the two.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from records.config_file import ConfigFileSource
from records.errors import SettingsError
from records.secret_files import SecretFileSource, set_variable
from records.settings.addresses import place_of
from records.settings.alarms import AlarmSettings
from records.settings.drafting import DraftingSettings
from records.settings.fhir import FhirSettings
from records.settings.forms import ADVANCED, EVERYDAY
from records.settings.identity_provider import IdentityProviderSettings
from records.settings.leases import LeaseSettings
from records.settings.listener import ListenerSettings
from records.settings.messages import MessageSettings
from records.settings.nights import NightSettings
from records.settings.orders import OrderSettings
from records.settings.parts import PartSettings
from records.settings.places import PlaceSettings, default_data_dir
from records.settings.preparing import PreparingSettings
from records.settings.questions import QuestionSettings
from records.settings.reports import ReportSettings
from records.settings.requests import RequestSettings
from records.settings.retention import RetentionSettings
from records.settings.studies import StudySettings
from records.settings.trail import TrailSettings
from records.settings.web import WebSettings

__all__ = [
    "ADDRESSES",
    "ADVANCED",
    "EVERYDAY",
    "Settings",
    "default_data_dir",
    "keep_for_children",
    "place_of",
    "read_settings",
    "set_by_variables",
    "settings",
]

ADDRESSES = "run/addresses.json"
"""Under the data folder: where a running station's embedded servers listen."""


# pydantic takes the fields of the last base first. The page of the settings has them in this order,
# and a check or a default sees the values of the fields that come before its own.
class Settings(
    AlarmSettings,
    NightSettings,
    TrailSettings,
    PartSettings,
    RequestSettings,
    IdentityProviderSettings,
    WebSettings,
    DraftingSettings,
    MessageSettings,
    QuestionSettings,
    ReportSettings,
    OrderSettings,
    PreparingSettings,
    LeaseSettings,
    FhirSettings,
    StudySettings,
    RetentionSettings,
    ListenerSettings,
    PlaceSettings,
    BaseSettings,
):
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
