"""HL7 v2 as files from the field have it: batches, frames, character sets, line ends, escapes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.errors import MessageError
from records.hl7_messages import Message, read_messages

HEADER = r"MSH|^~\&|RIS|SITE|||20260301||ORU^R01|{}|P|2.5.1||||||{}"


def message(text: bytes | str, *, number: str = "1", charset: str = "") -> bytes:
    body = text if isinstance(text, bytes) else text.encode()
    return HEADER.format(number, charset).encode() + b"\rOBX|1|TX|1^REPORT||" + body + b"||||||F\r"


def text_of(data: bytes) -> str:
    (only,) = read_messages(data)
    return only.segments[1].text(5)


def test_fields_components_and_repetitions() -> None:
    (only,) = read_messages(
        HEADER.format("77", "").encode() + b"\nPID|1||ID1^^^A~ID2^^^B||Doe^Jane~Roe^J||1950\n"
    )
    patient = only.segments[1]
    assert only.header.part(9, 2) == "R01"
    assert only.header.part(10) == "77"
    assert patient.name == "PID"
    assert [patient.part(3, 1, n) for n in (1, 2, 3)] == ["ID1", "ID2", ""]
    assert patient.part(3, 4, 2) == "B"
    assert patient.repetitions(5) == ["Doe^Jane", "Roe^J"]
    assert (patient.part(99), patient.raw(99), patient.repetitions(99)) == ("", "", [])


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b"\xef\xbb\xbf", b""),
        (b"\x0b", b"\x1c\r"),
        (b"FHS|^~\\&|A\rBHS|^~\\&|A\r", b"BTS|2\rFTS|1\r"),
        (b"\r\n\r\n", b"\n\n"),
    ],
)
def test_messages_are_found_in_batches_and_frames(end: bytes, before: bytes, after: bytes) -> None:
    both = message("One.", number="1") + message("Two.", number="2")
    data = (before + both + after).replace(b"\r\n", b"\r").replace(b"\r", end)
    messages = list(read_messages(data))
    assert [m.header.part(10) for m in messages] == ["1", "2"]
    assert [m.segments[1].text(5) for m in messages] == ["One.", "Two."]
    lines = data.split(end)
    assert all(b"MSH" in lines[m.line - 1] for m in messages)


@pytest.mark.parametrize(
    ("charset", "codec", "text"),
    [
        ("", "utf-8", "Übersicht"),
        ("", "latin-1", "Übersicht"),
        ("8859/1", "latin-1", "Übersicht"),
        ("8859/2", "iso8859-2", "płuca"),
        ("8859/5", "iso8859-5", "лёгкие"),
        ("UNICODE UTF-8", "utf-8", "lungs – clear"),
        ("~ISO IR87", "iso2022_jp", "肺野は清明"),
        ("ASCII~ISO IR87", "iso2022_jp", "肺野は清明"),
        ("GB 18030-2000", "gb18030", "双肺清晰"),
        ("KS X 1001", "euc_kr", "폐야"),
        ("NO SUCH SET", "utf-8", "Übersicht"),
    ],
)
def test_each_message_is_decoded_by_its_own_character_set(
    charset: str, codec: str, text: str
) -> None:
    other = message("Première".encode("latin-1"), charset="8859/1")
    messages = read_messages(message(text.encode(codec), charset=charset) + other)
    assert [m.segments[1].text(5) for m in messages] == [text, "Première"]


def test_utf_16_with_its_mark() -> None:
    assert text_of(message("Übersicht").decode().encode("utf-16")) == "Übersicht"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r"one\.br\two", "one\ntwo"),
        (r"one\.sp2\two\.sp+1\three", "one\n\ntwo\nthree"),
        (r"A \T\ B \S\ C \F\ D \R\ E \E\ F", "A & B ^ C | D ~ E \\ F"),
        ("A & B ^ C", "A & B ^ C"),  # not escaped, in text
        ("one~two", "one\ntwo"),
        (r"\H\big\N\ \Z99\x\X41\ \.in+4\y", "big xA  y"),
        ("one\ntwo\n\nIMPRESSION: three", "one\ntwo\n\nIMPRESSION: three"),
        ("one\rtwo", "one\ntwo"),
        (r"10\10 and C:\ ", "10\\10 and C:\\"),
        (r"\.spx\ \XZZ\ ", ""),
    ],
)
def test_text_has_its_line_ends_and_characters(written: str, text: str) -> None:
    assert text_of(message(written)) == text


def test_other_separators_are_those_of_the_message() -> None:
    data = b"MSH#*!?%#RIS####20260301##ORU*R01#1#P#2.5\rOBX#1#TX#a*b##one?.br?two?T?x?S?!y"
    (only,) = read_messages(data)
    assert only.header.part(9, 2) == "R01"
    assert only.segments[1].part(3, 2) == "b"
    assert only.segments[1].text(5) == "one\ntwo%x*\ny"


def test_what_is_no_message() -> None:
    assert list(read_messages(b"")) == []
    assert list(read_messages(b"Dear colleague\r\nOBX|1")) == []
    with pytest.raises(MessageError):
        _ = next(read_messages(b"MSH\r")).segments


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    for found in read_messages(b"MSH" + data):
        assert isinstance(found, Message)
        try:
            segments = found.segments
        except MessageError:
            continue
        for segment in segments:
            segment.text(5), segment.part(3, 2), segment.repetitions(3)


def test_nothing_of_a_message_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert text_of(message(r"Quendor \C2842\ \M2842\ \XZZ\ \\ \Q\ end"))
    assert "Quendor" not in caplog.text


def test_messages_of_several_makers(samples: Path) -> None:
    kinds = {}
    for path in sorted((samples / "hl7").glob("*.hl7")):
        (only,) = read_messages(path.read_bytes())
        kinds[path.name] = only.header.part(9), len(only.segments)
        assert all(len(segment.name) == 3 for segment in only.segments)
    assert len(kinds) == 11
    assert kinds["dcm4che_ORU_R01-SR.hl7"] == ("ORU", 20)
    assert kinds["msfhir_ORM-O01-01.hl7"][0] == "ORM"
