"""Reads values out of a message by the rules of a mapping, and remembers which rule gave which.

Values come back without HL7's escapes and nulls (`""`). They are untrusted text.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from intake.hl7.mapping import FieldMapping, Source
from intake.hl7.refusal import ErrorCode, MessageRefused
from records.hl7_messages import Segment
from records.received_text import clean_line
from records.workflow.identifiers import PatientId
from records.workflow.patients import Patient

_TIME = re.compile(
    r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.\d{1,6})?)?)?)?([+-]\d{4})?"
)
MAX_NUMBER = 200
"""Characters of a number by which something is found: an index takes no long value."""

_NULL = '""'
_PLAUSIBLE_YEARS = range(1850, 2200)


@dataclass
class FieldReader:
    """Reads the values of one order, report or patient.

    Attributes:
        mapping: The mapping of the sender.
        segments: Where it looks, in order.
        used: The name of the field that gave each value, by the name of its rule.
    """

    mapping: FieldMapping
    segments: Sequence[Segment]
    used: dict[str, str] = field(default_factory=dict)

    def first(self, rule: str) -> str:
        """The first value that is filled; "" where none is."""
        return next(iter(self.all(rule)), "")

    def all(self, rule: str) -> tuple[str, ...]:
        """All values of the first field that is filled, each once."""
        values = dict.fromkeys(value for value, _ in self._first_filled(rule))
        return tuple(values)

    def numbers(self, rule: str) -> list[PatientId]:
        """Numbers with their issuers (EI and CX): components 1 and 2 of the first field filled."""
        found = self._first_filled(rule)
        for value, issuer in found:
            self._check_length(value + issuer, self.used[rule])
        return list(dict.fromkeys(PatientId(value, issuer) for value, issuer in found))

    def number(self, rule: str) -> str:
        """A number with its namespace after a `^`."""
        numbers = self.numbers(rule)
        return f"{numbers[0].id}^{numbers[0].issuer}".rstrip("^") if numbers else ""

    def joined(self, rule: str) -> str:
        """The texts of all fields that are filled, as lines, each once.

        Of a segment the first of the rule's fields that is filled counts.
        """
        sources = self.mapping.sources[rule]
        lines: dict[str, None] = {}
        names: dict[str, None] = {}
        for source in sources:
            if source.constant:
                lines[source.constant] = names[source.name] = None
        for segment in self.segments:
            for source in sources:
                if source.segment == segment.name and (text := _text_of(segment, source)):
                    lines[text] = names[source.name] = None
                    break
        if lines:
            self.used[rule] = ", ".join(names)
        return "\n".join(lines)

    def time(self, rule: str) -> dt.datetime | None:
        """A time with its zone; None where none is given or it cannot be read."""
        for source in self.mapping.sources[rule]:
            for value, _ in self.values(source):
                if moment := self.parse_time(value):
                    self.used[rule] = source.name
                    return moment
        return None

    def parse_time(self, value: str) -> dt.datetime | None:
        """A time of type DTM, a day at least; one without a zone is of the mapping's zone."""
        match = _TIME.fullmatch(value.strip())
        if match is None or int(match[1]) not in _PLAUSIBLE_YEARS:
            return None
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
        zone: dt.tzinfo | None = self.mapping.time_zone
        try:
            if offset := match[7]:
                minutes = int(offset[1:3]) * 60 + int(offset[3:])
                zone = dt.timezone(dt.timedelta(minutes=-minutes if offset[0] == "-" else minutes))
            moment = dt.datetime(year, month, day, hour, minute, second, tzinfo=zone)
        except ValueError:
            return None
        return moment if zone else moment.astimezone()

    def sending_time(self, value: str) -> dt.datetime | None:
        """A time by which two messages are compared; None where the clock shows it twice.

        When the clocks go back, a message can be newer than one that bears a later time without
        a zone. Nobody knows which is, so neither may be passed over as the older one.
        """
        moment = self.parse_time(value)
        if moment is None or re.search(r"[+-]\d{4}$", value.strip()):
            return moment
        naive = moment.replace(tzinfo=None)
        offsets = {
            naive.replace(tzinfo=self.mapping.time_zone, fold=fold).astimezone(dt.UTC)
            for fold in (0, 1)
        }
        return moment if len(offsets) == 1 else None

    def moment_digits(self, rule: str) -> str:
        """A date or time as digits, a time with its zone as +HHMM where one is known; else "".

        A time without a zone is of the mapping's zone; where the mapping has none it stays as it
        was sent.
        """
        match = re.match(r"(\d{8,14})(?:\.\d+)?([+-]\d{4})?", self.first(rule))
        if match is None:
            return ""
        digits, offset = match.groups()
        if len(digits) < len("YYYYMMDDHHMM"):
            return digits
        if offset is None and self.mapping.time_zone and (moment := self.parse_time(digits)):
            offset = f"{moment:%z}"[:5]
        return digits + (offset or "")

    def patient(self) -> tuple[Patient, tuple[PatientId, ...]]:
        """The patient, and further ids of him: the repetitions of PID-3."""
        ids = self.patient_ids()
        segment = next((s for s in self.segments if s.name == "PID"), None)
        name = person_name(segment, self.mapping.sources["patient_name"]) if segment else ""
        if name:
            self.used["patient_name"] = self.mapping.sources["patient_name"][0].name
        day = self.first("patient_birth_date")[:8]
        sex = self.first("patient_sex").upper()[:1]
        patient = Patient(
            ids[0].id if ids else "",
            ids[0].issuer if ids else "",
            name,
            day if re.fullmatch(r"\d{8}", day) else "",
            sex if sex in ("M", "F", "O") else "",
        )
        return patient, tuple(ids[1:])

    def patient_ids(self, rule: str = "patient_id") -> list[PatientId]:
        """The patient's ids, the one first that images most likely have."""
        for source in self.mapping.sources[rule]:
            if found := self.ids_at(source):
                self.used[rule] = source.name
                return found
        return []

    def ids_at(self, source: Source) -> list[PatientId]:
        """The ids at a field of type CX, the one first that images most likely have."""
        types = self.mapping.patient_id_types
        found: list[tuple[int, PatientId]] = []
        for segment in self.segments:
            if segment.name != source.segment:
                continue
            for number in range(1, len(segment.raw(source.field).split(_repeats(segment))) + 1):
                value = _clean(segment.part(source.field, source.component or 1, number))
                if value:
                    self._check_length(value, source.name)
                    issuer = _hd(segment, segment.part(source.field, 4, number))
                    kind = segment.part(source.field, 5, number).upper()
                    rank = types.index(kind) if kind in types else len(types)
                    found.append((rank, PatientId(value, issuer)))
        found.sort(key=lambda pair: pair[0])
        return list(dict.fromkeys(given for _, given in found))

    @staticmethod
    def _check_length(number: str, field: str) -> None:
        if len(number) > MAX_NUMBER:
            raise MessageRefused(
                ErrorCode.TOO_LONG, field.split(".")[0], f"{field} is longer than {MAX_NUMBER}"
            )

    def _first_filled(self, rule: str) -> list[tuple[str, str]]:
        for source in self.mapping.sources[rule]:
            if values := list(self.values(source)):
                self.used[rule] = source.name
                return values
        return []

    def values(self, source: Source) -> Iterator[tuple[str, str]]:
        """Yield (value, component 2) of each repetition of a field that is filled."""
        if source.constant:
            yield source.constant, ""
        for segment in self.segments:
            if segment.name != source.segment:
                continue
            for number in range(1, len(segment.raw(source.field).split(_repeats(segment))) + 1):
                value = segment.part(source.field, source.component or 1, number)
                if source.subcomponent:
                    parts = value.split(segment.separators[4])
                    value = "".join(parts[source.subcomponent - 1 : source.subcomponent])
                elif source.component <= 1:
                    value = value.split(segment.separators[4])[0]
                if value := _clean(value):
                    issuer = "" if source.component else segment.part(source.field, 2, number)
                    yield value, _clean(issuer)


