"""How settings are marked, and how lists and tables are written as text."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, JsonValue
from pydantic_settings import NoDecode

from records.states import Priority

EVERYDAY: dict[str, JsonValue] = {"table": "everyday"}
"""Marks a setting that a site chooses when it sets Nightdraft up."""

ADVANCED: dict[str, JsonValue] = {"table": "advanced"}
"""Marks a setting whose default suits almost every site."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Hosts to which http is as good as https."""


def split_list(value: object) -> object:
    """The items of a list that is written as `A, B, C` or as JSON."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            return tuple(json.loads(value))
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


StringList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_list)]
"""A list of texts, which the environment and options write as `A, B, C` or as JSON."""


def split_pairs(value: object, form: str) -> list[tuple[str, Any]]:
    """The pairs of a table: a mapping, or one that is written as `A=1, B=2` or as JSON.

    Args:
        value: what a source of settings gives.
        form: how a pair is written, such as `AE=PRIORITY`, for the error.

    Raises:
        ValueError: it is neither.
    """
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


def priority_named(value: object) -> object:
    """The priority of a name in any case; what is no name is left to pydantic.

    Raises:
        ValueError: no priority has the name.
    """
    if isinstance(value, str) and not value.strip().isdigit():
        try:
            return Priority[value.strip().upper()]
        except KeyError:
            names = ", ".join(Priority.__members__)
            raise ValueError(f"{value.strip()!r} is none of {names}") from None
    return value


def check_networks(names: Iterable[str]) -> None:
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
