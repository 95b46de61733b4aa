"""The 14 observations of CheXpert in a report: who labels, the labels, and a labeller by rules.

The rules are in CheXpert's manner: find what is mentioned, decide for each mention by the words
around it, then sum up the report. They need no weights, so that every machine has a labeller;
their scores are never named as CheXbert's. Knows no network: that is `chexbert`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from model.labels import rule_cues as cues
from model.labels import rule_phrases as phrases
from model.labels.rule_phrases import NO_FINDING, OBSERVATIONS, SUPPORT_DEVICES
from model.prompting.prompt import Symptoms


class Label(StrEnum):
    """What a report says of an observation; CheXpert's 1, 0, -1 and nothing."""

    PRESENT = "present"
    ABSENT = "absent"
    UNCERTAIN = "uncertain"
    BLANK = "blank"


Labels = dict[str, Label]
"""Of one report: each of OBSERVATIONS, in their order. "No Finding" is PRESENT or BLANK."""


class Labeller(Protocol):
    """Reads observations out of reports. Every score that is made by it carries both names."""

    @property
    def name(self) -> str:
        """Who labels, in words."""
        ...

    @property
    def key(self) -> str:
        """Who labels, as it begins the name of a score: "chexbert" or "rules"."""
        ...

    def label(self, texts: Sequence[str]) -> list[Labels]:
        """The labels of each report, in order."""
        ...

    def normal(self, texts: Sequence[str]) -> list[bool]:
        """Whether each report is of a normal chest: its "No Finding" is present."""
        ...


def labeller(path: Path | None = None) -> Labeller:
    """CheXbert from a folder of its weights, else the rules.

    Raises:
        BundleError: the folder is not what CheXbert is loaded from.
    """
    if path is None:
        return RuleLabeller()
    from model.labels.chexbert import CheXbert  # torch is loaded for those who ask for it

    return CheXbert.load(path)


def symptoms_of(labels: Labels) -> Symptoms:
    """The paper's symptoms of existence and non-existence; for the `oracle` mode alone.

    "No Finding" is no symptom, and what is uncertain is neither.
    """

    def those(label: Label) -> tuple[str, ...]:
        return tuple(name for name in OBSERVATIONS[:-1] if labels[name] is label)

    return Symptoms(present=those(Label.PRESENT), absent=those(Label.ABSENT))


def _any(patterns: Iterable[str]) -> re.Pattern[str]:
    """One expression for all, longest first, from one word's edge to another."""
    ordered = sorted(patterns, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(ordered)})(?!\w)")


def _leading(patterns: Iterable[str], unless: str) -> re.Pattern[str]:
    """As `_any`, from the start of a text on, with none of `unless` before it."""
    return re.compile(rf"(?:(?!{unless}).)*?{_any(patterns).pattern}", re.DOTALL)


