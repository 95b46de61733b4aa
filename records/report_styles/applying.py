"""Puts the house's wordings in the place of the model's sentences, and finds them again.

A sentence is replaced where the whole of it is one of a style's; no part of a sentence is, and no
sentence is added. The model's text is never changed: what is written here is where a reader's text
begins.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from records.report_styles.content import WRITTEN_SECTIONS, StyleContent, Wording, plain

_ENDS = re.compile(r"[.!?][\"')\]]*$")
_HEADING_BEFORE = re.compile(r"[A-Za-z]:$")


@dataclass(frozen=True, slots=True)
class Replacement:
    """A sentence of the model in whose place the house's words stand.

    Attributes:
        section: "findings" or "impression".
        model: as the model wrote it.
        house: what stands in its place.
        number: the how many-th replacement of its draft it is, from 0.
    """

    section: str
    model: str
    house: str
    number: int


@dataclass(frozen=True, slots=True)
class Styled:
    """A draft in the words of a style."""

    findings: str
    impression: str
    replacements: tuple[Replacement, ...]


def apply(content: StyleContent, findings: str, impression: str) -> Styled:
    """Put a style's wordings into the text of a draft.

    Args:
        content: the style.
        findings: the section as the model wrote it.
        impression: the section as the model wrote it.
    """
    texts = {"findings": findings, "impression": impression}
    made: list[Replacement] = []
    houses = {plain(each.model): each.house for each in content.wordings}
    for name, text in texts.items():

        def put(written: str, section: str = name) -> str:
            house = houses[plain(written)]
            made.append(Replacement(section, written, house, len(made)))
            return house

        texts[name] = _replace([each.model for each in content.wordings], text, put)
    return Styled(texts["findings"], texts["impression"], tuple(made))


def begin_from(
    content: StyleContent, draft: Mapping[str, str], text: Mapping[str, str]
) -> dict[str, str]:
    """The text from which a reader's changes are counted, by section.

    It is the draft in the words of the style; where the reader took a sentence of the model back,
    the model's. So neither the house's words nor taking them back counts as the reader's change.

    Args:
        content: the style from which the text began.
        draft: the sections as the model wrote them.
        text: the sections as the reader has them.
    """
    wordings = {plain(each.model): each for each in content.wordings}
    begun: dict[str, str] = {}
    for name in WRITTEN_SECTIONS:
        stands = {key: _order_of(each, text[name]) for key, each in wordings.items()}
        used: defaultdict[str, int] = defaultdict(int)

        def choose(
            written: str,
            stands: Mapping[str, list[bool]] = stands,
            used: defaultdict[str, int] = used,
        ) -> str:
            key = plain(written)
            place, used[key] = used[key], used[key] + 1
            is_house = stands[key][place] if place < len(stands[key]) else True
            return wordings[key].house if is_house else written

        begun[name] = _replace([each.model for each in content.wordings], draft[name], choose)
    return begun


def list_standing(
    content: StyleContent, draft: Mapping[str, str], text: Mapping[str, str]
) -> list[Replacement]:
    """The replacements of a draft whose words still stand in the reader's text, in order.

    Args:
        content: the style from which the text began.
        draft: the sections as the model wrote them.
        text: the sections as the reader has them.
    """
    styled = apply(content, draft["findings"], draft["impression"])
    wordings = {plain(each.model): each for each in content.wordings}
    counted: dict[tuple[str, str], int] = {}
    found: list[Replacement] = []
    for each in styled.replacements:
        key = (each.section, plain(each.model))
        if key not in counted:
            counted[key] = sum(_order_of(wordings[key[1]], text[each.section]))
        if counted[key] > 0:
            counted[key] -= 1
            found.append(each)
    return found


def take_back(text: str, replacement: Replacement) -> str:
    """The section with the model's own sentence in the place of the house's, once.

    Unchanged, where the house's words stand in it no more.
    """
    done: list[str] = []

    def put_back(written: str) -> str:
        if done:
            return written
        done.append(written)
        return replacement.model

    return _replace([replacement.house], text, put_back)


def _order_of(wording: Wording, text: str) -> list[bool]:
    """For each place at which the house's or the model's sentence stands: whether the house's."""
    places: list[bool] = []
    house = plain(wording.house)

    def note(written: str) -> str:
        places.append(plain(written) == house)
        return written

    _replace([wording.house, wording.model], text, note)
    return places


def _replace(sentences: list[str], text: str, put: Callable[[str], str]) -> str:
    """The text with `put` of each whole sentence that is one of these."""
    words = [each.split() for each in sentences if each.strip()]
    if not words:
        return text
    words.sort(key=lambda parts: -sum(map(len, parts)))
    anyone = "|".join(r"\s+".join(map(re.escape, parts)) for parts in words)
    pattern = re.compile(rf"(?<!\S)(?:{anyone})(?!\S)", re.IGNORECASE)

    def replace(match: re.Match[str]) -> str:
        written = match.group()
        return put(written) if _is_whole(text, *match.span()) else written

    return pattern.sub(replace, text)


def _is_whole(text: str, start: int, end: int) -> bool:
    """Whether a sentence begins and ends at these places."""
    before, after = text[:start], text[end:]
    last = before.rstrip()
    gap = before[len(last) :]
    begins = not last or "\n" in gap or bool(_ENDS.search(last) or _HEADING_BEFORE.search(last))
    rest = after[: len(after) - len(after.lstrip())]
    ends = not after.strip() or "\n" in rest or bool(_ENDS.search(text[start:end]))
    return begins and ends
