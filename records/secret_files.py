"""Secrets that lie in files: `NIGHTDRAFT_<NAME>_FILE` names the file that holds a secret setting.

A variable's text is inherited by every child process and may be printed by tools that list
environments. A file is read by the process that needs it, and can be handed over by Docker,
Kubernetes and systemd, which keep secrets as files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from records.errors import SettingsError

_PREFIX = "NIGHTDRAFT_"

_MAX_BYTES = 65_536
"""A longer file is no secret: somebody named the wrong one."""

_ADDRESSES = ("_url", "_endpoint", "_password")
"""Endings of settings that may hold a password without being a secret as a whole."""

_OPEN = frozenset({"pages_url", "image_display_url"})
"""Addresses that people are told."""


def secret_settings(fields: Mapping[str, FieldInfo]) -> tuple[str, ...]:
    """The names of the settings that can be given as a file, in the order of their definition.

    They are the secrets, and the addresses, which may hold a password. A setting whose name with
    `_file` is another setting is left out.

    Args:
        fields: All settings by their name.
    """
    return tuple(
        name
        for name, field in fields.items()
        if (field.annotation is SecretStr or name.endswith(_ADDRESSES))
        and name not in _OPEN
        and f"{name}_file" not in fields
    )


def variable_of_file(name: str) -> str:
    """The variable that names the file of a setting."""
    return f"{_PREFIX}{name.upper()}_FILE"


def read_secret(path: Path, place: str) -> str:
    """The secret in a file, without the end of its line.

    A file that every user of the machine can read, or that others can write, is refused: its
    content is no secret. A group may read it, for that is how a file of root's is handed to a
    service (0640 here, 0440 under Kubernetes).

    Args:
        path: The file.
        place: What named it, for the error.

    Raises:
        SettingsError: It cannot be read, is open to others, or holds no one text.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{place}: {path} cannot be read ({error.strerror})") from None
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise SettingsError(
            f"{place}: other users of this machine can read or write {path}: chmod 0600 it, or "
            "0640 with the group of the service"
        )
    try:
        secret = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SettingsError(f"{place}: {path} is not UTF-8") from None
    if len(content) > _MAX_BYTES or "\n" in secret or "\0" in secret:
        raise SettingsError(f"{place}: {path} must hold the secret alone, as one line")
    if not secret:
        raise SettingsError(f"{place}: {path} is empty")
    return secret


def named_files(fields: Mapping[str, FieldInfo]) -> dict[str, Path]:
    """The file of each setting whose variable names one.

    Args:
        fields: All settings by their name.

    Raises:
        SettingsError: A setting has both a value and a file.
    """
    files = {}
    for name in secret_settings(fields):
        variable = variable_of_file(name)
        path = os.environ.get(variable, "")
        if not path:
            continue
        if f"{_PREFIX}{name.upper()}" in os.environ:
            raise SettingsError(
                f"{variable} and {_PREFIX}{name.upper()} are both set: leave one of them out"
            )
        files[name] = Path(path).expanduser().absolute()
    return files


class SecretFileSource(PydanticBaseSettingsSource):
    """The files that variables name, as a source of settings.

    Raises:
        SettingsError: A file cannot be used, or its setting has a value, too.
    """

    def __init__(self, settings_class: type[BaseSettings]) -> None:
        super().__init__(settings_class)
        self.files = named_files(settings_class.model_fields)

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The secret of one setting; None where no file holds it."""
        path = self.files.get(field_name)
        secret = None if path is None else read_secret(path, variable_of_file(field_name))
        return secret, field_name, self.field_is_complex(field)

    def __call__(self) -> dict[str, Any]:
        """The secrets by the name of their setting."""
        return {
            name: read_secret(path, variable_of_file(name)) for name, path in self.files.items()
        }


def set_variable(name: str, value: str) -> None:
    """Give a setting its value in the environment, in place of a file that was named before."""
    os.environ.pop(variable_of_file(name), None)
    os.environ[f"{_PREFIX}{name.upper()}"] = value
