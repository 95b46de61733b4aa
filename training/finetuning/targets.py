"""What a model learns to write of a report: the report without the words that compare.

Without a prior report in the prompt nobody can know that a granuloma is "stable". The words that
compare are taken out, and the finding stays: a model whose targets omit findings learns to omit
them. A sentence goes only where nothing but the comparison, or the name of an organ, is in it.

The rule labeller watches over the rules of `comparing_words`. Where they would change which
observations a sentence says are present, the sentence stays as it was written.
"""

from __future__ import annotations

import re
from functools import lru_cache

from model.labels import NO_FINDING, Label, RuleLabeller
from training.finetuning.comparing_words import GONE, ONLY_COMPARES, RULES, says_nothing
from training.metrics.comparisons import compares_with_prior, split_sentences

_HEADING = re.compile(r"(?i)((?:findings|impression):)\s*")
_NO_NEW = re.compile(r"(?:no|without) new", re.IGNORECASE)
_PERFECT = re.compile(r"(?:has|have)\b", re.IGNORECASE)
_JOINT = re.compile(
    r"(?<=[\w).%])(?<!(?i:compared))(?<!(?i:comparison))(?<!(?i:similar)),? with (?=[\w(])"
    r"|, (?=[\w(])|(?<=[a-z])\. ?(?=[A-Z][a-z])"
)
"""What joins the parts of a sentence."""


def remove_comparisons(text: str) -> str:
    """Return the report without its comparing words.

    A heading stays. Where nothing would be left, the report is returned unchanged.
    """
    remaining = []
    for sentence in split_sentences(text):
        heading = _HEADING.match(sentence)
        body = without_comparison(sentence[heading.end() :] if heading else sentence)
        remaining += [part for part in (heading[1] if heading else "", body) if part]
    shortened = " ".join(remaining)
    return shortened if _HEADING.sub("", shortened).strip(" .") else text


@lru_cache(maxsize=50_000)
def without_comparison(sentence: str) -> str:
    """Return a sentence without its comparing words; "" where it says nothing else."""
    if not compares_with_prior(sentence):
        return sentence
    present, absent = _observations(sentence)
    shortened = _shorten(sentence)
    if shortened and not compares_with_prior(shortened):
        still_present, now_absent = _observations(shortened)
        if still_present == present and now_absent <= absent:
            return shortened
    # The rules do not know this sentence: its findings weigh more than its comparison.
    return sentence if present else ""


def _observations(text: str) -> tuple[set[str], set[str]]:
    """The observations that a text says are present, and those that it says are absent."""
    (labels,) = RuleLabeller().label([text])
    del labels[NO_FINDING]
    present = {name for name, label in labels.items() if label is Label.PRESENT}
    return present, {name for name, label in labels.items() if label is Label.ABSENT}


def _shorten(sentence: str) -> str:
    """Apply the rules to each part of a sentence, and join the parts that say something."""
    body = sentence.rstrip().rstrip(".;!?")
    end = sentence.rstrip()[len(body) :] or "."
    kept: list[str] = []
    joints = [*_JOINT.finditer(body), None]
    start, before = 0, ""
    for joint in joints:
        part = body[start : joint.start() if joint else len(body)]
        ends = joint is None
        if gone := GONE.search(part):
            if _NO_NEW.match(gone[0]):
                # "No new opacity, effusion or pneumothorax": the list goes with it.
                part, ends = part[: gone.start()].rstrip(" ,").removesuffix(" and"), True
            else:
                if _PERFECT.match(gone[0]) and part.startswith(("and ", "or ")):
                    kept = []  # "Opacities, consolidation, and effusion have resolved."
                part = ""
        new = "" if ONLY_COMPARES.fullmatch(part) else _apply_rules(part)
        if new == part or not says_nothing(new):
            kept += [before, new] if kept and new else [new] if new else []
        if ends or joint is None:
            break
        start, before = joint.end(), joint[0]
    return _tidy("".join(kept), end, capital=sentence[:1].isupper())


def _apply_rules(part: str) -> str:
    for pattern, new in RULES:
        part = pattern.sub(new, part)
    return part


# ---- The grammar of what is left ----

_TIDIES = tuple(
    (re.compile(pattern, re.IGNORECASE), new)
    for pattern, new in (
        (r"\s+", " "),
        (r" +([,.;:)])", r"\1"),
        (r"([,;:])(?: ?[,;:])+", r"\1"),
        (r"^[ ,;:.]*(?:(?:and|but|or|with|however),? )?", ""),
        (r"[ ,;:]+$", ""),
        (r",? (?:and|but|or|with|which|that|is|are|was|were|has|have|also|appears?)$", ""),
        # "Cardiomegaly and mediastinal contour": nothing is said of the contour.
        (r"(?<=megaly) and (?:\w+ ){0,3}(?:contours?|silhouettes?)$", ""),
    )
)
_THERE_BE = re.compile(
    r"\b(there) BE ((?:(?!of|in|at|on|with|within|involving|the)[\w-]+ ?)*)", re.IGNORECASE
)
_PLURAL = re.compile(r"^(?:several|multiple|numerous|some)\b|\w\w(?<![sui])s ?$", re.IGNORECASE)
_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|had|there|may|might|could|appears?|shows?|demonstrates?"
    r"|represents?|noted|seen|identified)\b",
    re.IGNORECASE,
)
_DETERMINER = re.compile(r"^(?:the|these|this|those) ", re.IGNORECASE)
_ARTICLE = re.compile(r"\b(a|an) (?=(\w))(?!\w )", re.IGNORECASE)


def _tidy(text: str, end: str, *, capital: bool) -> str:
    for pattern, new in _TIDIES:
        text = pattern.sub(new, text)
    text = _THERE_BE.sub(lambda m: f"{m[1]} {'are' if _PLURAL.search(m[2]) else 'is'} {m[2]}", text)
    if not _VERB.search(text):
        text = _DETERMINER.sub("", text)
    text = _ARTICLE.sub(lambda m: _article(m[1], m[2]) + " ", text)
    if says_nothing(text):
        return ""
    return (text[0].upper() if capital else text[0]) + text[1:] + end


def _article(old: str, letter: str) -> str:
    new = "an" if letter.lower() in "aeiou" else "a"
    return new.capitalize() if old[0].isupper() else new
