"""The configuration file: where it is, and the settings that stand in it.

A key of the file has a setting's name, as in `listen_port = 104`; a secret's with `_file` names the
file that holds it. A list is a list of TOML, and a table such as `caller_priorities` is a table.
Texts are taken as a variable has them, too.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_origin

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, TomlConfigSettingsSource

from records.errors import SettingsError
from records.secret_files import read_secret, secret_settings

_PREFIX = "NIGHTDRAFT_"

CONFIG_VARIABLE = "NIGHTDRAFT_CONFIG"
"""Names another file. Set to nothing, it says that no file is read."""

DEFAULT_FILE = Path("/etc/nightdraft/nightdraft.toml")
"""Read where it exists and `NIGHTDRAFT_CONFIG` names no other file."""


def find_config_file() -> Path | None:
    """The file that settings are read from; None where there is none.

    Raises:
        SettingsError: The file cannot be read, or the variable names one that does not exist.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    if named == "":
        return None
    path = DEFAULT_FILE if named is None else Path(named).expanduser().absolute()
    try:
        with path.open("rb"):
            return path
    except FileNotFoundError:
        if named is None:
            return None
        raise SettingsError(
            f"{path}: this configuration file does not exist; correct {CONFIG_VARIABLE} or --config"
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{path}: this configuration file cannot be read ({error.strerror}); let this user "
            f"read it, or set {CONFIG_VARIABLE} to another file, or to nothing"
        ) from None


class ConfigFileSource(TomlConfigSettingsSource):
    """The file as a source of settings, with its keys and types checked.

    Attributes:
        path: The file; None where there is none.
        values: What the file sets, by the name of the setting.
        secret_files: The file of each setting that is a secret in a file of its own.

    Raises:
        SettingsError: One line that names the file, and every wrong key in it.
    """

    def __init__(self, settings_class: type[BaseSettings]) -> None:
        self.path = find_config_file()
        self._fields = settings_class.model_fields  # which reading the file asks for
        self.secret_files: dict[str, Path] = {}
        super().__init__(settings_class, toml_file=self.path)
        self.values: dict[str, Any] = self.toml_data
        fields = self._fields
        faults = [fault for key in self.values if (fault := _fault(key, self.values[key], fields))]
        if faults:
            raise SettingsError(f"{self.path}: {'; '.join(faults)}")

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        try:
            values = super()._read_file(file_path)
        except OSError as error:
            raise SettingsError(f"{file_path}: cannot be read ({error.strerror})") from None
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{file_path}: is not TOML: {error}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"{file_path}: is not TOML: it must be UTF-8") from None
        for name in secret_settings(self._fields):
            key = f"{name}_file"
            if (named := values.pop(key, None)) is None:
                continue
            if name in values:
                raise SettingsError(f"{file_path}: {key} and {name} are both set: leave one out")
            if not isinstance(named, str):
                raise SettingsError(f"{file_path}: {key} must be a text")
            self.secret_files[name] = Path(named).expanduser()
            values[name] = read_secret(self.secret_files[name], f"{file_path}: {key}")
        return values

    def move_to_environment(self, is_set: frozenset[str]) -> None:
        """Put the file's settings into the environment, and read no file from now on.

        A child process then has the same settings, even where it may not read the file, or where
        the file has changed since.

        Args:
            is_set: The settings whose variable is set already; they stay as they are.
        """
        for name, value in self.values.items():
            if name not in is_set:
                os.environ[f"{_PREFIX}{name.upper()}"] = (
                    value if isinstance(value, str) else json.dumps(value)
                )
        os.environ[CONFIG_VARIABLE] = ""


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that has none of the settings of this machine."""
    kept = {name: value for name, value in environment.items() if not name.startswith(_PREFIX)}
    return kept | {CONFIG_VARIABLE: ""}


def ignore_default_file() -> None:
    """Read no file in this process and its children, unless the variable names one."""
    os.environ.setdefault(CONFIG_VARIABLE, "")


def _fault(key: str, value: object, fields: dict[str, FieldInfo]) -> str | None:
    """What is wrong with a key or with the type of its value, which is not quoted."""
    if key not in fields:
        plain = key.lower().replace("-", "_").removeprefix("nightdraft_")
        close = get_close_matches(plain, fields, n=1)
        return f"there is no setting {key!r}" + (f" (did you mean {close[0]}?)" if close else "")
    form, classes = _expected(fields[key].annotation)
    if isinstance(value, classes) and (classes == (bool,) or not isinstance(value, bool)):
        return None
    return f"{key} must be {form}"


def _expected(annotation: Any) -> tuple[str, tuple[type, ...]]:
    """The form of a setting's value in words, and the classes that TOML may have it in."""
    origin = get_origin(annotation) or annotation
    if origin is bool:
        return "true or false", (bool,)
    if origin is tuple:
        return "a list of texts", (list, str)
    if origin is dict:
        return "a table, or a text such as 'A=B'", (dict, str)
    if origin is not Literal and issubclass(origin, int) and not issubclass(origin, Enum):
        return "a whole number", (int,)
    if origin is float:
        return "a number", (int, float)
    return "a text", (str,)