_NOTHING = _any(("\\b\\B",))
_MENTIONS = {name: _any(found) for name, found in phrases.MENTIONS.items()}
_VAGUE = {name: _any(found) for name, found in phrases.VAGUE.items()}
_NOT_MENTIONS = {name: _any(found) for name, found in phrases.NOT_MENTIONS.items()}
_SUBJECTS = {name: _any(found) for name, found in phrases.SUBJECTS.items()}
_STATE = re.compile(
    "|".join(f"(?P<{state}>{_any(found).pattern})" for state, found in phrases.STATES.items())
)
_OTHERS = _any(phrases.OTHERS)
_DENIES_NOTHING = _any((*cues.NO_CHANGE, *cues.STILL_THERE))
_DENIED_BEFORE = _any(cues.DENIED_BEFORE)
_DOUBTED_BEFORE = _any(cues.DOUBTED_BEFORE)
_UNDECIDED_BEFORE = re.compile(
    rf"{_any(cues.UNDECIDED_BEFORE).pattern}"
    rf"|{_any(cues.ASKED_BEFORE).pattern}(?!.*{_DENIED_BEFORE.pattern})"
)
_BARRIER = re.compile(rf"[;:]|{_any(cues.BARRIERS).pattern}")
_BEGINS = re.compile(r"(?:,(?: and\b)?| -|\band\b) ")
_QUALIFIED = re.compile(
    rf"\b(?:no|without)(?: (?:evidence|signs?) of)?(?:,? (?:{cues.QUALIFIERS}))+ ?$"
)
_RESTART = re.compile(rf"(?:there )?(?:{cues.RESTARTS})\b")
_CLAUSE_ENDS = re.compile(r"[,;:]| - |\b(?:and|but|with|which|that)\b")
_PREDICATE = _any(cues.PREDICATES)
_AND = re.compile(r"\band\b(?!/or)|,")
_OR_WORD = re.compile(r"\bn?or\b")
_OR = re.compile(rf"{_OR_WORD.pattern}|/")
# What is said after a mention is of it only up to the next verb or the next thing.
_VERB = r"[;:]\s|\b(?:is|are|was|were|has|have|had|may|might|could|but|however|with|and\s+the)\b"
_UNDECIDED_AFTER = _leading(cues.UNDECIDED_AFTER, r"[;:]|\bbut\b|\band\s+the\b")
_DENIED_AFTER = _leading(cues.DENIED_AFTER, _VERB)
_DOUBTED_AFTER = _leading(cues.DOUBTED_AFTER, _VERB)
_UNLIKELY_AFTER = _leading(cues.UNLIKELY_AFTER, rf"{_VERB}|,|\band\b")
_HEADING = re.compile(r" ?[:-] ?(?:no|not|negative)\b")
_OR_BEFORE = re.compile(r"\b(?:or|and/or)\s+(?:\w+\s+){0,2}$")
_OR_AFTER = re.compile(r"\s*(?:\w+\s+)?(?:or|and/or)\b")
_SENTENCE = re.compile(r"(?<=[.?!])\s+|(?<=[a-z][.?!])(?=[a-z])|\n\s*\n|\n\s*(?=[-*•\d])")
_HEART_FAILURE = _any(("heart failure", "chf"))


class RuleLabeller:
    """Labels by rules over words; the tables are in `labeller_phrases`."""

    name = "rules in CheXpert's manner"
    key = "rules"

    def label(self, texts: Sequence[str]) -> list[Labels]:
        """The labels of each report, in order."""
        return [_labels(text) for text in texts]

    def normal(self, texts: Sequence[str]) -> list[bool]:
        """Whether each report is of a normal chest: its "No Finding" is present."""
        return [labels[NO_FINDING] is Label.PRESENT for labels in self.label(texts)]


def _labels(text: str) -> Labels:
    said: dict[str, set[Label]] = {name: set() for name in OBSERVATIONS}
    other = False
    for sentence in _sentences(text):
        for name in OBSERVATIONS[:-1]:
            said[name].update(_mentioned(name, sentence))
        if _HEART_FAILURE.search(sentence) and Label.PRESENT in _mentioned(phrases.EDEMA, sentence):
            said[phrases.CARDIOMEGALY].add(Label.UNCERTAIN)
        other = other or any(
            _decide(sentence, *found.span()) is not Label.ABSENT
            for found in _OTHERS.finditer(sentence)
        )
    labels = {name: _summed(found) for name, found in said.items()}
    open_or_there = any(
        label in (Label.PRESENT, Label.UNCERTAIN)
        for name, label in labels.items()
        if name != SUPPORT_DEVICES
    )
    labels[NO_FINDING] = Label.BLANK if other or open_or_there else Label.PRESENT
    return labels


def _sentences(text: str) -> Iterator[str]:
    """In lower case, one space between words."""
    spelled = text.lower()
    for short, whole in cues.ABBREVIATIONS.items():
        spelled = re.sub(short, whole, spelled)
    for sentence in _SENTENCE.split(spelled):
        if sentence.strip():
            yield " ".join(sentence.split())


def _summed(found: set[Label]) -> Label:
    """Of several mentions: present before uncertain before absent, as in CheXpert."""
    for label in (Label.PRESENT, Label.UNCERTAIN, Label.ABSENT):
        if label in found:
            return label
    return Label.BLANK