def person_name(segment: Segment, sources: Sequence[Source]) -> str:
    """A name of type XPN as DICOM has it (PS3.5, 6.2.1): "Doe^Jane^^Dr.^".

    HL7 has the suffix before the prefix, DICOM after it. Repetitions whose code of representation
    is ideographic or phonetic are DICOM's component groups.
    """
    groups = {"A": "", "I": "", "P": ""}
    for source in sources:
        if source.segment != segment.name:
            continue
        for number in range(1, len(segment.raw(source.field).split(_repeats(segment))) + 1):
            family, given, middle, suffix, prefix = (
                _clean(segment.part(source.field, part, number)).split(segment.separators[4])[0]
                for part in (1, 2, 3, 4, 5)
            )
            group = segment.part(source.field, 8, number).upper() or "A"
            name = "^".join((family, given, middle, prefix, suffix)).rstrip("^")
            if group in groups and not groups[group]:
                groups[group] = name
        if any(groups.values()):
            break
    return "=".join(groups.values()).rstrip("=")


def coded_text(segment: Segment, number: int) -> str:
    """The text of a coded field (CWE): of each repetition component 2, else 9, else a free text.

    Many systems send a plain text where a code belongs. A code has no blank in it.
    """
    lines = []
    for repetition in range(1, len(segment.raw(number).split(_repeats(segment))) + 1):
        code = segment.part(number, 1, repetition)
        text = segment.part(number, 2, repetition) or segment.part(number, 9, repetition)
        lines.append(_clean(text or (code if re.search(r"\s", code) else "")))
    return "\n".join(filter(None, lines))


def _text_of(segment: Segment, source: Source) -> str:
    if source.component:
        value = segment.part(source.field, source.component)
        if source.subcomponent:
            parts = value.split(segment.separators[4])
            value = "".join(parts[source.subcomponent - 1 : source.subcomponent])
        return _clean(value)
    if source.field == _REASON_FIELD and segment.name == "OBR":
        return coded_text(segment, source.field)
    if segment.separators[1] in segment.raw(source.field):
        return coded_text(segment, source.field) or _clean(segment.part(source.field, 1))
    return _clean(segment.text(source.field))


_REASON_FIELD = 31
"""OBR-31, whose code alone is a rule of its own."""


def _hd(segment: Segment, value: str) -> str:
    """The issuer of an id (HD): its namespace, else its universal id."""
    parts = [part.strip() for part in value.split(segment.separators[4])]
    return next(filter(None, (_clean(part) for part in parts)), "")


def _repeats(segment: Segment) -> str:
    return segment.separators[2]


def _clean(value: str) -> str:
    """A value without spaces around it; "" for a null, and for one of control characters alone."""
    value = value.strip()
    if value == _NULL or not (value.isprintable() or clean_line(value)):
        return ""
    return value
