"""multipart/related as servers send it, cut into any pieces."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake.archive.multipart import (
    MAX_HEADER_BYTES,
    MAX_PREAMBLE_BYTES,
    BrokenMultipart,
    MultipartReader,
    PartBegins,
    PartEnds,
    read_boundary,
)

BOUNDARY = "b-1_x"
HEADER = b"Content-Type: application/dicom\r\nMIME-Version: 1.0\r\n\r\n"


def message(*parts, newline=b"\r\n", boundary=BOUNDARY, header=HEADER, end=b"--\r\n"):
    dashed = b"--" + boundary.encode()
    lines = header.replace(b"\r\n", newline)
    body = b"".join(dashed + newline + lines + part + newline for part in parts)
    return body + dashed + end


def read(pieces, boundary=BOUNDARY):
    """The whole parts, and the sentence of what was broken."""
    reader = MultipartReader(boundary)
    whole, content, problem = [], b"", ""
    try:
        for event in itertools.chain(
            itertools.chain.from_iterable(map(reader.feed, pieces)), reader.close()
        ):
            if isinstance(event, PartBegins):
                content = b""
            elif isinstance(event, PartEnds):
                whole.append(content)
            else:
                content += event
    except BrokenMultipart as error:
        problem = str(error)
    return whole, problem


def in_pieces(content, size):
    return [content[at : at + size] for at in range(0, len(content), size)]


SENT = {
    "two parts": (message(b"one", b"two"), [b"one", b"two"]),
    "no part": (message(), []),
    "no part and no line end": (b"--b-1_x--", []),
    "a part without content": (message(b"", b"two"), [b"", b"two"]),
    "a delimiter right behind the empty line": (
        b"--b-1_x\r\nA: b\r\n\r\n--b-1_x\r\n\r\none\r\n--b-1_x--",
        [b"", b"one"],
    ),
    "a part without a header": (message(b"one", header=b"\r\n"), [b"one"]),
    "a preamble": (b"This is multipart.\r\n\r\n" + message(b"one"), [b"one"]),
    "a line end first": (b"\r\n" + message(b"one"), [b"one"]),
    "an epilogue": (message(b"one") + b"bye\r\n--b-1_x\r\n\r\ntwo", [b"one"]),
    "no line end at the end": (message(b"one", end=b"--"), [b"one"]),
    "padding at the end": (message(b"one", end=b"-- \t"), [b"one"]),
    "padding behind delimiters": (
        b"--b-1_x \t\r\n\r\none\r\n--b-1_x  \r\n\r\ntwo\r\n--b-1_x-- \r\n",
        [b"one", b"two"],
    ),
    "LF alone": (message(b"one\r\n", b"two\r", newline=b"\n"), [b"one\r\n", b"two\r"]),
    "LF before a delimiter is content where lines end with CRLF": (
        message(b"one\n--b-1_x\r\nmore"),
        [b"one\n--b-1_x\r\nmore"],
    ),
    "a longer word than the boundary": (
        message(b"a\r\n--b-1_xy\r\nb\r\n--b-1_x-y\r\n--b-1_x--z"),
        [b"a\r\n--b-1_xy\r\nb\r\n--b-1_x-y\r\n--b-1_x--z"],
    ),
    "too much padding": (
        message(b"a\r\n--b-1_x" + b" " * 101 + b"\r\nb"),
        [b"a\r\n--b-1_x" + b" " * 101 + b"\r\nb"],
    ),
    "halves of delimiters": (
        message(b"\r\n\r\n--b\r\n--\r\n-\r"),
        [b"\r\n\r\n--b\r\n--\r\n-\r"],
    ),
}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize("case", SENT)
def test_parts_come_whole_in_any_pieces(case, size):
    sent, expected = SENT[case]
    assert read(in_pieces(sent, size)) == (expected, "")


BROKEN = {
    "nothing": (b"", []),
    "no delimiter": (b"<html>A login page</html>\r\n", []),
    "another boundary": (message(b"one", boundary="other"), []),
    "no end delimiter": (message(b"one", b"two", end=b"\r\n"), [b"one", b"two"]),
    "half a delimiter": (message(b"one", b"two")[:-7], [b"one"]),
    "a delimiter that says neither end nor part": (message(b"one", end=b""), []),
    "half a part": (message(b"one", b"two" * 50)[:-40], [b"one"]),
    "half a header": (message(b"one") [:-4] + b"\r\nContent-Ty", [b"one"]),
    "a header without end": (b"--b-1_x\r\nA: b\r\n--b-1_x--\r\n", []),
    "an endless header": (b"--b-1_x\r\n" + b"A: b\r\n" * MAX_HEADER_BYTES, []),
    "an endless header line": (b"--b-1_x\r\n" + b"A" * (MAX_HEADER_BYTES + 1), []),
    "an endless preamble": (b"a\r\n" * MAX_PREAMBLE_BYTES + message(b"one"), []),
    "an endless line": (b"a" * (MAX_PREAMBLE_BYTES + 1) + message(b"one"), []),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 5, 1_000_000])
@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_whole_is_no_part(case, size):
    sent, expected = BROKEN[case]
    whole, problem = read(in_pieces(sent, size))
    assert (whole, bool(problem)) == (expected, True)


def test_the_boundary_is_read():
    assert read_boundary('multipart/related; type="application/dicom"; boundary="a b=c"') == "a b=c"
    assert read_boundary("Multipart/Related; boundary=x1; type=application/dicom") == "x1"
    wrong_ones = (
        "application/dicom",
        "multipart/related",
        'multipart/related; boundary=""',
        "",
        f"multipart/related; boundary={'x' * 71}",
        "multipart/related; boundary=sch\xf6n",
    )
    for wrong in wrong_ones:
        with pytest.raises(BrokenMultipart):
            read_boundary(wrong)


def test_headers_are_known_by_lower_case_names():
    reader = MultipartReader(BOUNDARY)
    begins = next(reader.feed(message(b"one")))
    assert begins == PartBegins({"content-type": "application/dicom", "mime-version": "1.0"})


def test_a_long_part_is_handed_on_as_it_comes():
    reader = MultipartReader(BOUNDARY)
    begins = message(b"")[: -len(b"\r\n--b-1_x--\r\n")]
    assert len(list(reader.feed(begins))) == 1
    piece = bytes(65_536)
    handed = 0
    for number in range(1, 200):
        handed += sum(map(len, reader.feed(piece)))
        assert number * len(piece) - handed < len("\r\n--b-1_x")
    assert not reader.has_ended


# Content that looks like delimiters comes often from these pieces.
_TRICKY = st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"--b-1_x", b"--b-1_", b"x", b" ", b"\0\xff"]), max_size=12
).map(b"".join)


def _is_free_of_delimiters(content, newline):
    return newline + b"--b-1_x" not in newline + content


@given(
    parts=st.lists(_TRICKY | st.binary(max_size=300), max_size=4),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=60),
    newline=st.sampled_from([b"\r\n", b"\n"]),
    kept=st.none() | st.integers(0, 2000),
)
def test_any_message_in_any_pieces(parts, cuts, newline, kept):
    parts = [part for part in parts if _is_free_of_delimiters(part, newline)]
    end = b"--" + newline
    sent = message(*parts, newline=newline, end=end)[:kept]
    pieces, at = [], 0
    for size in itertools.cycle(cuts):
        if at >= len(sent):
            break
        pieces.append(sent[at : at + size])
        at += size
    whole, problem = read(pieces)
    if not problem:
        # The last line end need not come.
        assert len(sent) >= len(message(*parts, newline=newline, end=b"--"))
        assert whole == parts
    assert whole == parts[: len(whole)]


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_any_bytes_end(pieces):
    read(pieces)
