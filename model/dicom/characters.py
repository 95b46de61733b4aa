"""Decodes text with code extensions (ISO 2022), and text of another set than the header declares.

PS3.5 section 6.1.2.5 describes code extensions. pydicom keeps the escape codes of ISO 2022 IR 58,
and of every set that the header does not declare. Here each escape sequence switches the character
set, declared or not, and none is left in the text.

Senders also write UTF-8 and declare Latin-1, a wrong term or nothing, or the other way round. Where
the bytes show that, they are read as what they are. All other text is left to pydicom.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pydicom import Dataset
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

Decode = Callable[[bytes], str]

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
"""Characters that command what shows them: C0 but for tab and line feed, DEL, C1 (U+0080-U+009F are
escape sequences of one byte), separators, marks and overrides of the direction of writing (Unicode
TR 36), and halves of pairs."""

_ESCAPE = 0x1B
_ESCAPE_SEQUENCE = re.compile(rb"\x1b[\x20-\x2f]*[\x30-\x7e]?")
"""Any escape sequence of ISO 2022: intermediate bytes, then a final byte."""
_STAND_ALONE = {"utf8", "utf-8", "gb18030", "gbk"}
"""pydicom's names of the sets that have no code extensions (PS3.5 section 6.1.2.4, note)."""
_TEXT_VRS = {"LO", "LT", "PN", "SH", "ST", "UC", "UT"}
"""The value representations that (0008,0005) applies to (PS3.5 section 6.1.2.2)."""
_ONE_VALUE_VRS = {"LT", "ST", "UT"}
"""Those of them in which a backslash is an ordinary character."""
_G1_SETS = {"ISO 2022 IR 58": "gb2312", "ISO 2022 IR 149": "euc_kr"}
"""Sets of two bytes from 0x80 each."""
_OTHER_TERMS = {
    "ISO_IR 58": "gb2312",
    "ISO_IR 149": "euc_kr",
    "ISO_IR 203": "iso8859_15",
    "ISO 2022 IR 203": "iso8859_15",
}
"""Terms that pydicom does not know; those without code extensions are not in the standard."""
_LINE_ENDS = frozenset(b"\t\n\f\r")


def remove_controls(text: str) -> str:
    """The text without characters that command a terminal or a browser; tab and line feed stay.

    Applied where text comes in and where it goes out: a terminal obeys a C1 control as an escape
    sequence, and a bidirectional override lets a name read as another.
    """
    return _CONTROLS.sub("", text)


def _decoder(codec: str) -> Decode:
    return lambda run: run.decode(codec, errors="replace")


def _high_half(codec: str, prefix: bytes = b"") -> Decode:
    """Return a decoder of two-byte characters that `codec` expects with the eighth bit set."""

    def decode(run: bytes) -> str:
        pairs = [run[i : i + 2] for i in range(0, len(run), 2)]
        high = b"".join(prefix + bytes(byte | 0x80 for byte in pair) for pair in pairs)
        return high.decode(codec, errors="replace")

    return decode


_ASCII = _decoder("ascii")

LOW_SETS: dict[bytes, Decode] = {
    b"(B": _ASCII,  # ISO-IR 6
    b"(J": _ASCII,  # ISO-IR 14, the Latin half of JIS X 0201: a backslash stays a backslash
    b"$B": _high_half("euc_jp"),  # ISO-IR 87, JIS X 0208
    b"$@": _high_half("euc_jp"),  # its first edition
    b"$(D": _high_half("euc_jp", b"\x8f"),  # ISO-IR 159, JIS X 0212
}
"""What an escape sequence makes of the bytes below 0x80 (G0; PS3.3 tables C.12-3 and C.12-4)."""

HIGH_SETS: dict[bytes, Decode] = {
    b")I": _decoder("shift_jis"),  # ISO-IR 13, the Katakana half of JIS X 0201
    b"-A": _decoder("latin_1"),  # ISO-IR 100
    b"-B": _decoder("iso8859_2"),  # ISO-IR 101
    b"-C": _decoder("iso8859_3"),  # ISO-IR 109
    b"-D": _decoder("iso8859_4"),  # ISO-IR 110
    b"-F": _decoder("iso8859_7"),  # ISO-IR 126
    b"-G": _decoder("iso8859_6"),  # ISO-IR 127
    b"-H": _decoder("iso8859_8"),  # ISO-IR 138
    b"-L": _decoder("iso8859_5"),  # ISO-IR 144
    b"-M": _decoder("iso8859_9"),  # ISO-IR 148
    b"-T": _decoder("iso8859_11"),  # ISO-IR 166
    b"-b": _decoder("iso8859_15"),  # ISO-IR 203
    b"$)A": _decoder("gb2312"),  # ISO-IR 58
    b"$)C": _decoder("euc_kr"),  # ISO-IR 149
}
"""What an escape sequence makes of the bytes from 0x80 (G1)."""


def decode_texts(dataset: Dataset) -> None:
    """Decode the texts of a data set that pydicom would decode wrongly, in place, sequences too.

    Other values are left as they are: pydicom converts them.
    """
    _decode_dataset(dataset, "")


def decode_text(value: bytes, character_set: str | Sequence[str], delimiters: bytes = b"") -> str:
    r"""Return the text of a value with escape sequences; it holds none of them.

    Args:
        value: The bytes of the value.
        character_set: The Specific Character Set (0008,0005), one term or several. Its first term
            is the set that the value begins with. Unknown terms count as the default.
        delimiters: Bytes after which the first set applies again besides the ends of a line:
            `\\` in a value of several, `^` and `=` in a name (PS3.5 section 6.1.2.5.3).
    """
    terms = [character_set] if isinstance(character_set, str) else [str(t) for t in character_set]
    codec = _first_codec(terms)
    if codec.lower() in _STAND_ALONE:
        # The set has no code extensions; a value that it decodes is what it says.
        try:
            return _ESCAPE_SEQUENCE.sub(b"", value).decode(codec)
        except UnicodeError:
            codec = "latin_1"
    return _decode_runs(value, _decoder(codec), _LINE_ENDS | frozenset(delimiters))


