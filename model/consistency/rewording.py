"""Compares a sentence of a model with another wording of it: whether both say the same.

It reads words alone, as far as the tables below know them, and is strict: what it cannot compare
is a difference. It knows English.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from model.consistency.flags import Sentence
from model.consistency.observations import label_sentences
from model.consistency.sides import sides_of, sides_of_findings
from model.labels.base import NO_FINDING, OBSERVATIONS, Label, Labels
from model.labels.rule_phrases import OTHER_FINDINGS
from model.prompting.sections import sentence_spans

_SAID = {
    Label.PRESENT: "said to be there",
    Label.ABSENT: "denied",
    Label.UNCERTAIN: "uncertain",
    Label.BLANK: "not mentioned",
}

_CLAUSE = re.compile(r"[.;:,]|\b(?:and|with|but|while|whereas)\b")
_DENIED = re.compile(
    r"\b(?:no|not|non|nor|none|neither|never|without|absen(?:t|ce)|negative|free of|nothing"
    r"|fails?|cannot|unable)\b"
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")


def _words(**classes: str) -> Mapping[str, re.Pattern[str]]:
    return {
        name.replace("_", " "): re.compile(rf"\b(?:{pattern})\b")
        for name, pattern in classes.items()
    }


_SAME_ALWAYS = {
    "the degree": _words(
        small="trace|tiny|minimal(?:ly)?|small|mild(?:ly)?|slight(?:ly)?|minor|subtle|faint"
        "|borderline",
        moderate="moderate(?:ly)?|medium",
        large="large|severe(?:ly)?|marked(?:ly)?|massive(?:ly)?|extensive(?:ly)?|gross(?:ly)?|huge"
        "|dense|pronounced",
    ),
    "the place": _words(
        upper="upper|ap(?:ex|ices|ical)|biapical",
        middle=r"middle|mid|lingul\w+",
        lower="lower|bases?|basal|basilar|bibasilar|bibasal",
        centre="perihilar|central(?:ly)?|hilar|hil(?:um|a)|retrocardiac",
        rim="peripheral(?:ly)?|costophrenic|subpleural",
    ),
    "the change": _words(
        the_same=r"unchanged|no (?:\w+ ){0,2}change|stabl[ey]|similar|as before|persist\w*"
        "|again|constant",
        more=r"increas\w+|worse\w*|progress\w+|larger|bigger|growing|grown",
        less=r"decreas\w+|improv\w+|resol\w+|clear(?:ed|ing)|smaller|regress\w+|reduced",
        new=r"new(?:ly)?|interval(?:ly)?|develop\w+",
    ),
    "the reservation": _words(
        acute="acute(?:ly)?|active",
        other="other|additional|further",
        doubt="definite(?:ly)?|significant(?:ly)?|suspicious|sizeable|sizable|overt|displaced"
        "|dominant|tension|cavitary|focal",
    ),
    "the device": _words(
        endotracheal_tube="endotracheal|et tube|ett",
        tracheostomy="tracheostomy",
        gastric_tube="(?:naso|oro)gastric|ng tube|og tube|enteric|feeding tube|dobb?hoff",
        chest_tube="chest tubes?|thoracostomy|pleural drains?|pigtail",
        central_line="central (?:venous )?(?:line|catheter)s?|picc|jugular|subclavian|port"
        "|port-?a-?cath|hickman|dialysis",
        pulmonary_artery_catheter="swan-?ganz|pulmonary arter(?:y|ial) catheter",
        pacemaker="pacemakers?|pacer|icd|aicd|defibrillators?|pacing",
        wires="sternotomy|sternal wires?|wires?",
        valve="valves?|valvular",
        clips="clips?|staples?",
    ),
}
"""What both must say alike, whatever they are about: by kind, classes of words."""

_ORGANS = _words(
    lungs=r"lungs?|pulmonary|parenchyma\w*|airspaces?|lobes?|interstiti\w+",
    pleura=r"pleura\w*|costophrenic|fissures?",
    heart=r"heart|cardiac|cardio\w+",
    mediastinum=r"mediastin\w+|cardiomediastin\w+",
    hila="hil(?:a|um|ar)",
    vessels=r"aort\w+|vessels?|vascula\w+",
    airways=r"trachea\w*|airways?|bronch\w+",
    bones=r"bon(?:e|es|y)|osseous|skelet\w+|ribs?|spine|vertebra\w*|thoracic cage",
    diaphragm=r"(?:hemi)?diaphragm\w*",
    soft_tissues="soft tissues?",
    abdomen=r"abdom\w+|bowel|stomach|gastric",
    chest="chest|cardiopulmonary|cardiothoracic|intrathoracic|thora(?:x|cic)",
)
"""What a sentence is about that names none of the observations."""

_DOUBTED = re.compile(
    r"\b(?:may|might|could|possibl[ey]|probabl[ey]|likely|suspect\w*|suggest\w*|question\w*"
    r"|appears?|suspicio\w+|concern\w*|cannot)\b"
)

_NORMAL = re.compile(
    r"\b(?:normal(?:ly)?|clear|intact|unremarkable|well (?:aerated|expanded|inflated)|negative)\b"
)

_TOLD = {
    "denies something": _DENIED,
    "doubts something": _DOUBTED,
    "calls something normal": _NORMAL,
}

_OTHERS = tuple(re.compile(rf"\b(?:{pattern})\b") for pattern in OTHER_FINDINGS)


def find_differences(sentence: str, wording: str) -> tuple[str, ...]:
    """Return what a wording says otherwise than the sentence that it would stand for.

    Args:
        sentence: as the model writes it.
        wording: what would stand in its place.

    Returns:
        One sentence for each difference; () where none is known.
    """
    if sum(1 for _ in sentence_spans(sentence)) != 1:
        return ("What the model writes must be one sentence.",)
    first, second = (" ".join(text.lower().split()) for text in (sentence, wording))
    labels = label_sentences([_whole(first), _whole(second)])
    found = [*_labels_differ(*labels), *_sides_differ(first, second, *labels)]
    for kind, classes in _SAME_ALWAYS.items():
        found += _sets_differ(kind, _classes(classes, first), _classes(classes, second))
    found += _sets_differ("the numbers", set(_NUMBER.findall(first)), set(_NUMBER.findall(second)))
    found += _sets_differ("other findings", _other_findings(first), _other_findings(second))
    if all(_is_blank(each) for each in labels):
        found += _unlabelled_differ(first, second)
    return tuple(found)


def _whole(words: str) -> Sentence:
    return Sentence("findings", 0, len(words), words)


def _is_blank(labels: Labels) -> bool:
    return all(labels[name] is Label.BLANK for name in OBSERVATIONS if name != NO_FINDING)


def _labels_differ(first: Labels, second: Labels) -> Iterator[str]:
    for name in OBSERVATIONS:
        if first[name] is second[name]:
            continue
        if name == NO_FINDING:
            if _is_blank(first) and _is_blank(second):
                yield "One of them has a finding, and the other one has none."
            continue
        yield (
            f"{name}: {_SAID[first[name]]} in the model's sentence, "
            f"{_SAID[second[name]]} in the house's."
        )


def _sides_differ(first: str, second: str, of_first: Labels, of_second: Labels) -> Iterator[str]:
    sides = sides_of(first), sides_of(second)
    if sides[0] != sides[1]:
        yield from _sets_differ("the side", set(sides[0]), set(sides[1]))
        return
    ours = sides_of_findings(_whole(first), of_first, with_denied=True)
    theirs = sides_of_findings(_whole(second), of_second, with_denied=True)
    for name in sorted(ours.keys() | theirs.keys()):
        yield from _sets_differ(
            f"the side of {name.lower()}", set(ours.get(name, ())), set(theirs.get(name, ()))
        )


def _unlabelled_differ(first: str, second: str) -> Iterator[str]:
    """Sentences about none of the observations: organ, denial and doubt must be the same."""
    organs = _classes(_ORGANS, first), _classes(_ORGANS, second)
    if not any(organs):
        yield "The check does not know what they are about, and so cannot compare them."
    yield from _sets_differ("the organ", *organs)
    for what, pattern in _TOLD.items():
        if bool(pattern.search(first)) != bool(pattern.search(second)):
            one = "the model's sentence" if pattern.search(first) else "the house's"
            yield f"Only {one} {what}."


def _other_findings(words: str) -> set[str]:
    """The findings outside the observations, by the word of the table, with "no" where denied."""
    found: set[str] = set()
    for clause in _CLAUSE.split(words):
        denial = "no " if _DENIED.search(clause) else ""
        for pattern in _OTHERS:
            if match := pattern.search(clause):
                found.add(denial + match.group().split()[0].rstrip("s"))
    return found


def _classes(classes: Mapping[str, re.Pattern[str]], words: str) -> set[str]:
    return {name for name, pattern in classes.items() if pattern.search(words)}


def _sets_differ(what: str, first: set[str], second: set[str]) -> Iterator[str]:
    if first != second:
        ours, theirs = (", ".join(sorted(one)) or "none" for one in (first, second))
        yield f"{what.capitalize()}: {ours} in the model's sentence, {theirs} in the house's."
