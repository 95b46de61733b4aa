"""Checks left and right: the same finding on two sides, and text against the film's side."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from model.consistency.flags import Flag, FlagKind, Sentence, Side
from model.consistency.observations import label_sentences
from model.labels.base import NO_FINDING, SUPPORT_DEVICES, Label, Labels

_BOTH = re.compile(
    r"\b(?:right (?:and|or|more than|greater than|less than|>|<|/) ?left"
    r"|left (?:and|or|more than|greater than|less than|>|<|/) ?right"
    r"|bilateral(?:ly)?|biapical|bibasilar|bibasal|both|either|b/l)\b"
)
_SIDES = re.compile(r"\b(?P<left>left|lt|lll|lul)(?:-sided)?\b|\b(?P<right>right|rt|rll|rul|rml)\b")
# "Left ventricle" and "right heart border" name an organ; a deviated trachea names a direction.
_NO_SIDE = re.compile(
    r"\b(?:left|right)[- ](?:ventric\w+|atri\w+|heart|cardiac|main ?stem|aortic|lateral|anterior"
    r"|posterior|decubitus|upright|marker)\b|\b(?:to(?:wards?)?|from) the (?:left|right)\b"
)
_CLAUSE = re.compile(r"[,;:]|\b(?:and|with|but|while|whereas)\b")

_NOT_COMPARED = {NO_FINDING, SUPPORT_DEVICES}
"""A line from the right may end on the left: devices name two sides without a fault."""


def find_side_faults(
    sentences: Sequence[Sentence], labels: Sequence[Labels], film_side: Side | None
) -> Iterator[Flag]:
    """Flag findings that one section has on one side alone and the other section on the other.

    Args:
        sentences: those of the report.
        labels: of each sentence.
        film_side: the side that the films are of, where they are of one side.
    """
    places: dict[str, dict[str, list[tuple[Sentence, frozenset[Side]]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for sentence, of_sentence in zip(sentences, labels, strict=True):
        for name, sides in sides_of_findings(sentence, of_sentence).items():
            places[name][sentence.section].append((sentence, sides))
    for name, by_section in places.items():
        for here, there in (("findings", "impression"), ("impression", "findings")):
            sides_there = frozenset().union(*(sides for _, sides in by_section[there]))
            if not sides_there:
                continue
            for sentence, sides in by_section[here]:
                if sides.isdisjoint(sides_there):
                    yield sentence.flag(
                        FlagKind.SIDE,
                        f"This is on the other side in the {there}: {name.lower()}.",
                    )
    if film_side is not None:
        yield from _off_the_film(sentences, film_side)


def sides_of_findings(
    sentence: Sentence, labels: Labels, *, with_denied: bool = False
) -> dict[str, frozenset[Side]]:
    """Return on which sides a sentence has each finding.

    Args:
        sentence: the sentence.
        labels: of the sentence.
        with_denied: findings that it denies count, too.
    """
    found: dict[str, frozenset[Side]] = {}
    masked = _NO_SIDE.sub(lambda match: "_" * len(match.group()), sentence.words)
    clauses = _CLAUSE.split(_BOTH.sub("bilateral", masked))
    of_clauses = label_sentences([Sentence(sentence.section, 0, 0, clause) for clause in clauses])
    for clause, of_clause in zip(clauses, of_clauses, strict=True):
        sides = _sides(clause)
        if not sides:
            continue
        for name, label in of_clause.items():
            denied = not with_denied and Label.ABSENT in (label, labels[name])
            if name not in _NOT_COMPARED and label is not Label.BLANK and not denied:
                found[name] = found.get(name, frozenset()) | sides
    return found


def sides_of(words: str) -> frozenset[Side]:
    """Return the sides that a text in lower case names; those of an organ's name do not count."""
    return _sides(_NO_SIDE.sub("", words))


def _sides(clause: str) -> frozenset[Side]:
    if _BOTH.search(clause):
        return frozenset(Side)
    return frozenset(Side(match.lastgroup) for match in _SIDES.finditer(clause) if match.lastgroup)


def _off_the_film(sentences: Sequence[Sentence], film_side: Side) -> Iterator[Flag]:
    for sentence in sentences:
        sides = sides_of(sentence.words)
        if sides and film_side not in sides:
            yield sentence.flag(FlagKind.SIDE, f"The films are of the {film_side} side alone.")
