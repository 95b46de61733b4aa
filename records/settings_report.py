"""Each setting with its value, less what is secret, and where the value is from."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from records.config_file import ConfigFileSource
from records.secret_files import SecretFileSource
from records.settings import Settings, set_by_variables
from records.states import Priority

MASK = "***"

_SECRET_NAME = re.compile(r"(^|_)(password|secret|token|key)s?$")


class Origin(StrEnum):
    """Where a setting's value is from; the first of these wins."""

    OPTION = "option"
    ENVIRONMENT = "environment"
    SECRET_FILE = "secret file"  # noqa: S105 (a word, no secret)
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class SettingReport:
    """A setting, its value as JSON has it, with secrets masked, and where the value is from."""

    name: str
    value: Any
    origin: Origin


def report_settings(current: Settings, options: Collection[str] = ()) -> list[SettingReport]:
    """Every setting, in the order of docs/operate/settings.md.

    Args:
        current: The settings in effect.
        options: The names of those that a command's option set.

    Raises:
        SettingsError: The configuration file cannot be read any more.
    """
    from_variables, from_file = set_by_variables(), ConfigFileSource(Settings).values
    from_secret_files = SecretFileSource(Settings).files

    def origin(name: str) -> Origin:
        if name in options:
            return Origin.OPTION
        if name in from_secret_files:
            return Origin.SECRET_FILE
        if name in from_variables:
            return Origin.ENVIRONMENT
        return Origin.FILE if name in from_file else Origin.DEFAULT

    return [
        SettingReport(name, as_plain(mask(name, getattr(current, name))), origin(name))
        for name in Settings.model_fields
    ]


def mask(name: str, value: object) -> object:
    """The value of a setting without what is secret in it.

    A setting whose name ends with password, secret, token or key is secret as a whole. Of an
    address the password is secret; of one for a browser or a webhook, whatever follows the host.
    """
    if isinstance(value, SecretStr):
        return MASK if value else ""
    if not value or not isinstance(value, str):
        return value
    field = Settings.model_fields.get(name)
    if _SECRET_NAME.search(name) or (field is not None and field.annotation is SecretStr):
        return MASK
    return _mask_address(value) if name.endswith("_url") or "://" in value else value


def holds_secrets(values: dict[str, Any]) -> bool:
    """Whether there is a secret among values by the name of their setting."""
    return any(mask(name, value) != value for name, value in values.items())


def _mask_address(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator:  # a text that is no address may hold a password anywhere
        return MASK
    # A password may hold any character, so it ends at the last @.
    user, at, place = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    shown = f"{name}{':' + MASK if colon else ''}{at}"
    if scheme in ("http", "https"):
        host, slash, path = place.partition("/")
        return f"{scheme}://{shown}{host}{slash}{MASK if path else ''}"
    address, mark, query = place.partition("?")
    pairs = (pair.partition("=") for pair in query.split("&"))
    masked = "&".join(
        f"{key}={MASK if _SECRET_NAME.search(key.lower()) or 'pass' in key.lower() else value}"
        if equals
        else key
        for key, equals, value in pairs
    )
    return f"{scheme}://{shown}{address}{mark}{masked}"


def as_plain(value: object) -> Any:
    """The value of a setting as the configuration file and JSON have it; secrets are in it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Priority):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {key: as_plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
