"""The field mapping of a site: the rules with what its file changes, for all senders or for one.

NIGHTDRAFT_HL7_MAPPING names a TOML file:

    time_zone = "Europe/Berlin"                    # of times that are sent without one
    patient_id_types = ["MR", "PI"]                # PID-3.5 of the id that is taken, best first

    [fields]
    accession_numbers = ["ZAC-2", "OBR-18"]        # the first one that is filled counts
    site = ["=North"]                              # a text that is the same for every message

    [priorities]
    "7" = "STAT"

    [actions]                                      # ORC-1
    ZN = "PLACE"

    [senders."RIS|HOSPITAL".fields]                # MSH-3 and MSH-4
    clinical_information = ["OBR-46"]

A field is SEGMENT-FIELD, SEGMENT-FIELD.COMPONENT or SEGMENT-FIELD.COMPONENT.SUBCOMPONENT.
"""

from __future__ import annotations

import re
import tomllib
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any

from intake.hl7.rules import ACTIONS, PATIENT_ID_TYPES, PRIORITIES, RULES
from records.errors import SettingsError
from records.orders.order import OrderAction
from records.states import Priority
from records.workflow.identifiers import plain_key

_SOURCE = re.compile(r"([A-Z][A-Z0-9]{2})-([1-9]\d?)(?:\.([1-9]\d?))?(?:\.([1-9]\d?))?")
_KEYS = ("fields", "priorities", "actions", "patient_id_types", "time_zone")


@dataclass(frozen=True, slots=True)
class Source:
    """One place of a rule.

    Attributes:
        name: As the mapping has it: "OBR-27.6".
        segment: "OBR"; "" where the value is fixed.
        field, component, subcomponent: Numbers from 1; 0 where none is given.
        constant: The fixed value.
    """

    name: str
    segment: str = ""
    field: int = 0
    component: int = 0
    subcomponent: int = 0
    constant: str = ""


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """The mapping for one sender.

    Attributes:
        sources: The places of each rule, by its name.
        priorities: Priority of each code, in capitals.
        actions: What each code of ORC-1 does.
        patient_id_types: PID-3.5 of the id that is taken, best first.
        time_zone: Of times that are sent without one; None for this machine's.
        changed: The names of the rules that the file changes.
    """

    sources: Mapping[str, tuple[Source, ...]]
    priorities: Mapping[str, Priority]
    actions: Mapping[str, OrderAction]
    patient_id_types: tuple[str, ...] = PATIENT_ID_TYPES
    time_zone: zoneinfo.ZoneInfo | None = None
    changed: frozenset[str] = frozenset()


class SiteMapping:
    """The mappings of all senders of a site.

    Args:
        default: The mapping of a sender that has none of its own.
        senders: Mappings by sender, as `sender_of` in `intake.hl7.header` has it.
    """

    def __init__(self, default: FieldMapping, senders: Mapping[str, FieldMapping]) -> None:
        self.default = default
        self._senders = {plain_key(sender): mapping for sender, mapping in senders.items()}

    def of_sender(self, sender: str) -> FieldMapping:
        """The mapping of a sender."""
        return self._senders.get(plain_key(sender), self.default)


def default_mapping() -> FieldMapping:
    """The mapping where no file changes it."""
    sources = {name: tuple(map(parse_source, rule.sources)) for name, rule in RULES.items()}
    return FieldMapping(sources, PRIORITIES, ACTIONS)


def read_mapping(file: str) -> SiteMapping:
    """Read the mapping file.

    Args:
        file: Its path; "" for the defaults.

    Raises:
        SettingsError: The file cannot be read or is wrong; the message names file and key.
    """
    default = default_mapping()
    if not file:
        return SiteMapping(default, {})
    try:
        content = tomllib.loads(Path(file).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"NIGHTDRAFT_HL7_MAPPING: {file} cannot be read ({error.strerror})"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: is not TOML: {error}") from None
    try:
        senders = content.pop("senders", {})
        default = _change(default, content, "")
        if not isinstance(senders, dict):
            raise ValueError("senders must be a table")
        return SiteMapping(
            default,
            {
                sender: _change(default, changes, f"senders.{sender}: ")
                for sender, changes in senders.items()
            },
        )
    except ValueError as error:
        raise SettingsError(f"{file}: {error}") from None


def parse_source(name: str) -> Source:
    """Parse one place: "OBR-31", "TQ1-9.1", or "=North" for a fixed text.

    Raises:
        ValueError: It has none of these forms.
    """
    if name.startswith("="):
        return Source(name, constant=name[1:].strip())
    match = _SOURCE.fullmatch(name.strip())
    if match is None:
        raise ValueError(f"{name!r} is no field; write it as OBR-31, OBR-27.6 or =TEXT")
    field, component, subcomponent = (int(number or 0) for number in match.groups()[1:])
    return Source(name.strip(), match[1], field, component, subcomponent)


def _change(mapping: FieldMapping, changes: Any, where: str) -> FieldMapping:
    if not isinstance(changes, dict):
        raise ValueError(f"{where}it must be a table")
    _check_keys(changes, _KEYS, where)
    values: dict[str, Any] = {}
    if "fields" in changes:
        fields = _table(changes["fields"], f"{where}fields")
        _check_keys(fields, RULES, f"{where}fields: ")
        changed = {name: _sources(value, f"{where}{name}") for name, value in fields.items()}
        values["sources"] = {**mapping.sources, **changed}
        values["changed"] = mapping.changed | changed.keys()
    for key, names in (("priorities", Priority), ("actions", OrderAction)):
        if key in changes:
            given = _table(changes[key], f"{where}{key}")
            values[key] = {
                **getattr(mapping, key),
                **{code.upper(): _member(names, text, where + key) for code, text in given.items()},
            }
    if "patient_id_types" in changes:
        values["patient_id_types"] = _texts(changes["patient_id_types"], f"{where}patient_id_types")
    if "time_zone" in changes:
        try:
            values["time_zone"] = zoneinfo.ZoneInfo(changes["time_zone"])
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError):
            raise ValueError(f"{where}time_zone must be a name such as Europe/Berlin") from None
    return replace(mapping, **values)


def _sources(value: Any, where: str) -> tuple[Source, ...]:
    try:
        return tuple(parse_source(name) for name in _texts(value, where))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{where} must be a list of texts")
    return tuple(value)


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a table")
    return value


def _member(names: type[Enum], text: Any, where: str) -> Any:
    try:
        return names[str(text).upper()]
    except KeyError:
        raise ValueError(f"{where}: {text!r} is none of {', '.join(names.__members__)}") from None


def _check_keys(given: Mapping[str, Any], known: Any, where: str) -> None:
    for key in given:
        if key not in known:
            close = get_close_matches(key, list(known), n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"{where}there is no {key!r}{hint}")