def _mentioned(name: str, sentence: str) -> list[Label]:
    """What one sentence, in lower case, says of an observation, mention by mention."""
    read = _NOT_MENTIONS.get(name, _NOTHING).sub(_hidden, sentence)
    found: list[Label] = []
    for vague in _VAGUE.get(name, _NOTHING).finditer(read):
        decided = _decide(read, *vague.span())
        found.append(Label.ABSENT if decided is Label.ABSENT else Label.UNCERTAIN)
    for mention in _MENTIONS[name].finditer(read):
        found.append(_decide(read, *mention.span()))
    for subject in _SUBJECTS.get(name, _NOTHING).finditer(read):
        state = _state(read, *subject.span())
        if state is not None:
            found.append(state)
    return found


def _hidden(found: re.Match[str]) -> str:
    return "_" * len(found.group())


def _decide(sentence: str, start: int, end: int) -> Label:
    """One mention by the words around it: left open, denied, doubted, or there."""
    whole_before, after = sentence[:start], sentence[end:]
    within = _BARRIER.split(whole_before)[-1]
    own = sentence[_own(sentence, start - len(within), start) : start]
    if _UNDECIDED_BEFORE.search(own) or _UNDECIDED_AFTER.match(after):
        return Label.UNCERTAIN
    denying, denying_after = (_DENIES_NOTHING.sub(_hidden, words) for words in (own, after))
    if _DENIED_BEFORE.search(denying) or _DENIED_AFTER.match(denying_after):
        return Label.ABSENT
    # "Effusion: no large effusion" is a heading; "effusion: no pneumothorax" is a finding.
    if _HEADING.match(denying_after) and sentence[start:end].rstrip("s") in denying_after:
        return Label.ABSENT
    if _DOUBTED_BEFORE.search(_AND.split(within)[-1]):
        return Label.UNCERTAIN
    if _DOUBTED_AFTER.match(after) or _UNLIKELY_AFTER.match(after):
        return Label.UNCERTAIN
    if _OR_BEFORE.search(whole_before) or _OR_AFTER.match(after):
        return Label.UNCERTAIN
    return Label.PRESENT


_QUALIFIERS_REACH = 60
"""How far before a comma its qualifiers are looked for, in characters."""


def _own(sentence: str, reach: int, start: int) -> int:
    """Where the words of a mention's own finding begin, from `reach` on; start: the mention's."""
    last_or = max((found.start() for found in _OR.finditer(sentence, reach)), default=-1)
    for begins in reversed(list(_BEGINS.finditer(sentence, reach, start))):
        comma, own = begins.span()
        if _QUALIFIED.search(sentence, max(reach, comma - _QUALIFIERS_REACH), comma):
            continue
        # "No X, small Y or Z" denies all three; "no X, small Y" does not deny Y.
        if _RESTART.match(sentence, own) and last_or < own:
            return own
        # "No X, Y or Z is there" is a list too; "no X, Y is there" is two clauses.
        ends = _CLAUSE_ENDS.search(sentence, own)
        predicate = _PREDICATE.search(sentence, own, ends.start() if ends else len(sentence))
        if predicate and not _OR_WORD.search(sentence, own, predicate.start()):
            return own
    return reach


_ADJACENT = 30
"""How far before a subject its own adjective may begin, in characters."""


def _state(sentence: str, start: int, end: int) -> Label | None:
    """What is said of the heart or the mediastinum; None: neither its size nor its shape.

    First an adjective beside it, then the next state that is named, then the last one before.
    """
    beside = re.split(
        r"[,;:]|\b(?:and|is|are|with|the)\b", sentence[max(0, start - _ADJACENT) : start]
    )[-1]
    following = re.split(r"[;:]|\b(?:but|with|obscured|over|overlying)\b", sentence[end:])[0]
    for words in (beside + sentence[start:end], following):
        found = _STATE.search(words)
        if found is not None:
            break
    else:
        before = list(_STATE.finditer(_BARRIER.split(sentence[:start])[-1]))
        if not before or not re.search(r"\band\b|,", sentence[before[-1].end() : start]):
            return None
        found = before[-1]
    return Label.ABSENT if found.lastgroup == "normal" else Label(found.lastgroup or "")
