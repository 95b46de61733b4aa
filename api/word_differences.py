"""How two texts differ, word by word, for a person who compares two reports."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

Kind = Literal["both", "first", "second"]
"""Which of the two texts has the words."""


class WordsOf(NamedTuple):
    """Some words in a row, and which of the two texts has them."""

    kind: Kind
    words: str


def compare_words(first: str, second: str) -> list[WordsOf]:
    """The words of two texts in one sequence: those of both, of the first, of the second.

    Capitals, spaces and line ends do not count as differences.
    """
    ours, theirs = (re.findall(r"\S+", text) for text in (first, second))
    matcher = SequenceMatcher(
        None,
        [word.casefold() for word in ours],
        [word.casefold() for word in theirs],
        # Its heuristic would take a frequent word of a long text for noise.
        autojunk=False,
    )
    parts: list[WordsOf] = []
    for operation, start, end, other_start, other_end in matcher.get_opcodes():
        if operation == "equal":
            parts.append(WordsOf("both", " ".join(ours[start:end])))
            continue
        if start < end:
            parts.append(WordsOf("first", " ".join(ours[start:end])))
        if other_start < other_end:
            parts.append(WordsOf("second", " ".join(theirs[other_start:other_end])))
    return parts
