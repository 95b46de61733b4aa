"""Checks the 14 observations: denied in one section and named in the other, or not mentioned."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from model.consistency.flags import Flag, FlagKind, ReportFacts, Sentence
from model.consistency.sentences import LONGEST_SENTENCE
from model.labels.base import (
    ATELECTASIS,
    CONSOLIDATION,
    EDEMA,
    LUNG_LESION,
    LUNG_OPACITY,
    NO_FINDING,
    OBSERVATIONS,
    PNEUMONIA,
    SUPPORT_DEVICES,
    Label,
    Labels,
)
from model.labels.rules import RuleLabeller

LABELLER = RuleLabeller()

# "No large effusion" denies no small one, and "no displaced fracture" no other one.
_QUALIFIED_DENIAL = re.compile(
    r"\b(?:large|displaced|suspicious|definite|new|acute|other|additional|significant|sizeable"
    r"|sizable|cavitary|dominant|tension|overt|gross)\b"
)

_COMPARED = tuple(name for name in OBSERVATIONS if name != NO_FINDING)

_ANSWERED_BY = {
    PNEUMONIA: (CONSOLIDATION, LUNG_OPACITY),
    CONSOLIDATION: (PNEUMONIA, LUNG_OPACITY),
    LUNG_OPACITY: (CONSOLIDATION, PNEUMONIA, ATELECTASIS, EDEMA, LUNG_LESION),
}
"""A question about an observation is answered by a word about one of these, too."""


def label_sentences(sentences: Sequence[Sentence]) -> list[Labels]:
    """Return the labels of each sentence by itself."""
    return LABELLER.label([sentence.words for sentence in sentences])


def find_contradictions(sentences: Sequence[Sentence], labels: Sequence[Labels]) -> Iterator[Flag]:
    """Flag sentences that deny what the other section has, and those that have it.

    What one section calls uncertain contradicts nothing, and of devices one is taken out while
    another one stays.
    """
    for name in _COMPARED:
        if name == SUPPORT_DEVICES:
            continue
        stands = {
            (label, section): [
                sentence
                for sentence, of_sentence in zip(sentences, labels, strict=True)
                if sentence.section == section
                and of_sentence[name] is label
                and not (label is Label.ABSENT and _QUALIFIED_DENIAL.search(sentence.words))
            ]
            for label in (Label.PRESENT, Label.ABSENT)
            for section in ("findings", "impression")
        }
        for here, there in (("findings", "impression"), ("impression", "findings")):
            named, denied = stands[Label.PRESENT, here], stands[Label.ABSENT, there]
            # "No pleural effusion on the right; small effusion on the left" says both in one place.
            if not named or not denied or stands[Label.PRESENT, there]:
                continue
            for sentence in named:
                yield sentence.flag(
                    FlagKind.CONTRADICTION, f"This is denied in the {there}: {name.lower()}."
                )
            for sentence in denied:
                yield sentence.flag(
                    FlagKind.CONTRADICTION, f"This is named in the {here}: {name.lower()}."
                )


def find_silence(facts: ReportFacts, labels: Sequence[Labels]) -> Iterator[Flag]:
    """Flag each observation that the indication names and the text does not mention."""
    questions = LABELLER.label(textwrap.wrap(facts.indication.lower(), LONGEST_SENTENCE))
    asked = {
        name
        for of_line in questions
        for name in _COMPARED
        if of_line[name] in (Label.PRESENT, Label.UNCERTAIN)
    }
    mentioned = {
        name for of_sentence in labels for name in _COMPARED if of_sentence[name] is not Label.BLANK
    }
    for name in _COMPARED:
        if name in asked and mentioned.isdisjoint((name, *_ANSWERED_BY.get(name, ()))):
            yield Flag(
                "",
                0,
                0,
                FlagKind.SILENT,
                f"The indication names {name.lower()}; the text says nothing about it.",
            )
