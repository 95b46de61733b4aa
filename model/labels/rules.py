"""A labeller by rules, in CheXpert's manner.

It finds the mentions of each observation, decides each mention by the words around it, then sums
up the report. It needs no weights, so every machine has a labeller. Its scores carry its own key
and are never named as CheXbert's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from model.labels import rule_cues as cues
from model.labels import rule_phrases as phrases
from model.labels.base import (
    CARDIOMEGALY,
    EDEMA,
    NO_FINDING,
    OBSERVATIONS,
    SUPPORT_DEVICES,
    Label,
    Labels,
)


def _any(patterns: Iterable[str]) -> re.Pattern[str]:
    """Return one expression for all patterns, longest first, that matches whole words only."""
    ordered = sorted(patterns, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(ordered)})(?!\w)")


def _leading(patterns: Iterable[str], unless: str) -> re.Pattern[str]:
    """Return `_any` matched from the start of a text, with no match of `unless` before it."""
    return re.compile(rf"(?:(?!{unless}).)*?{_any(patterns).pattern}", re.DOTALL)


_NO_MATCH = _any(("\\b\\B",))
_MENTIONS = {name: _any(patterns) for name, patterns in phrases.MENTIONS.items()}
_VAGUE_MENTIONS = {name: _any(patterns) for name, patterns in phrases.VAGUE_MENTIONS.items()}
_NOT_MENTIONS = {name: _any(patterns) for name, patterns in phrases.NOT_MENTIONS.items()}
_SUBJECTS = {name: _any(patterns) for name, patterns in phrases.SUBJECTS.items()}
_STATE = re.compile(
    "|".join(f"(?P<{state}>{_any(texts).pattern})" for state, texts in phrases.STATES.items())
)
_OTHER_FINDINGS = _any(phrases.OTHER_FINDINGS)
_NO_NEGATION = _any((*cues.NO_CHANGE, *cues.NOT_RESOLVED))
_NEGATED_BEFORE = _any(cues.NEGATED_BEFORE)
_UNCERTAIN_BEFORE = _any(cues.UNCERTAIN_BEFORE)
_UNDECIDED_BEFORE = re.compile(
    rf"{_any(cues.UNDECIDED_BEFORE).pattern}"
    rf"|{_any(cues.QUESTIONED_BEFORE).pattern}(?!.*{_NEGATED_BEFORE.pattern})"
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
# Words after a mention describe it only up to the next verb or the next noun.
_VERB = r"[;:]\s|\b(?:is|are|was|were|has|have|had|may|might|could|but|however|with|and\s+the)\b"
_UNDECIDED_AFTER = _leading(cues.UNDECIDED_AFTER, r"[;:]|\bbut\b|\band\s+the\b")
_NEGATED_AFTER = _leading(cues.NEGATED_AFTER, _VERB)
_UNCERTAIN_AFTER = _leading(cues.UNCERTAIN_AFTER, _VERB)
_UNLIKELY_AFTER = _leading(cues.UNLIKELY_AFTER, rf"{_VERB}|,|\band\b")
_HEADING = re.compile(r" ?[:-] ?(?:no|not|negative)\b")
_OR_BEFORE = re.compile(r"\b(?:or|and/or)\s+(?:\w+\s+){0,2}$")
_OR_AFTER = re.compile(r"\s*(?:\w+\s+)?(?:or|and/or)\b")
_SENTENCE = re.compile(r"(?<=[.?!])\s+|(?<=[a-z][.?!])(?=[a-z])|\n\s*\n|\n\s*(?=[-*•\d])")
_HEART_FAILURE = _any(("heart failure", "chf"))


class RuleLabeller:
    """Labels by rules; `rule_phrases` and `rule_cues` hold their tables."""

    name = "rules in CheXpert's manner"
    key = "rules"

    def label(self, texts: Sequence[str]) -> list[Labels]:
        """Return the labels of each report, in the order of `texts`."""
        return [_labels(text) for text in texts]

    def are_normal(self, texts: Sequence[str]) -> list[bool]:
        """Return for each report whether its "No Finding" is present."""
        return [labels[NO_FINDING] is Label.PRESENT for labels in self.label(texts)]


def _labels(text: str) -> Labels:
    mentions: dict[str, set[Label]] = {name: set() for name in OBSERVATIONS}
    other_finding = False
    for sentence in _sentences(text):
        for name in OBSERVATIONS[:-1]:
            mentions[name].update(_label_mentions(name, sentence))
        if _HEART_FAILURE.search(sentence) and Label.PRESENT in _label_mentions(EDEMA, sentence):
            mentions[CARDIOMEGALY].add(Label.UNCERTAIN)
        other_finding = other_finding or any(
            _decide(sentence, *match.span()) is not Label.ABSENT
            for match in _OTHER_FINDINGS.finditer(sentence)
        )
    labels = {name: _summarise(values) for name, values in mentions.items()}
    abnormal = any(
        label in (Label.PRESENT, Label.UNCERTAIN)
        for name, label in labels.items()
        if name != SUPPORT_DEVICES
    )
    labels[NO_FINDING] = Label.BLANK if other_finding or abnormal else Label.PRESENT
    return labels


def _sentences(text: str) -> Iterator[str]:
    """Yield the sentences in lower case, with one space between words."""
    spelled = text.lower()
    for abbreviation, expansion in cues.ABBREVIATIONS.items():
        spelled = re.sub(abbreviation, expansion, spelled)
    for sentence in _SENTENCE.split(spelled):
        if sentence.strip():
            yield " ".join(sentence.split())


def _summarise(mentions: set[Label]) -> Label:
    """Return the label of several mentions: present before uncertain before absent (CheXpert)."""
    for label in (Label.PRESENT, Label.UNCERTAIN, Label.ABSENT):
        if label in mentions:
            return label
    return Label.BLANK


def _label_mentions(name: str, sentence: str) -> list[Label]:
    """Return the label of every mention of an observation in one sentence, in lower case."""
    masked = _NOT_MENTIONS.get(name, _NO_MATCH).sub(_mask, sentence)
    labels: list[Label] = []
    for vague in _VAGUE_MENTIONS.get(name, _NO_MATCH).finditer(masked):
        label = _decide(masked, *vague.span())
        labels.append(Label.ABSENT if label is Label.ABSENT else Label.UNCERTAIN)
    for mention in _MENTIONS[name].finditer(masked):
        labels.append(_decide(masked, *mention.span()))
    for subject in _SUBJECTS.get(name, _NO_MATCH).finditer(masked):
        state = _state(masked, *subject.span())
        if state is not None:
            labels.append(state)
    return labels


def _mask(match: re.Match[str]) -> str:
    return "_" * len(match.group())


def _decide(sentence: str, start: int, end: int) -> Label:
    """Return the label of one mention by the words around it; `start` and `end` are its span."""
    before, after = sentence[:start], sentence[end:]
    within = _BARRIER.split(before)[-1]
    own = sentence[_own_start(sentence, start - len(within), start) : start]
    if _UNDECIDED_BEFORE.search(own) or _UNDECIDED_AFTER.match(after):
        return Label.UNCERTAIN
    masked_own, masked_after = (_NO_NEGATION.sub(_mask, part) for part in (own, after))
    if _NEGATED_BEFORE.search(masked_own) or _NEGATED_AFTER.match(masked_after):
        return Label.ABSENT
    # "Effusion: no large effusion" is a heading; "effusion: no pneumothorax" is a finding.
    if _HEADING.match(masked_after) and sentence[start:end].rstrip("s") in masked_after:
        return Label.ABSENT
    if _UNCERTAIN_BEFORE.search(_AND.split(within)[-1]):
        return Label.UNCERTAIN
    if _UNCERTAIN_AFTER.match(after) or _UNLIKELY_AFTER.match(after):
        return Label.UNCERTAIN
    if _OR_BEFORE.search(before) or _OR_AFTER.match(after):
        return Label.UNCERTAIN
    return Label.PRESENT


_QUALIFIERS_REACH = 60
"""How many characters before a comma are searched for qualifiers."""


def _own_start(sentence: str, reach: int, start: int) -> int:
    """Return where the words of a mention's own finding begin.

    Args:
        sentence: The whole sentence, in lower case.
        reach: The earliest place at which they may begin.
        start: Where the mention begins.
    """
    last_or = max((match.start() for match in _OR.finditer(sentence, reach)), default=-1)
    for begins in reversed(list(_BEGINS.finditer(sentence, reach, start))):
        comma, own = begins.span()
        if _QUALIFIED.search(sentence, max(reach, comma - _QUALIFIERS_REACH), comma):
            continue
        # "No X, small Y or Z" negates all three; "no X, small Y" does not negate Y.
        if _RESTART.match(sentence, own) and last_or < own:
            return own
        # "No X, Y or Z is present" is a list too; "no X, Y is present" is two clauses.
        ends = _CLAUSE_ENDS.search(sentence, own)
        predicate = _PREDICATE.search(sentence, own, ends.start() if ends else len(sentence))
        if predicate and not _OR_WORD.search(sentence, own, predicate.start()):
            return own
    return reach


_ADJACENT = 30
"""How many characters before a subject its own adjective may begin."""


def _state(sentence: str, start: int, end: int) -> Label | None:
    """Return the label that a sentence gives the heart or the mediastinum at `start` to `end`.

    An adjective beside the subject comes first, then the next state in the sentence, then the
    last state before the subject.

    Returns:
        None where the sentence describes neither its size nor its shape, or says of them only that
        they have not changed.
    """
    preceding = re.split(
        r"[,;:]|\b(?:and|is|are|with|the)\b", sentence[max(0, start - _ADJACENT) : start]
    )[-1]
    following = re.split(r"[;:]|\b(?:but|with|obscured|over|overlying)\b", sentence[end:])[0]
    unchanged = False
    for part in (preceding + sentence[start:end], following):
        states = list(_STATE.finditer(part))
        unchanged = unchanged or any(match.lastgroup == "unchanged" for match in states)
        state = next((match for match in states if match.lastgroup != "unchanged"), None)
        if state is not None:
            break
    else:
        before = list(_STATE.finditer(_BARRIER.split(sentence[:start])[-1]))
        if unchanged or not before or before[-1].lastgroup == "unchanged":
            return None
        if not re.search(r"\band\b|,", sentence[before[-1].end() : start]):
            return None
        state = before[-1]
    return Label.ABSENT if state.lastgroup == "normal" else Label(state.lastgroup or "")
