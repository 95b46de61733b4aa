"""Frames are read alike however the network cuts them, and no bytes break the reader."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from intake.hl7.mllp import Frame, FrameReader, make_frame

LIMIT = 200
CONTENTS = st.lists(
    st.binary(max_size=60).map(lambda content: content.translate(None, b"\x0b\x1c"))
    | st.sampled_from([b"MSH|^~\\&|A\rPID|1\r", b"\xef\xbb\xbfMSH|x", b""]),
    max_size=5,
)


def read(pieces, limit=LIMIT):
    reader = FrameReader(limit)
    return [frame for piece in pieces for frame in reader.feed(piece)], reader


def cut(data, cuts):
    edges = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(CONTENTS, st.lists(st.integers(0, 10_000), max_size=8))
def test_any_split_of_the_bytes_gives_the_same_messages(contents, cuts):
    data = b"".join(map(make_frame, contents))
    frames, reader = read(cut(data, cuts))
    assert [frame.content for frame in frames] == contents
    assert not reader.is_within_frame
    assert not reader.skipped


@given(st.binary(max_size=400), st.lists(st.integers(0, 10_000), max_size=8))
def test_random_bytes_are_read_alike_however_they_are_cut(data, cuts):
    whole, pieces = read([data]), read(cut(data, cuts))
    assert whole[0] == pieces[0]
    assert all(len(frame.content) <= LIMIT for frame in whole[0])
    assert whole[1].skipped == pieces[1].skipped
    assert [f.content for f in read([data, make_frame(b"MSH|x")])[0]][-1] == b"MSH|x"


def test_what_stands_between_frames_is_counted_and_dropped():
    data = b"GET / HTTP/1.1\r\n" + make_frame(b"MSH|1") + b"\r\n\r\n" + make_frame(b"MSH|2")
    frames, reader = read([data])
    assert [frame.content for frame in frames] == [b"MSH|1", b"MSH|2"]
    assert reader.skipped == len(b"GET/HTTP/1.1")


def test_a_frame_without_the_last_carriage_return_ends_nevertheless():
    assert read([b"\x0bMSH|1\x1c"])[0] == [Frame(b"MSH|1")]


def test_a_frame_that_is_too_long_is_cut_and_the_next_one_is_read():
    frames, _ = read([b"\x0b" + b"x" * 150, b"y" * 51, b"\x1c\r" + make_frame(b"MSH|2")])
    assert frames == [Frame(b"x" * 150 + b"y" * 50, is_too_long=True), Frame(b"MSH|2")]
    assert read([make_frame(b"x" * LIMIT)])[0] == [Frame(b"x" * LIMIT)]


def test_a_message_that_its_sender_gave_up_is_dropped():
    frames, reader = read([b"\x0bMSH|half", b"\x0b\xef\xbb\xbfMSH|2\x1c\r"])
    assert [frame.content for frame in frames] == [b"\xef\xbb\xbfMSH|2"]
    assert reader.skipped == len(b"MSH|half")


def test_a_vertical_tab_within_a_text_belongs_to_the_message():
    frames, _ = read([b"\x0bMSH|1\rOBR|1|cough\x0bfever\r\x1c\r"])
    assert [frame.content for frame in frames] == [b"MSH|1\rOBR|1|cough\x0bfever\r"]


def test_half_a_message_is_no_frame():
    frames, reader = read([b"\x0bMSH|1\rPID|"])
    assert not frames
    assert reader.is_within_frame
