"""Two reports are compared word by word, and no word of either is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.word_differences import compare_words


@pytest.mark.parametrize(
    ("first", "second", "parts"),
    [
        ("No pneumothorax.", "no\n pneumothorax.", [("both", "No pneumothorax.")]),
        ("", "", []),
        ("", "New.", [("second", "New.")]),
        ("Old.", "", [("first", "Old.")]),
        (
            "No left pleural effusion.",
            "Small left pleural effusion. Heart normal.",
            [
                ("first", "No"),
                ("second", "Small"),
                ("both", "left pleural effusion."),
                ("second", "Heart normal."),
            ],
        ),
    ],
)
def test_words_are_marked_by_whose_they_are(first, second, parts):
    assert compare_words(first, second) == parts


@given(st.text(alphabet="aB .\n", max_size=60), st.text(alphabet="aB .\n", max_size=60))
def test_each_text_can_be_read_from_the_parts(first, second):
    parts = compare_words(first, second)
    assert " ".join(p.words for p in parts if p.kind != "second") == " ".join(first.split())
    theirs = " ".join(p.words for p in parts if p.kind != "first")
    assert theirs.casefold() == " ".join(second.split()).casefold()
