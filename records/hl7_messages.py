"""HL7 v2 messages: from the bytes of a file to segments, fields and text (HL7 2.9, chapter 2).

The library `hl7` divides a message into fields. What files from the field need beside it is here:
messages in batches and in MLLP's frames, character sets by MSH-18, line ends within a field, and
escape sequences. Nothing here writes a log, because every field may name a patient.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import BinaryIO

import hl7

from records.errors import MessageError

CHARACTER_SETS = {
    "ASCII": "ascii",
    **{f"8859/{part}": f"iso8859-{part}" for part in (*range(1, 12), 13, 14, 15, 16)},
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "ISO IR6": "ascii",
    "ISO IR14": "iso2022_jp_ext",
    "ISO IR87": "iso2022_jp_ext",
    "ISO IR159": "iso2022_jp_ext",
    "JAS2020": "iso2022_jp_ext",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
}
"""Terms of HL7 table 0211 -> Python's codec."""

_DICOM_LATINS = {
    100: 1, 101: 2, 109: 3, 110: 4, 144: 5, 127: 6, 126: 7, 138: 8, 148: 9, 166: 11, 203: 15,
}  # fmt: skip
"""Parts of ISO 8859 by their ISO-IR number (PS3.3 table C.12-2)."""

_WINDOWS_LATIN = {
    byte: bytes([byte]).decode("cp1252")
    for byte in range(0x80, 0xA0)
    if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
"""What stands in Windows at the control characters of Latin-1: dashes, quotes, the euro. Senders
that name Latin-1 mean these, for nobody writes a control character."""


def _squeeze(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", name.upper())


_SPELLINGS = {
    **{_squeeze(name): codec for name, codec in CHARACTER_SETS.items()},
    **{
        f"{prefix}8859{part}": f"iso8859-{part}"
        for part in (*range(1, 12), 13, 14, 15, 16)
        for prefix in ("ISO", "ISOIEC")
    },
    **{f"ISOIR{number}": f"iso8859-{part}" for number, part in _DICOM_LATINS.items()},
    **{f"ISO2022IR{number}": "iso2022_jp_ext" for number in (87, 159)},
    "ISOIR192": "utf-8",
    "UTF8": "utf-8",
    "USASCII": "ascii",
    **{
        f"{prefix}{page}": f"cp{page}" for page in range(1250, 1259) for prefix in ("WINDOWS", "CP")
    },
    **dict.fromkeys(("SHIFTJIS", "SJIS", "CP932", "WINDOWS31J"), "cp932"),
    "GB18030": "gb18030",
    "GBK": "gb18030",
    "GB2312": "gb18030",
    "EUCKR": "euc_kr",
}
"""The same, and other usual names: those of DICOM, of IANA and of Windows, without their marks."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FRAME = str.maketrans({"\x0b": " ", "\x1c": None})
"""The bytes around a message of MLLP. Within a text VT is a soft line break."""
_BATCH_SEGMENTS = ("FHS", "BHS", "BTS", "FTS")
_FRAME_BYTES = b"\x0b\x1c "
_LINE_END = re.compile(rb"\r\n|\r|\n")
_CHUNK = 1 << 20
"""Bytes that are read at a time."""
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_ESCAPED_LINE_ENDS = (".br", ".sp", ".ce")


@dataclass(frozen=True)
class Segment:
    """A segment of a message.

    Attributes:
        name: Such as "OBX".
        fields: The fields as the library has them; a field's number is its index.
        separators: Of fields, components, repetitions, escapes and subcomponents, as of MSH.
    """

    name: str
    fields: hl7.Segment
    separators: str

    def raw(self, field: int) -> str:
        """Return a field as it was sent; "" where there is none."""
        return str(self.fields[field]) if field < len(self.fields) else ""

    def text(self, field: int) -> str:
        """Return a field of text. Its repetitions are lines; components are not divided."""
        lines = self.raw(field).split(self.separators[2])
        return "\n".join(_unescape(line, self.separators) for line in lines).strip()

    def part(self, field: int, component: int = 1, repetition: int = 1) -> str:
        """Return a component of a field; "" where there is none. Numbers begin at 1.

        Subcomponents stay with what divides them.
        """
        repetitions = self.raw(field).split(self.separators[2])
        components = repetitions[repetition - 1 : repetition]
        parts = components[0].split(self.separators[1]) if components else []
        return _unescape("".join(parts[component - 1 : component]), self.separators).strip()

    def repetitions(self, field: int) -> list[str]:
        """Return the repetitions of a field as they were sent."""
        return [text for text in self.raw(field).split(self.separators[2]) if text]


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        line: Where it begins in its file; 1 is the first line.
        text: The message; a line end within a field is the escape sequence `.br`.
        is_guessed: Whether its letters are guessed: they are neither ASCII nor UTF-8, and MSH-18
            names a character set that is not known.
    """

    line: int
    text: str
    is_guessed: bool = False

    @cached_property
    def segments(self) -> list[Segment]:
        """The segments in order, MSH first.

        Raises:
            MessageError: The message is damaged.
        """
        # MSH-1 separates fields. MSH-2 has four more separators, and what is missing is usual.
        given = self.text[4:].split(self.text[3:4], 1)[0][:4]
        separators = self.text[3:4] + given + "^~\\&"[len(given) :]
        try:
            message = hl7.parse(self.text)
        except Exception as error:  # the library raises what it happens to meet
            raise MessageError("the message cannot be divided into segments") from error
        return [Segment(str(segment[0][0]), segment, separators) for segment in message]

    @property
    def header(self) -> Segment:
        """MSH.

        Raises:
            MessageError: As `segments`.
        """
        return self.segments[0]


def read_messages(file: BinaryIO) -> Iterator[Message]:
    """Yield the messages of a file, of a batch or of an MLLP stream; one is in memory at a time.

    Segments may end in CR, LF or both. A line that begins no segment belongs to the field before
    it, as senders write text with line ends. Each message is decoded by its own MSH-18; without
    one it is UTF-8 or, where it is none, Latin-1 as Windows has it.

    Raises:
        OSError: The file cannot be read.
    """
    start, block = 0, list[bytes]()
    for number, line in enumerate(_lines(file), start=1):
        if line.lstrip(_FRAME_BYTES).startswith(b"MSH"):
            if block:
                yield _message(start, block)
            start, block = number, [line]
        elif block:
            block.append(line)
    if block:
        yield _message(start, block)


def codec_of(character_sets: str) -> str:
    """Return Python's codec of an MSH-18; "" where it names none that is known.

    Capitals and marks do not count, and names of DICOM, IANA and Windows are known, too. Of several
    the last counts: those of ISO 2022 have the first one in them.
    """
    names = re.split(r"[~^]", character_sets)
    known = [_SPELLINGS.get(_squeeze(name), "") for name in names]
    return next((codec for codec in reversed(known) if codec), "")


def readable_lines(content: bytes) -> list[str]:
    """The lines of a message as a person can read them, whatever is wrong with it.

    Nothing is left out but what frames a message and empty lines. It is decoded by its MSH-18, as
    `read_messages` does; what is no HL7 (a FHIR resource) is UTF-8.
    """
    lines = list(_lines(BytesIO(content)))
    header = next((line for line in lines if line.lstrip(_FRAME_BYTES).startswith(b"MSH")), b"")
    codec = codec_of(_character_sets(header)) if header else ""
    lines = [
        bare if (bare := line.lstrip(_FRAME_BYTES)).startswith(b"MSH") else line for line in lines
    ]
    decoded = (_decode(line, codec).translate(_FRAME) for line in lines)
    return [line for line in decoded if line.strip()]


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines without their ends, in UTF-8 where the file begins with a mark of UTF-16."""
    rest = file.read(_CHUNK)
    for bom, codec in _BOMS:
        if rest.startswith(bom):
            rest = rest[len(bom) :]
            if codec != "utf-8":
                rest = (rest + file.read()).decode(codec, "replace").encode()
    while rest:
        chunk = file.read(_CHUNK)
        # A CR at the end of a chunk may be half of a line end.
        cut = len(rest) - (1 if chunk and rest.endswith(b"\r") else 0)
        *lines, last = _LINE_END.split(rest[:cut])
        yield from lines
        if not chunk:
            yield last
        rest = last + rest[cut:] + chunk if chunk else b""


def _message(start: int, block: list[bytes]) -> Message:
    character_sets = _character_sets(block[0])
    codec = codec_of(character_sets)
    is_guessed = bool(_squeeze(character_sets)) and not codec and not all(map(_is_utf8, block))
    lines = [_decode(line, codec).translate(_FRAME) for line in block]
    lines[0] = lines[0].lstrip()
    separator, escape = lines[0][3:4], lines[0][6:7] or "\\"
    segments: list[str] = []
    for line in lines:
        if line[:3] in _BATCH_SEGMENTS:
            break
        if _SEGMENT.match(line) and line[3:4] == separator:
            segments.append(line)
        elif segments and len(segments) > 1:
            segments[-1] += f"{escape}.br{escape}{line}"
    # An empty line at the end belongs to no field.
    empty = f"{escape}.br{escape}"
    while segments[-1].endswith(empty):
        segments[-1] = segments[-1].removesuffix(empty)
    return Message(start, "\r".join(segments) + "\r", is_guessed)


def _character_sets(header: bytes) -> str:
    """Return MSH-18; "" where there is none."""
    bare = header.lstrip(_FRAME_BYTES)
    fields = bare.split(bare[3:4] or b"|")
    return fields[17].decode("ascii", "replace") if len(fields) > 17 else ""


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decode(line: bytes, codec: str) -> str:
    if codec in ("", "ascii", "utf-8"):
        # Senders that name UTF-8 or ASCII and send Latin-1 are usual.
        codec = "utf-8" if _is_utf8(line) else "iso8859-1"
    text = line.decode(codec, "replace")
    return text.translate(_WINDOWS_LATIN) if codec == "iso8859-1" else text


def _unescape(text: str, separators: str) -> str:
    """Replace escape sequences (chapter 2, "Use of escape sequences in text fields").

    The library's own function logs the field where it meets a sequence that it does not know.
    """
    escape = separators[3]
    if escape not in text:
        return text
    characters = dict(zip("FSRET", separators, strict=True))

    def replace(match: re.Match[str]) -> str:
        sequence = match[1]
        if sequence in characters:
            return characters[sequence]
        if sequence[:3] in _ESCAPED_LINE_ENDS:
            count = sequence[3:].lstrip("+")
            return "\n" * (min(int(count), 9) if count.isdecimal() else 1)
        if sequence[:1] == "X" and re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", sequence[1:]):
            return bytes.fromhex(sequence[1:]).decode("latin-1")
        # Highlighting, indents, other character sets and a maker's own sequences say nothing here.
        return " " if sequence.startswith(".") else ""

    mark = re.escape(escape)
    return re.sub(rf"{mark}([A-Z.][^{mark}\n]{{0,40}}){mark}", replace, text)
