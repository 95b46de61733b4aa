"""Elements of FHIR resources (R4B, data types): texts, identifiers, names, times, attachments.

All functions take plain JSON. They take an element of the wrong shape for one that is not there,
because the models of `versions` have checked shapes before. Nothing here may be logged.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from records.errors import MessageError
from records.received_text import clean_text

Json = Mapping[str, Any]

UID_SYSTEM = "urn:dicom:uid"
"""The system of an identifier that is a DICOM UID."""

_REPRESENTATION = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
_GROUPS = {"ABC": 0, "IDE": 1, "SYL": 2}
_NAME_USES = ("official", "usual", "", "temp")
"""Uses of a name, the best first; the others (old, maiden, nickname, anonymous) are not taken."""

_BLOCKS = frozenset(
    ("br", "div", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ol", "p", "pre", "table", "tr", "ul")
)
_HIDDEN = frozenset(("head", "script", "style", "title"))
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class ResourceError(MessageError):
    """A FHIR resource cannot be used. The expression names the element; ask its sender.

    Attributes:
        code: of FHIR's value set issue-type.
        expression: where, as FHIRPath; "" where it is the whole resource.
    """

    def __init__(self, sentence: str, expression: str = "", code: str = "invalid") -> None:
        super().__init__(sentence)
        self.expression = expression
        self.code = code

    def under(self, path: str) -> ResourceError:
        """The same error of a resource that lies within a bundle."""
        within = self.expression.partition(".")[2]
        return ResourceError(str(self), f"{path}.{within}".rstrip("."), self.code)


@dataclass(frozen=True, slots=True)
class Identifier:
    """An Identifier: its value, its system, and the codes of its type."""

    value: str
    system: str
    types: frozenset[str]
    use: str


def items(value: object) -> list[Json]:
    """The objects of an element that may be a list, one object, or missing."""
    if isinstance(value, Mapping):
        return [value]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [entry for entry in value if isinstance(entry, Mapping)]
    return []


def first(value: object) -> Json:
    """The first object of an element; an empty one where there is none."""
    return next(iter(items(value)), {})


def text(value: object) -> str:
    """A string without spaces around it; "" for everything else."""
    return value.strip() if isinstance(value, str) else ""


def codes(concept: Json) -> set[str]:
    """The codes of a CodeableConcept, whatever their systems."""
    return {text(coding.get("code")) for coding in items(concept.get("coding"))} - {""}


def concept_text(concept: Json) -> str:
    """What a CodeableConcept says in words; "" where it has codes alone."""
    displays = (text(coding.get("display")) for coding in items(concept.get("coding")))
    return text(concept.get("text")) or next(filter(None, displays), "")


def read_identifiers(resource: Json, element: str = "identifier") -> list[Identifier]:
    """The identifiers of a resource or a Reference that have a value and are still in use."""
    return [
        Identifier(
            text(entry.get("value")),
            text(entry.get("system")),
            frozenset(codes(first(entry.get("type")))),
            text(entry.get("use")),
        )
        for entry in items(resource.get(element))
        if text(entry.get("value")) and text(entry.get("use")) != "old" and not _has_ended(entry)
    ]


def read_uid(identifier: Identifier) -> str:
    """The DICOM UID of an identifier; "" where it is none."""
    uid = identifier.value.removeprefix("urn:oid:")
    is_uid = identifier.system == UID_SYSTEM and re.fullmatch(r"[0-9.]{1,64}", uid)
    return uid if is_uid else ""


def person_name(names: object) -> str:
    """A HumanName as DICOM writes it (PS3.5, 6.2.1), up to three groups.

    A name that is one text alone is not taken: nothing says which of its words is the family name.
    """
    groups = ["", "", ""]
    known = [name for name in items(names) if text(name.get("use")) in _NAME_USES]
    for name in sorted(known, key=lambda name: _NAME_USES.index(text(name.get("use")))):
        group = next(
            (
                _GROUPS.get(text(extension.get("valueCode")), 0)
                for extension in items(name.get("extension"))
                if extension.get("url") == _REPRESENTATION
            ),
            0,
        )
        groups[group] = groups[group] or _name_group(name)
    return "=".join(groups).rstrip("=")


def person_text(names: object) -> str:
    """A HumanName for a person to read."""
    name = first(names)
    words = [*_strings(name.get("prefix")), *_strings(name.get("given")), text(name.get("family"))]
    return text(name.get("text")) or " ".join(filter(None, words))


def dicom_date(value: object) -> str:
    """A date as DICOM writes it; "" for one without its day."""
    date = text(value)
    return date.replace("-", "") if re.fullmatch(_DATE, date) else ""


def read_time(value: object) -> dt.datetime | None:
    """A dateTime or instant; a day alone is its midnight on this machine. None for a year alone."""
    written = text(value)
    if not _DATE.match(written):
        return None
    try:
        # Before 1970 and after 9999 some systems have no local time.
        read = dt.datetime.fromisoformat(written)
        return read if read.tzinfo else read.astimezone()
    except (ValueError, OverflowError, OSError):
        return None


def attachment_text(attachment: Json, at: str) -> str | None:
    """The text of an Attachment; None where it is of a type that holds no plain text.

    Args:
        attachment: the element.
        at: where an error says that it is.

    Raises:
        ResourceError: its data is no base64 or no text.
    """
    content_type, _, parameters = text(attachment.get("contentType")).lower().partition(";")
    is_html = content_type in ("text/html", "application/xhtml", "application/xhtml+xml")
    if not (is_html or content_type == "text/plain") or not text(attachment.get("data")):
        return None
    charset = re.search(r"charset=\"?([\w.:-]+)", parameters)
    try:
        raw = base64.b64decode("".join(text(attachment.get("data")).split()), validate=True)
        decoded = raw.decode(charset.group(1) if charset else "utf-8-sig")
    except (binascii.Error, UnicodeDecodeError, LookupError):
        raise ResourceError(
            "the data is no base64, or no text in the character set that its contentType names",
            f"{at}.data",
            "value",
        ) from None
    return plain_text(decoded) if is_html else clean(decoded)


def plain_text(markup: str) -> str:
    """The text of HTML: its blocks are lines; head, scripts and styles are left out."""
    stripper = _TextOfHtml()
    stripper.feed(markup)
    stripper.close()
    return clean("".join(stripper.parts))


def clean(written: str) -> str:
    """A text with plain line ends, without spaces at their ends and more than one empty line.

    One of control characters alone is none.
    """
    if not clean_text(written):
        return ""
    # Senders that make JSON by hand write a line end as a backslash and an n.
    written = written.replace("\\r\\n", "\n").replace("\\n", "\n")
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", written)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def check_strings(value: object, path: str) -> None:
    """Check that a resource holds no character and no number that cannot be kept.

    Raises:
        ResourceError: an element is null, a text has a control character or half a surrogate pair,
            or a number is not finite.
    """
    for where, leaf in _leaves(value, path):
        if isinstance(leaf, str) and re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]", leaf):
            raise ResourceError("a text has a character that FHIR forbids", where, "value")
        if isinstance(leaf, float) and leaf in (float("inf"), float("-inf")):
            raise ResourceError("a number is too large", where, "value")
        if leaf is None and not where.endswith("]"):  # lists of primitives may hold null
            raise ResourceError("the element is null; leave it out", where, "structure")


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for name, entry in value.items():
            yield path, name
            yield from _leaves(entry, f"{path}.{name}" if name.isidentifier() else path)
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from _leaves(entry, f"{path}[{number}]")
    else:
        yield path, value


def _has_ended(entry: Json) -> bool:
    end = read_time(first(entry.get("period")).get("end"))
    return end is not None and end < dt.datetime.now(dt.UTC)


def _name_group(name: Json) -> str:
    given = _strings(name.get("given"))
    parts = [
        text(name.get("family")),
        "".join(given[:1]),
        " ".join(given[1:]),
        " ".join(_strings(name.get("prefix"))),
        " ".join(_strings(name.get("suffix"))),
    ]
    if not (parts[0] or parts[1]):
        return ""
    return "^".join(re.sub(r"[\^=\\]", " ", part) for part in parts).rstrip("^")


def _strings(value: object) -> list[str]:
    return [text(entry) for entry in value if text(entry)] if isinstance(value, list) else []


class _TextOfHtml(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        """A block begins a line; what a page does not show is left out."""
        if tag in _HIDDEN:
            self._hidden += 1
        elif tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """A block ends its line."""
        if tag in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag in _BLOCKS and tag != "br":
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        """Text; its own line ends are lines, too, because reports are often written so."""
        if not self._hidden:
            self.parts.append(data)
