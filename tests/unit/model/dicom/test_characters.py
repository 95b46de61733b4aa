"""Text whose character set is switched by escape sequences, as in PS3.5 annexes H, I, J and K."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.sequence import Sequence

from intake.dicom import filing
from model.dicom.characters import (
    HIGH_SETS,
    LOW_SETS,
    decode_text,
    decode_texts,
    remove_controls,
)
from model.dicom.header import read_header
from model.dicom.indication import find_indication
from tests.support.dicom_images import chest, write_image

ESC = b"\x1b"
NAME = b"\\^="

# Names and their bytes from the annexes of PS3.5; DCMTK 3.6.7 shows those of the sets that it knows
# (58, 149, 100, 13) alike.
NAMES = [
    ("H.3.1", ["", "ISO 2022 IR 87"],
     b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
     "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("H.3.2", ["ISO 2022 IR 13", "ISO 2022 IR 87"],
     b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
     b"=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
     "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    ("I.2", ["", "ISO 2022 IR 149"],
     b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
     "Hong^Gildong=洪^吉洞=홍^길동"),
    ("K.2", ["", "ISO 2022 IR 58"],
     b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
     "Zhang^XiaoDong=张^小东="),
    # A set of one byte beside another: Latin, Cyrillic, Greek.
    ("latin and cyrillic", ["ISO 2022 IR 100", "ISO 2022 IR 144"],
     b"Buc^J\xe9r\xf4me=\x1b-L\xbb\xee\xda^\x1b-L\xbb\xee\xda", "Buc^Jérôme=Люк^Люк"),
    ("greek", ["", "ISO 2022 IR 126"], b"\x1b-F\xc4\xe9\xef\xed", "Διον"),
    ("thai", ["", "ISO 2022 IR 166"], b"\x1b-T\xb9\xd2", "นา"),
    # JIS X 0212 has the characters that JIS X 0208 lacks.
    ("supplementary kanji", ["", "ISO 2022 IR 87", "ISO 2022 IR 159"],
     b"\x1b$(D" + bytes(b & 0x7F for b in "龔".encode("euc_jp")[1:]) + b"\x1b(B^A", "龔^A"),
    # A half of a character that looks like a delimiter is none.
    ("a delimiter inside", ["", "ISO 2022 IR 87"],
     b"\x1b$B" + bytes(b & 0x7F for b in "表本".encode("euc_jp")) + b"\x1b(B", "表本"),
    # What senders get wrong: the set is not declared, is declared first, or as one that has none.
    ("not declared", [""], b"\x1b$)A\xcd\xf5", "王"),
    ("another declared", ["ISO_IR 100"], b"\x1b$)C\xc8\xab", "홍"),
    ("declared first", ["ISO 2022 IR 58"], b"\x1b$)A\xcd\xf5^\xcd\xf5", "王^王"),
    ("an unknown term", ["ISO 9999"], b"\x1b$)A\xcd\xf5", "王"),
    ("no text at all", ["GB18030"], b"\x1b$)A\xcd\xf5", "王"),
    ("stand-alone and not of the set", ["ISO_IR 192"], b"\x1b$)A\xcd\xf5", "王"),
    # What no table knows is left out.
    ("an unknown sequence", [""], b"A\x1b%/1B", "AB"),
    ("a cut sequence", [""], b"A\x1b$)", "A"),
    ("a lone escape", [""], b"A\x1b", "A"),
    ("half a character", ["", "ISO 2022 IR 58"], b"\x1b$)A\xcd\xf5\xcd", "王\ufffd"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "value", "text"), [row[1:] for row in NAMES], ids=[row[0] for row in NAMES]
)
def test_a_name(terms: list[str], value: bytes, text: str) -> None:
    assert decode_text(value, terms, NAME) == text


def test_every_set_is_left_again_at_a_delimiter() -> None:
    for code in HIGH_SETS:
        assert decode_text(ESC + code + b"\xb1\xb1^\xe9", "ISO_IR 100", NAME).endswith("^é")
    for code in LOW_SETS:
        assert decode_text(ESC + code + b"0!" + ESC + b"(B^A", "", NAME).endswith("^A")


def test_no_escape_code_is_left_in_any_text() -> None:
    dataset = Dataset()
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 58"]
    item = Dataset()
    item.ReasonForTheRequestedProcedure = "AAAAAA"
    dataset.RequestAttributesSequence = Sequence([item])
    dataset.OtherPatientNames = ["BBBBBB", "PLAIN"]
    dataset.ImageComments = "CCCCCC\\CCCCCC"
    dataset.PatientID = "P-1"
    out = BytesIO()
    dcmwrite(out, dataset, implicit_vr=True, little_endian=True)
    content = out.getvalue()
    for letter, text in ((b"A", "王"), (b"B", "小"), (b"C", "东")):
        content = content.replace(letter * 6, b"\x1b$)A" + text.encode("gb2312"))
    read = dcmread(BytesIO(content), force=True)
    decode_texts(read)
    assert read.RequestAttributesSequence[0].ReasonForTheRequestedProcedure == "王"
    assert [str(name) for name in read.OtherPatientNames] == ["小", "PLAIN"]
    assert read.ImageComments == "东\\东"  # in LT a backslash is an ordinary character
    assert read.PatientID == "P-1"


@pytest.mark.filterwarnings("ignore")  # pydicom tells of terms that it does not know
@pytest.mark.parametrize(
    ("terms", "value", "text"),
    [
        # UTF-8 under another name, and undeclared.
        ("ISO_IR192", "Müller^Jörg".encode(), "Müller^Jörg"),
        ("ISO 2022 IR 192", "Müller^Jörg".encode(), "Müller^Jörg"),
        ("ISO_IR 100", "王^小东".encode(), "王^小东"),
        ("", "Müller^Jörg".encode(), "Müller^Jörg"),
        # Latin-1 and what Windows adds to it.
        ("ISO_IR 192", "Müller^Jörg".encode("latin-1"), "Müller^Jörg"),
        ("ISO_IR 192\\ISO 2022 IR 100", "Müller".encode("latin-1"), "Müller"),
        ("ISO_IR 100", b"O\x92Neill^J\xf6rg", "O’Neill^Jörg"),
        # Code extensions without their escape sequences.
        ("\\ISO 2022 IR 149", "홍^길동".encode("euc_kr"), "홍^길동"),
        ("ISO 2022 IR 6\\ISO 2022 IR 58", "王^小东".encode("gb2312"), "王^小东"),
        ("ISO_IR 149", "홍^길동".encode("euc_kr"), "홍^길동"),
        ("ISO_IR 203", "Œuvre".encode("iso8859_15"), "Œuvre"),
        # What the declared set explains is left to it.
        ("ISO_IR 100", "Müller^Jörg".encode("latin-1"), "Müller^Jörg"),
        ("ISO_IR 100\\ISO 2022 IR 149", "Müller".encode("latin-1"), "Müller"),
        ("\\ISO 2022 IR 149", "Müller".encode("latin-1"), "Müller"),
        ("ISO_IR 144", "ТА".encode("iso8859_5"), "ТА"),
        ("ISO_IR 192", "Müller^Jörg".encode(), "Müller^Jörg"),
        ("GB18030", "王^小东".encode("gb18030"), "王^小东"),
    ],
)
def test_text_of_another_set_than_the_declared_one(terms: str, value: bytes, text: str) -> None:
    written = BytesIO()
    dcmwrite(written, Dataset(), implicit_vr=False, little_endian=True)
    for tag, vr, content in (
        (b"\x08\0\x05\0", b"CS", terms.encode()),
        (b"\x10\0\x10\0", b"PN", value),
        (b"\x10\0\xb0\x21", b"LT", value),
    ):
        content += b" " * (len(content) % 2)
        written.write(tag + vr + len(content).to_bytes(2, "little") + content)
    written.seek(0)
    read = dcmread(written, force=True)
    decode_texts(read)
    assert str(read.PatientName) == text
    assert read.AdditionalPatientHistory == text


def test_a_sequence_may_have_its_own_set() -> None:
    item = Dataset()
    item.SpecificCharacterSet = "ISO_IR 192"
    item.CodeMeaning = "Thorax Übersicht"
    dataset = Dataset()
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 149"]
    dataset.ProcedureCodeSequence = Sequence([item])
    out = BytesIO()
    dcmwrite(out, dataset, implicit_vr=False, little_endian=True)
    read = dcmread(BytesIO(out.getvalue()), force=True)
    decode_texts(read)
    assert read.ProcedureCodeSequence[0].CodeMeaning == "Thorax Übersicht"


def test_the_listener_and_the_model_read_the_same_chinese_text(tmp_path: Path) -> None:
    request = Dataset()
    request.ReasonForTheRequestedProcedure = "AAAAAAAAAAAA"
    path = write_image(
        tmp_path / "film.dcm", chest(),
        SpecificCharacterSet=["", "ISO 2022 IR 58"],
        PatientName="Wang^XiaoDong=BBBBBB^CCCCCCCC",
        RequestAttributesSequence=Sequence([request]),
    )  # fmt: skip
    content = path.read_bytes()
    for place, text in ((b"A" * 12, "咳嗽发热"), (b"B" * 6, "王"), (b"C" * 8, "小东")):
        content = content.replace(place, b"\x1b$)A" + text.encode("gb2312"))
    path.write_bytes(content)
    assert find_indication(read_header(path)).text == "咳嗽发热"
    assert str(read_header(path).PatientName) == "Wang^XiaoDong=王^小东"
    assert filing.element_text(filing.read_header(path), "PatientName") == "Wang^XiaoDong=王^小东"


def test_the_case_of_the_samples(samples: Path) -> None:
    header = read_header(samples / "cases/chinese_ir58/film.dcm")
    assert str(header.PatientName) == "Wang^XiaoDong=王^小东"
    assert find_indication(header).text == "咳嗽发热"


def test_characters_that_command_a_terminal_or_a_browser_are_removed():
    commands = "\x00\x07\x1b\x7f\x85\x9b\x9d\u200e\u200f\u202a\u202e\u2028\u2066\u2069\u061c\ud800"
    assert remove_controls(f"Wang{commands}^Xiao\tDong\n王") == "Wang^Xiao\tDong\n王"
    assert remove_controls("Müller-Lüdenscheidt 东 Ñ é") == "Müller-Lüdenscheidt 东 Ñ é"
