"""The page on the worklist says which attributes are asked for, and what becomes of their texts."""

import re

import pytest

from intake.queries.worklist_answers import PROCEDURE_KEYS, RETURN_KEYS, TEXT_KEYS
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/operate/integration/worklist.md").read_text()
TAG = re.compile(r"\([0-9A-F]{4},[0-9A-F]{4}\)")
TAGS = {key.keyword: TAG.findall(key.tag)[-1] for key in RETURN_KEYS}


def test_the_page_names_what_is_asked_for_and_nothing_else():
    named = set(TAG.findall(PAGE))
    assert named == set(TAGS.values()) - {TAGS["SpecificCharacterSet"]}


@pytest.mark.parametrize(
    ("keys", "becomes"),
    [
        ([keyword for keyword, _ in TEXT_KEYS], "why the examination was requested"),
        (PROCEDURE_KEYS, "the procedure, which is never an indication"),
    ],
)
def test_texts_become_what_the_page_says(keys, becomes):
    (row,) = (line for line in PAGE.splitlines() if line.endswith(f"| {becomes} |"))
    assert TAG.findall(row) == [TAGS[key.removesuffix(".CodeMeaning")] for key in keys]