def _decode_runs(value: bytes, first_high: Decode, resetting: frozenset[int]) -> str:
    low, high = _ASCII, first_high
    parts: list[str] = []
    position = 0
    while position < len(value):
        byte = value[position]
        if byte == _ESCAPE:
            match = _ESCAPE_SEQUENCE.match(value, position)
            assert match is not None
            code = match[0][1:]
            # An unknown sequence is dropped, and the sets stay as they are.
            low, high = LOW_SETS.get(code, low), HIGH_SETS.get(code, high)
            position = match.end()
            continue
        # In a two-byte set below 0x80, bytes that look like delimiters are halves of characters.
        if low is _ASCII and byte in resetting:
            high = first_high
            parts.append(chr(byte))
            position += 1
            continue
        end = position + 1
        while end < len(value) and _same_run(value[end], byte, low, resetting):
            end += 1
        parts.append((high if byte >= 0x80 else low)(value[position:end]))
        position = end
    return "".join(parts)


def _same_run(byte: int, first: int, low: Decode, resetting: frozenset[int]) -> bool:
    if byte == _ESCAPE or (byte >= 0x80) != (first >= 0x80):
        return False
    return low is not _ASCII or byte not in resetting


def _first_codec(terms: Sequence[str]) -> str:
    """Return the Python codec of the bytes from 0x80 before any escape sequence."""
    try:
        codec = str(convert_encodings(list(terms[:1]) or [""])[0])
        b"".decode(codec)
    except Exception:
        return "latin_1"
    # In these the first bytes from 0x80 have no meaning until an escape sequence gives them one.
    return "latin_1" if codec.startswith("iso2022") else codec


def _decode_dataset(dataset: Dataset, inherited: str | Sequence[str]) -> None:
    character_set = _declared_set(dataset, inherited)
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        if not isinstance(raw, RawDataElement):
            vr, value = raw.VR, raw.value
        else:
            # A router that did not know an element calls it UN; pydicom takes the dictionary's VR.
            vr, value = raw.VR if raw.VR not in (None, "UN") else _vr_of(tag), raw.value
        if vr == "SQ":
            _decode_items(dataset, tag, character_set)
        elif vr in _TEXT_VRS and isinstance(value, bytes):
            if _ESCAPE in value:
                dataset[tag] = _text_element(tag, vr, _decode_value(value, vr, character_set))
            elif not value.isascii() and (codec := _other_codec(value, character_set)):
                dataset[tag] = _text_element(tag, vr, value.decode(codec))


def _decode_items(dataset: Dataset, tag: BaseTag, character_set: str | Sequence[str]) -> None:
    try:
        items = dataset[tag].value or ()
    except Exception:  # a damaged sequence; whoever reads it will see that
        return
    for item in items:
        _decode_dataset(item, character_set)


def _other_codec(value: bytes, character_set: str | Sequence[str]) -> str:
    """Return the codec of bytes from 0x80 that the declared set does not explain; else ""."""
    terms = [character_set] if isinstance(character_set, str) else list(character_set)
    declared = _first_codec(terms).lower()
    if declared in ("utf8", "utf-8"):
        candidates = [] if _decodes(value, declared) else ["cp1252", "latin_1"]
    elif declared in ("latin_1", "latin-1", "iso8859", "iso8859_1", "iso8859-1"):
        # A set of G1 that needs an escape sequence, which some senders leave out.
        extensions = [_G1_SETS[term] for term in terms[1:] if term in _G1_SETS]
        begins_without = not terms or terms[0] in ("", "ISO_IR 6", "ISO 2022 IR 6")
        others = [_OTHER_TERMS[term] for term in terms[:1] if term in _OTHER_TERMS]
        candidates = [*(extensions if begins_without else ()), *others, "utf_8"]
        if any(0x80 <= byte < 0xA0 for byte in value):  # no characters in Latin-1
            candidates.append("cp1252")
    else:
        candidates = []
    return next((codec for codec in candidates if _decodes(value, codec)), "")


def _decodes(value: bytes, codec: str) -> bool:
    try:
        value.decode(codec)
    except UnicodeError:
        return False
    return True


def _decode_value(value: bytes, vr: str, character_set: str | Sequence[str]) -> str:
    delimiters = {"PN": b"\\^="}.get(vr, b"" if vr in _ONE_VALUE_VRS else b"\\")
    return decode_text(value, character_set, delimiters)


def _text_element(tag: BaseTag, vr: str, text: str) -> DataElement:
    text = text.rstrip(" \0")
    if vr in _ONE_VALUE_VRS:
        return DataElement(tag, vr, text)
    parts = text.split("\\")
    values = [PersonName(part) for part in parts] if vr == "PN" else parts
    return DataElement(tag, vr, values if len(values) > 1 else values[0])


def _declared_set(dataset: Dataset, inherited: str | Sequence[str]) -> str | Sequence[str]:
    try:
        declared = dataset.get("SpecificCharacterSet")
    except Exception:
        return inherited
    if declared is None:
        return inherited
    return declared if isinstance(declared, str) else [str(term) for term in declared]


def _vr_of(tag: BaseTag) -> str:
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return "UN"
