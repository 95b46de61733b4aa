"""What a style says, as data: sections with headings in order, wordings, phrases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from records.errors import NotAllowed

SECTIONS = ("indication", "comparison", "findings", "impression")
"""The sections of a report. Findings and impression always stand in it."""

WRITTEN_SECTIONS = ("findings", "impression")
"""The sections that the model writes and readers correct."""

MOST_WORDINGS = MOST_PHRASES = 30
MOST_NAME, MOST_HEADING, MOST_SENTENCE, MOST_PHRASE = 60, 60, 500, 1000
"""Characters of each."""

_ENDS = (".", "!", "?")


@dataclass(frozen=True, slots=True)
class StyleSection:
    """A section that is shown.

    Attributes:
        section: one of SECTIONS.
        heading: as the house calls it, in any script.
    """

    section: str
    heading: str


@dataclass(frozen=True, slots=True)
class Wording:
    """The house's words for a sentence of the model.

    Attributes:
        model: the sentence as the model writes it; capitals and spaces do not count.
        house: what stands in its place.
    """

    model: str
    house: str


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text that a reader inserts at the cursor; the software never does by itself.

    Attributes:
        title: by which it is found.
        text: what is inserted.
    """

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class StyleContent:
    """What one version of a style says.

    Attributes:
        name: as pages call it.
        sections: those that are shown, in their order.
        wordings: for which sentences of the model the house has other words.
        phrases: what readers insert.
    """

    name: str
    sections: tuple[StyleSection, ...]
    wordings: tuple[Wording, ...] = ()
    phrases: tuple[Phrase, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As the table keeps it."""
        return {
            "sections": [
                {"section": each.section, "heading": each.heading} for each in self.sections
            ],
            "wordings": [{"model": each.model, "house": each.house} for each in self.wordings],
            "phrases": [{"title": each.title, "text": each.text} for each in self.phrases],
        }

    @classmethod
    def from_json(cls, name: str, kept: Mapping[str, Any]) -> StyleContent:
        """The content of a row."""
        return cls(
            name,
            tuple(StyleSection(**each) for each in kept.get("sections", ())),
            tuple(Wording(**each) for each in kept.get("wordings", ())),
            tuple(Phrase(**each) for each in kept.get("phrases", ())),
        )


PLAIN = StyleContent(
    "", (StyleSection("findings", "Findings"), StyleSection("impression", "Impression"))
)
"""How a report looks where there is no style."""


class StyleRefused(NotAllowed):
    """A style cannot be saved as it is.

    Attributes:
        faults: what is wrong, a sentence each.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(" ".join(self.faults))


def plain(sentence: str) -> str:
    """A sentence as sentences are compared: one space between words, capitals do not count."""
    return " ".join(sentence.split()).casefold()


def find_faults(content: StyleContent) -> list[str]:
    """Return what is wrong with a style, apart from what its wordings mean."""
    faults: list[str] = []
    if not 0 < len(content.name.strip()) <= MOST_NAME:
        faults.append(f"A style has a name of 1 to {MOST_NAME} characters.")
    shown = Counter(each.section for each in content.sections)
    for name in WRITTEN_SECTIONS:
        if shown[name] != 1:
            faults.append(f"The {name} stand in each report once: give them one place.")
    for name in shown:
        if name not in SECTIONS or (shown[name] > 1 and name not in WRITTEN_SECTIONS):
            faults.append(f"A report has no section {name!r} or has it once.")
    for each in content.sections:
        if not 0 < len(each.heading.strip()) <= MOST_HEADING:
            faults.append(f"The heading of the {each.section} has 1 to {MOST_HEADING} characters.")
    return faults + _wording_faults(content.wordings) + _phrase_faults(content.phrases)


def _wording_faults(wordings: tuple[Wording, ...]) -> list[str]:
    faults: list[str] = []
    if len(wordings) > MOST_WORDINGS:
        faults.append(f"A style has {MOST_WORDINGS} wordings at most.")
    known: Counter[str] = Counter(plain(each.model) for each in wordings)
    faults += [f"There are two wordings for “{one}”." for one, times in known.items() if times > 1]
    for each in wordings:
        texts = (each.model, each.house)
        if not all(0 < len(text.strip()) <= MOST_SENTENCE for text in texts):
            faults.append(
                f"A wording has a sentence of the model and one of the house, of {MOST_SENTENCE} "
                "characters at most each."
            )
        elif any("\n" in text for text in texts):
            faults.append(f"A wording is one line: “{each.model}”.")
        elif each.model.rstrip().endswith(_ENDS) != each.house.rstrip().endswith(_ENDS):
            faults.append(
                f"“{each.model}” and “{each.house}” must both end with a full stop, or none: the "
                "next sentence follows."
            )
    return faults


def _phrase_faults(phrases: tuple[Phrase, ...]) -> list[str]:
    faults: list[str] = []
    if len(phrases) > MOST_PHRASES:
        faults.append(f"A style has {MOST_PHRASES} phrases at most.")
    titles: Counter[str] = Counter(plain(each.title) for each in phrases)
    faults += [f"There are two phrases “{one}”." for one, times in titles.items() if times > 1]
    for each in phrases:
        if not 0 < len(each.title.strip()) <= MOST_NAME or not 0 < len(each.text) <= MOST_PHRASE:
            faults.append(
                f"A phrase has a title of {MOST_NAME} characters and a text of {MOST_PHRASE} "
                "at most."
            )
    return faults
