"""Parts of a multipart/related answer, in whatever pieces it comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake.archive.multipart import BrokenMultipart, MultipartReader, read_boundary


def read(boundary: bytes, *chunks: bytes) -> list[bytes]:
    parts: list[bytearray] = []
    ended: list[int] = []

    def begin():
        parts.append(bytearray())
        return parts[-1].extend

    reader = MultipartReader(boundary, begin, lambda: ended.append(1))
    for chunk in chunks:
        reader.feed(chunk)
    reader.close()
    assert len(ended) == len(parts)
    return [bytes(part) for part in parts]


def write(boundary: bytes, parts: list[bytes], headers: bytes = b"Content-Type: a/b\r\n") -> bytes:
    body = b"".join(b"--" + boundary + b"\r\n" + headers + b"\r\n" + p + b"\r\n" for p in parts)
    return body + b"--" + boundary + b"--"


# Contents that look like boundaries and line ends.
CONTENT = st.lists(
    st.sampled_from([b"\r\n", b"--", b"XY", b"\r\n--X", b"\r", b"-", b"\r\n--XYZ", b"a", b"\0"])
).map(b"".join)


@given(st.lists(CONTENT, max_size=4), st.lists(st.integers(1, 9), min_size=1, max_size=20))
def test_parts_come_out_as_they_went_in_whatever_the_pieces(parts, sizes):
    parts = [part.replace(b"\r\n--XY\r\n", b"").replace(b"\r\n--XY--", b"") for part in parts]
    # What is left of a boundary in a content, or at its end, would be one.
    parts = [part for part in parts if b"\r\n--XY" not in part.replace(b"\r\n--XYZ", b"") + b"\r\n"]
    whole = write(b"XY", parts)
    chunks = []
    position = 0
    while position < len(whole):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(whole[position : position + size])
        position += size
    assert read(b"XY", *chunks) == parts
    assert read(b"XY", whole) == parts


def test_a_preamble_an_epilogue_and_parts_without_headers_are_understood():
    body = b"to be left out\r\n" + write(b"b", [b"one", b"two"], headers=b"") + b"\r\nafter"
    assert read(b"b", body) == [b"one", b"two"]
    assert read(b"b", b"--b--") == []


@pytest.mark.parametrize(
    "body",
    [b"", b"--b\r\n", b"--b\r\n\r\none", b"no parts", write(b"other", [b"one"])],
)
def test_what_ends_too_soon_is_broken(body):
    with pytest.raises(BrokenMultipart, match="too soon"):
        read(b"b", body)


@pytest.mark.parametrize("endless", [b"--b" + b" " * 20_000, b"--b\r\n" + b"A" * 20_000])
def test_an_endless_header_is_broken(endless):
    with pytest.raises(BrokenMultipart):
        read(b"b", endless)


def test_the_boundary_is_read():
    assert (
        read_boundary('multipart/related; type="application/dicom"; boundary="a b=c"') == b"a b=c"
    )
    assert read_boundary("Multipart/Related; boundary=x1; type=application/dicom") == b"x1"
    for wrong in ("application/dicom", "multipart/related", 'multipart/related; boundary=""', ""):
        with pytest.raises(BrokenMultipart):
            read_boundary(wrong)
