"""How far two texts are from each other, in characters."""

from __future__ import annotations

import numpy as np

MOST_CHARACTERS = 8000
"""Characters of a section that are compared. Reports have some hundred."""


def edit_distance(first: str, second: str) -> int:
    """Levenshtein's distance: the characters to insert, delete or replace."""
    if not (first and second):
        return max(len(first), len(second))
    letters = np.array([ord(letter) for letter in second])
    places = np.arange(len(second) + 1)
    row = places.copy()  # distances of the first letters of `first` to each beginning of `second`
    for letter in first:
        replaced = row[:-1] + (letters != ord(letter))
        above = np.minimum(row[1:] + 1, replaced)
        # An insertion costs one more than the place before it.
        ends = np.concatenate(([row[0] + 1], above)) - places
        row = np.minimum.accumulate(ends) + places
    return int(row[-1])


def measure_section(first: str, second: str) -> list[int]:
    """How far two texts of a section are from each other; spaces and line ends do not count.

    Returns:
        The characters to change and those of the longer text; of each text MOST_CHARACTERS at most.
    """
    lines = [" ".join(text.split())[:MOST_CHARACTERS] for text in (first, second)]
    return [edit_distance(*lines), max(map(len, lines))]
